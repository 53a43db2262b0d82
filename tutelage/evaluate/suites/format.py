"""Format: does the model answer, stop by itself and keep to its own turn; in words it knows, and not by copying?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from tutelage.chat import Renderer, make_renderer
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import ANSWER, Answer, ask, can_chat, continue_text
from tutelage.evaluate.budget import within_budget
from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession, ModelRole
from tutelage.evaluate.statistics import Rate, rate, share_of_sums
from tutelage.model.hub import Checkpoint, with_context
from tutelage.progress import status
from tutelage.records import Conversation
from tutelage.tokenizer import EncodingError, Tokenizer

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
FAILURES = 20
SAMPLES_OF_A_SET = 8

LABELS = {
    "compliant": "keeps the chat format",
    "has_content": "says something",
    "stops": "stops by itself",
    "no_role_leakage": "never writes another role's turn",
    "prompts.seen": "format, prompts it was trained on",
    "prompts.in_domain": "format, unseen prompts of the same domain",
    "prompts.near": "format, prompts near that domain",
    "prompts.out_of_domain": "format, prompts far from that domain",
    "in_vocabulary": "its words occur in its training text",
    "base_in_vocabulary": "the base model's words occur in that text",
    "verbatim": "answers copied verbatim from training",
}
LOWER_IS_BETTER = frozenset({"verbatim"})
CHECKS = ("compliant", "has_content", "stops", "no_role_leakage")


@dataclass(frozen=True)
class FormatResult:
    """Some prompts, the answers, and of each answer which checks it passes: `compliant` is all of has_content, stops
    and no_role_leakage; `verbatim` is a copy of an answer that was trained on."""

    prompts: Sequence[Conversation]
    answers: Sequence[Answer]
    checks: Mapping[str, Sequence[bool]]

    @property
    def compliant(self) -> Sequence[bool]:
        return self.checks["compliant"]

    def rate(self, check: str) -> Rate:
        return rate(sum(self.checks[check]), len(self.answers))

    def ids(self) -> list[str]:
        """What names each item: the last message of its prompt."""
        return [prompt.messages[-1].text for prompt in self.prompts]


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(text.lower())


def evaluate_format(
    checkpoint: Checkpoint,
    prompts: Sequence[Conversation],
    settings: SamplingSettings,
    trained_answers: Set[int] = frozenset(),
) -> FormatResult:
    """Answer every prompt and check the answers; `trained_answers` are the hashes of those trained on."""
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    answers = ask(checkpoint, prompts, settings, "format", renderer)
    checks = {
        "has_content": [bool(answer.text.strip()) for answer in answers],
        "stops": [answer.generation.finish_reason == "stop" for answer in answers],
        "no_role_leakage": [not renderer.header_ids.intersection(answer.generation.content) for answer in answers],
    }
    compliant = [all(passed) for passed in zip(*checks.values(), strict=True)]
    verbatim = [hash(answer.text.strip()) in trained_answers for answer in answers]
    return FormatResult(prompts, answers, {"compliant": compliant, **checks, "verbatim": verbatim})


def vocabulary_rate(texts: Sequence[str], known: Set[str]) -> Rate | None:
    """The share of the words of some texts that are known; None where there are no words or none is known."""
    written = [words(text) for text in texts]
    if not known or not any(written):
        return None
    hits = np.array([sum(word in known for word in row) for row in written])
    return share_of_sums(hits, np.array([len(row) for row in written]))


def answer_prompts(session: EvalSession, role: ModelRole) -> dict[str, FormatResult]:
    """The answers of a model to each set of prompts that it can read."""
    checkpoint, data = session.checkpoint(role), session.prompts
    sets = {name: askable(checkpoint, prompts) for name, prompts in data.sets.items()}
    asked, all_prompts = sum(map(len, sets.values())), sum(map(len, data.sets.values()))
    if asked < all_prompts:
        status(
            f"{session.name}: {all_prompts - asked} of {all_prompts} prompts are left out; the tokenizer lacks a "
            "character of them, the chat template refuses them, or they leave no room for an answer"
        )
    return {
        name: evaluate_format(checkpoint, prompts, ANSWER, data.trained_answers)
        for name, prompts in within_budget(session, checkpoint, sets).items()
        if prompts
    }


def main_sets(results: Mapping[str, FormatResult]) -> list[str]:
    """The sets of prompts that the headline rates are about: unseen ones of the same domain; without those all unseen
    ones; without those the seen ones. Near and far prompts have rates of their own: mixed in, the rate would depend on
    how many there are of each."""
    unseen = [name for name in results if name != "seen"]
    return [name for name in unseen if name == "in_domain"] or unseen or list(results)


def rates_of(results: Mapping[str, FormatResult], known_words: Set[str]) -> dict[str, Rate]:
    """Every rate of some answered sets of prompts."""
    if not results:
        return {}
    main = _joined(results)
    rates = {check: main.rate(check) for check in CHECKS}
    in_vocabulary = vocabulary_rate([answer.text for answer in main.answers], known_words)
    if in_vocabulary is not None:
        rates["in_vocabulary"] = in_vocabulary
    if set(results) != {"seen"}:
        rates["verbatim"] = main.rate("verbatim")  # repeating a trained answer to a trained prompt is no copying
        rates |= {f"prompts.{name}": result.rate("compliant") for name, result in results.items()}
    return rates


def _joined(results: Mapping[str, FormatResult]) -> FormatResult:
    """The main sets as one."""
    parts = [results[name] for name in main_sets(results)]
    return FormatResult(
        [prompt for part in parts for prompt in part.prompts],
        [answer for part in parts for answer in part.answers],
        {check: [passed for part in parts for passed in part.checks[check]] for check in parts[0].checks},
    )


def run(session: EvalSession) -> Results:
    """Rates over the main sets of prompts and for each set; samples of each set beside the base model's continuation.

    Raises:
        ValueError: the model can read none of the prompts.
    """
    results, known = answer_prompts(session, "model"), session.prompts.known_words
    if not results:
        raise ValueError(f"evaluate.{session.name}: 'format' has no prompt that the model can read; name other prompts")
    rates, main, samples = rates_of(results, known), _joined(results), _samples(session, results)
    base_words = vocabulary_rate([sample["before"] for sample in samples], known)
    if base_words is not None:
        rates["base_in_vocabulary"] = base_words
    outcomes = {check: outcomes_of(main.ids(), passed) for check, passed in main.checks.items()}
    outcomes |= {f"prompts.{name}": outcomes_of(r.ids(), r.compliant) for name, r in results.items()}
    return Results(rates, outcomes, samples, {"failures": _failures(main, session.checkpoint("model").tokenizer)})


def _failures(result: FormatResult, tokenizer: Tokenizer) -> list[dict[str, str]]:
    """The first answers that break the format, with their special tokens."""
    rows = zip(result.ids(), result.answers, result.compliant, strict=True)
    failed = [{"prompt": p, "answer": tokenizer.decode(a.generation.content)} for p, a, fine in rows if not fine]
    return failed[:FAILURES]


def _samples(session: EvalSession, results: Mapping[str, FormatResult]) -> list[dict[str, Any]]:
    """The first prompts of each set, how the base model continues them, and what the model answers."""
    references = session.prompts.references
    asked = [
        (name, *item)
        for name, result in results.items()
        for item in islice(zip(result.prompts, result.answers, result.compliant, strict=True), SAMPLES_OF_A_SET)
    ]
    rows: list[dict[str, Any]] = [
        {
            "set": name,
            "prompt": prompt.messages[-1].text,
            "reference": references.get(prompt.messages, ""),
            "after": answer.text,
            "compliant": compliant,
        }
        for name, prompt, answer, compliant in asked
    ]
    before = _before(session, [prompt for _, prompt, _, _ in asked])
    return [row | {"before": text} for row, text in zip(rows, before, strict=True)]


def _before(session: EvalSession, prompts: Sequence[Conversation]) -> list[str]:
    """What the base model writes: its answers, or where it has no chat template how it continues the last message."""
    base = with_context(session.checkpoint("base"), session.checkpoint("model").model.config.context)
    label = "the base model, on the same prompts"
    if not can_chat(base):
        texts = [prompt.messages[-1].text for prompt in prompts]
        return [answer.text for answer in continue_text(base, texts, ANSWER, label)]
    readable = askable(base, prompts)
    answers = dict(zip(map(id, readable), ask(base, readable, ANSWER, label), strict=True))
    return [answers[id(prompt)].text if id(prompt) in answers else "" for prompt in prompts]


def askable(checkpoint: Checkpoint, prompts: Sequence[Conversation]) -> list[Conversation]:
    """The prompts whose characters the tokenizer has (one of characters lacks what its text lacks), which the chat
    template takes, and after which the context has room for an answer."""
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    context = checkpoint.model.config.context
    encodable = [prompt for prompt in prompts if _can_encode(checkpoint.tokenizer, prompt)]
    lengths = _prompt_lengths(renderer, encodable)
    return [
        prompt for prompt, length in zip(encodable, lengths, strict=True) if length is not None and length < context
    ]


def _prompt_lengths(renderer: Renderer, prompts: Sequence[Conversation]) -> list[int | None]:
    """The tokens of each prompt; None for one that the template refuses, as it did in training."""
    try:
        return [len(rendered.ids) for rendered in renderer.render_prompts(prompts)]
    except ValueError:
        if len(prompts) == 1:
            return [None]
        return [length for prompt in prompts for length in _prompt_lengths(renderer, [prompt])]


def _can_encode(tokenizer: Tokenizer, prompt: Conversation) -> bool:
    try:
        tokenizer.encode_batch([message.text for message in prompt.messages])
    except EncodingError:
        return False
    return True


SUITE = Suite(
    name="format",
    needs=frozenset({"chat"}),
    run=run,
    labels=LABELS,
    groups=(
        RateGroup("Chat format", "On prompts that it was not trained on, where there are any.", CHECKS),
        RateGroup(
            "How far it generalises",
            "The same check on prompts ever further from those trained on. The right format is not yet sense: see how "
            "many of its words are known, and how many answers are copies.",
        ),
    ),
    lower_is_better=LOWER_IS_BETTER,
)
