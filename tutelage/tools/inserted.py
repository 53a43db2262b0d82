"""What a chat template writes between two turns of the assistant: the ids that a request goes on with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tutelage.chat.render.renderer import Renderer
from tutelage.records import ROLES, Conversation

ASSISTANT = ROLES.index("assistant")
REWRITTEN = "the template writes earlier turns otherwise"


class Inserted(NamedTuple):
    """Context between sampled tokens: after how many of them, its ids and their roles (indices into records.ROLES)."""

    after: int
    ids: list[int]
    roles: list[int]


class HistoryRewritten(ValueError):
    """The ids so far are not what the template writes once more turns follow."""


def inserted_ids(
    renderer: Renderer, conversation: Conversation, so_far: Sequence[int], exact: bool = False
) -> tuple[list[int], list[int]]:
    """What the template writes after the last answer of a conversation, up to the next answer: ids and roles. `so_far`
    are the ids of everything up to the end of that answer, which are never encoded again.

    exact: the template must write these very ids, and not only the same text in other tokens.

    Raises:
        HistoryRewritten: the template writes them otherwise; many leave out the reasoning of earlier turns.
        ValueError: the template or the tokenizer cannot write the conversation.
    """
    (rendered,) = renderer.render_prompts([conversation])
    ids, roles = rendered.ids.tolist(), rendered.roles.tolist()
    if ids[: len(so_far)] == list(so_far):
        return ids[len(so_far) :], roles[len(so_far) :]
    if exact:
        raise HistoryRewritten(REWRITTEN)
    # The same text may be cut into other tokens: its end is the last one of an assistant's turn.
    ends = [place for place, token in enumerate(ids) if token in renderer.stop_ids and roles[place] == ASSISTANT]
    place = ends[-1] + 1 if ends else 0
    decode = renderer.tokenizer.decode
    if not place or "".join(decode(rendered.ids[:place]).split()) != "".join(decode(np.array(so_far)).split()):
        raise HistoryRewritten(REWRITTEN)
    return ids[place:], roles[place:]
