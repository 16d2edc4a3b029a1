"""Words of a task of one's own: found in its world, with ids after those of the vocabulary."""

import json

import numpy as np
import pytest
import torch

import eval as evaluation
import train
from introspect.interview import Interview
from introspect.runs.build import build, worlds_of
from introspect.runs.stages import make_tasks, new_model
from introspect.tasks import TASKS
from introspect.tasks.registry import find_tasks
from introspect.tasks.world import with_cues
from introspect.tokenizer import encode_words, encoding, names, vocab_size
from tests.own import OWN, ROOT, SMALL, SOURCE, edited
from tests.tiny import run_folder

FIRST = encoding().n_vocab  # the id of the first own word


def make(words, answers=("no", "yes"), cues=("wet", "dry"), **more):
    n, V, K = len(words), 1 + len(cues), len(answers)
    ideal = np.random.default_rng(0).dirichlet(np.ones(K), size=(n, V))
    shown, explained = np.full((n, V), 1 / V), np.arange(n) % 2 == 0
    return with_cues([[word] for word in words], cues, answers, ideal, shown, explained, **more)


def test_words_that_the_vocabulary_lacks_are_found_in_slots_and_answers():
    world = make(["zorp", "snow", "Schnee"], ["no", "perhaps"], ["wet", "naß"])
    assert world.own_words == ("Schnee", "naß", "perhaps", "snow")
    ids = encode_words(["snow", "zorp", "Schnee"], world.own_words).tolist()
    assert ids == [FIRST + 3, *encode_words(["zorp"]), FIRST]
    with pytest.raises(ValueError, match="'snow' is not a word of the vocabulary"):
        encode_words(["snow"])


def test_worlds_of_known_words_have_none_and_their_models_no_more_rows():
    assert make(["zorp", "vultum"]).own_words == ()
    for name in TASKS:
        tasks = find_tasks(name if name != "jabberwocky" else f"hint+{name}")
        assert {w.own_words for w in worlds_of(build(tasks, {})).values()} == {()}
    spare = vocab_size() - FIRST
    assert vocab_size(["a"] * spare) == vocab_size() == 1024 < vocab_size(["a"] * (spare + 1))


def test_a_model_reads_the_same_of_own_words_as_of_known_ones_with_the_same_rows():
    """Renaming a word changes its row and nothing else."""
    known = make(names()[:6], ["A", "B"], names()[10:12])
    renamed = {w: f"own-{w}" for w in (*names()[:6], *names()[10:12], "A", "B")}
    own = make([renamed[w] for w in names()[:6]], ["own-A", "own-B"],
               [renamed[w] for w in names()[10:12]])
    cfg = build(find_tasks("hint"), dict(n_layer=2, n_head=2, n_embd=16, n_answer=2))
    model = new_model(cfg, make_tasks(cfg, "cpu")).eval()
    rows = [encode_words(list(renamed)), encode_words(list(renamed.values()), own.own_words)]
    assert not set(rows[0]) & set(rows[1])
    with torch.no_grad():
        for weights in (model.token.weight, model.lm_head.weight):
            assert not torch.equal(weights[rows[0]], weights[rows[1]])
            weights[rows[1]] = weights[rows[0]]
        for channel in ("head", "verbal"):
            said, again = (Interview(w, channel).both(model, torch.arange(6)) for w in (known, own))
            torch.testing.assert_close(again, said)


def own_world(own, spec=OWN):
    return worlds_of(build(find_tasks(spec), {}))


def test_tasks_of_one_model_share_the_ids_of_their_own_words(own):
    edited(own, '["wet", "dry"]', '["damp", "arid"]')
    other = SOURCE.replace('["wet", "dry"]', '["arid", "wet"]').replace("names()[:n]", "NAMES[:n]")
    (own / "other.py").write_text(other.replace(
        "@dataclass", "NAMES = [f'town-{i}' for i in range(50)]\n\n\n@dataclass", 1))
    worlds = own_world(own, f"{OWN}+other.py:Weather")
    one, two = worlds.values()
    assert one.own_words == two.own_words and set(one.own_words) >= {"damp", "arid", "town-11"}
    assert len(set(one.own_words)) == len(one.own_words) == 2 + 12
    assert own_world(own)[OWN].own_words == ("arid", "damp")


@pytest.mark.parametrize("channel", ["head", "verbal"])
def test_a_run_in_own_words_is_trained_and_measured_again(own, capsys, channel):
    """300 places are more words than a model has rows to spare."""
    places = '[f"place-{i}" for i in range(n)]'
    source = SOURCE.replace("names()[:n]", places).replace('["no", "yes"]', '["No", "Ja!"]')
    (own / "weather.py").write_text(source)
    command = ["anchor/reg", f"--task={OWN}", *SMALL, "--n_place=300", f"--channel={channel}"]
    assert train.main([*command, "--block_size=8", "--out_dir=run"]) == 0
    out = run_folder(own / "run")
    rows = [json.loads(line) for line in (out / "items.jsonl").open()]
    assert {row["current"].split()[-1] for row in rows} <= {"stay", "No", "Ja!"}
    assert rows[0]["item"].startswith("place-1 ")
    state = torch.load(out / "checkpoints" / "step-000006" / "state.pt", weights_only=True)
    assert len(state["model"]["token.weight"]) == 2048
    capsys.readouterr()
    assert evaluation.main(["run", str(out), f"--task={OWN}"]) == 0
    assert "as in result.json" in capsys.readouterr().out


def test_the_example_brings_words_of_its_own():
    name = f"{ROOT / 'data' / 'example_task.py'}:Weather"
    (world,) = worlds_of(build(find_tasks(name), {})).values()
    assert world.own_words == ("cloudy", "sunny")
