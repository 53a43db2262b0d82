"""What of a conversation is shown to the model when all of it no longer fits."""

from __future__ import annotations

from dataclasses import replace

from tutelage.chat.render.hf import Renderer
from tutelage.records import Conversation


def fit_history(renderer: Renderer, conversation: Conversation, context: int, reserve: int) -> tuple[Conversation, int]:
    """Drop the oldest exchanges until the prompt leaves `reserve` tokens of the context free for the answer.

    A leading system message stays, and so does the last user turn; an exchange is dropped from its user turn to the
    next one, so that the history always begins with a question. Returns the conversation and how many messages went.

    Raises:
        ValueError: the last turn alone does not fit.
    """
    messages = conversation.messages
    kept = messages[:1] if messages and messages[0].role == "system" else ()
    starts = [i for i, m in enumerate(messages) if m.role == "user"]
    for start in starts:
        shown = replace(conversation, messages=kept + messages[start if start != starts[0] else len(kept) :])
        prompt = len(renderer.render_prompt(shown).ids)
        if prompt + reserve <= context:
            return shown, len(messages) - len(shown.messages)
    raise ValueError(
        f"the last message needs {prompt} tokens and the answer {reserve}, but the context holds {context}; "
        "shorten the message"
    )
