"""Text that a chat template writes to token ids, with the place of every token in the text.

Here the name of a special token in a text means that token. In `Tokenizer.encode`, which takes what people write, it
never does.
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

from tutelage.chat.render.bpe_cache import CachedBPE, cached_bpe
from tutelage.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Encoded:
    """The T tokens of a text, and where each begins and ends in it, half-open.

    ids:     int32[T].
    begins:  int64[T], `ends` too: in UTF-8 bytes where `spelled` is known. Otherwise in characters, where tokens that
             share a character overlap, and white space that a token swallows lies between tokens.
    spelled: the bytes that the tokens must spell: those of the text, and the spaces that the tokenizer puts before
             texts. None where tokens have no bytes of their own (SentencePiece).
    """

    text: str
    ids: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    spelled: bytes | None

    @property
    def in_bytes(self) -> bool:
        return self.spelled is not None

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
        """The first token that begins at a place in the text, given in characters, or after it."""
        return np.searchsorted(self.begins, self.places(characters))

    def slices(self, begins: Sequence[int], ends: Sequence[int]) -> list[str]:
        """Parts of the text, by places counted as `begins` and `ends` are."""
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
        """How many bytes precede each character, and before the end: int64[characters + 1].

        For "aé" (bytes 61 C3 A9) it is [0, 1, 3].
        """
        data = np.frombuffer(self.data, np.uint8)
        return np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data))  # every byte but those that continue one


@dataclass(frozen=True, eq=False)
class TokenTable:
    """What is known about each token of a vocabulary, as arrays over ids."""

    tokenizer: Tokenizer

    @cached_property
    def is_special(self) -> np.ndarray:
        """Which ids are special tokens, bool[V]; the unknown token is not, because no name in a text writes it."""
        table = np.zeros(self.tokenizer.vocab_size, bool)
        table[list(self.tokenizer.special_tokens.values())] = True
        model = msgspec.json.decode(self.tokenizer.backend.to_str())["model"]
        unknown = model.get("unk_id")
        if unknown is None and model.get("unk_token") is not None:
            unknown = self.tokenizer.backend.token_to_id(model["unk_token"])
        if unknown is not None:
            table[unknown] = False
        return table

    def lengths(self, ids: np.ndarray) -> np.ndarray:
        """How many bytes each token spells, int64[T]; only where `tokenizer.spells_bytes`."""
        return self._bytes[1][ids]

    def spelled(self, ids: np.ndarray) -> bytes:
        """The bytes that tokens spell; only where `tokenizer.spells_bytes`.

        Gathers all bytes at once. With tokens "ab" (bytes 5 and 6 of the table) and "c" (byte 9), lengths are [2, 1],
        ends [2, 3], and the bytes are taken from [0, 1, 2] + [5, 5, 9 - 2] = [5, 6, 9].
        """
        table, lengths_V, begins_V = self._bytes
        lengths = lengths_V[ids]
        ends = np.cumsum(lengths)
        places = np.arange(int(lengths.sum())) + np.repeat(begins_V[ids] - (ends - lengths), lengths)
        return table[places].tobytes()

    def decodes(self, ids: np.ndarray, text: str) -> bool:
        """Whether `ids` decode to a text, apart from white space and Unicode composition: all that can be asked of
        tokens whose text depends on their neighbours."""
        return _squeezed(self.tokenizer.decode(ids)) == _squeezed(text)

    @cached_property
    def _bytes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The bytes of all tokens, one token after the other, uint8; how many each has; where each begins."""
        assert self.tokenizer.spells_bytes
        spelled = [self.tokenizer.token_bytes(token) for token in range(self.tokenizer.vocab_size)]
        lengths = np.array([len(token_bytes) for token_bytes in spelled], np.int64)
        return np.frombuffer(b"".join(spelled), np.uint8), lengths, np.cumsum(lengths) - lengths


@dataclass(frozen=True, eq=False)
class TemplateEncoder:
    """Encodes what a chat template writes with a tokenizer."""

    tokenizer: Tokenizer

    @cached_property
    def table(self) -> TokenTable:
        return TokenTable(self.tokenizer)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Each text, which must hold no lone surrogates, encoded; in parallel."""
        in_bytes = [row for row, text in enumerate(texts) if self._spells(text)]
        all_ids = self._ids([texts[row] for row in in_bytes])
        encoded = {
            row: self._in_bytes(texts[row], np.frombuffer(ids, np.int32))
            for row, ids in zip(in_bytes, all_ids, strict=True)
        }
        others = [row for row in range(len(texts)) if row not in encoded]
        encodings = self._backend.encode_batch([texts[row] for row in others], add_special_tokens=False)
        encoded |= {
            row: self._in_characters(texts[row], encoding) for row, encoding in zip(others, encodings, strict=True)
        }
        return [encoded[row] for row in range(len(texts))]

    def encode_concatenated(self, texts: Sequence[str]) -> Encoded | None:
        """Texts end to end, each encoded by itself; None where the tokens of one do not spell its bytes."""
        if not all(map(self._spells, texts)):
            return None
        return self._in_bytes("".join(texts), np.frombuffer(b"".join(self._ids(texts)), np.int32))

    def encode_split(self, text: str, end: int) -> Encoded:
        """A text encoded as its first `end` characters and then the others; only where `splits_at_special`."""
        assert self.splits_at_special
        ids = [encoded.ids for encoded in self.encode([text[:end], text[end:]])]
        return self._in_bytes(text, np.concatenate(ids))

    @cached_property
    def splits_at_special(self) -> bool:
        """Whether what precedes a special token changes no id after it, and tokens spell the bytes of the text:
        so with byte-level BPE whose special tokens swallow no neighbouring space and which puts none before a text."""
        backend = self.tokenizer.backend
        added = backend.get_added_tokens_decoder().values()
        byte_level = isinstance(backend.model, models.BPE) and isinstance(backend.decoder, decoders.ByteLevel)
        normalizes_nfc = backend.normalizer is None or isinstance(backend.normalizer, normalizers.NFC)
        plain = not any(token.lstrip or token.rstrip or token.single_word for token in added)
        pre_tokenizer = repr(backend.pre_tokenizer)
        opens_plain = "add_prefix_space=True" not in pre_tokenizer and "Metaspace" not in pre_tokenizer
        return byte_level and normalizes_nfc and plain and opens_plain

    def _spells(self, text: str) -> bool:
        """Whether the tokens of a text spell its bytes."""
        normalizes = self.tokenizer.backend.normalizer is not None
        return self.splits_at_special and (not normalizes or unicodedata.is_normalized("NFC", text))

    def _ids(self, texts: Sequence[str]) -> list[bytes]:
        """The ids of texts whose tokens spell their bytes, each as the bytes of an int32 array."""
        cached = [self._bpe.encode(text) if self._bpe is not None else None for text in texts]
        left = [text for text, ids in zip(texts, cached, strict=True) if ids is None]
        # Without offsets, which the lengths of the tokens give as well, the library is much faster.
        others = iter(self._backend.encode_batch_fast(left, add_special_tokens=False))
        return [np.array(next(others).ids, np.int32).tobytes() if ids is None else ids for ids in cached]

    def _in_bytes(self, text: str, ids: np.ndarray) -> Encoded:
        lengths = self.table.lengths(ids)
        ends = np.cumsum(lengths)
        return Encoded(text, ids, ends - lengths, ends, text.encode())

    def _in_characters(self, text: str, encoding: tokenizers.Encoding) -> Encoded:
        ids = np.array(encoding.ids, np.int32)
        offsets = np.array(encoding.offsets, np.int64).reshape(len(ids), 2)
        for token in np.flatnonzero(self.table.is_special[ids]).tolist():
            # The library says that a special token which swallows white space around it covers that too.
            begin, end = offsets[token].tolist()
            name = self.tokenizer.backend.id_to_token(int(ids[token])) or ""
            at = text.find(name, begin, end)
            if name and at >= 0:
                offsets[token] = at, at + len(name)
        return Encoded(text, ids, offsets[:, 0], offsets[:, 1], None)

    @cached_property
    def _bpe(self) -> CachedBPE | None:
        return cached_bpe(self._backend) if self.splits_at_special else None

    @cached_property
    def _backend(self) -> tokenizers.Tokenizer:
        plain = msgspec.json.decode(self.tokenizer.backend.to_str())
        plain["post_processor"] = None  # it would add tokens and leave spaces out of the offsets
        return tokenizers.Tokenizer.from_str(msgspec.json.encode(plain).decode())


def _squeezed(text: str) -> str:
    """A text without white space, in the form that normalising tokenizers bring texts into."""
    return "".join(unicodedata.normalize("NFC", text).split())
