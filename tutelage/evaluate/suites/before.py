"""The same evaluations on the model that a stage started from."""

from __future__ import annotations

from tutelage.evaluate.answers import can_chat
from tutelage.evaluate.results import RateGroup, Results, Suite
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import Rate
from tutelage.evaluate.suites import format, knowledge


def run(session: EvalSession) -> Results:
    """Format and knowledge of the parent model, as far as they apply: a base model has no turns, and is asked about
    knowledge by unfinished sentences."""
    rates: dict[str, Rate] = {}
    if can_chat(session.checkpoint("parent")):
        answered = format.answer_prompts(session, "parent")
        rates |= {
            f"format.{name}": rate for name, rate in format.rates_of(answered, session.prompts.known_words).items()
        }
    if session.chats_about_world:
        result = knowledge.evaluate_knowledge(session, "parent")
        rates |= {f"knowledge.{name}": rate for name, rate in result.rates.items()}
    return Results(rates)


SUITE = Suite(
    name="before",
    needs=frozenset({"chat"}),
    run=run,
    labels={
        **{f"format.{name}": f"before: {label}" for name, label in format.LABELS.items()},
        **{f"knowledge.{name}": f"before: {label}" for name, label in knowledge.LABELS.items()},
    },
    groups=(RateGroup("Before training", "The model that the stage started from, on the same prompts and questions."),),
    lower_is_better=frozenset(
        {f"format.{name}" for name in format.LOWER_IS_BETTER} | {f"knowledge.{n}" for n in knowledge.LOWER_IS_BETTER}
    ),
)
