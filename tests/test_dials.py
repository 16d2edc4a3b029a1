"""Grids of fields: every combination once, checked as flags are, resumable, in one table."""

import shutil
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest

import eval as evaluation
import train
from introspect.reading import read_json
from introspect.report import dials as dials_module
from introspect.report.dials import draw_dials
from introspect.report.study import order_along
from introspect.report.text import show_study
from introspect.runs.cli import parse
from introspect.runs.declared import arguments_of, find_experiment, name_grid
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.jobs import stack
from introspect.runs.study import Setting, Workspace, plan_jobs
from tests.cases import each
from tests.made_up import COUPLED, REVERSED, UNDECIDED, Page, markdown_tables, reports, write_study
from tests.own import refusal_of
from tests.tiny import TINY, run_folder

KL, ANCHOR = "--dial=kl_weight:0,1.5,10", "--dial=anchor:all,explained"


def test_a_grid_is_every_combination_once_and_each_arm_is_the_run_of_its_flags():
    command = parse([KL, ANCHOR, "--seed=7", "--seeds=2", "--n_head=2"])
    made = [(arm, config.flat()) for arm, config in command.configs()]
    expected = []
    for seed in (7, 8):
        for kl in ("0", "1.5", "10"):
            for anchor in ("all", "explained"):
                fields = [f"--kl_weight={kl}", f"--anchor={anchor}", f"--seed={seed}"]
                one = parse(["single/run", "--n_head=2", "--eval_interval=200", *fields])
                expected.append((f"kl_weight={kl},anchor={anchor}", one.configs()[0][1].flat()))
    assert made == expected and len({str(flat) for _, flat in made}) == 12


def test_fields_of_a_task_and_of_a_seed_can_be_dialed():
    command = parse(["--task=rules", "--dial=n_input:2,4", "--dial=draw_seed:1,2"])
    flats = [config.flat() for _, config in command.configs()]
    both = [(f["n_input"], f["draw_seed"]) for f in flats if f["seed"] == 0]
    assert both == [*product((2, 4), (1, 2))] and {f["task"] for f in flats} == {"rules"}


def test_the_name_of_a_grid_is_enough_to_ask_for_it_again():
    command = parse([KL, ANCHOR])
    assert command.experiment == name_grid(["kl_weight:0,1.5,10", "anchor:all,explained"])
    assert arguments_of(command.experiment) == [KL, ANCHOR]
    assert find_experiment(command.experiment) == command.declared
    other = find_experiment(parse([ANCHOR, KL]).experiment)  # the first dial is the axis
    assert other != command.declared and len(other.arms) == len(command.declared.arms)
    targets = [parse(argv).experiment for argv in ([KL], [ANCHOR], [KL, ANCHOR])]
    names = {Setting(target, "hint").name for target in targets}
    assert len(names) == 3 and not any("/" in name or " " in name for name in names)


BAD = [  # arguments, what the line has to name
    (["--dial=kl_weigth:0,1"], "--kl_weigth", "(did you mean kl_weight?)"),
    (["--dial=n_entitty:8,9"], "--n_entitty", "(did you mean n_entity?)"),
    (["--task=rules", "--dial=n_entity:8,9"], "--n_entity", "task rules has no such field"),
    (["--dail=kl_weight:0,1"], "--dail", "(did you mean --dial?)"),
    (["--dial=kl_weight:0,fast"], "--kl_weight=fast", "a number >= 0"),
    (["--dial=kl_weight:0,-1"], "--kl_weight=-1", ">= 0"),
    (["--dial=kl_weight:0,nan"], "--kl_weight=nan", "a number"),
    (["--dial=kl_weight:0,true"], "--kl_weight=True", "a number"),
    (["--dial=kl_weight:0,"], "--kl_weight=", "a number"),
    (["--dial=n_layer:1,1.5"], "--n_layer=1.5", "a whole number"),
    (["--dial=n_head:2,3"], "--n_head=3", "divide n_embd=64"),
    (["--dial=anchor:all,most"], "--anchor=most", "explained, all"),
    (["--dial=batch_size:32,9999"], "--batch_size=9999", "1152"),
    (["--dial=n_answer:3,4"], "dial n_answer:3,4", "the same answers; n_answer=4 has others"),
    (["--dial=seed:0,1"], "--dial=seed:0,1", "--seeds says how many"),
    (["--dial=jobs:1,2"], "--jobs", "no such field"),
    (["--dial=kl_weight"], "--dial=kl_weight:", "must be FIELD:VALUE,VALUE"),
    (["--dial=kl_weight:0, 1"], "--dial=kl_weight:0, 1", "without blanks"),
    (["--dial="], "--dial=:", "must be FIELD:VALUE,VALUE"),
    (["--dial=kl_weight:0"], "--dial=kl_weight:0", "two values or more; of one, --kl_weight=0"),
    (["--dial=kl_weight:0,1,0.0"], "--dial=kl_weight:0,1,0.0", "once; 0.0 is there twice"),
    (["--dial=kl_weight:0,1"] * 2, "kl_weight", "it is dialed already"),
    (["--dial=kl_weight:0,1", "--kl_weight=2"], "--kl_weight=2", "dialed; give it once"),
    (["anchor/reg", "--dial=kl_weight:0,1"], "anchor/reg", "beside --dial"),
    (["--dial=draw_seed:" + ",".join(map(str, range(65)))], "65 arms", "at most 64"),
    ([f"--dial={name}_seed:{','.join(map(str, range(9)))}" for name in ("m0", "draw")],
     "--dial=draw_seed", "makes 81 arms; at most 64"),
]  # fmt: skip


@each("arguments, given, allowed", BAD, lambda case: " ".join(case[0])[:60])
def test_a_dial_that_is_wrong_is_refused_before_anything_is_run(arguments, given, allowed):
    refusal_of(lambda: parse(arguments), given, allowed)


def test_runs_of_a_grid_are_stacked_where_they_can_be():
    flags = ["--n_embd=16", "--n_head=2", "--n_entity=8", "--n_attribute=8", "--batch_size=16"]
    command = parse(["--dial=kl_weight:0.5,1,2", *flags, "--pretrain_batch_size=16"])
    workspace = Workspace(Path("out"), "cpu", 1, command.overrides, stack=8)
    jobs = plan_jobs(workspace, Setting(command.experiment, "hint"), [0, 1])
    assert [len(jobs) for jobs in stack([*jobs.values()], 8, 1)] == [6]


# --- a whole study ---

FLAGS = [*TINY, "--seeds=1", "--jobs=1", "--learning_rate=0.03", "--dial=kl_weight:0,10"]


def contents(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_grid_is_run_reported_and_resumed_after_the_loss_of_a_run(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    command = [*FLAGS, "--dial=hint_absent:0.1,0.5", "--out_dir=out"]
    assert train.main(command) == 0
    heard = capsys.readouterr()
    table, (study,) = heard.out.rpartition("\nin ")[0], (tmp_path / "out").glob("dial-*")
    assert max(map(len, table.split("\n"))) <= 100 and "4 arms, seeds 0, in out" in heard.err
    assert [line.split()[:2] for line in table.split("\n")[2:7]] == [
        ["kl_weight", "hint_absent"], ["0", "0.1"], ["0", "0.5"], ["10", "0.1"], ["10", "0.5"]]
    result, before = read_json(study / "result.json", {}), contents(tmp_path)
    assert result["dialed"]["kl_weight=10,hint_absent=0.5"] == {"kl_weight": 10, "hint_absent": 0.5}
    assert "'--dial=kl_weight:0,10' " not in (study / "report.md").read_text()  # no need of quotes
    assert "--dial=kl_weight:0,10 --dial=hint_absent:0.1,0.5" in (study / "report.md").read_text()
    for name in ("report.html", "report.md", "result.json", "runs.jsonl"):
        assert (study / name).stat().st_size
    if find_spec("matplotlib"):
        assert ">hint_absent=0.5<" in (study / "figure.svg").read_text()

    assert evaluation.main(["run", str(study)]) == 0
    assert capsys.readouterr().out.strip() == table
    shutil.rmtree(next((tmp_path / "out" / "runs").iterdir()))
    assert train.main(command) == 0
    assert "3 of 4 runs are there already; 1 to make" in capsys.readouterr().err
    timed = {path for path in before if path.name in ("result.json", "metrics.jsonl")}
    after = contents(tmp_path)
    assert after.keys() == before.keys()
    ours = [path for path in before if path.parent.name == study.name]
    assert all(after[path] == before[path] for path in ours) and len(ours) >= 4 and timed


def test_a_run_of_a_grid_is_the_run_of_its_flags(tmp_path, without_matplotlib):
    assert train.main([*FLAGS, f"--out_dir={tmp_path / 'grid'}"]) == 0
    flags = [*FLAGS[:-1], "--kl_weight=10", f"--out_dir={tmp_path / 'one'}"]
    assert train.main(["single/run", *flags]) == 0
    folder = run_folder(tmp_path / "one")
    twin = tmp_path / "grid" / "runs" / folder.name
    for name in ("items.jsonl", "examples.json"):
        assert (twin / name).read_bytes() == (folder / name).read_bytes()


# --- reports ---


def made_up(out, dials, gaps=(COUPLED, REVERSED, UNDECIDED)):
    """A study of a grid of these dials, field -> values; its gaps in turn."""
    every = [dict(zip(dials, values)) for values in product(*dials.values())]
    dialed = {",".join(f"{k}={v}" for k, v in fields.items()): fields for fields in every}
    study = write_study(out, {arm: gaps[i % len(gaps)] for i, arm in enumerate(dialed)})
    return study | {"dialed": dialed, "experiment": name_grid(
        [f"{field}:{','.join(map(str, values))}" for field, values in dials.items()])}


WIDE = [  # dials, columns that there is still room for
    ({"kl_weight": range(9)}, "n Self Orig gap adj. drift pref. verdict"),
    ({"kl_weight": [0, 1], "label_noise": [0.1, 0.2]}, "n Self Orig gap adj. drift verdict"),
    ({"pretrain_weight_decay": [0, 1], "objective_strength": [0, 1]}, "gap adj. drift verdict"),
    ({"pretrain_batch_size": [8, 9], "adamw_learning_rate": [1, 2], "objective_weight": [1, 2]},
     "gap adj. drift verdict"),
    ({"donor": ["x" * 90, "y" * 200]}, "gap adj. drift verdict"),
    ({f"field_{i}": ["long" * i, "words" * 4] for i in range(6)}, "gap adj. drift verdict"),
]  # fmt: skip


@pytest.mark.parametrize("dials, columns", WIDE, ids=lambda x: x if isinstance(x, str) else "")
def test_the_table_of_a_grid_is_never_wider_than_a_terminal(
    dials, columns, tmp_path, without_matplotlib
):
    study = made_up(tmp_path, dials)
    lines = show_study(study).split("\n")
    head = next(i for i, line in enumerate(lines) if line.endswith("verdict"))
    assert max(map(len, lines[head:])) <= 100
    assert lines[head].split()[len(dials) :] == columns.split()
    rows = lines[head + 1 : head + 1 + len(study["arms"])]
    for row, measures in zip(rows, study["arms"].values(), strict=True):
        assert f"{measures['gap']['mean']:+.3f}" in row
        assert measures["verdict"].partition(":")[0].partition(" at n")[0] in row
    said = lines[head + 1 + len(rows)]
    counts = [int(word.strip(",.")) for word in said.split() if word.strip(",.").isdigit()]
    assert said.startswith("Verdicts: coupling") and sum(counts) == len(rows)


def test_many_arms_have_one_picture_and_one_table(tmp_path, with_matplotlib):
    some = {f"arm-{i}": COUPLED for i in range(9)}
    study = write_study(tmp_path, some, failed=["arm-3 of seed 3: no M0"])
    text, page = reports(tmp_path)
    [table] = markdown_tables(text)
    assert [row[0] for row in table[1:]] == list(study["arms"]) and "\n- **arm-" not in text
    assert page.count("<svg") == len(Page(page).tables) == 1
    assert text.index("](figure.svg)") < text.index("| arm |")
    assert "Verdicts: coupling 9. " in text and "arm-3 of seed 3: no M0" in text
    assert list(study["differences"]) == [f"arm-0 - arm-{i}" for i in range(1, 9)]


def test_of_eight_arms_each_pair_is_compared_and_four_are_told_of_one_by_one(
    tmp_path, without_matplotlib
):
    for n, told in ((4, 4), (5, 0), (8, 0)):
        study = write_study(tmp_path / str(n), {f"arm-{i}": COUPLED for i in range(n)})
        text = reports(tmp_path / str(n))[0]
        assert text.count("\n- **arm-") == told and ("Verdicts: coupling" in text) == (not told)
        assert len(markdown_tables(text)) > 5 and len(study["differences"]) == n * (n - 1) / 2
    assert "arm-6 - arm-7" in show_study(study)


def test_the_picture_of_a_grid_draws_every_mean_and_interval(
    tmp_path, with_matplotlib, monkeypatch
):
    dials = {"kl_weight": [10, 0, 0.1], "anchor": ["all", "explained"], "n_layer": [1, 2]}
    study = made_up(tmp_path, dials, (COUPLED, REVERSED, UNDECIDED, COUPLED[::-1], UNDECIDED[:2]))
    svg = draw_dials(study, study["dialed"])
    for words in (">kl_weight<", ">10<", ">anchor=all, n_layer=1<", "=explained, n_layer=2<"):
        assert words in svg
    monkeypatch.setattr(dials_module, "svg_of", lambda figure: figure)
    for panel, key in zip(draw_dials(study, study["dialed"]).axes, ("gap", "adjusted", "drift")):
        drawn = [line for line in panel.lines if line.get_marker() == "o"]
        for i, (line, bars) in enumerate(zip(drawn, panel.collections, strict=True)):
            arms = [f"kl_weight={kl},anchor={dials['anchor'][i // 2]},n_layer={1 + i % 2}"
                    for kl in dials["kl_weight"]]
            shown = [study["arms"][arm][key] for arm in arms]
            assert line.get_ydata().tolist() == [each["mean"] for each in shown]
            ends = [(low, high) for (_, low), (_, high) in bars.get_segments()]
            assert ends == [(each["low"], each["high"]) for each in shown]
            assert [round(x) for x in line.get_xdata()] == [0, 1, 2]  # in the order given
        assert len(drawn) == 4 and len({tuple(line.get_xdata()) for line in drawn}) == 4


@pytest.mark.parametrize("name, axis, place, lines", [
    ("dose", "kl_weight", {"kl-0.0": 0.0, "kl-0.3": 0.3, "reg": 1.0, "kl-10.0": 10.0}, 1),
    ("strength", "objective_strength", {"twin-0.25": 0.25, "strength-1.0": 1.0}, 2),
    ("room", "adapter_rank", {"room-1-0.002": 1, "room-64-0.0005": 64}, 3),
])  # fmt: skip
def test_an_experiment_with_an_axis_is_drawn_along_it(name, axis, place, lines, monkeypatch):
    experiment = EXPERIMENTS[name]
    along = order_along(experiment, "hint", [*experiment.arms])
    assert place.items() <= {arm: fields[axis] for arm, fields in along.items()}.items()
    assert along.keys() == experiment.arms.keys() - {"shuffled"}
    values = [fields[axis] for fields in along.values()]
    assert values == sorted(values)
    one = {"mean": 0.1, "low": 0.0, "high": 0.2}
    study = {"arms": {arm: dict.fromkeys(("gap", "adjusted", "drift"), one) for arm in along}}
    monkeypatch.setattr(dials_module, "svg_of", lambda figure: figure)
    panel = draw_dials(study, along).axes[0]
    assert panel.get_xlabel() == axis and len(panel.collections) == lines
