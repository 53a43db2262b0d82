"""The answers of models, as items to rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tutelage.annotate.events import AnnotationItem, item_id
from tutelage.annotate.items import make_item
from tutelage.annotate.state import Annotations
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import ask, can_chat
from tutelage.find_model import find_model
from tutelage.model.hub import load_model
from tutelage.records import Conversation, message

Ask = Callable[[str, Sequence[AnnotationItem]], Sequence[str]]


def ask_model(
    name: str, items: Sequence[AnnotationItem], settings: SamplingSettings, note: Callable[[str], None]
) -> list[str]:
    """A model's answers to the prompts of items. `note` gets how many were cut.

    Raises:
        ValueError: there is no such model, or it is a base model.
    """
    checkpoint = load_model(find_model(name))
    if not can_chat(checkpoint):
        raise ValueError(f"{name} is a base model and answers no prompts; give a fine-tuned one")
    chats = [Conversation(tuple(message(turn.role, turn.content) for turn in item.prompt)) for item in items]
    answers = ask(checkpoint, chats, settings, name)
    cut = sum(answer.generation.finish_reason == "length" for answer in answers)
    if cut:
        note(f"{name}: {cut:,} of {len(answers):,} answers were cut at {settings.max_tokens:,} tokens (--max-tokens)")
    return [answer.text.strip() or "(no answer)" for answer in answers]


def answered_items(
    state: Annotations, prompts: Sequence[AnnotationItem], models: Sequence[str], ask: Ask
) -> Iterator[AnnotationItem]:
    """Items with an answer of each model to each prompt. A prompt that the log has with answers of these models is not
    asked again."""
    had = {
        item_id(item.prompt, (), ())
        for item in state.items.values()
        if {model for writers in item.models for model in writers} == {*models}
    }
    asked = [item for item in prompts if item.id not in had]
    if not asked:
        return
    answers = [ask(model, asked) for model in models]
    for number, item in enumerate(asked):
        yield make_item(item.prompt, [texts[number] for texts in answers], models, source=item.source)


def suggested_items(
    state: Annotations, prompts: Sequence[AnnotationItem], model: str, ask: Ask
) -> Iterator[AnnotationItem]:
    """Prompts that the log does not have, each with a model's answer as a suggestion."""
    asked = [item for item in prompts if item.id not in state.items]
    for item, text in zip(asked, ask(model, asked) if asked else (), strict=True):
        yield make_item(item.prompt, source=item.source, suggestion=text)
