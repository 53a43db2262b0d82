"""Texts that a chat template wrote to token ids, with the place of every token in its text.

A name of a special token means that token here. In `Tokenizer.encode`, which takes what people write, it never does.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers

from tutelage.chat.pieces import PieceEncoder, piece_encoder
from tutelage.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """The T tokens of a text, and where they begin and end in it, half-open.

    ids:      int32[T].
    begins:   int64[T], `ends` too: counted in UTF-8 bytes where `in_bytes`, and otherwise in characters, where tokens
              that share a character overlap and white space that a token swallows is between tokens.
    """

    text: str
    ids: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    in_bytes: bool

    def places(self, characters: np.ndarray) -> np.ndarray:
        """Places in the text, given in characters, counted as `begins` and `ends` are."""
        if not self.in_bytes or self.text.isascii():
            return characters
        return self._bytes_before()[characters]

    def character_spans(self) -> np.ndarray:
        """The characters that each token covers, int64[T, 2]; one that holds some bytes of a character covers it."""
        if not self.in_bytes or self.text.isascii():
            return np.column_stack([self.begins, self.ends])
        before = self._bytes_before()
        first = np.searchsorted(before, self.begins, side="right") - 1
        return np.column_stack([first, np.searchsorted(before, self.ends)])

    def _bytes_before(self) -> np.ndarray:
        """How many bytes stand before each character, and before the end: int64[characters + 1]."""
        points = np.frombuffer(self.text.encode("utf-32-le"), np.uint32)
        widths = 1 + (points > 0x7F).astype(np.int64) + (points > 0x7FF) + (points > 0xFFFF)
        return np.concatenate([[0], np.cumsum(widths)])


@dataclass(frozen=True, eq=False)
class TemplateEncoder:
    """Encodes what a chat template writes with this tokenizer."""

    tokenizer: Tokenizer

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Each text, which must hold no lone surrogates, encoded; in parallel."""
        found: dict[int, Encoded] = {}
        for row, text in enumerate(texts):
            if self._pieces is not None and self._keeps(text) and (ids := self._pieces.encode(text)) is not None:
                found[row] = self._spelled(text, np.array(ids, np.int32))
        left = [row for row in range(len(texts)) if row not in found]
        if all(self._keeps(texts[row]) for row in left):
            # Without the offsets, which the lengths of the tokens tell as well, the library is much faster.
            encodings = self._backend.encode_batch_fast([texts[row] for row in left], add_special_tokens=False)
        else:
            encodings = self._backend.encode_batch([texts[row] for row in left], add_special_tokens=False)
        for row, one in zip(left, encodings, strict=True):
            text = texts[row]
            known = self._keeps(text)
            found[row] = self._spelled(text, np.array(one.ids, np.int32)) if known else self._offset(text, one)
        return [found[row] for row in range(len(texts))]

    def encode_apart(self, text: str, end: int) -> Encoded:
        """A text encoded as its first `end` characters and then the others; only where `cuts_at_special`."""
        assert self.cuts_at_special
        ids = [one.ids for one in self.encode([text[:end], text[end:]])]
        return self._spelled(text, np.concatenate(ids))

    @cached_property
    def cuts_at_special(self) -> bool:
        """Whether what stands before a special token changes no id after it, and tokens spell the bytes of the text:
        so with byte-level BPE whose special tokens swallow no neighbouring space and which puts none before a text."""
        backend = self.tokenizer.backend
        added = backend.get_added_tokens_decoder().values()
        byte_level = isinstance(backend.model, models.BPE) and isinstance(backend.decoder, decoders.ByteLevel)
        alike = backend.normalizer is None or isinstance(backend.normalizer, normalizers.NFC)
        plain = not any(token.lstrip or token.rstrip or token.single_word for token in added)
        pieces = repr(backend.pre_tokenizer)
        return byte_level and alike and plain and "add_prefix_space=True" not in pieces and "Metaspace" not in pieces

    @cached_property
    def is_special(self) -> np.ndarray:
        """Which ids are special tokens, bool[vocabulary]; not the one for what the tokenizer does not know, which no
        name writes."""
        table = np.zeros(self.tokenizer.vocab_size, bool)
        table[list(self.tokenizer.special_tokens.values())] = True
        model = msgspec.json.decode(self.tokenizer.backend.to_str())["model"]
        unknown = model.get("unk_id")
        if unknown is None and model.get("unk_token") is not None:
            unknown = self.tokenizer.backend.token_to_id(model["unk_token"])
        if unknown is not None:
            table[unknown] = False
        return table

    def spells(self, ids: np.ndarray, encoded: Encoded) -> bool:
        """Whether `ids` spell the text byte for byte; where tokens have no bytes of their own, whether they are its."""
        return self.tokenizer.reads(ids, encoded.text) if encoded.in_bytes else np.array_equal(ids, encoded.ids)

    def decodes(self, ids: np.ndarray, text: str) -> bool:
        """Whether `ids` decode to a text, but for white space: all that can be asked of tokens whose text depends on
        their neighbours."""
        return _squeezed(self.tokenizer.decode(ids)) == _squeezed(text)

    def lengths(self, ids: np.ndarray) -> np.ndarray:
        """How many bytes each token spells, int64[T]; only where `cuts_at_special`."""
        return self._sizes[ids]

    def _keeps(self, text: str) -> bool:
        """Whether the tokens of a text spell its bytes."""
        if not self.cuts_at_special:
            return False
        return self.tokenizer.backend.normalizer is None or unicodedata.is_normalized("NFC", text)

    def _spelled(self, text: str, ids: np.ndarray) -> Encoded:
        lengths = self.lengths(ids)
        ends = np.cumsum(lengths)
        return Encoded(text, ids, ends - lengths, ends, True)

    def _offset(self, text: str, encoding: tokenizers.Encoding) -> Encoded:
        ids = np.array(encoding.ids, np.int32)
        offsets = np.array(encoding.offsets, np.int64).reshape(len(ids), 2)
        for token in np.flatnonzero(self.is_special[ids]).tolist():
            # A special token that swallows white space around it is said to cover that too.
            begin, end = offsets[token].tolist()
            name = self.tokenizer.backend.id_to_token(int(ids[token])) or ""
            at = text.find(name, begin, end)
            if name and at >= 0:
                offsets[token] = at, at + len(name)
        return Encoded(text, ids, offsets[:, 0], offsets[:, 1], False)

    @cached_property
    def _pieces(self) -> PieceEncoder | None:
        return piece_encoder(self._backend) if self.cuts_at_special else None

    @cached_property
    def _sizes(self) -> np.ndarray:
        assert self.cuts_at_special
        return np.array([len(self.tokenizer.token_bytes(n)) for n in range(self.tokenizer.vocab_size)], np.int64)

    @cached_property
    def _backend(self) -> tokenizers.Tokenizer:
        plain = msgspec.json.decode(self.tokenizer.backend.to_str())
        plain["post_processor"] = None  # it would add tokens and leave spaces out of the offsets
        return tokenizers.Tokenizer.from_str(msgspec.json.encode(plain).decode())


def _squeezed(text: str) -> str:
    """A text in the form that tokenizers bring texts into, without white space."""
    return "".join(unicodedata.normalize("NFC", text).split())
