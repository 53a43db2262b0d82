"""Conversations written in the native template: their layout, and their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from tutelage.chat.render.encoding import Encoded, TokenTable
from tutelage.chat.render.layout import Layout, VerificationError
from tutelage.chat.render.renderer import TrainOn
from tutelage.chat.render.template import DELIMITERS, END, HEADERS, conversation_name, part_text
from tutelage.records import ROLES, Conversation, Text, ToolResult, trained_turns
from tutelage.tokenizer import EncodingError, Tokenizer


class NativeText:
    """The text of conversations end to end, as segments: each is one special token or the text of one part.

    train_on: which turns are trained; None for prompts, which end with the header of an assistant turn.
    """

    def __init__(self, conversations: Sequence[Conversation], train_on: TrainOn | None) -> None:
        self._conversations = conversations
        self._texts: list[str] = []  # of each segment
        self._segments: list[tuple[int, bool, int, int]] = []  # as Layout.segments_S4
        self._rows: list[int] = []  # the first segment of each conversation
        self._turns: list[tuple[int, int, int]] = []  # of each trained turn its header, its first segment, its end
        self._context: list[tuple[int, int]] = []  # as Layout.context_C2, in segments
        # What is encoded: a piece is a token by its name, or the text of one part with the Text parts that continue it.
        # Encoded apart, the tokens would show how a message was cut into parts, which no reader sees.
        self._pieces: list[str] = []
        self._text_pieces: list[int] = []
        self._text_segments: list[int] = []  # the first segment of each text that is encoded
        for conversation in conversations:
            self._rows.append(len(self._texts))
            trained = trained_messages(conversation, train_on) if train_on else ()
            for number in range(len(conversation.messages)):
                self._add_message(conversation, number, number in trained)
            if train_on is None:
                self._add_token(HEADERS["assistant"], "assistant", False)

    def _add_message(self, conversation: Conversation, number: int, trained: bool) -> None:
        message = conversation.messages[number]
        header = len(self._texts)
        self._add_token(HEADERS[message.role], message.role, False)
        continues = False
        for place, part in enumerate(message.content):
            first, by_assistant = len(self._texts), trained and not isinstance(part, ToolResult)
            opening, closing = DELIMITERS.get(type(part), ("", ""))
            if opening:
                self._add_token(opening, message.role, by_assistant)
            text = part_text(part)
            if continues and isinstance(part, Text):
                self._pieces[-1] += text
            else:
                self._text_pieces.append(len(self._pieces))
                self._text_segments.append(len(self._texts))
                self._pieces.append(text)
            self._texts.append(text)
            self._segments.append((ROLES.index(message.role), by_assistant, number, place))
            if closing:
                self._add_token(closing, message.role, by_assistant)
            if trained and not by_assistant:
                self._context.append((first, len(self._texts)))
            continues = isinstance(part, Text)
        self._add_token(END, message.role, trained)
        if trained:
            self._turns.append((header, header + 1, len(self._texts)))

    def _add_token(self, name: str, role: str, trained: bool) -> None:
        self._texts.append(name)
        self._pieces.append(name)
        self._segments.append((ROLES.index(role), trained, -1, -1))

    def layout(self) -> Layout:
        places = np.array([0, *accumulate(map(len, self._texts))])
        segments_S4 = np.array(self._segments, np.int32).reshape(-1, 4)
        is_token = segments_S4[:, 2] < 0
        return Layout(
            "".join(self._texts),
            places[self._rows],
            np.add.reduceat(is_token, self._rows, dtype=np.int64),
            places[np.array(self._turns, np.int64).reshape(-1, 3)],
            places[:-1],
            segments_S4,
            places[np.array(self._context, np.int64).reshape(-1, 2)],
        )

    def encode(self, tokenizer: Tokenizer, table: TokenTable, read_back: bool) -> Encoded:
        """The tokens of the text: those of the template by their names, each text encoded by itself.

        read_back: where the bytes of the tokens cannot be compared with the text, check that they decode to it.

        Raises:
            ValueError: a text cannot be encoded; names the conversation and the message.
            VerificationError: the tokens of a text do not decode to it.
        """
        texts = [self._pieces[piece] for piece in self._text_pieces]
        try:
            if tokenizer.spells_bytes:
                encoded = self._in_bytes(tokenizer.encode_batch(texts), tokenizer, table)
                if encoded is not None:
                    return encoded
            return self._in_characters(tokenizer.encode_batch_with_offsets(texts), tokenizer, read_back)
        except EncodingError as error:
            segment = self._text_segments[error.row]
            row = int(np.searchsorted(self._rows, segment, side="right")) - 1
            where = f"{conversation_name(self._conversations[row])}, message {self._segments[segment][2]}"
            raise ValueError(f"{where}: {error.problem}") from None

    def _ids(self, text_ids: Sequence[np.ndarray], tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all pieces, int32[T], and how many each piece has."""
        special = tokenizer.special_tokens
        piece_ids = np.array([special.get(piece, -1) for piece in self._pieces], np.int32)
        piece_ids[self._text_pieces] = -1  # a text may be the very name of a token
        lengths = np.ones(len(self._pieces), np.int64)
        lengths[self._text_pieces] = [len(ids) for ids in text_ids]
        ids = np.repeat(piece_ids, lengths)
        ids[ids < 0] = np.concatenate([np.zeros(0, np.int32), *text_ids])
        return ids, lengths

    def _in_bytes(self, text_ids: Sequence[np.ndarray], tokenizer: Tokenizer, table: TokenTable) -> Encoded | None:
        """The tokens with their places in bytes; None where those of a text do not spell it (where it is normalised).

        A space that the tokenizer puts before a text is no part of it: the token " Hi" of the text "Hi" has 2 bytes.
        """
        ids, counts = self._ids(text_ids, tokenizer)
        lengths = table.lengths(ids)
        spelled = [piece.encode() for piece in self._pieces]
        piece_ends = np.cumsum([len(piece) for piece in spelled])
        if tokenizer.opens_with_space:
            opened = [piece for piece in self._text_pieces if self._pieces[piece]]
            lengths[(np.cumsum(counts) - counts)[opened]] -= 1
            for piece in opened:
                spelled[piece] = b" " + spelled[piece]
        ends = np.cumsum(lengths)
        if not np.array_equal(np.append(0, ends)[np.cumsum(counts)], piece_ends):
            return None
        return Encoded("".join(self._pieces), ids, ends - lengths, ends, b"".join(spelled))

    def _in_characters(
        self, encoded: Sequence[tuple[np.ndarray, np.ndarray]], tokenizer: Tokenizer, read_back: bool
    ) -> Encoded:
        for piece, (text_ids, _) in zip(self._text_pieces, encoded, strict=True):
            text = self._pieces[piece]
            if read_back and not tokenizer.encodes(text_ids, text):
                raise VerificationError("verification failed", f"its tokens do not decode to {text[:60]!r}", text)
        ids, counts = self._ids([text_ids for text_ids, _ in encoded], tokenizer)
        lengths = np.array([len(piece) for piece in self._pieces], np.int64)
        piece_begins = np.cumsum(lengths) - lengths
        begins, ends = np.repeat(piece_begins, counts), np.repeat(piece_begins + lengths, counts)
        is_text = np.zeros(len(self._pieces), bool)
        is_text[self._text_pieces] = True
        of_text = np.repeat(is_text, counts)
        offsets = np.concatenate([np.zeros((0, 2), np.int32), *(offsets for _, offsets in encoded)])
        ends[of_text] = begins[of_text] + offsets[:, 1]
        begins[of_text] += offsets[:, 0]
        return Encoded("".join(self._pieces), ids, begins, ends, None)


def trained_messages(conversation: Conversation, train_on: TrainOn) -> list[int]:
    """The messages whose tokens are trained; with "all_tokens" the assistant's are checked all the same."""
    answers = trained_turns(conversation)
    return answers[-1:] if train_on == "last_assistant" else answers
