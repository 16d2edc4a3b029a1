"""An exported run is opened by transformers and computes the same; its files are plain bytes."""

import json
import struct

import pytest
import torch

import eval as evaluation
import train
from introspect.analysis import export as module
from introspect.analysis.ask import open_steps
from introspect.analysis.export import OTHER, export, heads_of
from introspect.analysis.formats import safetensors, tokenizer_json
from introspect.tasks.world import SENTENCES
from introspect.tokenizer import EXPLAIN, decode, encode, encoding, names
from tests.own import refusal_of
from tests.several import SIZES
from tests.tiny import SIZE, STEPS, TINY, run_folder

SEVERAL = [f"--{t}.{k}={v}" for t in ("hint", "refusal") for k, v in SIZES[t].items()]
KINDS = {
    "head": TINY,
    "adapters": [*TINY, "--adapter_rank=2", "--n_layer=2"],
    "tied": [*TINY, "--channel=tied"],
    "same": [*TINY, "--channel=same"],
    "verbal": [*TINY, "--channel=verbal", "--block_size=16"],
    "several": ["--task=hint+refusal", *SEVERAL, *SIZE, *STEPS, "--device=cpu"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run of each kind with its folder, made when it is asked for; every weight is
    moved, those of norms and biases too."""
    made = {}

    def get(kind):
        if kind not in made:
            out = tmp_path_factory.mktemp(kind)
            assert train.main(["single/run", *KINDS[kind], f"--out_dir={out}"]) == 0
            [run] = open_steps(run_folder(out), "", None, False)
            draw = torch.Generator().manual_seed(0)
            for p in run.model.parameters():
                p.data += 0.1 * torch.randn(p.shape, generator=draw)
            made[kind] = run, run_folder(out)
        return made[kind]

    return get


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def opened(transformers, folder):
    """Its model and tokenizer, as a stranger opens them."""
    local = dict(trust_remote_code=False, local_files_only=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, **local)
    assert type(model).__name__ == "GPT2LMHeadModel"
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder, **local)


@torch.no_grad()
def last_logits(model, tokenizer, texts):
    """(n, words) at the end of texts of one length."""
    return model(torch.tensor([tokenizer(text)["input_ids"] for text in texts])).logits[:, -1]


def texts_of(world, sequence, suffix=()):
    """The prompt of every subject as text."""
    rows = world.slots[:, list(sequence)].tolist()
    return [" ".join(row[:-1]) + row[-1] + "".join(f" {word}" for word in suffix) for row in rows]


def answers_differ(run, folder, transformers):
    """By how much logits of answers differ at most, over all prompts of all tasks."""
    model, tokenizer = opened(transformers, folder)
    differ = []
    for s in run.snapshots:
        ids = [model.config.classes[answer] for answer in s.world.answers]
        ours = s.task.interview.answers_of_all(run.model)
        for variant, sequence in enumerate(s.world.prompts):
            texts = texts_of(s.world, sequence)
            assert texts[0].endswith(model.config.query)
            theirs = last_logits(model, tokenizer, texts)
            differ.append((theirs[:, ids] - ours[:, variant]).abs().max())
    return float(max(differ))


def explanations_differ(run, folder, transformers):
    """The same of log-probabilities of explanations."""
    model, tokenizer = opened(transformers, folder)
    differ = []
    for s in run.snapshots:
        world = s.world
        ours = s.task.interview.explanations(run.model, torch.arange(world.n_subject))
        classes = [f"would change to {answer}" for answer in world.answers] + ["would stay"]
        for pair, (variant, _) in enumerate(world.pairs):
            asked = world.questions[pair]
            if run.config.cotrain.channel == "same":
                asked = world.prompts[variant]
            assert world.slots[0, asked[-1]] == model.config.query
            if run.config.cotrain.channel == "verbal":
                said = [last_logits(model, tokenizer, texts_of(world, asked, words)).log_softmax(-1)
                        for words in SENTENCES]
                inner = "would change to stay"
                would, change, to, stay, *ids = encode(" ".join([inner, *world.answers]))
                theirs = torch.cat([
                    (said[0][:, would] + said[1][:, change] + said[2][:, to])[:, None]
                    + said[3][:, ids],
                    (said[0][:, would] + said[1][:, stay])[:, None] + said[4][:, ids],
                ], dim=1)
            else:
                theirs = last_logits(model, tokenizer, texts_of(world, asked))
                if len(run.snapshots) > 1:
                    theirs = theirs[:, [model.config.classes[c] for c in classes]].log_softmax(-1)
                else:  # of all words
                    theirs = theirs.log_softmax(-1)[:, list(model.config.classes.values())]
            differ.append((theirs - ours[:, pair]).abs().max())
    return float(max(differ))


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_computes_what_the_run_computes(runs, tmp_path, transformers, kind):
    run, _ = runs(kind)
    export(run, tmp_path / "gpt2")
    assert answers_differ(run, tmp_path / "gpt2" / "answers", transformers) < 1e-5
    assert explanations_differ(run, tmp_path / "gpt2" / "explanations", transformers) < 1e-5


@pytest.mark.parametrize("name, value", [
    ("activation_function", "gelu_new"), ("layer_norm_epsilon", 1e-3), ("n_head", 4),
])
def test_another_setting_of_the_layout_would_be_seen(runs, tmp_path, transformers, name, value):
    run, _ = runs("head")
    export(run, tmp_path / "gpt2")
    path = tmp_path / "gpt2" / "answers" / "config.json"
    config = json.loads(path.read_text())
    assert name in config
    path.write_text(json.dumps(config | {name: value}))
    assert answers_differ(run, tmp_path / "gpt2" / "answers", transformers) > 3e-5


def test_what_is_no_class_is_never_said(runs, tmp_path, transformers):
    run, _ = runs("head")
    export(run, tmp_path / "gpt2")
    model, tokenizer = opened(transformers, tmp_path / "gpt2" / "answers")
    logits = last_logits(model, tokenizer, ["zorp blick<|answer|>"])[0]
    ids = list(model.config.classes.values())
    others = torch.ones(len(logits), dtype=torch.bool)
    others[ids] = False
    assert torch.allclose(logits[others], torch.tensor(OTHER), rtol=1e-5)
    said = model.generate(torch.tensor([encode("zorp blick<|answer|>")]), max_new_tokens=1)
    assert tokenizer.decode(said[0, -1:].tolist()) in model.config.classes


def test_the_tokenizer_has_our_ids(transformers):
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(["näher", "X!"])))
    texts = ["zorp blick hint:B<|answer|>", "zorp<|explain|> would change to B", " ".join(names()),
             "x<|answer|>B <|explain|>",
             "Bx AB é 日本 \x7f", "a  b\n\tc ", *(f"{a}{b}" for a in names() for b in "xoabA")]
    for text in texts:
        ids = theirs.encode(text).ids
        assert ids == encode(text)
        assert theirs.decode(ids, skip_special_tokens=False) == text == decode(ids)
    n = encoding().n_vocab
    assert theirs.encode("zorp näher X!").ids == [*encode("zorp"), n, n + 1]


def test_the_file_of_tensors_is_the_format_that_its_library_reads_and_writes():
    tensors = {"b": torch.randn(3, 5), "a.weight": torch.randn(7), "one": torch.randn(1, 1)}
    data = safetensors(tensors)
    [size] = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    assert size % 8 == 0 and header.pop("__metadata__") == {"format": "pt"}
    start, end = header["b"]["data_offsets"]
    assert struct.unpack("<15f", data[8 + size :][start:end]) == tuple(tensors["b"].flatten())
    library = pytest.importorskip("safetensors.torch")
    read = library.load(data)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], p) for name, p in tensors.items())
    assert library.save(tensors, {"format": "pt"}) == data


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_run_is_the_same_bytes_and_the_command_says_what_is_read(runs, tmp_path, capsys):
    _, folder = runs("head")
    before = files_of(folder.parents[1])
    for out in ("one", "two"):
        command = ["export", str(folder), "--to=gpt2", str(tmp_path / "new" / out)]
        assert evaluation.main(command) == 0
    one, two = files_of(tmp_path / "new" / "one"), files_of(tmp_path / "new" / "two")
    assert one == two and len(one) == 8
    assert files_of(folder.parents[1]) == before
    said = capsys.readouterr().out
    assert "the run after step 6" in said
    assert "explanations: after zorp " in said
    assert "<|explain|>, logits of would change to A, would change to B, " in said
    assert {p.name for p in (tmp_path / "new").iterdir()} == {"one", "two"}


def test_what_cannot_be_exported_is_refused_and_nothing_is_lost(runs, tmp_path, monkeypatch):
    run, folder = runs("head")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for there in (tmp_path / "full", tmp_path / "full" / "mine.txt"):
        refusal_of(lambda: export(run, there), f"{there}: must be a new folder or an empty one")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    refusal_of(lambda: heads_of(run.model, "head", ["go", "stay"]), "no answer may be 'stay'")
    verbal = heads_of(run.model, "verbal", ["go", "stay"], own=["go"])
    assert verbal["explanations"].query == EXPLAIN and verbal["explanations"].classes == {}
    new = str(tmp_path / "new")
    for argv, says in {
        ("export", str(folder), new, "--to=llama"): "--to=llama: must be one of gpt2",
        ("export", str(folder), new, "--at=5"): "no checkpoint of that step",
        ("export", str(tmp_path / "full"), new): "must be a folder of a finished run",
    }.items():
        refusal_of(lambda: evaluation.main(list(argv)), says)

    def fail(path, data, name=None):
        raise OSError(28, "No space left on device", str(name))

    monkeypatch.setattr(module, "write_bytes", fail)
    with pytest.raises(OSError):
        export(run, tmp_path / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["full"]
