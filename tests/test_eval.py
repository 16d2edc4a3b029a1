"""eval.py measures what train.py made, and finds the same."""

import pytest

import eval as evaluation
import train
from introspect.config import Refused
from introspect.record import read_json, write_json
from tests.tiny import TINY


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "s"
    assert train.main([*TINY, "--seeds=2", "--jobs=1", f"--out_dir={out}"]) == 0
    return out


def test_a_run_is_measured_again_with_the_same_result(study, capsys):
    assert evaluation.main(["run", str(study / "runs" / "noreg-seed1")]) == 0
    said = capsys.readouterr().out
    result = read_json(study / "runs" / "noreg-seed1" / "result.json")
    assert f"{result['self']:.3f}" in said and f"{result['train']['orig']:.3f}" in said
    assert "measured at step 6 of 6" in said and "as in result.json" in said


def test_a_result_that_is_not_of_the_checkpoint_is_pointed_out(study, capsys):
    path = study / "runs" / "reg-seed1" / "result.json"
    result = read_json(path)
    write_json(path, result | {"self": result["self"] + 0.25})
    evaluation.main(["run", str(path.parent)])
    write_json(path, result)
    assert "differs from result.json in self" in capsys.readouterr().out


def test_a_study_is_tabulated_from_its_runs(study, capsys):
    (study / "result.json").rename(study / "kept.json")
    assert evaluation.main(["run", str(study)]) == 0
    said = capsys.readouterr().out
    for arm in ("reg", "noreg"):
        assert arm in said
        assert f"{read_json(study / 'kept.json')['arms'][arm]['gap']['mean']:+.3f}" in said
    (study / "kept.json").rename(study / "result.json")


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["run", "nowhere"], "nowhere: must be a folder that train.py wrote"),
        (["run"], "DIR"),
        (["rum", "x"], "invalid choice: 'rum'"),
        ([], "COMMAND"),
        (["run", "x", "--fast"], "unrecognized arguments: --fast"),
        (["bench", "--repeats=1"], "--repeats=1: must be a whole number >= 4"),
        (["bench", "--device=tpu"], "--device=tpu: must be one of auto, cpu, cuda"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, says):
    with pytest.raises(Refused, match=says) as refusal:
        evaluation.main(arguments)
    assert "\n" not in str(refusal.value)


def test_bench_prints_both_ways_and_their_ratio(capsys):
    assert evaluation.main(["bench", "--repeats=4", "--device=cpu"]) == 0
    said = capsys.readouterr().out
    assert "packed " in said and "one by one" in said and "times as fast" in said


def test_a_config_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model": "other"}')
    with pytest.raises(Refused, match="is not of train.py; it lacks arm"):
        evaluation.main(["run", str(tmp_path)])
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(Refused, match="not JSON"):
        evaluation.main(["run", str(tmp_path)])
