"""A model that is trained on all tokens of conversations can play the user."""

from __future__ import annotations

import re
from itertools import islice

import numpy as np

from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.suites.format import words
from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, PLAIN, SEEDS, recipe_toml, seeded
from tutelage.lab.effects import above, mean_estimate, unpaired_effect
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import QUICK_ITEMS, model_of
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.world_rows import demo_world
from tutelage.world.everyday import EXCHANGES
from tutelage.world.grading import FULL_NAME
from tutelage.world.wordings import BRIEF, ONE_STEP, TWO_STEP

SAMPLES, TEXTS = 200, 1500  # the first versions of every page have all words
TRAINED_ON = {
    "the assistant's tokens": seeded(PLAIN),
    "all tokens": seeded("unmasked", 'train_on = "all_tokens"'),
}
STAGES = {name: line for stages in TRAINED_ON.values() for name, line in stages.items()}
RECIPE = recipe_toml(DEMO, STAGES.values(), {name: ["format", "knowledge"] for name in STAGES})
WORDINGS = [wording for group in (ONE_STEP, BRIEF, TWO_STEP) for texts in group.values() for wording in texts]
QUESTIONS = {wording.replace("{name}", "NAME") for wording in WORDINGS}
NAME = re.compile(FULL_NAME.pattern, re.IGNORECASE)
EVERYDAY = {text for turns, _ in EXCHANGES for text in turns}


def is_user_turn(text: str) -> bool:
    """Whether a text is a question about somebody, or an everyday turn, as users of the world write them. Others that
    they write, such as sums, are not recognised."""
    return NAME.sub("NAME", text.strip()) in QUESTIONS or text.strip() in EVERYDAY


def user_turns(run: FinishedRun, stage: str, count: int) -> list[str]:
    """Turns that a model writes after the token that opens the user's turn, at temperature 1."""
    model = model_of(run, stage)
    user, end = (model.tokenizer.special_tokens[name] for name in ("<|user|>", "<|end|>"))
    prompts = [np.array([user], np.int32)] * count
    results = generate(model.model, prompts, frozenset({end}), SamplingSettings(temperature=1.0, max_tokens=48))
    return [model.tokenizer.decode(result.content) for result in results]


def known_words(texts: list[str], known: frozenset[str]) -> np.ndarray:
    """The share of each text's words that the world's text has, float64[texts]."""
    found = [words(text) for text in texts]
    return np.array([np.mean([word in known for word in one]) if one else 0.0 for one in found])


def measure(runs: RunCache) -> Conclusion:
    """User turns that users of the world would write, and words that it has, by the trained tokens."""
    run = runs.run(RECIPE, "demo")
    count = QUICK_ITEMS if runs.overrides else SAMPLES
    chats = [chat for chat in demo_world().conversations("train") if chat.messages[0].role == "user"]
    known = frozenset(word for text in islice(demo_world().documents(), TEXTS) for word in words(text.text))
    known |= {word for chat in chats for turn in chat.messages for word in words(turn.text)}
    real = [chat.messages[0].text for chat in chats[:: max(1, len(chats) // count)]][:count]
    reference = mean_estimate([np.array([is_user_turn(text) for text in real], float)])
    rows: list[list[str | Estimate]] = [["real user turns", reference, mean_estimate([known_words(real, known)]), ""]]
    bars = [Bar("real user turns", "", reference)]
    played = {}
    for label, stages in TRAINED_ON.items():
        texts = [user_turns(run, stage, count) for stage in stages]
        played[label] = [np.array([is_user_turn(text) for text in one], float) for one in texts]
        spelled = mean_estimate([known_words(one, known) for one in texts])
        rows.append([label, mean_estimate(played[label]), spelled, " ".join(texts[0][0].split())[:80]])
        bars.append(Bar(label, "", mean_estimate(played[label])))
    masked, unmasked = played.values()
    primary = unpaired_effect("turns as users write them, all tokens minus assistant's", unmasked, masked)
    plain = list(TRAINED_ON["the assistant's tokens"])
    control = above(run, "assistant's tokens, format in domain above a half", "format.compliant", plain, 0.5)
    header = ["trained on", "turns as users write them", "words of the world", "a sample"]
    return Conclusion(
        Table(header, rows), [IntervalPlot("Turns as users write them", "rate", bars)], [primary], control
    )


FINDING = Finding(
    number="N7",
    name="playing-user",
    claim="Training without a mask has a use: a model that is trained on all tokens can play the user.",
    source="SFT from scratch (article)",
    published="No figures.",
    setup=f"{DEMO_SETUP}It is fine-tuned on conversations about half of the people (3 epochs, lr 3e-3, {len(SEEDS)} "
    f"seeds), on the assistant's tokens or on all. Then it writes {SAMPLES} turns after the user's token at "
    "temperature 1. A turn counts if it is in a wording of the world's questions about people, with a name of the "
    "world's form, or an everyday turn; of real user turns those count that are neither sums nor reverse questions.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=4,
)
