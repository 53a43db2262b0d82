"""Pre-training text that is partly re-told teaches more than the same originals again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import cycle, islice

import msgspec
import numpy as np

from tutelage.lab.base_recipe import BASE_LR, GUESS, SEEDS, recipe_toml, sft_stage
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.measures import ask_questions, budget, model_of, person_questions, some, text_logprobs
from tutelage.lab.run_cache import Rows, RunCache
from tutelage.lab.verdict import LEAST_SHARE, Effect
from tutelage.lab.world_rows import demo_world
from tutelage.world.biographies import biography
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person, words
from tutelage.world.person_questions import ask_one_step
from tutelage.world.values import ATTRIBUTES
from tutelage.world.wordings import ANSWERS

PEOPLE, READINGS, ORIGINALS, STEPS, ROWS, SFT_STEPS = 100, 60, 2, 140, 600, 40
SHARES = (0, 30, 60, 100)  # percent of the readings that are re-told
SEEDS_OF = {share: (SEEDS if share != 30 else SEEDS[:1]) for share in SHARES}
BASES = {share: [f"retold_{share}_seed_{seed}" for seed in seeds] for share, seeds in SEEDS_OF.items()}
CHATS = {share: [f"chat_{name}" for name in names] for share, names in BASES.items()}


def people() -> list[Person]:
    """Those whose biographies are read."""
    return [demo_world().person(index) for index in range(PEOPLE)]


def retold(person: Person, number: int) -> str:
    """All facts in short sentences, in a drawn order and in drawn wordings: as somebody who knows them tells them."""
    rng = KeyedRandom("retold", person.index, number)
    slots = words(person, "full")
    return " ".join(rng.choice(ANSWERS[attribute]).format_map(slots) for attribute in rng.shuffled(ATTRIBUTES))


def documents(share: int) -> Iterator[Mapping[str, object]]:
    """READINGS texts about everybody, `share` percent of which are re-told, each in other words; the others are two
    original versions again and again."""
    readings = [(person, number) for person in people() for number in range(READINGS)]
    for person, number in KeyedRandom("readings").shuffled(readings):
        if number * 100 < share * READINGS:
            yield {"text": retold(person, number)}
        else:
            yield {"text": biography(person, number % ORIGINALS, 0, demo_world().settings.full_names)}


def rows() -> Iterator[Mapping[str, object]]:
    """Questions about the trained people among those that are read."""
    trained = [person for person in demo_world().people("train") if person.index < PEOPLE]
    for number, person in enumerate(islice(cycle(trained), ROWS)):
        rng = KeyedRandom("rephrasing row", number)
        question, reply = ask_one_step(person, rng.choice(ATTRIBUTES), rng)
        yield {"prompt": question.prompt, "completion": reply}


def all_text() -> Iterator[Mapping[str, object]]:
    """What the tokenizer learns from, the same in all arms: originals, re-told texts and questions."""
    yield from documents(50)
    yield from ({"text": f"{row['prompt']} {row['completion']}"} for row in rows())


FILES: dict[str, Rows] = {f"retold_{share}": partial(documents, share) for share in SHARES}
FILES |= {"all_text": all_text, "asked_rows": rows}
TEXTS = "".join(f'[data.{name}]\nkind = "documents"\npath = "ROWS/{name}.jsonl"\n\n'
                for name in FILES if name != "asked_rows")  # fmt: skip
START = f"""\
name      = "lab"
model     = {{ depth = 4, width = 128, context = 256, norm = "layer", mlp = "relu2" }}
tokenizer = {{ kind = "bpe", vocab = 2048, data = ["all_text"] }}

{TEXTS}[data.sft_rows]
kind = "chat"
path = "ROWS/asked_rows.jsonl"

"""
LINES = [
    f'{name} = {{ kind = "pretrain", data = {{ retold_{share} = 1 }}, steps = {STEPS}, held_out = 0, '
    f'batch_tokens = 4096, lr = {BASE_LR}, seed = {seed}, optimizer = {{ kind = "muon" }} }}'
    for share, names in BASES.items()
    for seed, name in enumerate(names)
]
LINES += [
    sft_stage(f"chat_{name}", f"seed = {seed}", base=name, data="sft_rows", steps=SFT_STEPS)
    for names in BASES.values()
    for seed, name in enumerate(names)
]
RECIPE = recipe_toml(START, LINES, {})


def natural_text(runs: RunCache) -> list[tuple[str, str]]:
    """Original-like biographies of people of whom nothing is read, in versions that nobody has: first word and rest."""
    others = [demo_world().person(index) for index in range(PEOPLE, 2 * PEOPLE)]
    texts = [biography(person, ORIGINALS, 0, demo_world().settings.full_names) for person in some(runs, others)]
    return [(text[: text.index(" ")], text[text.index(" ") :]) for text in texts]


def measure(runs: RunCache) -> Conclusion:
    """Right answers about people that no row asks for, and the loss on original-like text, by the share re-told."""
    run = runs.run(RECIPE, "rephrased", FILES)
    questions = some(runs, [one for one in person_questions() if int(one.id.split("/")[1]) < PEOPLE])
    texts = natural_text(runs)
    right = {s: [ask_questions(model_of(run, chat), questions).right for chat in CHATS[s]] for s in SHARES}
    lengths = np.array([len(rest.split()) for _, rest in texts])
    losses = {s: [-text_logprobs(model_of(run, base), texts) / lengths for base in BASES[s]] for s in SHARES}
    table: list[list[str | Estimate]] = [
        [f"{s}%", str(len(BASES[s])), mean_estimate(right[s]), f"{np.mean(losses[s]):.3f}", *budget(run, BASES[s])]
        for s in SHARES
    ]
    scale = float(np.mean(losses[60]))
    change = mean_effect("loss on original-like text, all re-told minus 60%, as a share",
                         [one / scale for one in losses[100]], [one / scale for one in losses[60]])  # fmt: skip
    loss = Effect(change.name, msgspec.structs.replace(change.estimate, kind="relative_change"), change.by_seed,
                  least=LEAST_SHARE)  # fmt: skip
    primary = [mean_effect("right, 60% re-told minus none", right[60], right[0]), loss]
    control = mean_effect("60% re-told, right above guessing", right[60], [np.full(len(questions), GUESS)] * len(SEEDS))
    x = [s / 100 for s in SHARES]
    plots = [
        LinePlot("Questions about people that no row asks for", "share re-told", "right",
                 [Line("", x, [mean_estimate(right[s]) for s in SHARES])]),
        LinePlot("Loss on original-like text", "share re-told", "nats per word",
                 [Line("", x, [mean_estimate(losses[s], "mean") for s in SHARES])]),
    ]  # fmt: skip
    header = ["re-told", "seeds", "right, people that no row asks for", "loss on original-like text", "steps",
              "trained tokens"]  # fmt: skip
    return Conclusion(Table(header, table), plots, primary, control)


FINDING = Finding(
    number="N11",
    name="rephrasing",
    claim="Re-telling a part of the pre-training text teaches its facts better than the originals again; re-telling "
    "all of it costs the natural text.",
    source="Dataset and SFT (lecture), after WRAP, arXiv 2401.16380, and arXiv 2510.01631",
    published="WRAP: three times faster pre-training with half of the text rephrased. The later study: about 30% "
    "synthetic text is best, all of it is worse than none.",
    setup=f"Models (4 layers, width 128, 1.05M parameters) are pre-trained for {STEPS} steps of 4,096 tokens (lr "
    f"9e-3; {len(SEEDS)} seeds of model order, one for 30%) on {READINGS} texts about each of {PEOPLE} people: two "
    "original biographies repeated, or none, 30, 60 or 100% of the texts re-told by an oracle, the same facts in "
    f"short sentences, in other words each time. Each is fine-tuned on {ROWS} questions about half of the people "
    f"({SFT_STEPS} steps, lr 3e-3) and asked about the other half. The loss is on original-like biographies of "
    "people of whom nothing was read.",
    folder="rephrased",
    recipe=RECIPE,
    quick=(
        "model.depth=1",
        "model.width=32",
        "tokenizer.vocab=512",
        *(f"stages.{line.split()[0]}.steps=1" for line in LINES),
    ),
    measure=measure,
    minutes=20,
)
