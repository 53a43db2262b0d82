"""What findings on preferences and rewards share: a base, a model fine-tuned on answers of mixed quality, and the true
worth of a policy's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tutelage.chat import make_renderer
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.sequence_scores import score_sequences
from tutelage.intervals import mean_interval
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.verdict import Effect
from tutelage.model.hub import Checkpoint, load_model
from tutelage.records import Conversation, Example, message
from tutelage.rl.reward_model import token_scores
from tutelage.stages.data_world import known_utility
from tutelage.world.utility import measure

ASKED = 150
LEAST = 0.2  # units of utility; the truth of an answer counts 2, its completeness 1
DECODING = SamplingSettings(temperature=1.0, max_tokens=80)

# As recipes/rlhf.toml.
BASE = """\
name      = "lab"
model     = { depth = 2, width = 128, context = 160, norm = "layer", mlp = "relu2" }
tokenizer = { kind = "bpe", vocab = 2048, data = ["world", "answers"] }

[data]
world     = { kind = "world", people = 20, versions = 8, unknown = 0.0, arithmetic = 0.0, everyday = 0.0 }
answers   = { kind = "world-answers", rows = 2000 }
questions = { kind = "world-prompts", rows = 2000 }

[stages.base]
kind         = "pretrain"
data         = { world = 1 }
epochs       = 6
batch_tokens = 2048
lr           = 9e-3
optimizer    = { kind = "muon" }

[stages.chat]
kind         = "sft"
from         = "base"
data         = { answers = 1 }
replay       = 0.3
epochs       = 4
batch_tokens = 2048
keep         = "last"
optimizer    = { kind = "muon" }
"""
SETUP = (
    "A model (2 layers, width 128, 0.66M parameters) is pre-trained on a world of 20 people and fine-tuned on 2,000 "
    "answers of mixed quality. The true utility of an answer is known: truth 2, completeness 1, brevity and politeness "
    f"0.5. It is measured on {ASKED} answers, drawn at temperature 1, to questions that no stage has seen. "
)
QUICK = (
    "model.depth=1", "model.width=32", "stages.base.epochs=1", "stages.chat.epochs=1",
    "data.answers.rows=100", "data.questions.rows=100",
)  # fmt: skip


def labelled(name: str, **settings: object) -> str:
    """A line for [data] of a recipe: 6,000 pairs of a labeller."""
    parts = {"kind": "world-preferences", "rows": 6000, **settings}
    shown = ", ".join(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"
                      for key, value in parts.items())  # fmt: skip
    return f"[data.{name}]\n" + shown.replace(", ", "\n") + "\n\n"


def dpo_stage(name: str, data: str, seed: int) -> str:
    """A line for [stages] of a recipe: DPO on the pairs of a labeller, as in recipes/preferences_world.toml."""
    return (
        f'{name} = {{ kind = "dpo", from = "chat", data = {{ {data} = 1 }}, held_out = 0.15, epochs = 1, '
        f'batch_tokens = 2048, lr = 3e-4, keep = "last", seed = {seed} }}'
    )


def dpo_stages(labeller: str) -> list[str]:
    """The stages of DPO on the pairs of a labeller, one a seed."""
    return [f"dpo_{labeller}_{seed}" for seed in SEEDS]


def dpo_recipe(labellers: Mapping[str, Mapping[str, object]]) -> str:
    """A recipe in TOML: DPO on the pairs of each labeller, by its settings."""
    lines = [dpo_stage(stage, name, seed) for name in labellers for seed, stage in enumerate(dpo_stages(name))]
    data = [labelled(name, **settings) for name, settings in labellers.items()]
    return "\n".join([BASE, "[stages]", *lines, "", "".join(data)])


def dpo_quick(labellers: Mapping[str, Mapping[str, object]]) -> tuple[str, ...]:
    """Overrides that shrink `dpo_recipe` to seconds."""
    return (*QUICK, *(f"data.{name}.rows=40" for name in labellers))


class Answers(NamedTuple):
    """A policy's answers to the same questions, float64 [questions] each: the true utility, the labeller's, the
    divergence from the model that training started from (the log-ratio of the answer, in nats), the score of a reward
    model, words, and polite phrases."""

    true: np.ndarray
    labeller: np.ndarray
    divergence: np.ndarray
    score: np.ndarray
    words: np.ndarray
    polite: np.ndarray


def answers_of(run: FinishedRun, folder: Path, data: str, count: int, scorer: Checkpoint | None = None) -> Answers:
    """Draw an answer of a policy to each question; the labeller is that of a dataset of preferences."""
    known = known_utility([data], run.run.recipe.data)
    assert known is not None
    policy, start = load_model(folder), load_model(run.run.folder / "chat")
    tasks = known.tasks("held_out" if known.settings.split == "train" else "train", known.settings.rule, count)
    renderer = make_renderer(policy.tokenizer, policy.chat_config)
    prompts = [r.ids for r in renderer.render_prompts([Conversation((message("user", t.prompt),)) for t in tasks])]
    written = generate(policy.model, prompts, renderer.stop_ids, DECODING)
    sequences = [np.array([*ids, *one.tokens], np.int32) for ids, one in zip(prompts, written, strict=True)]
    texts = [renderer.parse(one.content).text for one in written]
    parts = [measure(task, text) for task, text in zip(tasks, texts, strict=True)]
    pairs = list(zip(tasks, texts, strict=True))
    own, before = (_logprobs(model, prompts, sequences) for model in (policy, start))
    return Answers(
        true=np.array([known.true(*pair) for pair in pairs]),
        labeller=np.array([known.proxy(*pair) for pair in pairs]),
        divergence=own - before,
        score=token_scores(scorer, sequences) if scorer is not None else np.zeros(count),
        words=np.array([float(part.words) for part in parts]),
        polite=np.array([float(part.polite_phrases) for part in parts]),
    )


def dpo_answers(
    runs: RunCache, folder: str, labellers: Mapping[str, Mapping[str, object]]
) -> tuple[dict[str, list[Answers]], dict[str, list[Answers]]]:
    """By labeller, the answers before and after DPO on its pairs, one a seed."""
    run = runs.run(dpo_recipe(labellers), folder)
    count = 6 if runs.overrides else ASKED

    def answers(stages: Sequence[str], labeller: str) -> list[Answers]:
        return [answers_of(run, run.run.folder / stage, labeller, count) for stage in stages]

    before = {name: answers(["chat"], name) * len(SEEDS) for name in labellers}
    return before, {name: answers(dpo_stages(name), name) for name in labellers}


def policy_rows(policies: Mapping[str, Sequence[Answers]], parts: Sequence[str]) -> list[list[str | Estimate]]:
    """A row of a table for each policy, with the means of some parts of its answers."""
    return [
        [name, *(number([getattr(one, part) for one in answers]) for part in parts)]
        for name, answers in policies.items()
    ]


def policy_bars(rows: Sequence[Sequence[str | Estimate]]) -> list[Bar]:
    """The bars of a plot of the first part in `policy_rows`."""
    return [Bar(str(name), "", part) for name, part, *_ in rows if isinstance(part, Estimate)]


def _logprobs(checkpoint: Checkpoint, prompts: Sequence[np.ndarray], sequences: Sequence[np.ndarray]) -> np.ndarray:
    examples = []
    for ids, tokens in zip(prompts, sequences, strict=True):
        weights = np.zeros(len(tokens), np.float32)
        weights[len(ids) :] = 1
        examples.append(Example(tokens, weights))
    found = np.empty(len(examples))
    for scores in score_sequences(checkpoint.model, examples):
        for number, score in scores:
            found[number] = score.logprob
    return found


def number_effect(name: str, higher: Sequence[np.ndarray], lower: Sequence[np.ndarray], least: float = LEAST) -> Effect:
    """How much higher the mean of items is: per seed float64 [items], in the same order."""
    changes = [after - before for before, after in zip(lower, higher, strict=True)]
    return Effect(name, number(changes), [float(change.mean()) for change in changes], least=least)


def number(by_seed: Sequence[np.ndarray]) -> Estimate:
    """The mean of items over seeds, each float64 [items]; the interval is over the items."""
    interval = mean_interval(np.mean(by_seed, axis=0))
    return Estimate(interval["mean"], interval["low"], interval["high"], "number")
