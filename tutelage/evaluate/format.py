"""How a fine-tuned model answers: does it keep the form of a conversation, in real words, and not by heart?

The form: say something, stop, and never speak for the user.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from tutelage.chat.render.hf import make_renderer
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.asking import Answer, ask
from tutelage.evaluate.statistics import Rate, rate, share_of_sums
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
FAILURES = 20


@dataclass(frozen=True)
class FormatResult:
    """Rates over all prompts; an answer complies when it has content, stops by itself and opens no turn.

    real_words: the share of the words written that stand in the text the model was trained on; None where that is not
                known. Right form without real words is gibberish.
    verbatim:   the answers that are, letter for letter, one of those trained on.
    checks:     of each answer, whether it keeps the form (""), and what it passes by the names above.
    """

    compliant: Rate
    has_content: Rate
    stops: Rate
    keeps_its_turn: Rate
    verbatim: Rate
    real_words: Rate | None
    checks: Mapping[str, list[bool]]
    answers: list[Answer]

    @property
    def complies(self) -> list[bool]:
        """Of each answer, whether it keeps the form."""
        return self.checks[""]

    def failures(self, prompts: Sequence[Conversation], checkpoint: Checkpoint) -> list[dict[str, str]]:
        """The first answers that do not comply, as they were written."""
        found = [
            {"prompt": prompt.messages[-1].text, "answer": checkpoint.tokenizer.decode(answer.generation.tokens)}
            for prompt, answer, fine in zip(prompts, self.answers, self.complies, strict=True)
            if not fine
        ]
        return found[:FAILURES]


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(text.lower())


def evaluate_format(
    checkpoint: Checkpoint,
    prompts: Sequence[Conversation],
    settings: SamplingSettings,
    known_words: Set[str] = frozenset(),
    trained_answers: Set[int] = frozenset(),
) -> FormatResult:
    """Answer every prompt and check the answers; `trained_answers` are the hashes of those trained on."""
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.source)
    answers, headers = ask(checkpoint, prompts, settings, "format", renderer), renderer.header_ids
    checks = {
        "has_content": [bool(answer.text.strip()) for answer in answers],
        "stops": [answer.generation.ended == "stop" for answer in answers],
        "keeps_its_turn": [not headers.intersection(answer.generation.tokens) for answer in answers],
    }
    form = [all(passed) for passed in zip(*checks.values(), strict=True)]
    checks |= {"": form, "verbatim": [hash(answer.text.strip()) in trained_answers for answer in answers]}
    rates = {name: rate(sum(passed), len(answers)) for name, passed in checks.items()}
    return FormatResult(
        compliant=rates[""],
        has_content=rates["has_content"],
        stops=rates["stops"],
        keeps_its_turn=rates["keeps_its_turn"],
        verbatim=rates["verbatim"],
        real_words=_real_words(answers, known_words),
        checks=checks,
        answers=answers,
    )


def _real_words(answers: Sequence[Answer], known: Set[str]) -> Rate | None:
    written = [words(answer.text) for answer in answers]
    if not known or not any(written):
        return None
    real = np.array([sum(word in known for word in row) for row in written])
    return share_of_sums(real, np.array([len(row) for row in written]))


def by_set(result: FormatResult, sets: Mapping[str, Sequence[Conversation]]) -> dict[str, Rate]:
    """The rate of complying answers of each set of prompts, asked one set after the other."""
    rates, start = {}, 0
    for name, prompts in sets.items():
        rates[name] = rate(sum(result.complies[start : start + len(prompts)]), len(prompts))
        start += len(prompts)
    return rates
