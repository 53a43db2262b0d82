"""A fact read once in one wording cannot be asked about; read in many wordings it can."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.lab.bases import BASE_RATE, fine_tuning, recipe
from tutelage.lab.bench import Bench
from tutelage.lab.figures import Estimate, difference
from tutelage.lab.finding import Bar, Finding, IntervalPlot, Result, Table, Verdict

VERSIONS = (1, 2, 5)
READINGS = 100  # of every biography, in whatever number of wordings
REPLAY = {"": "no replay", "_replay": "replay 0.5"}
FOLDER = "wordings"

WORLDS = "\n".join(
    f'world_{n} = {{ kind = "world", people = 100, versions = {n}, wordings = 6, unknown = 0.0 }}' for n in VERSIONS
)
# Nothing is held out: a biography told in one wording and kept from training would be a person never read of.
BASES = "\n".join(
    f'base_{n} = {{ kind = "pretrain", data = {{ world_{n} = 1 }}, epochs = {READINGS // n}, held_out = 0, '
    f'batch_tokens = 4096, lr = {BASE_RATE}, optimizer = {{ kind = "muon" }} }}'
    for n in VERSIONS
)
START = f"""\
name      = "lab"
model     = {{ depth = 4, width = 128, context = 256, norm = "layer", mlp = "relu2" }}
tokenizer = {{ kind = "bpe", vocab = 2048, data = ["world_{VERSIONS[-1]}", "chat"] }}

[data]
{WORLDS}
chat = {{ kind = "world-chat", split = "train", world = "world_{VERSIONS[-1]}" }}
"""
CHANGES = {"": "", "_replay": "replay = 0.5"}
STAGES = [fine_tuning(f"chat_{n}{tail}", CHANGES[tail], base=f"base_{n}") for n in VERSIONS for tail in REPLAY]
MEASURED = {f"base_{n}": ["knowledge"] for n in VERSIONS}
MEASURED |= {f"chat_{n}{tail}": ["knowledge"] for n in VERSIONS for tail in REPLAY}
RECIPE = recipe(START, [BASES, *STAGES], MEASURED)


def verdict(gains: Mapping[str, Estimate]) -> tuple[Verdict, str]:
    """`gains`: for fine-tuning without and with replay, how many more questions about held-out people are answered
    after many wordings than after one. Reproduced where all of them lie above 0, contradicted where all lie below."""
    said = "; ".join(f"{name}: {gain}" for name, gain in gains.items())
    text = f"{VERSIONS[-1]} wordings against one, questions about held-out people answered: {said}"
    if all(gain.above_zero for gain in gains.values()):
        return "reproduced", f"{text}. As many readings, in more wordings, make the facts easier to ask for."
    if all(gain.below_zero for gain in gains.values()):
        return "contradicted", f"{text}. More wordings make the facts harder to ask for."
    return "not at this scale", f"{text}. The intervals do not all lie on one side of 0."


def measure(bench: Bench) -> Result:
    run = bench.run(RECIPE, FOLDER)
    rows: list[list[str | Estimate]] = []
    bars = []
    for n in VERSIONS:
        told = f"{n} wording{'s' * (n > 1)}"
        for tail, replay in REPLAY.items():
            held_out = run.rate(f"chat_{n}{tail}", "knowledge.held_out")
            trained = run.rate(f"chat_{n}{tail}", "knowledge.trained")
            rows.append([told, replay, held_out, trained, run.rate(f"base_{n}", "knowledge.cloze.held_out")])
            bars.append(Bar(told, replay, held_out))
    first, *_, last = VERSIONS
    gains = {}
    for tail, replay in REPLAY.items():
        pair = [[run.outcomes(f"chat_{n}{tail}", "knowledge.held_out")] for n in (first, last)]
        gains[replay] = difference(*pair)
    header = ["told in", "fine-tuning", "held-out people", "trained people", "the base finishes sentences"]
    plot = IntervalPlot("Questions about people of whom the model only read", "answered", bars)
    return Result(Table(header, rows), [plot], *verdict(gains))


FINDING = Finding(
    number=7,
    name="knowledge-extraction",
    claim="A fact read in one wording only cannot be asked about, however often it was read; read in many it can.",
    source="Allen-Zhu & Li 2023, Physics of Language Models: Part 3.1, arXiv 2309.14316",
    published="Questions about people whom no question of the fine-tuning named: from 0% answered to 96%.",
    setup=f"Three models (4 layers, width 128, 1.05M parameters) read the biographies of 100 people {READINGS} times "
    f"each: {VERSIONS[0]} wording {READINGS} times, {VERSIONS[1]} wordings {READINGS // VERSIONS[1]} times, or "
    f"{VERSIONS[2]} wordings {READINGS // VERSIONS[2]} times (about 2.1M tokens, rate 9e-3). Each is fine-tuned on the "
    "same conversations about a half of the people (3 passes, rate 3e-3), without replay and with half of the trained "
    "tokens replayed, and asked one-step questions about the other half.",
    folder=FOLDER,
    recipe=RECIPE,
    quick=(
        "model.depth=1",
        "model.width=32",
        "tokenizer.vocab=512",
        *(f"data.world_{n}.{small}" for n in VERSIONS for small in ("people=20", "wordings=1")),
        *(f"stages.base_{n}.epochs=1" for n in VERSIONS),
    ),
    measure=measure,
)
