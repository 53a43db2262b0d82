"""Which token ends an assistant turn, whatever a template calls it: an ordered list of rules, of which the first that
applies decides.

The token is trained, generation stops at it, and everything after it, such as a line break, is context.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TurnEnd:
    """What a template writes after the last text of an assistant turn.

    tokens:     the special tokens there, in order, up to the end of the rendering.
    calls:      whether the turn has tool calls, which have delimiters of their own.
    plain_end:  the token that ends an answer of text alone; "" where that is not known.
    eos:        the checkpoint's end-of-text token; "" where it has none.
    """

    tokens: Sequence[re.Match[str]]
    calls: bool
    plain_end: str
    eos: str


Rule = Callable[[TurnEnd], "re.Match[str] | None"]


def _plain_end_after_calls(turn: TurnEnd) -> re.Match[str] | None:
    return next((token for token in turn.tokens if turn.calls and token[0] == turn.plain_end), None)


def _last_after_calls(turn: TurnEnd) -> re.Match[str] | None:
    return turn.tokens[-1] if turn.calls else None


def _eos_at_once(turn: TurnEnd) -> re.Match[str] | None:
    first, *others = turn.tokens
    return next((token for token in others[:1] if token.start() == first.end() and token[0] == turn.eos), None)


def _first(turn: TurnEnd) -> re.Match[str] | None:
    return turn.tokens[0]


# The name of each rule, and an example: what is written after the last text, with the token that it finds in [].
RULES: tuple[tuple[str, str, Rule], ...] = (
    ("the token that ends plain answers", "Qwen 3:   </tool_call>[<|im_end|>]", _plain_end_after_calls),
    ("the last token after tool calls", "gpt-oss:  <|message|>{}[<|call|>]", _last_after_calls),
    ("the end-of-text token that follows at once", "custom:   <|done|>[</s>]", _eos_at_once),
    ("the first token after the text", "Llama 3:  [<|eot_id|>]    Qwen 3:  [<|im_end|>]", _first),
)


def find_end_token(turn: TurnEnd) -> tuple[re.Match[str], str] | None:
    """The token that ends the turn and the name of the rule that found it; None where no special token follows."""
    if not turn.tokens:
        return None
    return next((token, name) for name, _, rule in RULES if (token := rule(turn)) is not None)
