"""What the report of a study says, as Markdown blocks: findings, tables, examples, background.

`study` is what report/study.py describes. The same study gives the same bytes.
"""

import shlex
from typing import Any

from introspect.report.html import clean, items, table
from introspect.report.text import (
    compare_to_constants, count_verdicts, estimate, number, references, task_rows, word_of,
)
from introspect.report.words import GLOSSARY, NAMES
from introspect.runs.declared import arguments_of
from introspect.stats import side_of

# columns not called as in examples.json
EXAMPLE = {"without": "without its cue", "says": "what it says", "side": "true of"}
READING = (
    "A row is one held-out prompt, and the same without its cue (or with a feature flipped): what "
    "M0 answered to both, what the model answers now, and what it says that change would do. That "
    "is true of the model as it is (now), of M0 (then), of both, or of neither. These are a random "
    "choice of the items whose label changed, not of all."
)
BY_TASK = (
    "All items of a task without explanation labels are held out. Majority: what the best constant "
    "explanation gets now. Known: share of the clear answers that the model gives now. Changed: "
    "share of items whose answer the cue changes now."
)
CAPTION = (
    "Bold: the mean over seeds, with its 95 % band by Student's t. Thin: single seeds. Dotted: "
    "Orig of a constant explanation."
)
MOST_TOLD = 4  # arms of a study that are described one by one, each in a paragraph
NO_CURVES = (
    "There are no curves, because matplotlib is not installed. Install the plot extra, "
    'pip install ".[plot]", and write the report again.'
)


def findings(study: dict[str, Any]) -> list[str]:
    """The question, its answer by arm and by pair of arms, and the numbers to remember; of more
    arms than one keeps in mind, how many have which verdict."""
    arms = study["arms"]
    if len(arms) > MOST_TOLD:
        return count_findings(study)
    seeds = ", ".join(map(str, study["seeds"]))
    what = f"Task {study['task']}. Arms {', '.join(arms)}. Seeds {seeds}."
    ran = f"Runs finished: {len(study['runs'])}; diverged: {len(study['failed'])}."
    pairs = {} if len(arms) > 3 else study["differences"]  # of many arms, the table has them all
    answers, cards = [], []
    for arm, measures in arms.items():
        for task, part in measures.get("tasks", {}).items():
            if task not in study["explained"]:
                name, text = unexplained(arm, task, part)
                answers.append((f"{name}.", text))
                cards.append(card(name, part["self"]))
    for arm, measures in arms.items():
        answers.append(answer(arm, measures))
        word = measures["verdict"].partition(":")[0]
        cards.append(card(f"gap of {arm}: {word}", measures["gap"], "gap"))
    for pair, change in pairs.items():
        gap, word = change["gap"], contrast(change["gap"], change["adjusted"])
        text = f"The gaps differ by {estimate(gap, 'gap')}, paired by seed, n = {gap['n']}."
        answers.append((f"{pair}: {word}.", text))
        cards.append(card(f"{pair}: {word}", gap, "gap"))
    cards.append(card("clear answers known to M0", study["m0"]["known"]))
    if "tasks" in study["m0"]:
        what += f" Only {', '.join(study['explained'])} has explanation labels; numbers without a "
        what += "task's name are for it."
    facts = clean(f"{what} {ran}")
    return [clean(study["question"]), facts, items(answers), "## Key figures", items(cards)]


def count_findings(study: dict[str, Any]) -> list[str]:
    """The question and how many arms have which verdict."""
    arms, seeds = study["arms"], ", ".join(map(str, study["seeds"]))
    facts = f"Task {study['task']}. {len(arms)} arms. Seeds {seeds}. {count_verdicts(arms)} "
    facts += f"M0 knows {number(study['m0']['known']['mean'])} of the clear answers. "
    facts += f"Runs finished: {len(study['runs'])}, all in runs.jsonl; "
    facts += f"diverged: {'; '.join(study['failed']) or 'none'}."
    return [clean(study["question"]), clean(facts)]


def unexplained(arm: str, task: str, part: dict[str, Any]) -> tuple[str, str]:
    """What one arm says of a task without explanation labels, as far as its interval allows."""
    above, n = part["above_majority"], part["self"]["n"]
    word = "not told from a constant explanation"
    if n < 3:
        word = f"no verdict at n = {n}"
    elif side := side_of(above):
        word = f"{'above' if side > 0 else 'below'} a constant explanation"
    return f"{arm} on {task}, never explained: {word}", (
        f"Self is {number(part['self']['mean'])}; the best constant explanation gets "
        f"{number(part['majority_now']['mean'])}, a difference of {estimate(above, 'gap')} over "
        f"{n} seed{'s' * (n != 1)}. The model gives {number(part['known']['mean'])} of the clear "
        "answers."
    )


def answer(arm: str, measures: dict[str, Any]) -> tuple[str, str]:
    """What one arm says of the question, in no more words than its interval allows."""
    n, preference = measures["gap"]["n"], measures["preference"]["mean"]
    self_match, orig_match, drift = (measures[key]["mean"] for key in ("self", "orig", "drift"))
    word, _, meaning = measures["verdict"].partition(": ")
    text = f"{meaning[:1].upper()}{meaning[1:]}. " if meaning else ""
    text += (
        f"Self is {number(self_match)}, Orig {number(orig_match)}: a gap of "
        f"{estimate(measures['gap'], 'gap')} over {n} seed{'s' * (n != 1)}. The labels of "
        f"{number(drift)} of the held-out items changed"
    )
    if preference is not None:
        text += "; of the explanations that match one of the two labels there, "
        text += f"{number(preference)} match the model as it is now"
    shares = ("self", "orig", "majority_now", "majority")
    constants = compare_to_constants({key: measures[key]["mean"] for key in shares})
    return f"{arm}: {word}.", " ".join([f"{text}.", *constants])


def contrast(gap: dict[str, Any], adjusted: dict[str, Any]) -> str:
    """What the paired differences of two gaps and of the adjusted gaps say together."""
    if gap["n"] < 3:
        return f"no verdict at n = {gap['n']}"
    words = {1: "a larger gap", -1: "a smaller gap", 0: f"no difference seen at n = {gap['n']}"}
    return words[side_of(gap, adjusted)]


def card(text: str, interval: dict[str, Any], key: str = "") -> tuple[str, str]:
    """A mean, and what it is the mean of, with its interval."""
    mean, _, ends = estimate(interval, key).partition(" ")
    return mean, f"{text} {ends}"


def numbers(study: dict[str, Any]) -> list[str]:
    """Every measure of every arm with its interval, what no training gives, paired differences."""
    blocks, arms = ["## Numbers"], study["arms"]
    for split, title in (("held_out", "Held-out items"), ("train", "Training items")):
        names = {k: v for k, v in NAMES.items() if split == "train" or k != "compatibility"}
        rows = [["arm", "n", *names.values()]]
        for arm, measures in arms.items():
            part, n = measures["train"] if split == "train" else measures, measures["gap"]["n"]
            rows.append([arm, str(n), *(estimate(part[key], key, n) for key in names)])
        rows += [[name, "", *both] for name, *both in references(arms, split)]
        for pair, change in study["differences"].items() if split == "held_out" else ():
            paired = (estimate(change[key], "gap") for key in ("self", "orig", "gap"))
            rows.append([pair, str(change["gap"]["n"]), *paired])
        blocks += [f"### {title}", table([row + [""] * (len(rows[0]) - len(row)) for row in rows])]
    return blocks + tasks_table(study)


def tasks_table(study: dict[str, Any]) -> list[str]:
    """Of runs of several tasks, the measures of each task."""
    tasks = task_rows(study["arms"])
    return ["### By task, held-out items", BY_TASK, table(tasks)] if tasks else []


def show_examples(shown: dict[str, tuple[int, list[dict]]]) -> list[str]:
    """Items in words, of one run of every arm."""
    blocks = ["## Examples", READING]
    for arm, (seed, rows) in shown.items():
        if not rows:
            continue
        head = [EXAMPLE.get(k, k.replace("m0", "M0").replace("_", " ")) for k in rows[0]]
        cells = (list(row.values()) for row in rows)
        blocks += [f"### {clean(arm)}, seed {seed}", table([head, *cells])]
    return blocks


def runs_table(study: dict[str, Any]) -> list[str]:
    """M0, and every run of the study: those that finished and those that did not."""
    m0, order = study["m0"], list(study["arms"])
    blocks = ["## M0"]
    for task, shares in m0.get("tasks", {"": m0}).items():
        rows = [["what", "share"], ["clear answers that it knows", estimate(shares["known"])]]
        rows.append(["answers that the cue changes", estimate(shares["changed"])])
        rows += [[f"labels: {name}", estimate(share)] for name, share in shares["labels"].items()]
        blocks += [*([f"### {clean(task)}"] if task else []), table(rows)]
    keys = ("gap", "self", "orig", "drift", "preference")
    rows = [["arm", "seed", *(NAMES[key] for key in keys), "items", "folder in runs"]]
    for run in sorted(study["runs"], key=lambda run: order.index(run["arm"])):
        cells = (number(run[key], key) for key in keys)
        rows.append([run["arm"], str(run["seed"]), *cells, str(run["n_items"]), run["folder"]])
    blocks += ["## All runs", table(rows)]
    if study["failed"]:
        blocks += ["Diverged, and in no mean: " + clean("; ".join(study["failed"])) + "."]
    return blocks


def arms_table(study: dict[str, Any]) -> list[str]:
    """The means of each arm on held-out items, then what it is, in words and by its fields. The
    arms of a grid are named by the values of its dials, which say what they are."""
    dialed = study["dialed"]
    rows = [
        [*(next(iter(dialed.values())) if dialed else ["arm"]), "n", "Self", "Orig", "gap"]
        + ["adjusted gap", "verdict", "drift", "preference", "agreement (training)", "majority"]
        + ["untrained", *([] if dialed else ["what it is", "differs from the defaults in"])]
    ]
    for arm, measures in study["arms"].items():
        names = [*map(str, dialed[arm].values())] if dialed else [arm]
        names.append(str(measures["gap"]["n"]))
        gaps = [estimate(measures[key], "gap") for key in ("gap", "adjusted")]
        both = [number(measures[key]["mean"]) for key in ("self", "orig")]
        others = [measures[key] for key in ("drift", "preference")]
        others += [measures["train"]["compatibility"], measures["majority_now"]]
        means = [number(x["mean"]) for x in [*others, measures["untrained"]["self"]]]
        words = [] if dialed else [study["words"][arm], study["fields"][arm]]
        rows.append([*names, *both, *gaps, word_of(measures["verdict"]), *means, *words])
    seeds = ", ".join(map(str, study["seeds"]))
    every = f" Every arm has {study['shared']}." if study["shared"] else ""
    draws = study["draws"]
    every += f" The {draws} draws of co-training of each seed are averaged first." * (draws > 1)
    notes = (
        f"Task {study['task']}, seeds {seeds}, held-out items.{every} Self and Orig are means over "
        "seeds; gaps have their 95 % interval by Student's t. Agreement (training): share of the "
        "training labels that the model's present answers agree with. Majority: Self of the best "
        "constant explanation. Untrained: Self before the first update. Fields that depend on the "
        "seed are those of the first."
    )
    return [table(rows), clean(notes)]


def not_controlled(study: dict[str, Any]) -> list[str]:
    """What the study leaves open."""
    limits = [
        study["open"],
        "A seed sets world, split, M0 and batches together; the intervals do not tell their parts "
        "apart.",
        "There is one size of model and of world, unless the study is about them.",
        "Settings were chosen on development seeds 100-107 (data/results/LOG.md).",
        "Each interval is 95 % by itself; among many, some miss by chance.",
    ]
    return ["## Not controlled", "\n".join(f"- {clean(text)}" for text in limits if text)]


def say_made_with(study: dict[str, Any]) -> list[str]:
    made = (", ".join(f"{k} {v}" for k, v in versions.items()) for versions in study["versions"])
    return [f"Made with {clean(text)}." for text in made]


def background(study: dict[str, Any]) -> list[str]:
    """What the words mean, what was not controlled, and how to get the same again."""
    words = ["python train.py", *map(shlex.quote, arguments_of(study["experiment"]))]
    words += [shlex.quote(f"--task={study['task']}")]
    words += [f"--seed={min(study['seeds'])}", f"--seeds={len(study['seeds'])}"]
    words += [shlex.quote(f"--{k}={flag_text(v)}") for k, v in study["overrides"].items()]
    return [
        "## Glossary",
        items(GLOSSARY.items()),
        *not_controlled(study),
        "## Reproduce",
        f"```\n{' '.join(words)}\n```",
        *say_made_with(study),
    ]


def flag_text(value: Any) -> str:
    """A value as its flag takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
