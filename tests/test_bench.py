"""The benchmark compares ways to one result, and shows what it promises."""

import os
import sys
from dataclasses import replace

import pytest
import torch

import eval as evaluation
from introspect.analysis import bench, bench_muon, bench_peers, bench_ways
from introspect.analysis import bench_timing as timing
from introspect.analysis.bench_timing import Timed, count_operations, flatten, measure_differences
from introspect.fields import Refused
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


def start(cfg):
    tasks = make_tasks(cfg, "cpu")
    return tasks, new_model(cfg, tasks)


def test_the_pretraining_update_that_is_timed_is_the_one_that_is_run(tmp_path):
    (tasks, model), (_, timed) = start(HINT), start(HINT)
    update = bench_muon.pretraining(HINT, timed, tasks)
    for _ in range(3):
        update()
    learn(model, tasks, HINT.pretrain, 0, Stage("pretrain", "", 1000), tmp_path, until=3)
    assert all(map(torch.equal, model.state_dict().values(), timed.state_dict().values()))


def test_either_muon_takes_about_the_same_update_and_only_ours_is_exact():
    first, second = bench_muon.compare_pretraining(HINT, "cpu").ways.values()
    losses = [(float(first()), float(second())) for _ in range(3)]
    assert losses[0][0] == losses[0][1] and losses[2][0] < losses[0][0]
    assert losses[2][0] != losses[2][1] == pytest.approx(losses[2][0], rel=0.01)
    ours, theirs = measure_differences(bench_muon.compare_muon(HINT, "cpu")).values()
    assert ours < 1e-5 < 1e-3 < theirs < 0.1


@each("cfg", [HINT, RULES], lambda cfg: cfg.task)
def test_our_ways_have_the_same_loss_and_gradient(cfg):
    task, make = bench_ways.start(cfg, "cpu")
    ids, model, results = bench_ways.token_ids(task.world, 4, "cpu"), make().double(), []
    for ask in bench_ways.list_ways(model, task.world, task.interview, ids).values():
        model.zero_grad()
        loss = bench_ways.update_loss(ask)
        loss.backward()
        with_gradient = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        results.append((loss, torch.cat(with_gradient)))
    assert len(results) == 3 and results[0][1].abs().max() > 1e-3
    for loss, gradient in results[1:]:
        torch.testing.assert_close(loss, results[0][0], rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient, results[0][1], rtol=0, atol=1e-12)


def test_an_update_lowers_its_loss_and_leaves_the_other_ways_alone():
    group = bench_ways.compare_cotraining(HINT, "cpu", bench_peers.Peers())
    packed, plain, _ = group.ways.values()
    losses = [float(packed()) for _ in range(3)]
    assert losses == sorted(losses, reverse=True) and losses[0] - losses[2] > 1e-3
    assert float(plain()) == pytest.approx(losses[0], rel=1e-5)


def peers_here():
    peers = bench_peers.find_peers(NANOGPT)
    if peers.transformers is None and peers.nanogpt is None:
        pytest.skip("neither transformers (extra `bench`) nor NANOGPT, the path of its model.py")
    return peers


@each("name, cfg", [
    ("compare_cotraining", HINT), ("compare_cotraining", RULES), ("compare_text_steps", HINT)
])
def test_peers_compute_our_loss_and_no_other(name, cfg):
    peers, make = peers_here(), getattr(bench_ways, name)
    group = make(cfg, "cpu", peers)
    assert len(group.ways) > {"compare_cotraining": 3, "compare_text_steps": 1}[name]
    losses = [do().item() for do in group.ways.values()]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-5)
    other = list(make(replace(cfg, m0_seed=1), "cpu", peers).ways.values())[-1]
    assert other().item() != pytest.approx(losses[0], rel=1e-3)  # of other weights


@each("cfg", [HINT, RULES], lambda cfg: cfg.task)
def test_captum_finds_our_labels(cfg, monkeypatch):
    pytest.importorskip("captum.attr")
    monkeypatch.setattr(bench_ways, "find_best", lambda *_: 4)
    group = bench_ways.compare_labels(cfg, "cpu", bench_peers.find_peers(""), None)
    assert len(group.ways) == 3 and set(measure_differences(group).values()) == {0.0}
    labels = flatten(group.ways["ours"])
    assert len(labels) == group.count and len(labels.unique()) > 1  # some change, some stay


@each("make", [bench_ways.compare_triples, bench_ways.compare_patching])
def test_triples_and_patched_replies_are_the_same_in_all_ways(make):
    group = make(HINT, "cpu")
    assert set(measure_differences(group).values()) == {0.0}
    assert len(flatten(next(iter(group.ways.values()))).unique()) > 1
    assert group.count == {"triples": 64 * 4, "sites": 60}[group.unit]


def test_the_floor_of_one_pass_a_prompt_by_hand():
    """B subjects, W words, no cue or one of P: 1 + P answers and P explanations, C = 32, 2 layers.

    A matrix of weights costs 2 operations a weight and token forwards and twice that backwards;
    attention 4 T T C a layer and sequence forwards, and 10 T T C backwards, where it makes the
    scores again. K answers and K + 1 explanations are read from one token each."""
    B, W, P, C, L, K = 8, 3, 2, 32, 2, 4
    group = bench_ways.compare_sizes(W, P, C, "cpu", n_subject=B)
    lengths = [W + 1] + 2 * P * [W + 2]
    blocks = 6 * 12 * C**2 * L * sum(lengths)
    attention = (4 + 10) * C * L * sum(T * T for T in lengths)
    heads = 6 * C * ((1 + P) * K + P * (K + 1))
    counted = count_operations(group.ways["one by one"])
    assert counted == B * (blocks + attention + heads)
    others = [count_operations(do) for do in group.ways.values()]
    assert others == sorted(others) and others[-1] == counted  # each of our tricks saves some


def test_attention_from_some_tokens_to_all_is_counted_by_hand():
    q, k = torch.rand(2, 3, 5, 4), torch.rand(2, 3, 7, 4)  # 5 queries, 7 keys
    attend = torch.nn.functional.scaled_dot_product_attention
    assert count_operations(lambda: attend(q, k, k)) == 4 * 2 * 3 * 5 * 7 * 4


def test_peers_that_are_not_there_are_left_out(monkeypatch):
    for name in ("captum", "captum.attr", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    peers = bench_peers.find_peers("")
    assert peers == (None, None, None)
    absent = "peers: none; not there: captum, transformers, nanogpt"
    assert bench_peers.describe_peers(peers) == absent
    assert len(bench_ways.compare_cotraining(HINT, "cpu", peers).ways) == 3
    assert list(bench_ways.compare_labels(HINT, "cpu", peers, None).ways) == ["ours"]
    assert list(bench_ways.compare_text_steps(HINT, "cpu", peers).ways) == ["ours"]


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


@pytest.mark.slow
def test_every_table_is_shown_once_with_its_ways(monkeypatch):
    def tell_times(ways, rounds, clock, probe):
        seconds = {name: [i + 1.0] * rounds for i, name in enumerate(ways)}
        return Timed(seconds, [(1.0, 1.0)] * rounds)

    monkeypatch.setattr(timing, "time_rounds", tell_times)
    monkeypatch.setattr(bench_ways, "find_best", lambda *_: 1)
    monkeypatch.setattr(bench_ways, "LONG", (4, 2, 16))
    monkeypatch.setattr(bench_ways, "CURVES", {"cues": [(2, 1, 16), (2, 2, 16)]})
    text = "\n".join(bench.bench([HINT], "cpu", 6))
    titles = [table.splitlines()[0].split(":")[0] for table in text.split("\n\n")[1:]]
    assert titles == [
        "pretraining update",
        "Muon alone, 8 matrices; differences from float64",
        "co-training update",
        "triples",
        "labels",
        "co-training update",
        *["8 co-training updates"] * 3,
        "language-model step",
        "patching sweep",
        "co-training update, packed, over cues",
    ]
    assert text.count("2.00 [2.00, 2.00]; 3.00 [3.00, 3.00]") == 2
    for said in ("GFLOP/s", "peers: ", "capability ", "hooks by hand", "torch.optim.Muon"):
        assert said in text
