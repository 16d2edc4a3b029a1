"""eval.py measures what train.py made, and finds the same."""

import json
import shutil

import pytest

import eval as evaluation
import train
from introspect.fields import Refused
from introspect.files import write_json
from introspect.reading import read_json
from tests.tiny import TINY, folder_of


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    assert train.main([*TINY, "--seeds=2", "--jobs=1", f"--out_dir={out}"]) == 0
    [made] = [p for p in out.iterdir() if p.name not in ("runs", "cache")]
    return made


def test_a_run_is_measured_again_with_the_same_result(study, capsys):
    assert evaluation.main(["run", str(folder_of(study.parent, "noreg", 1))]) == 0
    said = capsys.readouterr().out
    result = read_json(folder_of(study.parent, "noreg", 1) / "result.json", {})
    assert f"{result['self']:.3f}" in said and f"{result['train']['orig']:.3f}" in said
    assert "measured at step 6 of 6" in said and "as in result.json" in said


def test_a_result_that_is_not_of_the_checkpoint_is_pointed_out(study, capsys):
    path = folder_of(study.parent, "reg", 1) / "result.json"
    result = read_json(path, {})
    write_json(path, result | {"self": result["self"] + 0.25})
    evaluation.main(["run", str(path.parent)])
    write_json(path, result)
    assert "differs from result.json in self" in capsys.readouterr().out


def test_a_study_is_tabulated_from_its_runs(study, capsys):
    assert evaluation.main(["run", str(study)]) == 0
    said = capsys.readouterr().out
    for arm in ("reg", "noreg"):
        assert arm in said
        assert f"{read_json(study / 'result.json', {})['arms'][arm]['gap']['mean']:+.3f}" in said


def test_a_run_that_was_moved_from_its_labels_is_refused_and_nothing_is_written(study, tmp_path):
    moved = tmp_path / "a" / "b" / "moved"
    shutil.copytree(folder_of(study.parent, "reg", 0), moved)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Refused, match="the frozen labels of .* must be there"):
        evaluation.main(["run", str(moved)])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_table_holds_the_runs_of_its_study_only(study, capsys):
    evaluation.main(["run", str(study)])
    alone = capsys.readouterr().out
    stray = study.parent / "runs" / "hint-0123456789abcdef"
    shutil.copytree(folder_of(study.parent, "reg", 1), stray)
    evaluation.main(["run", str(study)])
    shutil.rmtree(stray)
    assert capsys.readouterr().out == alone


@pytest.mark.parametrize(
    "change",
    ['{"task": "hnit"}', '{"n_embd": 32}', "[]", "3"],
    ids=["other task", "other width", "list", "number"],
)
def test_a_config_that_was_altered_is_refused(study, tmp_path, change):
    shutil.copytree(study.parent, tmp_path / "s")
    run = folder_of(tmp_path / "s", "reg", 0)
    altered, change = read_json(run / "config.json", {}), json.loads(change)
    if isinstance(change, dict):
        altered["config"] |= change
    else:
        altered = change
    (run / "config.json").write_text(json.dumps(altered))
    with pytest.raises(Refused) as refusal:
        evaluation.main(["run", str(run)])
    assert "\n" not in str(refusal.value)


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    out = tmp_path_factory.mktemp("rules")
    sizes = [f for f in TINY if not f.startswith(("--n_entity", "--n_attribute"))]
    sizes += ["--task=rules", "--n_first=4", "--n_second=4", "--seeds=2", "--jobs=1"]
    assert train.main([*sizes, f"--out_dir={out}"]) == 0
    [made] = [p for p in out.iterdir() if p.name not in ("runs", "cache")]
    return made


def test_of_features_it_says_what_explanations_and_attributions_recover(rules, capsys):
    assert evaluation.main(["run", str(folder_of(rules.parent, "reg", 0))]) == 0
    alone = capsys.readouterr().out
    assert evaluation.main(["run", str(rules)]) == 0
    together = capsys.readouterr().out
    for method in ("explanation", "leave-one-out", "Shapley", "integrated gradients"):
        assert alone.count(f"\n{method} ") == 1 and together.count(f"\n{method} ") == 2
    assert "as in result.json" in alone


def test_studies_are_put_one_below_the_other_and_need_no_runs(study, rules, tmp_path, capsys):
    for source, name in ((study, "first"), (rules, "second")):
        (tmp_path / name).mkdir()
        shutil.copy(source / "runs.jsonl", tmp_path / name)
    assert evaluation.main(["run", str(tmp_path / "first"), str(tmp_path / "second")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        [name, arm] for name in ("first", "second") for arm in ("reg", "noreg")
    ]
    assert evaluation.main(["run", str(tmp_path / "first")]) == 0
    alone = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in alone if line.startswith(("reg  ", "noreg  "))]
    listed = [line.split() for line in lines[1:3]]  # these name the study, and have the majority
    assert rows == [[*row[1:11], *row[12:]] for row in listed]
    shutil.copytree(tmp_path / "first", tmp_path / "deeper" / "first")
    same = [str(tmp_path / "first"), str(tmp_path / "deeper" / "first")]
    assert evaluation.main(["run", *same]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [same[0], same[0], same[1], same[1]]
    with pytest.raises(Refused, match="nowhere: must be a folder of a finished run or study"):
        evaluation.main(["run", str(tmp_path / "first"), str(tmp_path / "nowhere")])


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["run", "nowhere"], "nowhere: must be a folder of a finished run or study"),
        (["run"], "DIR"),
        (["rum", "x"], "invalid choice: 'rum'"),
        ([], "COMMAND"),
        (["run", "x", "--fast"], "unrecognized arguments: --fast"),
        (["bench", "--repeats=1"], "--repeats=1: must be a whole number >= 6"),
        (["bench", "--device=tpu"], "--device=tpu: must be one of auto, cpu, cuda"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, says):
    with pytest.raises(Refused, match=says) as refusal:
        evaluation.main(arguments)
    assert "\n" not in str(refusal.value)


def test_a_config_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model": "other"}')
    with pytest.raises(Refused, match="must be an object with cache, config, device, source"):
        evaluation.main(["run", str(tmp_path)])
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(Refused, match="not JSON"):
        evaluation.main(["run", str(tmp_path)])
