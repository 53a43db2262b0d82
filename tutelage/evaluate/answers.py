"""Give prompts to a model and read its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.chat import Renderer, make_renderer
from tutelage.chat.render.make import has_own_template
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.engine.engine import generate
from tutelage.engine.requests import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.hub import Checkpoint
from tutelage.progress import track
from tutelage.records import Conversation, message

# How evaluations decode: greedily.
ANSWER = SamplingSettings(max_tokens=128)


@dataclass(frozen=True)
class Answer:
    """What the model wrote: its text, and the generation it is from."""

    text: str
    generation: Generation


def can_chat(checkpoint: Checkpoint) -> bool:
    """Whether the model has a chat template, its own or Tutelage's; a base model has none."""
    return has_own_template(checkpoint.chat_config) or all(
        name in checkpoint.tokenizer.special_tokens for name in TEMPLATE_TOKENS
    )


def ask(
    checkpoint: Checkpoint,
    conversations: Sequence[Conversation],
    settings: SamplingSettings,
    label: str,
    renderer: Renderer | None = None,
) -> list[Answer]:
    """The model's answer to each conversation so far. `renderer` is the model's, where the caller has it."""
    renderer = renderer or make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    prompts = [rendered.ids for rendered in renderer.render_prompts(conversations)]
    with track(label, len(prompts), "answers") as bar:
        results = generate(checkpoint.model, prompts, renderer.stop_ids, settings, done=bar.update)
    return [Answer(renderer.parse(result.content).text, result) for result in results]


def ask_text(checkpoint: Checkpoint, questions: Sequence[str], settings: SamplingSettings, label: str) -> list[Answer]:
    """The model's answer to each question of one user turn."""
    return ask(checkpoint, [Conversation((message("user", text),)) for text in questions], settings, label)


def text_ends(checkpoint: Checkpoint) -> frozenset[int]:
    """The tokens that end a plain text: what stands after a document, and what the checkpoint declares. A published
    tokenizer often adds nothing after a text, such as Llama's, whose texts end with "</s>" all the same."""
    tokenizer, config = checkpoint.tokenizer, checkpoint.chat_config
    declared = config.generation_config.get("eos_token_id")
    ids = [*declared] if isinstance(declared, list) else [] if declared is None else [declared]
    named = tokenizer.special_tokens.get(config.token("eos_token"))
    ids += [] if named is None else [named]
    return frozenset(ids) | frozenset(tokenizer.document_edges[1].tolist())


def continue_text(
    checkpoint: Checkpoint, beginnings: Sequence[str], settings: SamplingSettings, label: str
) -> list[Answer]:
    """How a base model continues each text, as the beginning of a document."""
    tokenizer = checkpoint.tokenizer
    prompts = [np.concatenate([tokenizer.document_edges[0], ids]) for ids in tokenizer.encode_batch(list(beginnings))]
    stop = text_ends(checkpoint)
    with track(label, len(prompts), "answers") as bar:
        results = generate(checkpoint.model, prompts, stop, settings, done=bar.update)
    return [Answer(tokenizer.decode(result.content), result) for result in results]
