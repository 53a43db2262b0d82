"""Tutelage's own template: conversations to tokens and loss weights, and generated ids back to a message.

Every text is encoded by itself, between special tokens, so no text can write a special token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np

from tutelage.chat.render import RENDERING
from tutelage.chat.render.adapt import NAMES_LOST, SETTINGS_LOST
from tutelage.chat.render.assemble import assemble, split_rows
from tutelage.chat.render.encoding import TokenTable
from tutelage.chat.render.layout import Layout, VerificationError, with_name
from tutelage.chat.render.native_text import NativeText, trained_messages
from tutelage.chat.render.renderer import Explanation, Rendered, TrainedTurn, TrainOn, check_train_on
from tutelage.chat.render.template import (
    DELIMITERS,
    END,
    HEADERS,
    TEMPLATE_TOKENS,
    check,
    check_answers,
    check_marks,
    conversation_name,
    parse_call,
    part_text,
    tools_in_system,
)
from tutelage.chat.render.verify import verify
from tutelage.config import fingerprint
from tutelage.records import Conversation, Message, Part, Reasoning, Text, ToolCall, ToolResult, trained_turns
from tutelage.tokenizer import Tokenizer

_AT_ONCE = 64  # conversations assembled together: enough for arrays to pay off, few enough to stay in the cache


@dataclass(frozen=True, eq=False)
class NativeRenderer:
    """Renders with Tutelage's own template. ValueError, saying to extend it, if the tokenizer lacks its tokens."""

    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        missing = [name for name in TEMPLATE_TOKENS if name not in self.tokenizer.special_tokens]
        if missing:
            raise ValueError(
                f"the tokenizer lacks the chat template's tokens {', '.join(missing)}; "
                "add them with tokenizer.extend(TEMPLATE_TOKENS) and extend the model's vocabulary with it"
            )

    def __reduce__(self) -> tuple[type[NativeRenderer], tuple[Tokenizer]]:
        return NativeRenderer, (self.tokenizer,)

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Name -> id of the template's tokens."""
        return {name: self.tokenizer.special(name) for name in TEMPLATE_TOKENS}

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        return frozenset({self.ids[END]})

    @cached_property
    def header_ids(self) -> frozenset[int]:
        return frozenset(self.ids[name] for name in HEADERS.values())

    @cached_property
    def _table(self) -> TokenTable:
        return TokenTable(self.tokenizer)

    def fingerprint(self) -> str:
        return fingerprint(RENDERING, self.tokenizer.fingerprint())

    def render_rows(
        self, conversations: Sequence[Conversation], train_on: TrainOn = "assistant", spans: bool = False
    ) -> list[list[Rendered] | ValueError]:
        """For each conversation its verified examples, or why it cannot be trained on.

        Trained are the text, reasoning and calls of the assistant with their delimiters, and the end of each turn;
        headers, tool results and all other roles are context.
        """
        check_train_on(train_on)
        rows: list[list[Rendered] | ValueError] = []
        for start in range(0, len(conversations), _AT_ONCE):
            rows += self._render_chunk(conversations[start : start + _AT_ONCE], train_on, spans)
        return rows

    def _render_chunk(
        self, conversations: Sequence[Conversation], train_on: TrainOn, spans: bool
    ) -> list[list[Rendered] | ValueError]:
        rows = [_examples_of(conversation, train_on) for conversation in conversations]
        flat = [example for row in rows if isinstance(row, list) for example in row]
        try:
            rendered = iter(self._render(flat, train_on, spans) if flat else [])
        except ValueError as error:
            if len(conversations) > 1:  # one of them cannot be rendered: the others are, without it
                return [self._render_chunk([conversation], train_on, spans)[0] for conversation in conversations]
            return [with_name(error, conversations[0])]
        made = [row if isinstance(row, ValueError) else list(islice(rendered, len(row))) for row in rows]
        return [_noted(row, conversation) for row, conversation in zip(made, conversations, strict=True)]

    def _render(self, conversations: Sequence[Conversation], train_on: TrainOn, spans: bool) -> list[Rendered]:
        text = NativeText(conversations, train_on)
        layout = text.layout()
        if train_on != "all_tokens":
            _verify_answers(layout, conversations, train_on)
        encoded = text.encode(self.tokenizer, self._table, read_back=train_on != "all_tokens")
        rendered = assemble(layout, encoded, train_on, conversations if spans else None)
        verify(rendered, layout, encoded, self._table, self.stop_ids, train_on)
        return split_rows(rendered, layout, encoded)

    def render_prompts(self, conversations: Sequence[Conversation], spans: bool = False) -> list[Rendered]:
        """What generation continues from; without messages the assistant opens the conversation."""
        if not conversations:
            return []
        for conversation in conversations:
            check(conversation)
        conversations = [tools_in_system(conversation) for conversation in conversations]
        text = NativeText(conversations, train_on=None)
        layout, encoded = text.layout(), text.encode(self.tokenizer, self._table, read_back=False)
        rendered = assemble(layout, encoded, "assistant", conversations if spans else None)
        return split_rows(rendered, layout, encoded)

    def explain(self, conversation: Conversation, train_on: TrainOn = "assistant") -> Explanation:
        (row,) = self.render_rows([conversation], train_on)
        if isinstance(row, ValueError):
            return Explanation("native", refused=str(row))
        layout = NativeText([tools_in_system(conversation)], train_on).layout()
        turns = [
            TrainedTurn(message, layout.text[header:start], END, "the native template ends every turn with it")
            for message, (header, start, _) in zip(
                trained_messages(conversation, train_on), layout.turns_K3.tolist(), strict=True
            )
        ]
        return Explanation("native", layout.outline(), tuple(turns))

    def parse(self, ids: Sequence[int] | np.ndarray) -> Message:
        """Generated ids as an assistant message; reads up to the first end token, which may be missing.

        Reasoning that is cut off stays reasoning. A call that is cut off or malformed, and special tokens where the
        template has none, become text that shows them by name, so nothing vanishes.
        """
        tokens = np.asarray(ids, np.int64).reshape(-1)
        ends = np.flatnonzero(tokens == self.ids[END])
        tokens = tokens[: ends[0]] if len(ends) else tokens
        parts: list[Part] = []
        position = 0
        for kind, start, close in self._openings(tokens):
            if start < position:
                continue  # inside the part before
            parts.append(Text(self._read(tokens[position:start])))
            parts.append(self._part(kind, tokens[start + 1 : close], closed=close < len(tokens)))
            position = close + 1
        parts.append(Text(self._read(tokens[position:])))
        return Message("assistant", tuple(_joined(parts)))

    def _read(self, tokens: np.ndarray) -> str:
        """The text of tokens, in which each text between special tokens was encoded by itself."""
        special = np.flatnonzero(np.isin(tokens, list(self.tokenizer.special_tokens.values())))
        return "".join(map(self.tokenizer.decode, np.split(tokens, np.union1d(special, special + 1))))

    def _openings(self, tokens: np.ndarray) -> Iterator[tuple[type[Part], int, int]]:
        """Each opening delimiter: what it opens, where it is, and where it closes (the end if never)."""
        kinds = {self.ids[opening]: (kind, self.ids[closing]) for kind, (opening, closing) in DELIMITERS.items()}
        for start in np.flatnonzero(np.isin(tokens, list(kinds))).tolist():
            kind, closing = kinds[int(tokens[start])]
            closes = np.flatnonzero(tokens[start:] == closing)
            yield kind, start, start + int(closes[0]) if len(closes) else len(tokens)

    def _part(self, kind: type[Part], inside: np.ndarray, closed: bool) -> Part:
        text = self._read(inside)
        if kind is Reasoning:
            return Reasoning(text)
        if kind is ToolResult:
            return ToolResult(text)
        opening, closing = DELIMITERS[ToolCall]
        call = parse_call(text) if closed else None
        return call or Text(opening + text + (closing if closed else ""))


def _examples_of(conversation: Conversation, train_on: TrainOn) -> list[Conversation] | ValueError:
    """What is rendered of a conversation, each as one example, with its tools in the system message; or why it cannot
    be trained on. With "response_only" each assistant turn is a conversation of its own."""
    name = conversation_name(conversation)
    try:
        if not conversation.messages:
            raise ValueError(f"{name}: no messages; remove it")
        check(conversation)
        check_answers(conversation)
        check_marks(conversation, train_on)
        answers = trained_turns(conversation)
        if train_on != "all_tokens" and not answers:
            raise ValueError(f'{name}: no assistant message to train on; remove it or set train_on = "all_tokens"')
    except ValueError as error:
        return error
    if train_on != "response_only":
        return [tools_in_system(conversation)]
    turns = conversation.messages
    return [tools_in_system(replace(conversation, messages=(turns[answer],))) for answer in answers]


def _noted(row: list[Rendered] | ValueError, conversation: Conversation) -> list[Rendered] | ValueError:
    """The examples of a conversation, with notes of what the native template has no place for."""
    notes = [NAMES_LOST] if any(turn.name for turn in conversation.messages) else []
    notes += [SETTINGS_LOST] if conversation.template_settings else []
    if not notes or isinstance(row, ValueError):
        return row
    return [replace(one, notes=tuple(notes)) for one in row]


def _verify_answers(layout: Layout, conversations: Sequence[Conversation], train_on: TrainOn) -> None:
    """The trained turns of a layout are what the assistant says, worked out from the conversations alone."""
    answers = []
    for conversation in conversations:
        for number in trained_messages(conversation, train_on):
            parts = conversation.messages[number].content
            wrapped = (DELIMITERS.get(type(part), ("", "")) for part in parts)
            written = [a + part_text(part) + z for part, (a, z) in zip(parts, wrapped, strict=True)]
            answers.append("".join(written) + END)
    if [layout.text[start:stop] for _, start, stop in layout.turns_K3.tolist()] != answers:
        raise VerificationError("verification failed", "the trained turns are not what the assistant says", layout.text)


def _joined(parts: Sequence[Part]) -> Iterator[Part]:
    """Without empty texts, and neighbouring texts as one."""
    text = ""
    for part in parts:
        if isinstance(part, Text):
            text += part.text
            continue
        if text:
            yield Text(text)
        text = ""
        yield part
    if text:
        yield Text(text)
