from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from tutelage.chat.render.documents import render_document
from tutelage.engine.stream_decoder import StreamDecoder
from tutelage.tokenizer import END_OF_TEXT, EncodingError, Tokenizer, TokenizerSettings, load, train

WORDS = "the Cat sat on 12 mats, and it's 3.5 metres wide!\r\n\tWhy? Ça va très bien; 你好 🙂 \n\n"
TEXTS = [WORDS * 3, WORDS.upper(), "def f(x):\n    return x + 1\n"] * 5
BPE = train(TEXTS, TokenizerSettings(vocab=400))
CHAR = train(["hello world\n"], TokenizerSettings(kind="char"), ())
SPECIALS = ("<|user|>", "<|/think|>", END_OF_TEXT, "[x y]", "é<>")


def valid_text() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=("Cs",)))


@settings(max_examples=300, deadline=None)
@given(valid_text())
@example("")
@example(" \x00 \x1f\x7f\u200d ")
@example("  two  spaces  \r\n\r\n\n \t\u00a0\u2003x ")
@example("e\u0301 n\u0303\u0323 \u0300start 👩‍👩‍👧‍👦🇩🇪 \ufffd \ufeff \U0010ffff")
@example("1234567890 3.14 ½ ٣ it's 'tis ’ll '''")
def test_bpe_gives_every_text_back(text: str) -> None:
    ids, offsets = BPE.encode_with_offsets(text)
    assert BPE.decode(ids) == text
    assert np.array_equal(ids, BPE.encode(text))
    assert not set(ids.tolist()) & set(BPE.special_tokens.values())
    decoder = StreamDecoder(BPE)
    assert "".join(decoder.push(int(token)) for token in ids) == text
    assert decoder.flush() == ""
    # Together the tokens cover the text from left to right without a hole; two may share one character.
    assert offsets.shape == (len(ids), 2)
    assert sorted({place for start, stop in offsets.tolist() for place in range(start, stop)}) == list(range(len(text)))
    assert (np.diff(offsets[:, 0]) >= 0).all()
    spelled = [BPE.token_bytes(token) for token in ids.tolist()]
    assert b"".join(spelled) == (b" " + text.encode() if text else b"")
    for place, (start, stop) in enumerate(offsets.tolist()):
        text_bytes = spelled[place] if place else spelled[place][1:]
        assert text_bytes in text[start:stop].encode()
        assert (start < stop) == bool(text_bytes)
        assert text_bytes or (start, stop) == (0, 0)


@settings(deadline=None)
@given(valid_text(), st.sampled_from(["\x00", " ", "a", "é", "🙂"]))
def test_ids_encode_their_own_text_and_no_other(text: str, more: str) -> None:
    for tokenizer in (BPE, Tokenizer(foreign_sentencepiece()), Tokenizer(foreign_byte_level())):
        ids = tokenizer.encode(text)
        assert tokenizer.encodes(ids, text)
        assert not tokenizer.encodes(ids, text + more)
        assert not tokenizer.encodes(np.append(ids, tokenizer.encode(more)), text)
    space = BPE.encode("1")[:1]
    assert not BPE.encodes(space, "")  # which decode cannot tell
    assert not BPE.encodes(BPE.encode("1")[1:], "1")
    assert not BPE.encodes([BPE.encode("ñ")[-1]], "\ufffd")
    assert not BPE.encodes([], "\ud83d")


def test_a_word_is_the_same_token_at_the_start_of_a_text_and_inside() -> None:
    assert BPE.encode("Cat the Cat").tolist() == [*BPE.encode("Cat"), *BPE.encode("the"), *BPE.encode("Cat")]
    assert [BPE.token_text(token) for token in BPE.encode("the")] == [" the"]
    for text, spans in {"1": [[0, 0], [0, 1]], "\n": [[0, 0], [0, 1]], " 1": [[0, 0], [0, 1], [1, 2]], "": []}.items():
        assert BPE.encode_with_offsets(text)[1].tolist() == spans


@given(st.text("helo wrd\n"))
def test_characters_give_every_text_back(text: str) -> None:
    ids, offsets = CHAR.encode_with_offsets(text)
    assert CHAR.decode(ids) == text
    assert [text[start:stop] for start, stop in offsets.tolist()] == list(text)
    if text:
        assert ids.tolist() == CHAR.backend.encode(text, add_special_tokens=False).ids


def test_characters_are_numbered_from_zero_in_order_and_specials_follow() -> None:
    assert CHAR.vocab_size == len(set("hello world\n")) == 9
    assert CHAR.encode("\n dehlorw").tolist() == list(range(9))
    assert CHAR.special_tokens == {}
    assert CHAR.extend(["<|a|>", "<|b|>"]).special_tokens == {"<|a|>": 9, "<|b|>": 10}


def test_a_character_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(
        EncodingError, match=r"text 1, character 3: 'z' \(U\+007A\) is not in .*kind = \"bpe\""
    ) as error:
        CHAR.encode_batch(["hell", "helz"])
    assert error.value.row == 1
    for text in ("🙂", "\U0010ffff", "\x00"):
        with pytest.raises(EncodingError, match="character 0"):
            CHAR.encode(text)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


@pytest.mark.parametrize("tokenizer", [BPE, CHAR])
def test_a_lone_surrogate_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(EncodingError, match=r"text 1, character 2: .*U\+D83D"):
        tokenizer.encode_batch(["he", "he\ud83d"])
    with pytest.raises(EncodingError, match="character 0"):
        tokenizer.encode_with_offsets("\udfff")
    with pytest.raises(EncodingError, match=r"text 1, character 0: a lone surrogate"):
        train(["he", "\ud83d"], TokenizerSettings(kind="char" if tokenizer is CHAR else "bpe"))


@settings(max_examples=60, deadline=None)
@given(valid_text(), st.sampled_from(SPECIALS), valid_text())
def test_text_never_yields_a_special_token(before: str, name: str, after: str) -> None:
    text = before + name + after
    for tokenizer in (EXTENDED, pickle.loads(pickle.dumps(EXTENDED))):
        ids = tokenizer.encode(text)
        assert not set(ids.tolist()) & set(tokenizer.special_tokens.values())
        assert np.array_equal(ids, BPE.encode(text))
        assert np.array_equal(ids, tokenizer.encode_with_offsets(text)[0])
        assert tokenizer.decode(ids) == text


EXTENDED = BPE.extend(SPECIALS)


def test_specials_stay_characters_after_loading_and_copying(tmp_path: Path) -> None:
    EXTENDED.save(tmp_path)
    characters = CHAR.extend(["hello"])
    assert characters.encode("hello").tolist() == CHAR.encode("hello").tolist()
    for tokenizer in (load(tmp_path), load(tmp_path / "tokenizer.json"), EXTENDED.extend(["<|more|>"])):
        assert tokenizer.decode(tokenizer.encode("<|user|>")) == "<|user|>"
        assert tokenizer.special("<|user|>") not in tokenizer.encode("<|user|>")


def test_extension_keeps_every_id() -> None:
    assert EXTENDED.special_tokens[END_OF_TEXT] == BPE.special_tokens[END_OF_TEXT] == BPE.vocab_size - 1
    assert list(EXTENDED.special_tokens.items())[1:] == [
        (name, BPE.vocab_size + place) for place, name in enumerate(name for name in SPECIALS if name != END_OF_TEXT)
    ]
    assert EXTENDED.vocab_size == BPE.vocab_size + len(SPECIALS) - 1
    assert [EXTENDED.token_bytes(i) for i in range(BPE.vocab_size)] == [
        BPE.token_bytes(i) for i in range(BPE.vocab_size)
    ]
    assert EXTENDED.extend(SPECIALS).fingerprint() == EXTENDED.fingerprint() != BPE.fingerprint()
    assert EXTENDED.decode([*BPE.encode("é"), EXTENDED.special("é<>")]) == "éé<>"


@pytest.mark.parametrize("name", ["", "the", "h"])
def test_an_ordinary_token_cannot_become_special(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a special token"):
        (CHAR if name == "h" else BPE).extend([name])


def test_an_unknown_special_token_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no special token <\|users\|>; did you mean <\|user\|>\?"):
        EXTENDED.special("<|users|>")
    with pytest.raises(ValueError, match="it has none"):
        CHAR.special("<|user|>")


def test_digits_and_bytes() -> None:
    assert [BPE.token_text(i) for i in BPE.encode("12 345")] == [" ", "1", "2", " ", "3", "4", "5"]
    assert {BPE.token_bytes(i) for i in range(256)} == {bytes([byte]) for byte in range(256)}
    assert "the" in {BPE.token_text(i) for i in range(256, BPE.vocab_size)}


def test_numbers_in_groups_of_digits() -> None:
    tokenizer = train(["born in 1950", "in 1950 and 12 345 678"] * 20, TokenizerSettings(vocab=300, digits=4))
    assert [tokenizer.decode([token]) for token in tokenizer.encode("1950")][-1] == "1950"
    assert "19501" not in {tokenizer.decode([token]) for token in tokenizer.encode("19501950")}, "at most four"
    assert tokenizer.decode(tokenizer.encode("x 19501 ½ 7")) == "x 19501 ½ 7"
    with pytest.raises(ValueError, match="digits is 0"):
        TokenizerSettings(digits=0)


def test_stream_decoder_holds_back_incomplete_characters() -> None:
    ids = BPE.encode("ñ🦉").tolist()
    decoder = StreamDecoder(BPE)
    shown = [decoder.push(token) for token in ids[:-1]]
    assert "".join(shown) == "ñ"
    assert decoder.flush() == "\ufffd"
    assert decoder.push(ids[-1]) + decoder.flush() == "\ufffd"
    assert "".join(map(decoder.push, BPE.encode(" a").tolist())) == " a"


@settings(deadline=None)
@given(st.lists(st.integers(0, BPE.vocab_size - 1)))
def test_streaming_gives_the_same_text_as_decoding(ids: list[int]) -> None:
    decoder = StreamDecoder(BPE)
    assert "".join(map(decoder.push, ids)) + decoder.flush() == BPE.decode(ids)
    assert BPE.decode(np.array(ids, np.int32)) == BPE.backend.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("token", [-1, BPE.vocab_size])
def test_an_id_outside_the_vocabulary_is_refused(token: int) -> None:
    with pytest.raises(ValueError, match=f"id {token} is outside the tokenizer's vocabulary of {BPE.vocab_size}"):
        BPE.decode([0, token])


@pytest.mark.parametrize("tokenizer", [BPE, EXTENDED, CHAR, CHAR.extend(["<|user|>"])])
def test_save_and_load_keep_everything(tokenizer: Tokenizer, tmp_path: Path) -> None:
    file = tokenizer.save(tmp_path / "new")
    again = load(tmp_path / "new")
    assert [path.name for path in file.parent.iterdir()] == ["tokenizer.json"]
    assert again.fingerprint() == tokenizer.fingerprint()
    assert again.special_tokens == tokenizer.special_tokens
    assert again.vocab_size == tokenizer.vocab_size
    assert np.array_equal(again.encode("hello"), tokenizer.encode("hello"))
    assert all(token["special"] for token in json.loads(file.read_text())["added_tokens"])


@pytest.mark.parametrize("tokenizer", [EXTENDED, CHAR.extend(["<|user|>"])])
def test_transformers_reads_the_file_alike(tokenizer: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tokenizer.save(tmp_path)))
    text = "hello" if tokenizer is not EXTENDED else WORDS
    ids = [tokenizer.special("<|user|>"), *tokenizer.encode(text).tolist()]
    assert theirs.decode(ids) == tokenizer.decode(ids)
    assert theirs.decode(ids[1:]) == tokenizer.decode(ids[1:]) == text
    assert theirs.encode(text, add_special_tokens=False) == ids[1:]
    # There special tokens are found in text; what stands between two of them is encoded as a text of its own there too.
    assert theirs.encode(f"<|user|>{text}<|user|>{text}", add_special_tokens=False) == ids * 2
    assert len(theirs) == tokenizer.vocab_size


def test_training_is_deterministic_across_processes(tmp_path: Path) -> None:
    program = (
        "import sys; from tutelage.tokenizer import *;"
        "train(iter([open(sys.argv[1], newline='').read()] * 5), TokenizerSettings(vocab=350)).save(sys.argv[2])"
    )
    (tmp_path / "text").write_text(WORDS, newline="")
    for run in "ab":
        subprocess.run([sys.executable, "-c", program, tmp_path / "text", tmp_path / run], check=True)
    content = (tmp_path / "a/tokenizer.json").read_bytes()
    assert content == (tmp_path / "b/tokenizer.json").read_bytes()
    here = train((WORDS for _ in range(5)), TokenizerSettings(vocab=350)).save(tmp_path / "c")
    assert content == here.read_bytes()


def test_vocab_counts_special_tokens() -> None:
    assert train(TEXTS, TokenizerSettings(vocab=300), ("<|a|>", "<|b|>")).vocab_size == 300
    assert train(["ab"], TokenizerSettings(vocab=257)).vocab_size == 257
    with pytest.raises(ValueError, match="vocab = 256 is too small .* set vocab to 257 or more"):
        train(TEXTS, TokenizerSettings(vocab=256))
    with pytest.raises(ValueError, match="vocab = 100 is too small"):
        TokenizerSettings(vocab=100)
    with pytest.raises(ValueError, match="listed twice"):
        train(TEXTS, TokenizerSettings(), ("<|a|>", "<|a|>"))
    with pytest.raises(ValueError, match="no text"):
        train([], TokenizerSettings(kind="char"))


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tokenizer\.json: no tokenizer here"):
        load(tmp_path)
    for content in ("", "{", "[]", "{}", '{"model": 3}', BPE.backend.to_str()[:-50]):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer\.json"):
            load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"tokenizer\.json: cannot be read"):
        load(tmp_path)


def test_added_tokens_that_leave_a_gap_are_refused(tmp_path: Path) -> None:
    content = json.loads(EXTENDED.backend.to_str())
    content["added_tokens"][-1]["id"] += 7
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="leaves a gap"):
        load(tmp_path)


def foreign_sentencepiece() -> tokenizers.Tokenizer:
    """A tokenizer in the manner of Llama 2: "▁" for a space, single bytes as a last resort."""
    pieces = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "h", "i", "▁h", "▁hi"]
    merges = [("▁", "h"), ("▁h", "i")]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    backend = tokenizers.Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<unk>", "<s>"])
    return backend


def foreign_byte_level() -> tokenizers.Tokenizer:
    """A tokenizer in the manner of GPT-2: the same vocabulary, and no space before a text."""
    backend = tokenizers.Tokenizer.from_str(BPE.backend.to_str())
    backend.normalizer = None
    backend.decoder = decoders.ByteLevel()
    return backend


@settings(deadline=None)
@given(valid_text())
@example(" the")
@example("the")
def test_a_foreign_byte_level_tokenizer_keeps_every_space(text: str) -> None:
    tokenizer = Tokenizer(foreign_byte_level())
    ids, offsets = tokenizer.encode_with_offsets(text)
    decoder = StreamDecoder(tokenizer)
    assert tokenizer.decode(ids) == "".join(map(decoder.push, ids.tolist())) == text
    assert (offsets[:, 0] < offsets[:, 1]).all()


def test_a_foreign_tokenizer_loads_and_streams(tmp_path: Path) -> None:
    backend = foreign_sentencepiece()
    backend.enable_truncation(3)
    backend.enable_padding(length=10)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load(tmp_path)
    text = "hi hi é🙂<s> h"
    ids = tokenizer.encode(text)
    assert len(ids) > 10  # neither cut nor padded
    assert tokenizer.special("<s>") not in ids
    assert tokenizer.decode(ids) == text
    decoder = StreamDecoder(tokenizer)
    shown = [decoder.push(token) for token in ids.tolist()]
    assert "".join(shown) + decoder.flush() == text
    assert "🙂" in shown
    assert tokenizer.token_text(int(ids[1])) == " hi"
    assert b"".join(map(tokenizer.token_bytes, ids.tolist())) == (" " + text).encode()
    assert tokenizer.extend(["<|user|>"]).special("<|user|>") == tokenizer.vocab_size


def test_pain_e6_documents_open_with_the_tokens_that_the_tokenizers_template_adds() -> None:
    """Without BOS a model that was trained with it predicts next to nothing: Gemma's perplexity is 5.9e9, not 3.46."""
    backend = foreign_sentencepiece()
    bos = backend.token_to_id("<s>")
    assert [edge.tolist() for edge in Tokenizer(backend).document_edges] == [[], []]
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    tokenizer = Tokenizer(backend)
    assert [edge.tolist() for edge in tokenizer.document_edges] == [[bos], []]
    rendered = render_document("hi hi", tokenizer, spans=True)
    assert rendered.ids.tolist() == [bos, *tokenizer.encode("hi hi").tolist()]
    assert rendered.weights.tolist() == [0, *[1] * (len(rendered.ids) - 1)]
    assert rendered.spans is not None and rendered.spans[0].tolist() == [-1] * 4 and rendered.spans[1, 0] == 0
    backend.post_processor = processors.TemplateProcessing(single="<s> $A <s>", special_tokens=[("<s>", bos)])
    assert [edge.tolist() for edge in Tokenizer(backend).document_edges] == [[bos], [bos]]


def test_documents_of_a_tokenizer_without_a_template_stand_between_ends_of_text() -> None:
    trained = train(["one two three"] * 9, TokenizerSettings(vocab=300))
    end = trained.special(END_OF_TEXT)
    assert [edge.tolist() for edge in trained.document_edges] == [[end], [end]]
    characters = train(["abc"], TokenizerSettings(kind="char"), ())
    assert [edge.tolist() for edge in characters.document_edges] == [[], []]


def test_a_vocabulary_that_spells_its_special_tokens_refuses_such_text() -> None:
    backend = tokenizers.Tokenizer(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("s", -3.0), ("<", -3.0)], unk_id=0))
    backend.add_special_tokens(["</s>"])
    with pytest.raises(EncodingError, match="text 1, character 1: it spells the special token </s>"):
        Tokenizer(backend).encode_batch(["s", "s</s>"])


def test_a_word_level_tokenizer_is_not_taken_for_one_of_characters() -> None:
    backend = tokenizers.Tokenizer(models.WordLevel({"a": 0, "ab": 1}))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    assert Tokenizer(backend).encode("ab a").tolist() == [1, 0]
