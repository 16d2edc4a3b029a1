"""What a run is asked about one item: the words agree with its files and with plain passes."""

import re

import pytest
import torch

import train
from introspect.analysis.ask import (
    Answer,
    Item,
    Prompts,
    answer_about,
    look_at,
    open_steps,
    show,
    weigh_answers,
)
from introspect.fields import Refused
from introspect.reading import read_lines
from introspect.runs.load import load
from introspect.tasks.rules import Rules
from introspect.tokenizer import encode
from tests.several import SIZES
from tests.test_items import WORLD, made
from tests.tiny import SIZE, STEPS, run_folder

FAST = ["--eval_interval=10", "--device=cpu", "--learning_rate=0.03", "--kl_weight=0",
        "--max_steps=20"]
KINDS = {  # what makes the answers and explanations of a run move within six updates
    "hint": [],
    "hint-verbal": ["--channel=verbal", "--block_size=16"],
    "verdict-tied": ["--channel=tied"],
    "refusal-same": ["--channel=same"],
    "rules-probe": ["--channel=probe"],
    "hint+refusal+jabberwocky": ["--unexplained=refusal", "--teach_steps=4", "--label_noise=0.3"],
}


def open_run(*given):
    return answer_about(open_steps(*given))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run of each kind, with all its checkpoints."""
    folders = {}
    for kind, flags in KINDS.items():
        out, task = tmp_path_factory.mktemp("ask") / "out", kind.partition("-")[0]
        names = task.split("+")
        sizes = [f"--{name + '.' if len(names) > 1 else ''}{field}={value}"
                 for name in names for field, value in SIZES[name].items()]
        command = ["single/run", f"--task={task}", *sizes, *SIZE, *STEPS, *FAST, *flags]
        assert train.main([*command, "--keep_checkpoints=true", f"--out_dir={out}"]) == 0
        folders[kind] = run_folder(out)
    return folders


def parsed(block):
    """The cells of one item, by the head of their row."""
    title, _, *rows, says, truth = block.split("\n")
    cells = {head: cells for head, *cells in (re.split("  +", row) for row in rows)}
    return title, cells, says, truth


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_of_every_held_out_item_is_what_the_run_wrote(runs, kind):
    ask = open_run(runs[kind], "", None, False)
    for row in read_lines(runs[kind] / "items.jsonl", {}):
        prompt = row["item"].partition(" - ")[0]
        text = ask(prompt)
        assert max(map(len, text.splitlines())) <= 100
        [block] = [b for b in text.split("\n\n") if b.startswith(f"{row['item']}: ")]
        title, cells, says, truth = parsed(block)
        assert f"{row['group'].split()[0]}, held out; step 20 of 20" in title
        assert cells["true label"] == [row["original"], row["current"]]
        assert says.startswith(f"says: {row['explanation']}, with probability ")
        now, then = (row["explanation"] == row[key] for key in ("current", "original"))
        assert f"{str(now).lower()} of the model now (Self {now:d})" in truth
        assert f"{str(then).lower()} of M0 (Orig {then:d})" in truth
        shown = [cells[head] for head in list(cells)[:2]]  # with the cue, without it
        shown = [side[m] for m in (0, 1) for side in shown]
        for cell, word, p, margin in zip(shown, *(row[k] for k in list(row)[-3:])):
            answer, number, *near = cell.split()
            assert answer == word and abs(float(number) - p) < 6e-4
            assert bool(near) == (margin < 0.05)
            assert not near or abs(float(number) - float(near[2]) - margin) < 2e-3


def test_items_of_these_runs_differ_in_every_way_that_is_said(runs):
    rows = [row for run in runs.values() for row in read_lines(run / "items.jsonl", {})]
    sides = {(row["explanation"] == row["current"], row["explanation"] == row["original"])
             for row in rows}
    assert len(sides) > 2 and 0 < sum(min(row["margins"]) < 0.05 for row in rows) < len(rows)


def test_probabilities_are_those_of_plain_passes_of_the_model(runs):
    run = load(runs["hint"], "")
    [s] = run.snapshots
    for text in (s.world.text(0, 2), s.world.text(7, 3)):
        item = look_at(run, *Prompts([s.world]).find(text))
        ids = [torch.tensor([encode(f"{prompt}<|answer|>")]) for prompt in item.prompts]
        for answer, prompt in zip(item.now, ids):
            p = run.model.task_head(run.model.trunk(prompt)[0, -1]).softmax(-1)
            assert answer.word == "ABC"[p.argmax()]
            assert answer.p == pytest.approx(p.max().item(), abs=1e-5)
            assert answer.margin == pytest.approx((p.topk(2).values @ p.new_tensor([1, -1])).item(),
                                                  abs=1e-5)
        query = torch.tensor([encode(f"{text}<|explain|>")])
        p = run.model.explain_head(run.model.trunk(query)[0, -1]).softmax(-1)
        assert item.says == s.world.explanation(int(p.argmax()))
        assert item.p == pytest.approx(p.max().item(), abs=1e-5)


def test_a_sentence_or_none_has_the_probability_of_all_its_tokens(runs):
    run = load(runs["hint-verbal"], "")
    [s] = run.snapshots
    model, text = run.model, s.world.text(5, 2)

    def p_of(words):
        ids = encode(f"{text}<|explain|> {' '.join(words)}")
        logs = model.lm_head(model.trunk(torch.tensor([ids]))[0]).log_softmax(-1)
        n = len(words)
        return sum(logs[i - 1, ids[i]] for i in range(len(ids) - n, len(ids))).exp().item()

    sentences = {f"would change to {a}" for a in "ABC"} | {f"would stay {a}" for a in "ABC"}
    [place] = Prompts([s.world]).find(text)
    found = {}
    for said in range(7):
        s.explanation[place.subject, place.pair] = said
        item = look_at(run, place)
        found[item.says] = item.p
    assert found.keys() == sentences | {"no sentence"}
    for sentence in sentences:
        assert found[sentence] == pytest.approx(p_of(sentence.split()), rel=1e-4)
    assert sum(found.values()) == pytest.approx(1)


def test_a_prompt_without_its_cue_asks_all_cues_and_says_which_part_the_fact_is_of(runs):
    ask = open_run(runs["hint+refusal+jabberwocky"], "", None, False)
    s, _, late = load(runs["hint+refusal+jabberwocky"], "").snapshots
    text = ask(f"{s.world.text(0, 0)}<|answer|>")
    assert re.findall(r"- (hint:\w):", text) == ["hint:A", "hint:B", "hint:C"]
    for subject in range(12):
        part = "explained in training" if s.world.explained[subject] else "held out"
        assert ask(s.world.text(subject, 0)).count(f": hint, {part}; step 20 of 20") == 3
    text = ask(late.world.text(0, 1))
    assert text.count("jabberwocky, of a task without explanation labels") == 1
    wrong = (s.targets != s.original).any(-1).nonzero()[0].item()
    assert "trained label" in ask(s.world.text(wrong, 0))


def test_of_features_the_full_prompt_asks_all_and_a_flipped_one_its_own(runs):
    ask = open_run(runs["rules-probe"], "", None, False)
    [s] = load(runs["rules-probe"], "").snapshots
    assert ask(s.world.text(3, 0)).count(" - ") == 6
    own = [ask(s.world.text(3, 1 + i)) for i in range(6)]
    assert all(f"- {cue}:" in text for cue, text in zip(s.world.cues, own))
    with pytest.raises(Refused, match="no explanation is about this prompt; ask "):
        ask(s.world.text(3, 7))  # a feature left out, which nothing is compared with


def test_a_full_prompt_that_is_another_ones_flipped_prompt_asks_its_own_features():
    world = Rules(n_first=2, n_second=2, n_input=16).world(0)
    prompts, met = Prompts([world]), 0
    for text in {world.text(subject, 0) for subject in range(64)}:
        [subject] = {place.subject for place in prompts.find(text)}
        assert world.text(subject, 0) == text and len(prompts.find(text)) == 6
        met += len(prompts.variants[text]) > 1
    assert met > 9


def weighed(p, variants=(1, 0)):
    """The answers of a snapshot whose models give these probabilities (K,) everywhere."""
    snapshot, _ = made(WORLD, 6)
    snapshot.logits = (torch.tensor(p).log().expand(WORLD.ideal.shape),) * 2
    snapshot.before, snapshot.now = (logits.argmax(-1) for logits in snapshot.logits)
    return weigh_answers(snapshot, 3, variants)


def test_a_near_tie_is_said_and_a_clear_answer_is_not():
    ((near, _), _), ((clear, _), _) = weighed([0.41, 0.365, 0.225]), weighed([0.415, 0.36, 0.225])
    assert (near.word, near.second) == ("A", "B")
    assert near.p == pytest.approx(0.41) and near.margin == pytest.approx(0.045)
    assert near.show() == "A 0.410 ~ B 0.365" and near.show(brief=True) == "A 0.410 ~"
    assert clear.show() == clear.show(brief=True) == "A 0.415"


def test_of_answers_that_are_equally_likely_the_first_counts_and_the_other_is_named():
    ((tie, _), _) = weighed([0.2, 0.4, 0.4])
    assert (tie.word, tie.second, tie.margin) == ("B", "C", 0)
    assert tie.show() == "B 0.400 ~ C 0.400"


def item(**changed):
    answers = Answer("comply", 0.51, "refuse", 0.02), Answer("refuse", 0.9, "comply", 0.8)
    change, stay = "would change to refuse", "would stay"
    words = dict(name="zorp blick deadly - deadly", prompts=("zorp blick deadly", "zorp blick"),
                 about="refusal, held out; step 4 of 4", step=4, then=answers, now=answers[::-1],
                 says=change, p=0.75, current=stay, past=change, original=change, target=change)
    return Item(**words | changed)


def test_one_item_reads_as_this():
    assert show([[item()]]) == """\
zorp blick deadly - deadly: refusal, held out; step 4 of 4
                   then (M0)                    now
zorp blick deadly  comply 0.510 ~ refuse 0.490  refuse 0.900
zorp blick         refuse 0.900                 comply 0.510 ~ refuse 0.490
true label         would change to refuse       would stay
says: would change to refuse, with probability 0.750,
which is false of the model now (Self 0) and true of M0 (Orig 1)

~: a near tie, two answers less than 0.05 apart in probability"""


def test_labels_of_another_model_and_wrong_ones_have_lines_of_their_own():
    text = show([[item(original="would stay", target="would change to comply")]])
    assert re.search(r"\nfrozen label +would stay\ntrained label +would change to comply\n", text)
    assert "and true of M0; it is not the frozen label (Orig 0)" in text
    assert "frozen label" not in show([[item()]]) and "trained label" not in show([[item()]])


def test_one_item_at_several_steps_is_a_table():
    text = show([[item(step=0, says="would stay")], [item()]])
    title, head, m0, first, last, _, legend = text.split("\n")
    assert title.endswith("step 4 of 4") and m0.split() == "M0 comply 0.510 ~ refuse 0.900".split()
    assert first.split() == "0 refuse 0.900 comply 0.510 ~ would stay 0.750 1 0".split()
    assert last.split() == "4 refuse 0.900 comply 0.510 ~ would change to refuse 0.750 0 1".split()
    assert head.index("Self") == last.index("0     1") and legend.startswith("~: a near tie")


def test_long_words_stay_within_the_columns():
    answers = [Answer("bandersnatch", 0.5, "whiffling", 0.01)] * 2
    words = dict(then=answers, now=answers, says="would change to bandersnatch")
    wide = item(**words, original="stay", name="zorp " * 40, prompts=("zorp " * 40, "zorp " * 39))
    for text in (show([[wide]]), show([[wide], [wide]])):
        assert max(map(len, text.splitlines())) <= 100
    assert "\nwith the cue " in show([[wide]]) and "\nwith the cue " not in show([[item()]])
