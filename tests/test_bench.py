"""The benchmark: its clockwork on made-up machines, and that it compares ways to one result."""

import os
from dataclasses import replace
from math import comb

import pytest
import torch

import eval as evaluation
from introspect.analysis import bench, bench_peers
from introspect.analysis.bench_timing import (
    bound_median,
    compare,
    count_operations,
    find_noise,
    name_cpu,
    split_call,
    time_rounds,
)
from introspect.analysis.bench_ways import (
    Group,
    compare_labels,
    compare_sizes,
    compare_text_steps,
    compare_updates,
    our_updates,
    token_ids,
)
from introspect.cotrain import cotrain
from introspect.fields import Refused
from introspect.labels import freeze
from introspect.pretrain import Stage, learn
from introspect.runs.build import build
from introspect.runs.stages import make_tasks, new_model
from introspect.tasks.hint import Hint
from introspect.tasks.rules import Rules
from tests.cases import each

SMALL = {"n_entity": 8, "n_attribute": 8, "batch_size": 8, "pretrain_batch_size": 8}
HINT = build({"hint": Hint}, SMALL)
RULES = build({"rules": Rules}, {"n_first": 6, "n_second": 6, "batch_size": 4})
NANOGPT = os.environ.get("NANOGPT", "")  # path of its model.py


class Machine:
    """A machine whose every call is slower than the one before, and whose clock we set."""

    def __init__(self, slowing=0.0, waits=1.0, jumps=()):
        self.cpu = self.wall = 0.0
        self.speed, self.slowing, self.waits, self.jumps = 1.0, slowing, waits, list(jumps)

    def clock(self):
        return self.cpu, self.wall

    def run(self, seconds):
        self.cpu += seconds * self.speed
        self.wall += seconds * self.speed * self.waits
        self.speed += self.slowing

    def way(self, seconds):
        return lambda: self.run(seconds)

    def probe(self):
        jump = self.jumps.pop(0) if self.jumps else 1.0
        self.cpu, self.wall = self.cpu + jump, self.wall + jump * self.waits

    def time(self, rounds=8, **ways):
        ways = {name: self.way(seconds) for name, seconds in ways.items()}
        return time_rounds(ways, rounds, self.clock, self.probe)


def test_ratios_are_exact_on_a_machine_that_slows_down_steadily():
    timed = Machine(slowing=0.5).time(ours=2.0, slow=6.0, slower=8.0)
    ours = timed.seconds("ours")
    assert len(ours) == 8 and ours[-1] > 5 * ours[0]
    for way, expected in (("slow", 3.0), ("slower", 4.0)):
        assert compare(timed, way, "ours") == pytest.approx((expected,) * 3, abs=1e-12)


def test_parts_of_a_call_are_timed_apart_and_equal_names_added():
    machine = Machine()

    def update():
        for part, seconds in (("forward", 2.0), ("check", 0.5), ("step", 3.0), ("check", 1.0)):
            machine.run(seconds)
            yield part

    timed = time_rounds({"update": update}, 3, machine.clock, machine.probe)
    assert timed.spent["update"] == [{"forward": 2.0, "check": 1.5, "step": 3.0}] * 3
    assert timed.seconds("update") == [6.5] * 3
    assert split_call(lambda: machine.run(2.0), lambda: machine.cpu) == {"": 2.0}


@each("n", [6, 7, 10, 20, 31])
def test_the_interval_is_the_narrowest_of_order_statistics_that_covers_95_percent(n):
    ratio = bound_median([float(i) for i in range(1, n + 1)][::-1])
    k = int(ratio.low)

    def coverage(k):
        return 1 - 2 * sum(comb(n, i) for i in range(k)) / 2**n

    assert ratio.middle == (n + 1) / 2 and ratio.high == n + 1 - k
    assert coverage(k) >= 0.95 > coverage(k + 1)


def test_twenty_rounds_leave_out_five_on_each_side_and_five_rounds_have_no_interval():
    assert bound_median(range(20)) == (9.5, 5, 14)
    assert bound_median([1.0] * 5) == (1.0, None, None)


@each("machine, busy", [
    (dict(), ""),
    (dict(waits=1.1), ""),
    (dict(waits=1.3), "a matrix product takes 1.30 x its CPU time"),
    (dict(jumps=[1.0, 1.0, 9.0]), ""),  # the first warms up; one slow product of eight
    (dict(jumps=[1.0, *[1.0, 1.5] * 4]), "CPU times of a matrix product spread by 1.50 x"),
])
def test_a_busy_machine_is_told_from_a_quiet_one(machine, busy):
    assert find_noise(Machine(**machine).time(a=1.0, b=2.0).probes) == busy


@each("machine, shown", [(dict(), True), (dict(waits=1.3), False)])
def test_no_ratio_is_shown_of_a_busy_machine(machine, shown):
    machine = Machine(**machine)
    timed = machine.time(ours=1.0, slow=2.0)
    group = Group("", {"ours": lambda: None, "slow": lambda: None})
    table, curve = bench.show_group(group, timed, 1.0), bench.show_ratio(timed, "slow", "ours")
    assert ("2.00 [2.00, 2.00]" in table) == ("2.00 [2.00, 2.00]" in curve) == shown
    assert (bench.BUSY in table) == (bench.BUSY in curve) == (not shown)
    assert " 1000.00 " in table and " 2000.00 " in table
    few = bench.show_ratio(machine.time(rounds=5, ours=1.0, slow=2.0), "slow", "ours")
    assert few == ("2.00 [too few rounds]" if shown else bench.BUSY)


def test_claims_per_minute_are_what_the_figures_add_up_to():
    seconds = {"pretraining update": 0.03, "co-training update": 0.01, "evaluation": 0.1}
    world, claims = bench.add_up(HINT, seconds | {"labels": 0.2})
    assert world == pytest.approx(1000 * 0.03 + 0.2 + 2 * (800 * 0.01 + 11 * 0.1))
    assert claims == pytest.approx(2 / (5 * world / 60))


def start(cfg):
    tasks = make_tasks(cfg, "cpu")
    return tasks, new_model(cfg, tasks)


def test_the_pretraining_update_that_is_timed_is_the_one_that_is_run(tmp_path):
    (tasks, model), (_, timed) = start(HINT), start(HINT)
    update = bench.pretraining(timed, tasks, HINT.pretrain, 3)
    for _ in range(3):
        list(update())
    learn(model, tasks, HINT.pretrain, 3, Stage("pretrain", "", 1000), tmp_path, until=3)
    assert all(map(torch.equal, model.state_dict().values(), timed.state_dict().values()))


def test_the_cotraining_update_that_is_timed_is_the_one_that_is_run(tmp_path):
    (tasks, model), (_, timed) = start(HINT), start(HINT)
    reference, _ = tasks[0].interview.ask_all(model)
    frozen = [freeze(reference, reference, tasks[0].world, HINT.labels, 0)]
    before = model.token.weight.clone()
    update = bench.cotraining(timed, tasks, frozen, HINT.cotrain, 3)
    for _ in range(3):
        list(update())
    cotrain(model, tasks, frozen, replace(HINT.cotrain, max_steps=3), 3, tmp_path, "")
    assert all(map(torch.equal, model.state_dict().values(), timed.state_dict().values()))
    assert not torch.equal(before, timed.token.weight)


@each("cfg", [HINT, RULES], lambda cfg: cfg.task)
def test_our_ways_have_the_same_loss_and_gradient(cfg):
    tasks, model = start(cfg)
    ids = token_ids(tasks[0].world, 4, "cpu")
    results = []
    for way in our_updates(model.double(), tasks[0].world, tasks[0].interview, ids).values():
        loss = way()
        with_gradient = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        results.append((loss, torch.cat(with_gradient)))
    assert len(results) == 3 and results[0][1].abs().max() > 1e-3
    for loss, gradient in results[1:]:
        torch.testing.assert_close(loss, results[0][0], rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient, results[0][1], rtol=0, atol=1e-12)


def peers_here():
    peers = bench_peers.find_peers(NANOGPT)
    if peers.transformers is None and peers.nanogpt is None:
        pytest.skip("neither transformers (extra `bench`) nor NANOGPT, the path of its model.py")
    return peers


@each("make, cfg", [(compare_updates, HINT), (compare_updates, RULES), (compare_text_steps, HINT)])
def test_peers_compute_our_loss(make, cfg):
    group = make(cfg, "cpu", peers_here())
    assert len(group.ways) >= 2 and next(iter(group.ways)) in ("packed", "ours")
    losses = [do().item() for do in group.ways.values()]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-5)
    other = make(replace(cfg, m0_seed=1), "cpu", peers_here())  # other weights, another loss
    assert next(iter(other.ways.values()))().item() != pytest.approx(losses[0], rel=1e-5)


@each("cfg", [HINT, RULES], lambda cfg: cfg.task)
def test_captum_finds_our_labels(cfg, monkeypatch):
    pytest.importorskip("captum.attr")
    peers = bench_peers.find_peers("")
    monkeypatch.setattr("introspect.analysis.bench_ways.find_best", lambda *_: 4)
    group = compare_labels(cfg, "cpu", peers, lambda: (0.0, 0.0))
    ours, *others = [do() for do in group.ways.values()]
    assert len(others) == 3 and ours.numel() == group.labels
    assert len(ours.unique()) > 1  # some answers change, some stay
    assert all(torch.equal(ours, labels) for labels in others)


def test_the_floor_of_one_pass_a_prompt_by_hand():
    """B subjects, W words, no cue or one of P: 1 + P answers and P explanations, C = 32, 2 layers.

    A matrix of weights costs 2 operations a weight and token forwards and twice that backwards;
    attention 4 T T C a layer and sequence forwards, and 10 T T C backwards, where it makes the
    scores again. K answers and K + 1 explanations are read from one token each."""
    B, W, P, C, L, K = 8, 3, 2, 32, 2, 4
    group = compare_sizes(W, P, C, "cpu", n_subject=B)
    lengths = [W + 1] + 2 * P * [W + 2]
    blocks = 6 * 12 * C**2 * L * sum(lengths)
    attention = (4 + 10) * C * L * sum(T * T for T in lengths)
    heads = 6 * C * ((1 + P) * K + P * (K + 1))
    counted = count_operations(group.ways["one by one"])[""]
    assert counted == B * (blocks + attention + heads)
    others = [sum(count_operations(do).values()) for do in group.ways.values()]
    assert others == sorted(others) and others[-1] == counted  # each of our tricks saves some


def test_the_floor_is_shown_in_milliseconds_and_as_a_share():
    for busy, share in ((False, "25%"), (True, "-")):
        row = bench.row_of("x", seconds=0.004, operations=1e8, rate=1e11, busy=busy)
        assert row.split() == ["x", "4.00", "1.00", share]


def test_a_cpu_is_named_with_its_numbers(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Some CPU\ncpu family\t: 6\nmodel\t\t: 85\n\nmodel name\t: B\n")
    assert name_cpu(info) == "Some CPU (family 6 model 85)"
    assert name_cpu(tmp_path / "none")


def test_peers_that_are_not_there_are_left_out(monkeypatch):
    monkeypatch.setattr(bench_peers, "find_spec", lambda name: None)
    peers = bench_peers.find_peers("")
    assert peers == (None, None, None)
    absent = "peers: none; not there: captum, transformers, nanogpt"
    assert bench_peers.describe_peers(peers) == absent
    assert list(compare_updates(HINT, "cpu", peers).ways)[0] == "packed"
    assert list(compare_text_steps(HINT, "cpu", peers).ways) == ["ours"]


@each("text, says", [
    (None, "must be nanoGPT's model.py"),
    ("x = 1", "must define GPT and GPTConfig"),
    ("1 / 0", "line 1: ZeroDivisionError"),
])
def test_a_file_that_is_not_nanogpt_is_refused_in_one_line(text, says, tmp_path):
    path = tmp_path / "model.py"
    if text:
        path.write_text(text)
    with pytest.raises(Refused, match=says) as refusal:
        bench_peers.find_peers(str(path))
    assert "\n" not in str(refusal.value)


def test_the_file_holds_what_is_printed_below_its_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "bench", lambda *_: iter(["machine", "\ntable"]))
    out = tmp_path / "made" / "cpu.txt"
    assert evaluation.main(["bench", "--repeats=6", f"--out={out}"]) == 0
    assert out.read_text() == capsys.readouterr().out
    first, *rest = out.read_text().splitlines()
    assert first == f"$ python eval.py bench --repeats=6 --out={out}"
    assert rest == ["machine", "", "table"]
