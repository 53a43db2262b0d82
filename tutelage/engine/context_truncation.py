"""Context truncation: drops the oldest exchanges of a conversation that does not fit into the context."""

from __future__ import annotations

from dataclasses import replace

from tutelage.chat import Renderer
from tutelage.records import Conversation


def truncate_to_context(
    renderer: Renderer, conversation: Conversation, context: int, reserve: int
) -> tuple[Conversation, int]:
    """Drop the oldest exchanges until the prompt leaves `reserve` tokens of the context free for the answer.

    A leading system message and the last user turn are kept. An exchange reaches from a user turn to the next one, so
    the kept messages begin with a question. Returns the conversation and the number of dropped messages.

    Raises:
        ValueError: the last turn alone does not fit.
    """
    messages = conversation.messages
    kept = messages[:1] if messages and messages[0].role == "system" else ()
    starts = [place for place, message in enumerate(messages) if message.role == "user"]
    for start in starts:
        truncated = replace(conversation, messages=kept + messages[start if start != starts[0] else len(kept) :])
        prompt = len(renderer.render_prompts([truncated])[0].ids)
        if prompt + reserve <= context:
            return truncated, len(messages) - len(truncated.messages)
    raise ValueError(
        f"the last message needs {prompt} tokens and the answer {reserve}, but the context holds {context}; "
        "shorten the message"
    )
