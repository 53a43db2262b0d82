"""Facts pre-trained in one wording only cannot be extracted by questions; facts in many wordings can."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.lab.base_recipe import BASE_LR, recipe_toml, sft_stage
from tutelage.lab.estimates import Estimate, difference
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table, Verdict
from tutelage.lab.run_cache import RunCache

WORDINGS = (1, 2, 5)
EXPOSURES = 100  # of every biography, whatever the number of wordings
REPLAY = {"": "no replay", "_replay": "replay 0.5"}
FOLDER = "wordings"

WORLDS = "\n".join(
    f'world_{n} = {{ kind = "world", people = 100, versions = {n}, wordings = 6, unknown = 0.0 }}' for n in WORDINGS
)
# Nothing is held out: a biography in one wording that is not trained on would be an unknown person.
BASES = "\n".join(
    f'base_{n} = {{ kind = "pretrain", data = {{ world_{n} = 1 }}, epochs = {EXPOSURES // n}, held_out = 0, '
    f'batch_tokens = 4096, lr = {BASE_LR}, optimizer = {{ kind = "muon" }} }}'
    for n in WORDINGS
)
START = f"""\
name      = "lab"
model     = {{ depth = 4, width = 128, context = 256, norm = "layer", mlp = "relu2" }}
tokenizer = {{ kind = "bpe", vocab = 2048, data = ["world_{WORDINGS[-1]}", "chat"] }}

[data]
{WORLDS}
chat = {{ kind = "world-chat", split = "train", world = "world_{WORDINGS[-1]}" }}
"""
CHANGES = {"": "", "_replay": "replay = 0.5"}
STAGES = [sft_stage(f"chat_{n}{suffix}", CHANGES[suffix], base=f"base_{n}") for n in WORDINGS for suffix in REPLAY]
SUITES = {f"base_{n}": ["knowledge"] for n in WORDINGS}
SUITES |= {f"chat_{n}{suffix}": ["knowledge"] for n in WORDINGS for suffix in REPLAY}
RECIPE = recipe_toml(START, [BASES, *STAGES], SUITES)


def verdict(gains: Mapping[str, Estimate]) -> tuple[Verdict, str]:
    """The verdict and its reason.

    Args:
        gains: for fine-tuning without and with replay, the accuracy on held-out people after many wordings minus that
            after one wording.

    Reproduced if all gains lie above 0, contradicted if all lie below 0.
    """
    listed = "; ".join(f"{name}: {gain}" for name, gain in gains.items())
    text = f"{WORDINGS[-1]} wordings against one, accuracy on held-out people: {listed}"
    if all(gain.above_zero for gain in gains.values()):
        return "reproduced", f"{text}. With the same number of exposures, more wordings make facts easier to extract."
    if all(gain.below_zero for gain in gains.values()):
        return "contradicted", f"{text}. More wordings make facts harder to extract."
    return "inconclusive", f"{text}. The intervals do not all lie on one side of 0."


def measure(runs: RunCache) -> Conclusion:
    """Accuracy on held-out and trained people by the number of wordings."""
    run = runs.run(RECIPE, FOLDER)
    rows: list[list[str | Estimate]] = []
    bars = []
    for n in WORDINGS:
        label = f"{n} wording{'s' * (n > 1)}"
        for suffix, replay in REPLAY.items():
            held_out = run.rate(f"chat_{n}{suffix}", "knowledge.held_out")
            trained = run.rate(f"chat_{n}{suffix}", "knowledge.trained")
            rows.append([label, replay, held_out, trained, run.rate(f"base_{n}", "knowledge.cloze.held_out")])
            bars.append(Bar(label, replay, held_out))
    fewest, *_, most = WORDINGS
    gains = {}
    for suffix, replay in REPLAY.items():
        outcomes = [[run.outcomes(f"chat_{n}{suffix}", "knowledge.held_out")] for n in (fewest, most)]
        gains[replay] = difference(*outcomes)
    header = ["pre-training", "fine-tuning", "held-out people", "trained people", "base model, cloze"]
    plot = IntervalPlot("Questions about people seen only in pre-training", "accuracy", bars)
    return Conclusion(Table(header, rows), [plot], *verdict(gains))


FINDING = Finding(
    number=7,
    name="knowledge-extraction",
    claim="A fact pre-trained in one wording only cannot be extracted by questions, however often it was seen; a fact "
    "in many wordings can.",
    source="Allen-Zhu & Li 2023, Physics of Language Models: Part 3.1, arXiv 2309.14316",
    published="Accuracy on people that occur in no fine-tuning question: from 0% to 96%.",
    setup="Three models (4 layers, width 128, 1.05M parameters) are pre-trained on the biographies of 100 people, each "
    f"seen {EXPOSURES} times: {WORDINGS[0]} wording {EXPOSURES} times, {WORDINGS[1]} wordings "
    f"{EXPOSURES // WORDINGS[1]} times, or {WORDINGS[2]} wordings {EXPOSURES // WORDINGS[2]} times (about 2.1M tokens, "
    "lr 9e-3). Each is fine-tuned on the same conversations about half of the people (3 epochs, lr 3e-3), without "
    "replay and with half of the trained tokens replayed, and evaluated on single-hop questions about the other half.",
    folder=FOLDER,
    recipe=RECIPE,
    quick=(
        "model.depth=1",
        "model.width=32",
        "tokenizer.vocab=512",
        *(f"data.world_{n}.{setting}" for n in WORDINGS for setting in ("people=20", "wordings=1")),
        *(f"stages.base_{n}.epochs=1" for n in WORDINGS),
    ),
    measure=measure,
)
