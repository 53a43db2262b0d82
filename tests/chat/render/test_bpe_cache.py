from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tutelage.chat.render.bpe_cache import CachedBPE, cached_bpe
from tutelage.chat.render.encoding import TemplateEncoder
from tutelage.tokenizer import Tokenizer as Ours

# How checkpoints cut texts: GPT-2 and SmolLM2's like, Qwen, Llama 3, and one that tells capitals and marks apart.
PATTERNS = {
    "gpt-2": None,
    "qwen": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "llama 3": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "capitals": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t)?|\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}
TEXTS = [
    "It's 12,345 o'clock; WE'LL see the cat's hat.\n\n  def f(x):\n\treturn x",
    "Größe naïve Ελλάδα 日本語 🙂 “so”",
] * 3
NAMES = ["<|end|>", "<|end|>|>", "<think>", "[INST]"]


@functools.cache
def backend(name: str) -> Tokenizer:
    made = Tokenizer(models.BPE())
    pattern = PATTERNS[name]
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pattern is not None:
        whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), whole])
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False))
    made.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in NAMES[:2]])
    made.add_tokens([AddedToken(one, normalized=False) for one in NAMES[2:]])
    return made


ODD = ["\x1c", "\x85", "\xa0", "\u3000", "\u2028", "\u200b", "\u0301", "ſ", "K", "²", "Ⅷ", "ǅ", "ª", "٣", "\U000e0001"]
ANY = st.characters(exclude_categories=("Cs",))
PIECES = (
    st.sampled_from([*NAMES, *"'sStrRlL dD\n\r\t ", "  ", "12", "'ll", "’s", "<|", *ODD])
    | ANY
    | st.text(ANY, max_size=4)
)
WORDS = st.lists(PIECES | st.text("ab '\n1.", max_size=6), max_size=12).map("".join)


def ids_of(made: CachedBPE, text: str) -> list[int] | None:
    found = made.encode(text)
    return None if found is None else np.frombuffer(found, np.int32).tolist()


@pytest.mark.parametrize("name", PATTERNS)
def test_pieces_give_the_very_ids_of_the_library(name: str) -> None:
    made = cached_bpe(backend(name))
    assert made is not None

    @settings(max_examples=400)
    @given(WORDS)
    def check(text: str) -> None:
        found = ids_of(made, text)
        theirs = backend(name).encode(text, add_special_tokens=False).ids
        assert found is None or found == theirs
        if text.isascii():
            assert found is not None

    check()


@pytest.mark.parametrize("name", PATTERNS)
def test_every_character_is_cut_as_the_library_cuts_it(name: str) -> None:
    made = cached_bpe(backend(name))
    assert made is not None
    known = 0
    for start in range(0, 0x3000, 64):
        text = "".join(f"a{chr(point)}B {chr(point)}1{chr(point)}'s\n" for point in range(start, start + 64))
        for part in [text] if made.encode(text) is not None else text.splitlines(keepends=True):
            found = ids_of(made, part)
            if found is not None:
                known += 1
                assert found == backend(name).encode(part, add_special_tokens=False).ids
    assert known > 150


@pytest.mark.parametrize(
    "other",
    [
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(r"\w+"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        ),
        pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(r"\p{Han}+|."), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        ),
        pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(r"(a|b)|[^ab]+"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        ),
        pre_tokenizers.Whitespace(),
    ],
)
def test_what_is_cut_otherwise_is_left_to_the_library(other: pre_tokenizers.PreTokenizer) -> None:
    made = Tokenizer.from_str(backend("gpt-2").to_str())
    made.pre_tokenizer = other
    assert cached_bpe(made) is None


@pytest.mark.parametrize("normalizer", [None, normalizers.NFC()])
def test_places_are_those_of_the_bytes(normalizer: normalizers.Normalizer | None) -> None:
    made = Tokenizer.from_str(backend("qwen").to_str())
    if normalizer:
        made.normalizer = normalizer
    encoder = TemplateEncoder(Ours(made))
    texts = ["Größe <|end|> 日本", "plain<think>", "a\u0301<|end|>", "", "x\U000e0fff y<|end|>"]
    for text, encoded in zip(texts, encoder.encode(texts), strict=True):
        plain = Tokenizer.from_str(made.to_str()).encode(text, add_special_tokens=False)
        assert encoded.ids.tolist() == plain.ids
        assert encoded.in_bytes == (not normalizer or text != "a\u0301<|end|>")
        assert encoded.character_spans().tolist() == [list(one) for one in plain.offsets] or "a\u0301" in text
        if encoded.in_bytes:
            whole = text.encode()
            spelled = [encoder.tokenizer.token_bytes(token) for token in encoded.ids.tolist()]
            assert [whole[a:b] for a, b in zip(encoded.begins, encoded.ends, strict=True)] == spelled
            ends = np.array([len(text[:place].encode()) for place in range(len(text) + 1)])
            assert encoded.places(np.arange(len(text) + 1)).tolist() == ends.tolist()
