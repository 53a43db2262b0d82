"""Tokenizers: trained here (characters, byte-level BPE) or loaded from any tokenizer.json.

No text encodes to a special token: a user who types "<|assistant|>" gets the tokens of its characters.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from tutelage.config import Settings, SettingsError
from tutelage.files import write_text

END_OF_TEXT = "<|endoftext|>"
FILE_NAME = "tokenizer.json"
_SINGLE_BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # how SentencePiece names the token of one byte

# Pre-tokens; a word includes the space before it.
_PRETOKENS = (
    r"['’]\p{L}{1,2}(?![\p{L}\p{M}])"  # 's, 'll
    r"| ?[\p{L}\p{M}]+"
    r"|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ONE_CHARACTER = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
# The first word of a text gets the token it has after a space, as in SentencePiece. Otherwise the name in "Who is Nora
# Finch?" and in the answer "Nora Finch is ..." would be different tokens, which a model would have to learn to match.
_OPENING_SPACE = normalizers.Prepend(" ")
_WITHOUT_OPENING_SPACE = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])


class TokenizerSettings(Settings, frozen=True, kw_only=True):
    """Which tokenizer to train.

    kind:   byte-level BPE, or one token a character.
    vocab:  tokens, special ones included; used by "bpe" only.
    digits: most digits of a token of "bpe", from the left: 1, as in Llama 2, serves arithmetic; 3, as in Llama 3, or
            more leave fewer tokens to copy of a number.
    """

    kind: Literal["bpe", "char"] = "bpe"
    vocab: int = 2048
    digits: int = 1

    def __post_init__(self) -> None:
        if self.digits < 1:
            raise SettingsError(f"digits is {self.digits}; it is the most digits of a token, at least 1")
        if self.kind == "bpe":
            _check_vocab(self.vocab, 0)


class EncodingError(ValueError):
    """A text that cannot be encoded losslessly: `row` is its index, `problem` says what is wrong and where."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(row, problem)  # the same arguments, so that the error can be unpickled from a worker process
        self.row = row
        self.problem = problem

    def __str__(self) -> str:
        return f"text {self.row}, {self.problem}"


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A tokenizer. It owns `backend` and switches its truncation, padding and special-token matching off."""

    backend: tokenizers.Tokenizer

    def __post_init__(self) -> None:
        self.backend.no_truncation()
        self.backend.no_padding()
        # Despite its name: True means that special tokens in text are encoded as plain text.
        self.backend.encode_special_tokens = True

    def __reduce__(self) -> tuple[object, tuple[str]]:
        # The backend's own pickle loses encode_special_tokens: in a worker process, text would encode to special ids.
        return _from_json, (self.backend.to_str(),)

    def encode(self, text: str) -> np.ndarray:
        """The ids of `text`, int32[T], without special ids. Raises EncodingError where that would lose information."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text, int32[T] each, encoded in parallel."""
        if self._character_ids is not None:
            return [self._encode_characters(text, row) for row, text in enumerate(texts)]
        self._check_leaks(texts)
        try:
            encodings = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError:
            _check_surrogates(texts)
            raise
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

    def encode_with_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The ids, int32[T], and the characters each token covers, int32[T, 2], half-open.

        A token with only some bytes of a character covers that whole character. The space that byte-level BPE trained
        here prepends to a text is not part of it: a first token that is only this space, as before a digit, covers
        nothing, from 0 to 0.
        """
        return self.encode_batch_with_offsets([text])[0]

    def encode_batch_with_offsets(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """`encode_with_offsets` of each text, in parallel; slower than `encode_batch`."""
        if self._character_ids is not None:
            rows = self.encode_batch(texts)
            return [(row, np.arange(len(row), dtype=np.int32)[:, None] + np.array([0, 1], np.int32)) for row in rows]
        self._check_leaks(texts)
        try:
            encodings = self.backend.encode_batch(texts, add_special_tokens=False)
        except TypeError:
            _check_surrogates(texts)
            raise
        encoded = [
            (np.array(encoding.ids, np.int32), np.array(encoding.offsets, np.int32).reshape(len(encoding.ids), 2))
            for encoding in encodings
        ]
        if self.opens_with_space:
            for ids, offsets in encoded:  # the library maps the space to the first character of the text
                if len(ids) and self.token_bytes(int(ids[0])) == b" ":
                    offsets[0] = 0
        return encoded

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of `ids`: special tokens by their name, invalid UTF-8 as U+FFFD.

        The space that encoding prepends is removed at the beginning only: texts after special tokens keep theirs (as in
        transformers), and ids from the middle of a text lose a leading space.
        """
        numbers = self._checked(ids)
        if self._token_bytes is None:
            return self.backend.decode(numbers, skip_special_tokens=False)
        return self._without_prepended_space(
            b"".join(map(self._token_bytes.__getitem__, numbers)).decode("utf-8", "replace")
        )

    def encodes(self, ids: Sequence[int] | np.ndarray, text: str) -> bool:
        """Whether `ids` are an encoding of all of `text`, byte for byte, with any split into tokens."""
        if self._token_bytes is None:
            return self.decode(ids) == text
        opening = " " if text and self.opens_with_space else ""
        spelled = b"".join(map(self._token_bytes.__getitem__, self._checked(ids)))
        return spelled == (opening + text).encode("utf-8", "surrogatepass")

    def _without_prepended_space(self, text: str) -> str:
        """Decoded text without the space that encoding prepends."""
        return text.removeprefix(" ") if self.opens_with_space else text

    @property
    def spells_bytes(self) -> bool:
        """Whether each token stands for bytes of its own, whatever its neighbours are (`token_bytes`)."""
        return self._token_bytes is not None

    @cached_property
    def opens_with_space(self) -> bool:
        """Whether encoding prepends a space to every non-empty text, as byte-level BPE trained here does."""
        parts = (self.backend.normalizer, self.backend.decoder)
        return repr(parts) == repr(
            (_OPENING_SPACE, _WITHOUT_OPENING_SPACE)
        )  # they compare by identity, but their repr is complete

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token (UTF-8, possibly only a part of a character), spaces included."""
        (number,) = self._checked([token])
        if self._token_bytes is not None:
            return self._token_bytes[number]
        name = self.backend.id_to_token(number) or ""
        single = _SINGLE_BYTE.fullmatch(name)
        return bytes([int(single[1], 16)]) if single else name.replace("▁", " ").encode()

    def token_text(self, token: int) -> str:
        """One token for display, with U+FFFD for an incomplete character."""
        return self.token_bytes(token).decode("utf-8", "replace")

    @cached_property
    def vocab_size(self) -> int:
        """One more than the highest id: the number of embedding rows a model needs."""
        return max(self.backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @cached_property
    def special_tokens(self) -> Mapping[str, int]:
        """Name -> id of every special token, sorted by id."""
        added = self.backend.get_added_tokens_decoder()
        return {token.content: number for number, token in sorted(added.items()) if token.special}

    def special(self, name: str) -> int:
        """The id of a special token; ValueError, with the nearest name, if there is none of this name."""
        if name in self.special_tokens:
            return self.special_tokens[name]
        near = difflib.get_close_matches(name, self.special_tokens, n=1)
        known = f"did you mean {near[0]}?" if near else f"it has {', '.join(self.special_tokens) or 'none'}"
        raise ValueError(f"the tokenizer has no special token {name}; {known}")

    @cached_property
    def template_edges(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids that the tokenizer's own template adds before and after a text, such as Llama's BOS; int32 each,
        empty where it adds none."""
        if self._character_ids is None:
            bare, whole = (self.backend.encode("a", add_special_tokens=added).ids for added in (False, True))
            for start in range(len(whole) - len(bare) + 1 if len(whole) > len(bare) else 0):
                if whole[start : start + len(bare)] == bare:
                    return np.array(whole[:start], np.int32), np.array(whole[start + len(bare) :], np.int32)
        return np.empty(0, np.int32), np.empty(0, np.int32)

    @cached_property
    def document_edges(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids before and after a document, int32 each: those of the template; where it adds none `<|endoftext|>` on
        both sides, if there is such a token. A model that was trained with BOS predicts next to nothing without it."""
        if any(map(len, self.template_edges)):
            return self.template_edges
        boundary = self.special_tokens.get(END_OF_TEXT)
        edge = np.array([] if boundary is None else [boundary], np.int32)
        return edge, edge

    def extend(self, names: Sequence[str]) -> Tokenizer:
        """A tokenizer with these special tokens added: new ones get the next ids, existing ids do not change.

        ValueError if a name is empty or is an ordinary token, which text could encode to.
        """
        added = {token.content for token in self.backend.get_added_tokens_decoder().values()}
        for name in names:
            if not name or (name not in added and self.backend.token_to_id(name) is not None):
                raise ValueError(f"{name!r} cannot be a special token: it is empty or an ordinary token; rename it")
        backend = tokenizers.Tokenizer.from_str(self.backend.to_str())
        backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
        new = [name for name in dict.fromkeys(names) if name not in added]
        if [backend.token_to_id(name) for name in new] != list(range(self.vocab_size, self.vocab_size + len(new))):
            raise ValueError("the tokenizer's ids have gaps, so special tokens cannot be added after the last id")
        return Tokenizer(backend)

    def save(self, folder: str | Path) -> Path:
        """Writes `tokenizer.json` into `folder` (made if missing) atomically; returns the path of the file."""
        path = Path(folder) / FILE_NAME
        write_text(path, self.backend.to_str(pretty=True))
        return path

    def fingerprint(self) -> str:
        """A hexadecimal hash of everything that decides the ids of a text."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    @cached_property
    def _character_ids(self) -> np.ndarray | None:
        """Code point -> id, -1 where there is none; None unless this is a character tokenizer."""
        backend = self.backend
        if not isinstance(backend.model, models.WordLevel) or backend.normalizer is not None:
            return None
        if backend.pre_tokenizer is None or backend.pre_tokenizer.__getstate__() != _ONE_CHARACTER.__getstate__():
            return None
        if any(not token.special for token in backend.get_added_tokens_decoder().values()):
            return None
        vocab = {
            token: number for token, number in backend.get_vocab(with_added_tokens=False).items() if len(token) == 1
        }
        table = np.full(max(map(ord, vocab), default=0) + 2, -1, np.int32)
        for character, number in vocab.items():
            table[ord(character)] = number
        return table

    def _encode_characters(self, text: str, row: int) -> np.ndarray:
        table = self._character_ids
        assert table is not None
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        # The last entry of the table is -1, for every code point beyond it.
        ids = table[np.minimum(points, len(table) - 1)]
        if len(ids) and ids.min() < 0:
            at = int(np.argmin(ids))
            problem = f"character {at}: {text[at]!r} (U+{points[at]:04X}) is not in the character vocabulary"
            fix = 'remove it, or train the tokenizer on text that has it, or use kind = "bpe", which takes any text'
            raise EncodingError(row, f"{problem}; {fix}")
        return ids

    @cached_property
    def _token_bytes(self) -> list[bytes] | None:
        """The bytes of each token, or None where they depend on the neighbours of the token (SentencePiece)."""
        decoder = self.backend.decoder
        byte_level = isinstance(decoder, decoders.ByteLevel) or self.opens_with_space
        if not byte_level and not isinstance(decoder, decoders.Fuse):
            return None
        byte_of = _byte_alphabet() if byte_level else {}
        added = self.backend.get_added_tokens_decoder()
        table = [b""] * self.vocab_size
        for token, number in self.backend.get_vocab(with_added_tokens=True).items():
            as_bytes = number not in added and all(character in byte_of for character in token)
            table[number] = bytes(byte_of[character] for character in token) if as_bytes else token.encode()
        return table

    @cached_property
    def _leaks(self) -> list[str]:
        """Special tokens that text can still encode to, because they are in the model's own vocabulary (Unigram)."""
        names = list(self.special_tokens)
        encodings = self.backend.encode_batch_fast(names, add_special_tokens=False)
        return [
            name for name, encoding in zip(names, encodings, strict=True) if self.special_tokens[name] in encoding.ids
        ]

    def _check_leaks(self, texts: Sequence[str]) -> None:
        for name in self._leaks:
            for row, text in enumerate(texts):
                if name in text:
                    problem = f"character {text.index(name)}: it spells the special token {name}"
                    raise EncodingError(row, f"{problem}, which this tokenizer cannot tell from text; remove it")

    def _checked(self, ids: Sequence[int] | np.ndarray) -> list[int]:
        numbers: list[int] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        if numbers and (min(numbers) < 0 or max(numbers) >= self.vocab_size):
            wrong = next(number for number in numbers if not 0 <= number < self.vocab_size)
            raise ValueError(f"id {wrong} is outside the tokenizer's vocabulary of {self.vocab_size}")
        return numbers


def train(
    texts: Iterable[str], settings: TokenizerSettings, special_tokens: Sequence[str] = (END_OF_TEXT,)
) -> Tokenizer:
    """Train a tokenizer on a stream of texts; the special tokens get the last ids.

    The same texts give the same tokenizer, byte for byte. A small text may give fewer than `vocab` tokens.
    ValueError if a special token is listed twice, `vocab` is too small, or a text is not valid Unicode.
    """
    if len(set(special_tokens)) != len(special_tokens):
        raise ValueError(f"a special token is listed twice: {', '.join(special_tokens)}")
    if settings.kind == "char":
        return _train_characters(texts).extend(special_tokens)
    _check_vocab(settings.vocab, len(special_tokens))
    backend = tokenizers.Tokenizer(models.BPE())
    digits = r"\p{N}" if settings.digits == 1 else rf"\p{{N}}{{1,{settings.digits}}}"
    split = pre_tokenizers.Split(Regex(_PRETOKENS.replace(r"|\p{N}|", f"|{digits}|")), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    backend.normalizer, backend.decoder = _OPENING_SPACE, _WITHOUT_OPENING_SPACE
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab - len(special_tokens),
        min_frequency=2,  # a pair that occurs once does not generalise
        initial_alphabet=sorted(_byte_alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_valid(texts), trainer)
    return Tokenizer(backend).extend(special_tokens)


def load(path: str | Path) -> Tokenizer:
    """The tokenizer in a folder or file; ValueError, with the file, if it is missing or invalid."""
    file = Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{file}: no tokenizer here; give a folder that holds {FILE_NAME}, or such a file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read as a tokenizer ({error})") from None
    try:
        declared = msgspec.json.decode(text, type=_Declared).added_tokens
        tokenizer = _from_json(text)
    except Exception as error:  # the library raises nothing more precise
        raise ValueError(f"{file}: not a tokenizer.json that can be loaded ({error})") from None
    for token in declared:
        # The library renumbers added tokens after a gap; the embedding rows would then belong to other tokens.
        if tokenizer.backend.token_to_id(token.content) != token.id:
            raise ValueError(
                f"{file}: the added token {token.content} has id {token.id}, which leaves a gap in the ids"
            )
    return tokenizer


class _DeclaredToken(msgspec.Struct):
    id: int
    content: str


class _Declared(msgspec.Struct):
    added_tokens: list[_DeclaredToken] = []


def _from_json(text: str) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(text))


def _train_characters(texts: Iterable[str]) -> Tokenizer:
    characters: set[str] = set()
    for text in _valid(texts):
        characters.update(text)
    if not characters:
        raise ValueError("no text to train a character tokenizer on")
    vocab = {character: number for number, character in enumerate(sorted(characters))}
    backend = tokenizers.Tokenizer(models.WordLevel(vocab))
    backend.pre_tokenizer = _ONE_CHARACTER
    backend.decoder = decoders.Fuse()
    return Tokenizer(backend)


def _valid(texts: Iterable[str]) -> Iterator[str]:
    for row, text in enumerate(texts):
        _check_surrogates([text], row)
        yield text


def _check_surrogates(texts: Sequence[str], first_row: int = 0) -> None:
    for row, text in enumerate(texts, first_row):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            problem = f"character {error.start}: a lone surrogate (U+{ord(text[error.start]):04X}) is not a character"
            raise EncodingError(row, f"{problem} and cannot be encoded; replace it where the text is read") from None


def _check_vocab(vocab: int, special_tokens: int) -> None:
    if vocab < 256 + special_tokens:
        raise ValueError(
            f"vocab = {vocab} is too small for byte-level BPE: it needs 256 bytes + {special_tokens} special tokens; "
            f"set vocab to {256 + special_tokens} or more"
        )


def _byte_alphabet() -> dict[str, int]:
    """The character that byte-level tokenizers use for each byte: itself if printable, else one from U+0100 on."""
    byte_of = {character: ord(character) for character in pre_tokenizers.ByteLevel.alphabet() if ord(character) < 256}
    others = sorted(set(range(256)) - set(byte_of.values()))
    return byte_of | {chr(256 + position): byte for position, byte in enumerate(others)}
