"""Sample several answers to each question, score them, and class the questions by what the model knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import msgspec

from tutelage.chat import make_renderer
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.knowledge_categories import Category
from tutelage.model.hub import Checkpoint
from tutelage.probing.questions import ProbeQuestion
from tutelage.progress import track
from tutelage.scoring import Verifier, make_verifier
from tutelage.scoring.extract import abstains, normalise, visible

# "unclear": the judge did not say, the verifier found no answer, or it was cut off.
AnswerOutcome = Literal["right", "wrong", "abstained", "unclear"]
# By all sampled answers. "never answers": none is right, and not all are wrong.
KnowledgeClass = Literal["always right", "mixed", "always wrong", "never answers"]
CLASSES: tuple[KnowledgeClass, ...] = ("always right", "mixed", "always wrong", "never answers")


@dataclass(frozen=True)
class ScoredAnswer:
    """An answer; `extracted` is the part that was compared, in a form in which equal answers are equal."""

    text: str
    outcome: AnswerOutcome
    extracted: str = ""


# Scores answers to questions, in their order.
AnswerScorer = Callable[[Sequence[tuple[ProbeQuestion, str]]], list[ScoredAnswer]]


@dataclass(frozen=True)
class Probed:
    """A question with the model's greedy answer, and its sampled ones."""

    question: ProbeQuestion
    greedy: ScoredAnswer
    sampled: tuple[ScoredAnswer, ...]

    @property
    def right(self) -> list[ScoredAnswer]:
        """The sampled answers that are right."""
        return [answer for answer in self.sampled if answer.outcome == "right"]

    @property
    def knowledge(self) -> KnowledgeClass:
        outcomes = {answer.outcome for answer in self.sampled}
        if "right" in outcomes:
            return "always right" if len(outcomes) == 1 else "mixed"
        return "always wrong" if outcomes == {"wrong"} else "never answers"

    @property
    def category(self) -> Category:
        """Of Gekhman et al. 2024 (arXiv 2405.05904, table 1), with one greedy answer in place of several prompts:
        highly known, right greedily and in every sample; maybe known, greedily; weakly known, in some sample."""
        if self.greedy.outcome == "right":
            return "highly known" if len(self.right) == len(self.sampled) else "maybe known"
        return "weakly known" if self.right else "unknown"

    @property
    def most_common(self) -> tuple[ScoredAnswer, float]:
        """The answer that most samples give, and their share: the confidence of self-consistency."""
        counts = Counter(_key(answer) for answer in self.sampled)
        key, count = counts.most_common(1)[0]
        return next(answer for answer in self.sampled if _key(answer) == key), count / len(self.sampled)


def probe(
    checkpoint: Checkpoint,
    questions: Sequence[ProbeQuestion],
    samples: int,
    settings: SamplingSettings,
    score: AnswerScorer,
    label: str = "probe",
) -> list[Probed]:
    """Ask each question greedily and `samples` times at the temperature of `settings`. An answer that was cut off is
    unclear.

    Raises:
        ValueError: a question leaves no room in the context, or the judge cannot be asked.
    """
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    prompts = [rendered.ids for rendered in renderer.render_prompts([question.prompt for question in questions])]
    greedy_settings = msgspec.structs.replace(settings, temperature=0.0)
    with track(label, len(prompts) * (samples + 1), "answers") as bar:
        greedy = generate(checkpoint.model, prompts, renderer.stop_ids, greedy_settings, done=bar.update)
        repeated = [prompt for prompt in prompts for _ in range(samples)]
        sampled = generate(checkpoint.model, repeated, renderer.stop_ids, settings, done=bar.update)
    asked = [*questions, *(question for question in questions for _ in range(samples))]
    answers = [*greedy, *sampled]
    texts = [renderer.parse(answer.content).text for answer in answers]
    scored = score(list(zip(asked, texts, strict=True)))
    scored = [
        answer if generation.finish_reason == "stop" else ScoredAnswer(answer.text, "unclear")
        for answer, generation in zip(scored, answers, strict=True)
    ]
    count = len(questions)
    return [
        Probed(question, scored[place], tuple(scored[count + place * samples : count + (place + 1) * samples]))
        for place, question in enumerate(questions)
    ]


def score_by_verifiers(answers: Iterable[tuple[ProbeQuestion, str]]) -> list[ScoredAnswer]:
    """Each answer by its question's own verifier. Where nobody can answer a question, whoever answers is wrong.

    Raises:
        ValueError: a verifier or a gold answer cannot be used.
    """
    return [_score(question, text) for question, text in answers]


def _score(question: ProbeQuestion, text: str) -> ScoredAnswer:
    if question.gold is None:
        refuses = abstains(visible(text)) or bool(question.reply and normalise(question.reply) in normalise(text))
        return ScoredAnswer(text, "abstained" if refuses else "wrong")
    score = _verifier(msgspec.json.encode(question.verifier))(text, question.gold)
    outcomes: dict[str, AnswerOutcome] = {"right": "right", "wrong": "wrong", "abstained": "abstained"}
    return ScoredAnswer(text, outcomes.get(score.outcome, "unclear"), score.extracted or "")


@cache
def _verifier(spec: bytes) -> Verifier:
    return make_verifier(msgspec.json.decode(spec))


def _key(answer: ScoredAnswer) -> str:
    return "abstained" if answer.outcome == "abstained" else normalise(answer.extracted or answer.text)
