"""Does the model keep the form of a conversation: say something, stop, and never speak for the user?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.chat.template import HEADERS
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.asking import ask
from tutelage.evaluate.statistics import Rate, rate
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation


@dataclass(frozen=True)
class FormatResult:
    """Rates over all prompts; an answer complies when it has content, stops by itself and opens no turn."""

    compliant: Rate
    has_content: Rate
    stops: Rate
    keeps_its_turn: Rate
    failures: list[dict[str, str]]


def evaluate_format(
    checkpoint: Checkpoint, prompts: Sequence[Conversation], settings: SamplingSettings
) -> FormatResult:
    """Answer every prompt and check the form of the answers."""
    answers = ask(checkpoint, prompts, settings, "format")
    headers = {checkpoint.tokenizer.special(name) for name in HEADERS.values()}
    content = [bool(answer.text.strip()) for answer in answers]
    stops = [answer.generation.ended == "stop" for answer in answers]
    own = [not headers.intersection(answer.generation.tokens) for answer in answers]
    compliant = [all(checks) for checks in zip(content, stops, own, strict=True)]
    count = len(answers)
    return FormatResult(
        compliant=rate(sum(compliant), count),
        has_content=rate(sum(content), count),
        stops=rate(sum(stops), count),
        keeps_its_turn=rate(sum(own), count),
        failures=[
            {"prompt": prompt.messages[-1].text, "answer": checkpoint.tokenizer.decode(answer.generation.tokens)}
            for prompt, answer, fine in zip(prompts, answers, compliant, strict=True)
            if not fine
        ][:20],
    )
