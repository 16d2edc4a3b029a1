"""Every experiment, declared: a question, arms that differ in what it asks about, paired seeds."""

from introspect.runs.arms import (
    CHANNELS, FAMILY, FEW_FACTS, OTHER, SHUFFLED, dial, objectives, other,
)
from introspect.runs.experiment import SPARSE, Experiment, Fields

EXPERIMENTS = {
    "anchor": Experiment(
        question="Do explanations follow the model that is, rather than the model that gave the "
        "labels, and does that need the behavioral anchor?",
        arms={"reg": {}, "noreg": {"kl_weight": 0.0}},
        base={},
        more_tasks=("verdict", "refusal", "rules"),
        extra="readout",
        open="what else the anchor does: nothing trains the answer head of noreg while the rest of "
        "the model changes, and behavior changes on the explained subjects too. The refitted head "
        "(eval.py experiment anchor) is a linear one."),
    "single": Experiment("What does one setting of the fields give?", arms={"run": {}}, base={}),
    "jabberwocky": Experiment(
        question="Are explanations true of a behavior that was taught without any explanation "
        "labels, while labels of another task were trained on?",
        arms={"reg": {}, "noreg": {"kl_weight": 0.0}, **SHUFFLED,
              "nolabels": {"explain_weight": 0.0}},  # fmt: skip
        base={"anchor": "all"},
        task="hint+jabberwocky",
        open="the new behavior has the answers and the kind of cue of hint; the paper's differs "
        "more. Reported on these seeds before."),
    "disagreement": Experiment(
        question="How much may labels disagree with the behavior, in a way that can be learned?",
        arms={"reg": {}, **dial("turned", [0.1, 0.2, 0.3, 0.4], "turned_share"), **SHUFFLED},
        open="whether coupling itself has a threshold. Labels of held-out words are shifted too, "
        "and Orig is agreement with them. The gap therefore mixes words on which explanations "
        "couple with words on which they repeat the shifted labels, and it is 0 where the two "
        "kinds cancel."),
    "noise": Experiment(
        question="Does coupling survive labels that are wrong at random?",
        arms={"reg": {}, **dial("noise", [0.1, 0.3, 0.5, 0.7], "label_noise"), **SHUFFLED},
        open="what labels say on average: at noise-0.7 Self is below the best constant "
        "explanation."),
    "progress": Experiment(
        question="Does coupling survive labels of earlier checkpoints of the same model?",
        arms={"reg": {}, **dial("at", [0.95, 0.85, 0.6], "label_progress"), **SHUFFLED},
        open="Orig is agreement with the labels of the checkpoint, which differ from M0's before "
        "any training. Past, agreement with M0's own labels, is controls.own in runs.jsonl."),
    "foreign": Experiment(
        question="Does coupling survive labels of a deeper, wider, less trained model?",
        arms={
            **dial("share", [0.0, 1.0], "donor_share"),
            "shuffled": {"label_order": "shuffled", "donor_share": 0.0},
        },
        base={**SPARSE, "donor": other("m0_seed", *FAMILY)},
        open="a model of another architecture: this donor has more layers and width and less "
        "training, but the same architecture, vocabulary, optimizer and world. Orig is "
        "agreement with its labels, which differ from M0's before any training; Past, agreement "
        "with M0's own, is controls.own in runs.jsonl."),
    "donors": Experiment(
        question="Does coupling survive labels of a model with another seed, order or depth?",
        arms={
            "reg": {},
            "seed": {"donor": other("m0_seed")},
            "order": {"donor": other("order_seed")},
            "depth": {"donor": "n_layer=3"},
            **SHUFFLED,
        },
        open="one other seed, order or depth each. Orig is "
        "agreement with the donor's labels, which differ from M0's before any training; Past, "
        "agreement with M0's own labels, is controls.own in runs.jsonl."),
    "follow": objectives("follow", ("hint", "verdict")),
    "ignore": objectives("ignore", ("refusal",)),
    "strength": objectives("follow", ("hint",), (0.0, 0.25, 0.5, 1.0)),
    "reach": Experiment(
        question="What does the anchor hold, the trunk or the answer head that reads it?",
        arms={"reg": {}, "noreg": {"kl_weight": 0.0},
              **dial("reach", ["head", "trunk"], "anchor_reach"), **SHUFFLED},  # fmt: skip
        extra="readout",
        open="how far the weights that are not reached move."),
    "dose": Experiment(
        question="How much anchor does coupling need?",
        arms={"reg": {}, **dial("kl", [0.0, 0.01, 0.03, 0.1, 0.3, 3.0, 10.0], "kl_weight"),
              **SHUFFLED},  # fmt: skip
        axis="kl_weight",
        open="one rate and number of updates for all weights of the anchor."),
    "room": Experiment(
        question="Does the gap of low-rank adapters depend on the rank, or on how far they go?",
        arms={**{f"room-{r}-{rate}": {"adapter_rank": r, "learning_rate": rate}
                 for r in (1, 4, 16, 64) for rate in (5e-4, 2e-3, 8e-3)}, **SHUFFLED},  # fmt: skip
        base={**SPARSE, "adapter_rank": 1, "learning_rate": 5e-4},
        axis="adapter_rank",
        open="one number of updates for all; arms of one rank or of one rate differ in one thing."),
    "start": Experiment(
        question="What happens in the first updates, and does a head that can explain M0 change "
        "it?",
        arms={"reg": {}, "ready": {"head_steps": 200}, "noreg": {"kl_weight": 0.0}, **SHUFFLED},
        base={"max_steps": 300, "eval_interval": 5},
        open="ready moves all weights for 100 updates, reg for 300."),
    "capacity": Experiment(
        question="How much room does explanation training need, in ranks of low-rank adapters?",
        arms={"reg": {}, **dial("rank", [1, 4, 16, 64], "adapter_rank"), **SHUFFLED},
        open="one learning rate and number of updates for all ranks."),
    "rate": Experiment(
        question="Does a higher learning rate widen the gap?",
        arms={"reg": {}, **dial("rate", [2.5e-4, 5e-4, 2e-3], "learning_rate"), **SHUFFLED},
        open="one number of updates for all rates."),
    "constant": Experiment(
        question="Do labels that hardly vary collapse to the most frequent explanation?",
        arms={"reg": {}, "rare": {"hint_reliability": 0.1}, **SHUFFLED},
        open="the world: labels vary less because hints count less, so there is less to explain, "
        "and other classes still make up 21.5 % of the labels. The most frequent label and the "
        "most frequent explanation need not be the same class."),
    "oneside": Experiment(
        question="Do explanations collapse where nearly all training labels are of one class?",
        arms={"reg": {}, **dial("kept", [0.3, 0.1, 0.03, 0.01], "kept_changes"), **SHUFFLED},
        axis="kept_changes",
        open="how many labels there are: those that are dropped are not replaced, so that fewer "
        "are trained on."),
    "controls": Experiment(
        question="What do explainers get that cannot look, or that are another model?",
        arms={
            "reg": {}, "few": {"max_steps": 40}, **SHUFFLED,
            "other": {  # another M0 learns to explain this one, from the same labels
                "m0_seed": lambda world: OTHER + world,
                "world_seed": lambda world: world,
                "donor": lambda world: f"m0_seed={world}",
            },
        },
        n_draw=1,
        open="an explainer that is not trained to answer: other is a model of its own, which "
        "follows itself."),
    "matrix": Experiment(
        question="Does a run match its own answers better than a run that drifted beside it does?",
        arms={"reg": {}, "again": {"draw_seed": lambda world: OTHER + world}, **SHUFFLED},
        items=True,
        n_draw=1,
        open="how much of the gap is drift that both runs share. Two runs of one M0 differ in "
        "their batches only; runs of other recipes may drift more alike, or less."),
    "circuits": Experiment(
        question="Do explanations change with answers when one site is patched in both?",
        arms={"reg": {}, "noreg": {"kl_weight": 0.0}, **SHUFFLED},
        extra="circuits",
        open="whether explanations read answers. Answer and explanation are patched jointly. "
        "Labels of noreg are read through an answer head that is not trained. Sites are not "
        "circuits."),
    "edits": Experiment(
        question="Do explanations follow answers that are edited, steered or grafted after "
        "explanation training, and does it matter which block they are edited in?",
        arms={"reg": {}},
        extra="edits",
        n_draw=1,
        open="how subjects are chosen: only those whose cues are followed and whose explanations "
        "are all true are edited. Further training moves explanations of subjects that are not "
        "edited as well. A head alone learns about half of the edits."),
    "depth": Experiment(
        question="Where is the fork in deeper models: up to which block do explanations follow?",
        arms={"reg": {}, **dial("layers", [4, 6], "n_layer")},
        extra="edits",
        open="what M0 knows: rates and numbers of updates are those of two blocks."),
    "alarm": Experiment(
        question="Do changed explanations find what changes after explanation training has ended?",
        arms={"reg": {}, **SHUFFLED},
        extra="alarm",
        open="which weights are moved. Nothing holds other answers. Some items move easily, in "
        "answers and in explanations; the same items in the unmoved copy show how easily, and not "
        "what more updates towards any target would do. Two objectives, one rate."),
    "conflict": Experiment(
        question="Do explanation loss and anchor pull against each other, when, and in what?",
        arms={"reg": {}, "noreg": {"kl_weight": 0.0}, **SHUFFLED},
        extra="conflict",
        open="what AdamW makes of gradients, and the way between three moments. In noreg the "
        "anchor is measured and not trained."),
    "labels": Experiment(
        question="Does a reader of the text alone do as well, with as many labels?",
        arms={"reg": {}, **dial("labels", [0.15, 0.05], "explained_share"), **SHUFFLED},
        extra="readout",
        open="what else fewer labels mean: the anchor holds fewer subjects, each is trained on "
        "more often, and more are held out. The reader of words is linear in them."),
    "knowledge": Experiment(
        question="Does coupling depend on where knowledge lives, in one embedding a fact or in "
        "what is computed of a pair?",
        arms={"pairs": {}, "names": {"knowledge": "names"}, **SHUFFLED},
        base={**SPARSE, **FEW_FACTS},
        extra="probes",
        n_draw=1,
        open="512 facts, since there are as many names; prompts of names are a token shorter. The "
        "regime is the one of five that were tried on seeds 100-101 in which pairs couple."),
    "channels": Experiment(
        question="Does coupling depend on how explanations are read?",
        arms={"head": {}, **CHANNELS, **SHUFFLED},
        n_draw=1,
        open="classes: a sentence also names the answer that stays. Reported on these seeds "
        "before."),
    "refreshing": Experiment(
        question="Are labels that are refreshed all the time better than frozen ones?",
        arms={
            "frozen": {},
            "refreshed": {"refreshed": True},
            "refreshed-held": {"refreshed": True, "anchor": "all"},
            "frozen-held": {"anchor": "all"},
            **SHUFFLED,
        },
        n_draw=1,
        open="what a refreshed explanation is of: its labels are of another model every step, "
        "and their classes are other than those of frozen ones."),
    "scale": Experiment(
        question="How does the gap depend on the size of the model, on how many facts there are, "
        "and on how long M0 was trained?",
        arms={
            "reg": {},
            **dial("width", [32, 96], "n_embd"),
            **{f"facts-{n}": {"n_entity": n, "n_attribute": n} for n in (32, 64)},
            **dial("length", [500, 2000], "pretrain_steps"),
            **SHUFFLED,
        },
        n_draw=1,
        open="how much M0 knows. The number of updates is fixed, so with more facts each is seen "
        "less often and M0 knows less of them; width and length change what it knows too. Ratios "
        "of parts stay as they are."),
    "matched": Experiment(
        question="How does the gap depend on the size of the model and on how many facts there "
        "are, where M0 knows as much of them?",
        arms={
            "reg": {},
            "width-32": {"n_embd": 32, "pretrain_steps": 2500},
            "width-96": {"n_embd": 96, "pretrain_steps": 800},
            "facts-32": {"n_entity": 32, "n_attribute": 32, "pretrain_steps": 350},
            "facts-64": {"n_entity": 64, "n_attribute": 64, "pretrain_steps": 2000},
            **SHUFFLED,
        },
        n_draw=1,
        open="how long M0 was trained: lengths were chosen on seeds 100-101 so that it knows about "
        "0.99 of the clear answers. With more facts each is still seen less often in co-training."),
}


def conditions(names: list[str]) -> dict[str, Fields]:
    """The arms of these experiments as arms of one, each different condition once.

    Without those that train no frozen labels of their own subjects, and the channel that moves
    nothing: there is no gap to predict.
    """
    arms: dict[str, Fields] = {}
    for name in names:
        experiment = EXPERIMENTS[name]
        for arm, sets in experiment.arms.items():
            fields = {k: v for k, v in {**experiment.base, **sets}.items() if k not in SPARSE}
            none = fields.keys() & {"explain_weight", "label_order", "refreshed"}
            none = none or fields.get("donor_share") == 0.0  # M0's own labels, once more
            if not none and fields not in arms.values() and arm != "probe":
                arms[f"{name} {arm}"] = fields
    return arms


EXPERIMENTS["prediction"] = Experiment(
    question="Do drift and the agreement of labels describe the gap in conditions that were not "
    "fitted?",
    arms=conditions("circuits disagreement noise progress rate donors capacity foreign refreshing "
                    "channels scale".split()),
    n_draw=1,
    open="cause and effect: drift and agreement are measured after training, on the same items. "
    "Conditions of unlike kinds are hardly predicted without the arm that has no anchor. "
    "No predictor knows the channel.",
)
UNCLAIMED = ("single", "strength", "dose", "room", "start", "depth", "alarm", "conflict",
             "labels", "oneside", "matched")  # fmt: skip
CLAIMED = [name for name in EXPERIMENTS if name not in UNCLAIMED]  # with claims about them
