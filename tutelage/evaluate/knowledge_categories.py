"""Which answers does a model know? The categories of Gekhman et al. 2024, arXiv 2405.05904, section 3 (SliCK).

Each question is asked after several drawn sets of examples, greedily and with samples at temperature 0.5:

    highly known  every greedy answer is right
    maybe known   some greedy answers are right
    weakly known  no greedy answer is right, but a sample is
    unknown       no answer is right

Facts of the last kind hurt most when a model is fine-tuned on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.prompting import draw_examples, outcome_of, prompt_text, write_after
from tutelage.evaluate.questions import Question
from tutelage.evaluate.statistics import rate
from tutelage.model.hub import Checkpoint

Category = Literal["highly known", "maybe known", "weakly known", "unknown"]
CATEGORIES: tuple[Category, ...] = ("highly known", "maybe known", "weakly known", "unknown")
TEMPERATURE, MAX_TOKENS = 0.5, 32
STOPS = ("\n",)


@dataclass(frozen=True)
class Known:
    """A question with the shares of greedy and of sampled answers that are right, and its first greedy answer."""

    question: Question
    greedy: float
    sampled: float
    answer: str

    @property
    def category(self) -> Category:
        if self.greedy == 1:
            return "highly known"
        if self.greedy > 0:
            return "maybe known"
        return "weakly known" if self.sampled > 0 else "unknown"


def categorise(
    checkpoint: Checkpoint,
    questions: Sequence[Question],
    sets: int = 10,
    shots: int = 4,
    samples: int = 16,
    seed: int = 0,
) -> list[Known]:
    """The category of each question; examples are other questions of the list.

    sets:    drawn sets of examples; each asks greedily once.
    samples: drawn at temperature 0.5, spread over the sets.

    Raises:
        ValueError: there are too few questions for the examples, or a prompt leaves no room in the context.
    """
    prompts = [
        prompt_text(question, "few-shot", draw_examples(question, questions, shots, seed + number))
        for question in questions
        for number in range(sets)
    ]
    each = -(-samples // sets)
    greedy = write_after(checkpoint, prompts, STOPS, SamplingSettings(max_tokens=MAX_TOKENS))
    drawn = SamplingSettings(max_tokens=MAX_TOKENS, temperature=TEMPERATURE, seed=seed)
    sampled = write_after(checkpoint, prompts, STOPS, drawn, each)
    found = []
    for place, question in enumerate(questions):
        own = slice(place * sets, (place + 1) * sets)
        right = [outcome_of(question, answer) == "right" for (answer,) in greedy[own]]
        others = [outcome_of(question, answer) == "right" for answers in sampled[own] for answer in answers]
        found.append(
            Known(question, sum(right) / len(right), sum(others) / len(others), greedy[own][0][0].text.strip())
        )
    return found


def category_figures(known: Sequence[Known]) -> dict[str, Any]:
    """The share of each category with its interval, and each question's."""
    counts = Counter(one.category for one in known)
    return {
        "questions": len(known),
        "categories": {name: asdict(rate(counts[name], len(known))) for name in CATEGORIES},
        "items": [
            {
                "id": one.question.id,
                "category": one.category,
                "greedy": one.greedy,
                "sampled": one.sampled,
                "answer": one.answer,
            }
            for one in known
        ],
    }


def category_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures as lines for the terminal."""
    for name, of in found["categories"].items():
        yield f"{name}: {of['rate']:.1%} of {of['count']:,} ({of['low']:.1%} to {of['high']:.1%})"
