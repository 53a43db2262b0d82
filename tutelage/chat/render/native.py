"""Conversations to token ids, loss weights, roles and source spans, and generated ids back to a message.

Training, chat, evaluation and serving all render here and nowhere else, so a model answers the very prompt it was
trained on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Literal, get_args

import numpy as np

from tutelage.chat.render.template import (
    DELIMITERS,
    END,
    HEADERS,
    TEMPLATE_TOKENS,
    check,
    check_answers,
    named,
    parse_call,
    part_text,
    tools_in_system,
)
from tutelage.records import ROLES, Conversation, Example, Message, Part, Reasoning, Text, ToolCall, ToolResult
from tutelage.tokenizer import END_OF_TEXT, EncodingError, Tokenizer

# What of a conversation is graded: every answer, the last alone, answers without what they answer, or every token.
TrainOn = Literal["assistant", "last_assistant", "response_only", "all_tokens"]

_DOCUMENT = ROLES.index("document")
_ASSISTANT = HEADERS["assistant"]


@dataclass(frozen=True, eq=False, slots=True)
class Rendered:
    """T tokens and what is known about each.

    ids:     int32[T].
    weights: float32[T], the weight on predicting ids[t]; 0 means read, not graded. The first is always 0.
    roles:   uint8[T], indices into records.ROLES; the template's own tokens carry their message's role.
    spans:   int32[T, 4]: message, part, and the characters, from start to end, half-open, of that part's text
             (`template.part_text`); -1 four times for the template's own tokens. A token that reaches over into the
             next Text part names the part it begins in and ends beyond it. None where spans were not asked for.
    """

    ids: np.ndarray
    weights: np.ndarray
    roles: np.ndarray
    spans: np.ndarray | None = None

    def part(self, first: int, last: int) -> Rendered:
        """The tokens from `first` to before `last`."""
        own = slice(first, last)
        return Rendered(
            self.ids[own], self.weights[own], self.roles[own], None if self.spans is None else self.spans[own]
        )


@dataclass(slots=True)
class _Pieces:
    """Pieces of many renderings laid end to end: a piece is one special token or one text, of one role and weight."""

    # One row a piece: id (-1 for a text), role, graded, message, part.
    rows: list[tuple[int, int, bool, int, int]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    # For a text made of several parts, which follow each other: the character at which each begins.
    begins: dict[int, list[int]] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)  # how many pieces there are at the end of each rendering

    def add(self, token: int, role: int, graded: bool) -> None:
        self.rows.append((token, role, graded, -1, -1))

    def add_text(self, text: str, role: int, graded: bool, message: int, part: int) -> None:
        self.rows.append((-1, role, graded, message, part))
        self.texts.append(text)

    def continue_text(self, text: str) -> None:
        """The next part of the message, read as one text with the part before."""
        self.begins.setdefault(len(self.texts) - 1, [0]).append(len(self.texts[-1]))
        self.texts[-1] += text

    def source(self, text: int) -> tuple[int, int]:
        """Which rendering a text belongs to, and which of its messages."""
        piece = [number for number, row in enumerate(self.rows) if row[0] < 0][text]
        return bisect_right(self.ends, piece), self.rows[piece][3]


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

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Name -> id of the template's tokens."""
        return {name: self.tokenizer.special(name) for name in TEMPLATE_TOKENS}

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an assistant's turn: exactly those that training grades as ends."""
        return frozenset({self.ids[END]})

    @cached_property
    def header_ids(self) -> frozenset[int]:
        """The tokens that open a turn: an answer that holds one speaks for somebody."""
        return frozenset(self.ids[name] for name in HEADERS.values())

    def fingerprint(self) -> str:
        """A hexadecimal hash of all that decides how a conversation is rendered."""
        return self.tokenizer.fingerprint()

    def render(self, conversation: Conversation, train_on: TrainOn = "assistant", spans: bool = True) -> Rendered:
        """A conversation to train on, as one example.

        Graded is what the assistant itself writes: its text, reasoning and calls with their delimiters, and the end of
        each turn; headers, tool results and all other roles are read only. "last_assistant" grades its last turn
        alone, "all_tokens" grades every token. ValueError, naming the conversation, if it cannot be trained on.
        """
        assert train_on != "response_only", "each answer is an example then"
        return self.render_batch([conversation], train_on, spans)[0]

    def render_batch(
        self, conversations: Sequence[Conversation], train_on: TrainOn = "assistant", spans: bool = False
    ) -> list[Rendered]:
        """`render` for many conversations at once, much faster than one by one."""
        conversations = [tools_in_system(conversation) for conversation in conversations]
        for conversation in conversations:
            _check_trainable(conversation, train_on)
        rendered = self._assemble(conversations, train_on, spans, prompt=False)
        if train_on != "all_tokens":
            for conversation, one in zip(conversations, rendered, strict=True):
                prove(one, conversation, self.tokenizer, train_on)
        return rendered

    def render_rows(
        self, conversations: Sequence[Conversation], train_on: TrainOn = "assistant", spans: bool = False
    ) -> list[list[Rendered] | ValueError]:
        """Of each conversation its examples, proven, or why it cannot be trained on. With "response_only" each answer
        is an example, under its header alone."""
        cut = [_cut(conversation, train_on) for conversation in conversations]
        flat = [one for own in cut if isinstance(own, list) for one in own]
        try:
            rendered = iter(self.render_batch(flat, "assistant" if train_on == "response_only" else train_on, spans))
        except ValueError as error:  # of one that cannot be encoded: the others are rendered without it
            if len(conversations) == 1:
                return [error]
            return [self.render_rows([conversation], train_on, spans)[0] for conversation in conversations]
        return [list(islice(rendered, len(own))) if isinstance(own, list) else own for own in cut]

    def render_prompt(self, conversation: Conversation, spans: bool = False) -> Rendered:
        """The conversation so far and the assistant's header: what generation continues from. Nothing is graded.

        No messages at all lets the assistant open the conversation.
        """
        return self.render_prompts([conversation], spans)[0]

    def render_prompts(self, conversations: Sequence[Conversation], spans: bool = False) -> list[Rendered]:
        """`render_prompt` for many conversations at once."""
        conversations = [tools_in_system(conversation) for conversation in conversations]
        for conversation in conversations:
            check(conversation)
        return self._assemble(conversations, None, spans, prompt=True)

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
                continue  # stands inside the part before
            parts.append(Text(self._read(tokens[position:start])))
            parts.append(self._part(kind, tokens[start + 1 : close], closed=close < len(tokens)))
            position = close + 1
        parts.append(Text(self._read(tokens[position:])))
        return Message("assistant", tuple(_joined(parts)))

    def _read(self, tokens: np.ndarray) -> str:
        """The text of tokens, in which what stands between special tokens was encoded as a text of its own."""
        special = np.flatnonzero(np.isin(tokens, list(self.tokenizer.special_tokens.values())))
        return "".join(map(self.tokenizer.decode, np.split(tokens, np.union1d(special, special + 1))))

    def _openings(self, tokens: np.ndarray) -> Iterator[tuple[type[Part], int, int]]:
        """Each opening delimiter: what it opens, where it stands, and where it closes (the end if never)."""
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

    def _pieces(self, conversations: Sequence[Conversation], train_on: TrainOn | None, prompt: bool) -> _Pieces:
        ids, pieces = self.ids, _Pieces()
        delimiters = {kind: (ids[opening], ids[closing]) for kind, (opening, closing) in DELIMITERS.items()}
        everything = train_on == "all_tokens"
        for conversation in conversations:
            graded_turns = _graded_turns(conversation, train_on)
            for number, message in enumerate(conversation.messages):
                role = ROLES.index(message.role)
                own = everything or number in graded_turns
                pieces.add(ids[HEADERS[message.role]], role, everything)
                before: Part | None = None
                for position, part in enumerate(message.content):
                    if isinstance(part, Text) and isinstance(before, Text):
                        # Encoded apart, the tokens would tell how the text was cut into parts, which no reader sees.
                        pieces.continue_text(part.text)
                        continue
                    before = part
                    graded = everything or (own and not isinstance(part, ToolResult))
                    around = delimiters.get(type(part))
                    if around:
                        pieces.add(around[0], role, graded)
                    pieces.add_text(part_text(part), role, graded, number, position)
                    if around:
                        pieces.add(around[1], role, graded)
                pieces.add(ids[END], role, own)
            if prompt:
                pieces.add(ids[_ASSISTANT], ROLES.index("assistant"), False)
            pieces.ends.append(len(pieces.rows))
        return pieces

    def _assemble(
        self, conversations: Sequence[Conversation], train_on: TrainOn | None, spans: bool, prompt: bool
    ) -> list[Rendered]:
        pieces = self._pieces(conversations, train_on, prompt)
        try:
            return _assembled(pieces, self.tokenizer, spans)
        except EncodingError as error:
            conversation, message = pieces.source(error.row)
            raise ValueError(f"{named(conversations[conversation])}, message {message}: {error.problem}") from None


def _graded_turns(conversation: Conversation, train_on: TrainOn | None) -> list[int]:
    """The places of the messages that are graded."""
    answers = [number for number, one in enumerate(conversation.messages) if one.role == "assistant"]
    return [] if train_on is None else answers[-1:] if train_on == "last_assistant" else answers


def _cut(conversation: Conversation, train_on: TrainOn) -> list[Conversation] | ValueError:
    """What is rendered of a conversation as one example each, or why nothing can be."""
    try:
        _check_trainable(conversation, train_on)
    except ValueError as error:
        return error
    if train_on != "response_only":
        return [conversation]
    return [replace(conversation, messages=(one,)) for one in conversation.messages if one.role == "assistant"]


def _check_trainable(conversation: Conversation, train_on: TrainOn) -> None:
    if train_on not in get_args(TrainOn):
        raise ValueError(f"train_on {train_on!r} is unknown; use one of {', '.join(get_args(TrainOn))}")
    if not conversation.messages:
        raise ValueError(f"{named(conversation)}: no messages; remove it")
    check(conversation)
    check_answers(conversation)
    if train_on != "all_tokens" and all(message.role != "assistant" for message in conversation.messages):
        cure = 'remove it or set train_on = "all_tokens"'
        raise ValueError(f"{named(conversation)}: no assistant message to train on; {cure}")


def _assembled(pieces: _Pieces, tokenizer: Tokenizer, spans: bool) -> list[Rendered]:
    """Encodes all texts in one go, lays all pieces end to end and cuts the whole into its renderings."""
    if not pieces.ends:
        return []
    places: list[np.ndarray] = []
    if spans:
        both = tokenizer.encode_batch_with_offsets(pieces.texts)
        encoded = [ids for ids, _ in both]
        places = [_places(offsets, pieces.begins.get(text, [0])) for text, (_, offsets) in enumerate(both)]
    else:
        encoded = tokenizer.encode_batch(pieces.texts)
    rows = np.array(pieces.rows, np.int32).reshape(-1, 5)
    lengths = np.ones(len(rows), np.int64)
    lengths[rows[:, 0] < 0] = [len(ids) for ids in encoded]
    ids = np.repeat(rows[:, 0], lengths)
    from_text = ids < 0
    ids[from_text] = np.concatenate([np.zeros(0, np.int32), *encoded])
    roles = np.repeat(rows[:, 1].astype(np.uint8), lengths)
    weights = np.repeat(rows[:, 2].astype(np.float32), lengths)
    ends = np.concatenate([[0], np.cumsum(lengths)])[[0, *pieces.ends]]
    weights[ends[:-1][ends[:-1] < ends[1:]]] = 0  # nothing stands before a first token that could predict it
    source: np.ndarray | None = None
    if spans:
        source = np.full((len(ids), 4), -1, np.int32)
        source[:, :2] = np.repeat(rows[:, 3:], lengths, axis=0)
        source[from_text, 2:] = 0
        source[from_text, 1:] += np.concatenate([np.zeros((0, 3), np.int32), *places])
    cuts = [slice(start, stop) for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    return [Rendered(ids[cut], weights[cut], roles[cut], None if source is None else source[cut]) for cut in cuts]


def _places(offsets: np.ndarray, begins: Sequence[int]) -> np.ndarray:
    """Which of a text's parts each token begins in, counted from its first, and the characters there: int32[T, 3]."""
    parts = np.searchsorted(begins, offsets[:, 0], side="right") - 1
    return np.column_stack([parts, offsets - np.array(begins)[parts, None]]).astype(np.int32)


def render_documents(texts: Sequence[str], tokenizer: Tokenizer, spans: bool = False) -> list[Rendered]:
    """Documents to read: `<|endoftext|>` text `<|endoftext|>`, or the bare text where the tokenizer has no such token.

    All tokens but the first are graded. Spans name message 0, part 0.
    """
    pieces = _Pieces()
    boundary = tokenizer.special_tokens.get(END_OF_TEXT)
    for text in texts:
        if boundary is not None:
            pieces.add(boundary, _DOCUMENT, True)
        pieces.add_text(text, _DOCUMENT, True, 0, 0)
        if boundary is not None:
            pieces.add(boundary, _DOCUMENT, True)
        pieces.ends.append(len(pieces.rows))
    return _assembled(pieces, tokenizer, spans)


def render_document(text: str, tokenizer: Tokenizer, spans: bool = False) -> Rendered:
    """`render_documents` of one."""
    return render_documents([text], tokenizer, spans)[0]


def example(rendered: Rendered) -> Example:
    """What training takes: tokens, weights and the stream "roles"."""
    return Example(rendered.ids, rendered.weights, streams={"roles": rendered.roles})


def prove(
    rendered: Rendered, conversation: Conversation, tokenizer: Tokenizer, train_on: TrainOn = "assistant"
) -> None:
    """Proves a rendering: its tokens read back as the conversation, and graded are exactly the assistant's own parts
    and the end of each of its turns, or of its last.

    Shares only the template with the renderer. ValueError, naming the conversation and the token, where they differ.
    """
    runs = _expected(conversation, train_on)
    at = np.flatnonzero(np.isin(rendered.ids, list(tokenizer.special_tokens.values())))
    if rendered.ids[at].tolist() != [tokenizer.special(run.name) for run in runs] or at[:1].tolist() != [0]:
        raise _disproof(conversation, "its special tokens are not those of its turns and parts")
    graded = np.zeros(len(rendered.ids), bool)
    graded[at] = [run.name_graded for run in runs]
    for run, start, stop in zip(runs, (at + 1).tolist(), [*at[1:].tolist(), len(rendered.ids)], strict=True):
        graded[start:stop] = run.text_graded
        if (start < stop or run.text) and not tokenizer.encodes(rendered.ids[start:stop], run.text):
            raise _disproof(conversation, f"tokens {start} to {stop} do not read {run.text[:60]!r}")
    wrong = np.flatnonzero(rendered.weights != graded)
    if len(wrong):
        token = int(wrong[0])
        shown = tokenizer.token_text(int(rendered.ids[token]))
        weights = f"weight {rendered.weights[token]:g} where it must have {int(graded[token])}"
        raise _disproof(conversation, f"token {token} ({shown!r}) has {weights}")


@dataclass(slots=True)
class _Run:
    """One of the template's tokens and the text up to the next one."""

    name: str
    name_graded: bool
    text: str = ""
    text_graded: bool = False


def _expected(conversation: Conversation, train_on: TrainOn) -> list[_Run]:
    """What a rendering must hold, told from the conversation alone."""
    runs: list[_Run] = []
    last = max((n for n, message in enumerate(conversation.messages) if message.role == "assistant"), default=-1)
    for number, message in enumerate(conversation.messages):
        assistant = message.role == "assistant" and (train_on != "last_assistant" or number == last)
        runs.append(_Run(HEADERS[message.role], False, "", assistant))
        for part in message.content:
            if isinstance(part, Text):
                runs[-1].text += part.text
                continue
            own = assistant and not isinstance(part, ToolResult)
            opening, closing = DELIMITERS[type(part)]
            runs.append(_Run(opening, own, part_text(part), own))
            runs.append(_Run(closing, own, "", assistant))
        runs.append(_Run(END, assistant))
    return runs


def _disproof(conversation: Conversation, problem: str) -> ValueError:
    return ValueError(f"{named(conversation)}: its rendering is wrong: {problem}; do not train on it, report it")


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
