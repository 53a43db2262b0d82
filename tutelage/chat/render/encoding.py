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

from tutelage.chat.render.bpe_cache import PieceEncoder, piece_encoder
from tutelage.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
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

    @cached_property
    def data(self) -> bytes:
        """The text as UTF-8."""
        return self.text.encode()

    def places(self, characters: np.ndarray) -> np.ndarray:
        """Places in the text, given in characters, counted as `begins` and `ends` are."""
        if not self.in_bytes or self.text.isascii():
            return characters
        return self._bytes_before[characters]

    def firsts(self, characters: np.ndarray) -> np.ndarray:
        """The first token that begins at a place in the text or after it."""
        return np.searchsorted(self.begins, self.places(characters))

    def parts(self, begins: Sequence[int], ends: Sequence[int]) -> list[str]:
        """Stretches of the text, by places counted as those of the tokens are."""
        if not self.in_bytes or self.text.isascii():
            return [self.text[begin:end] for begin, end in zip(begins, ends, strict=True)]
        return [self.data[begin:end].decode("utf-8", "replace") for begin, end in zip(begins, ends, strict=True)]

    def character_spans(self) -> np.ndarray:
        """The characters that each token covers, int64[T, 2]; one that holds some bytes of a character covers it."""
        if not self.in_bytes or self.text.isascii():
            return np.column_stack([self.begins, self.ends])
        before = self._bytes_before
        first = np.searchsorted(before, self.begins, side="right") - 1
        return np.column_stack([first, np.searchsorted(before, self.ends)])

    @cached_property
    def _bytes_before(self) -> np.ndarray:
        """How many bytes stand before each character, and before the end: int64[characters + 1]."""
        data = np.frombuffer(self.data, np.uint8)
        return np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data))  # all but those that go on with a character


@dataclass(frozen=True, eq=False)
class TemplateEncoder:
    """Encodes what a chat template writes with this tokenizer."""

    tokenizer: Tokenizer

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Each text, which must hold no lone surrogates, encoded; in parallel."""
        kept = [row for row, text in enumerate(texts) if self._keeps(text)]
        spelled = zip(kept, self._ids([texts[row] for row in kept]), strict=True)
        found = {row: self._spelled(texts[row], np.frombuffer(ids, np.int32)) for row, ids in spelled}
        left = [row for row in range(len(texts)) if row not in found]
        encodings = self._backend.encode_batch([texts[row] for row in left], add_special_tokens=False)
        found |= {row: self._offset(texts[row], one) for row, one in zip(left, encodings, strict=True)}
        return [found[row] for row in range(len(texts))]

    def encode_end_to_end(self, texts: Sequence[str]) -> Encoded | None:
        """Texts laid end to end, each encoded by itself; None where the tokens of one do not spell its bytes."""
        if not all(map(self._keeps, texts)):
            return None
        return self._spelled("".join(texts), np.frombuffer(b"".join(self._ids(texts)), np.int32))

    def _ids(self, texts: Sequence[str]) -> list[bytes]:
        """The ids of texts whose tokens spell their bytes, each as the bytes of an int32 array."""
        found = [self._pieces.encode(text) if self._pieces is not None else None for text in texts]
        left = [text for text, ids in zip(texts, found, strict=True) if ids is None]
        # Without the offsets, which the lengths of the tokens tell as well, the library is much faster.
        others = iter(self._backend.encode_batch_fast(left, add_special_tokens=False))
        return [np.array(next(others).ids, np.int32).tobytes() if ids is None else ids for ids in found]

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
        if not encoded.in_bytes:
            return np.array_equal(ids, encoded.ids)
        table, lengths_V, begins_V = self._spelling
        lengths = lengths_V[ids]
        ends = np.cumsum(lengths)
        # Where each byte stands in the table: where its token's bytes begin there, and the how manieth of them it is.
        places = np.arange(int(lengths.sum())) + np.repeat(begins_V[ids] - (ends - lengths), lengths)
        return table[places].tobytes() == encoded.data

    def decodes(self, ids: np.ndarray, text: str) -> bool:
        """Whether `ids` decode to a text, but for white space: all that can be asked of tokens whose text depends on
        their neighbours."""
        return _squeezed(self.tokenizer.decode(ids)) == _squeezed(text)

    def lengths(self, ids: np.ndarray) -> np.ndarray:
        """How many bytes each token spells, int64[T]; only where `cuts_at_special`."""
        return self._spelling[1][ids]

    def _keeps(self, text: str) -> bool:
        """Whether the tokens of a text spell its bytes."""
        return self.cuts_at_special and (not self._normalizes or unicodedata.is_normalized("NFC", text))

    @cached_property
    def _normalizes(self) -> bool:
        return self.tokenizer.backend.normalizer is not None

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
    def _spelling(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The bytes that all tokens spell, one token after the other, uint8; how many each has; where they begin."""
        assert self.cuts_at_special
        spelled = [self.tokenizer.token_bytes(number) for number in range(self.tokenizer.vocab_size)]
        lengths = np.array([len(one) for one in spelled], np.int64)
        return np.frombuffer(b"".join(spelled), np.uint8), lengths, np.cumsum(lengths) - lengths

    @cached_property
    def _backend(self) -> tokenizers.Tokenizer:
        plain = msgspec.json.decode(self.tokenizer.backend.to_str())
        plain["post_processor"] = None  # it would add tokens and leave spaces out of the offsets
        return tokenizers.Tokenizer.from_str(msgspec.json.encode(plain).decode())


def _squeezed(text: str) -> str:
    """A text in the form that tokenizers bring texts into, without white space."""
    return "".join(unicodedata.normalize("NFC", text).split())
