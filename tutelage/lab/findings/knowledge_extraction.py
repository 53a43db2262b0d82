"""Facts pre-trained in one wording only cannot be extracted by questions; facts in many wordings can."""

from __future__ import annotations

from tutelage.lab.base_recipe import BASE_LR, GUESS, recipe_toml, sft_stage
from tutelage.lab.effects import above, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.run_cache import RunCache

WORDINGS = (1, 2, 5)
EXPOSURES = 100  # of every biography, whatever the number of wordings
SEEDS = (0, 1, 2)  # of base model and fine-tuning, for the fewest and the most wordings
FOLDER = "wordings"

WORLDS = "\n".join(
    f'world_{n} = {{ kind = "world", people = 100, versions = {n}, wordings = 6, unknown = 0.0 }}' for n in WORDINGS
)
BASES = {n: [f"base_{n}_{seed}" for seed in (SEEDS if n != 2 else SEEDS[:1])] for n in WORDINGS}
CHATS = {n: [name.replace("base", "chat") for name in names] for n, names in BASES.items()}
REPLAYED = {n: f"replayed_{n}" for n in WORDINGS}
# Nothing is held out: a biography in one wording that is not trained on would be an unknown person.
BASE_LINES = [
    f'{name} = {{ kind = "pretrain", data = {{ world_{n} = 1 }}, epochs = {EXPOSURES // n}, held_out = 0, '
    f'batch_tokens = 4096, lr = {BASE_LR}, seed = {seed}, optimizer = {{ kind = "muon" }} }}'
    for n, names in BASES.items()
    for seed, name in enumerate(names)
]
CHAT_LINES = [
    sft_stage(chat, f"seed = {seed}", base=base)
    for n in WORDINGS
    for seed, (base, chat) in enumerate(zip(BASES[n], CHATS[n], strict=True))
]
CHAT_LINES += [sft_stage(name, "replay = 0.5", base=BASES[n][0]) for n, name in REPLAYED.items()]
START = f"""\
name      = "lab"
model     = {{ depth = 4, width = 128, context = 256, norm = "layer", mlp = "relu2" }}
tokenizer = {{ kind = "bpe", vocab = 2048, data = ["world_{WORDINGS[-1]}", "chat"] }}

[data]
{WORLDS}
chat = {{ kind = "world-chat", split = "train", world = "world_{WORDINGS[-1]}" }}
"""
ALL_STAGES = [name for table in (BASES, CHATS) for names in table.values() for name in names] + list(REPLAYED.values())
RECIPE = recipe_toml(START, [*BASE_LINES, *CHAT_LINES], {name: ["knowledge"] for name in ALL_STAGES})


def measure(runs: RunCache) -> Conclusion:
    """Right answers about held-out and trained people by the number of wordings."""
    run = runs.run(RECIPE, FOLDER)
    rows: list[list[str | Estimate]] = []
    bars = []
    for n in WORDINGS:
        label = f"{n} wording{'s' * (n > 1)}"
        cloze = pooled([run.outcomes(base, "knowledge.cloze.held_out") for base in BASES[n]])
        for replay, stages in (("no replay", CHATS[n]), ("replay 0.5", [REPLAYED[n]])):
            held_out, trained = (
                pooled([run.outcomes(stage, f"knowledge.{split}") for stage in stages])
                for split in ("held_out", "trained")
            )
            rows.append([label, replay, str(len(stages)), held_out, trained, cloze])
            bars.append(Bar(label, replay, held_out))
    fewest, *_, most = WORDINGS
    name = f"{most} wordings minus {fewest}, held-out people"
    primary = [rate_effect(run, name, "knowledge.held_out", CHATS[most], CHATS[fewest])]
    control = above(run, "one wording, trained people, above guessing", "knowledge.trained", CHATS[fewest], GUESS)
    header = ["pre-training", "fine-tuning", "seeds", "right, held-out people", "right, trained people", "base, cloze"]
    plot = IntervalPlot("Questions about people seen only in pre-training", "right", bars)
    return Conclusion(Table(header, rows), [plot], primary, control)


FINDING = Finding(
    number="7",
    name="knowledge-extraction",
    claim="A fact pre-trained in one wording only cannot be extracted by questions, however often it was seen; a fact "
    "in many wordings can.",
    source="Allen-Zhu & Li 2023, Physics of Language Models: Part 3.1, arXiv 2309.14316",
    published="Accuracy on people that occur in no fine-tuning question: from 0% to 96%.",
    setup="Models (4 layers, width 128, 1.05M parameters) are pre-trained on the biographies of 100 people, each "
    f"seen {EXPOSURES} times: {WORDINGS[0]} wording {EXPOSURES} times, {WORDINGS[1]} wordings "
    f"{EXPOSURES // WORDINGS[1]} times, or {WORDINGS[2]} wordings {EXPOSURES // WORDINGS[2]} times (about 2.1M "
    f"tokens, lr 9e-3), one and five wordings with {len(SEEDS)} seeds of base and fine-tuning. Each is fine-tuned on "
    "the same conversations about half of the people (3 epochs, lr 3e-3), without replay and, once, with half of "
    "the trained tokens replayed, and evaluated on single-hop questions about the other half.",
    folder=FOLDER,
    recipe=RECIPE,
    quick=(
        "model.depth=1",
        "model.width=32",
        "tokenizer.vocab=512",
        *(f"data.world_{n}.{setting}" for n in WORDINGS for setting in ("people=20", "wordings=1")),
        *(f"stages.{name}.epochs=1" for names in BASES.values() for name in names),
    ),
    measure=measure,
    minutes=40,
)
