"""Tokenizers in GGUF files: byte-level BPE, which llama.cpp calls "gpt2"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from tutelage.chat import ChatConfig
from tutelage.tokenizer import Tokenizer

# Kinds of token in llama.cpp.
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

_TAIL = r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "use_regex": use_regex}


def _split(regex: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(False)]}


# llama.cpp's names for pre-tokenizers, and what they are in a tokenizer.json.
PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt-2": _byte_level(True),
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, _byte_level(True)],
    },
    "qwen2": _split(_WORDS + _TAIL),
    "llama-bpe": _split(_WORDS + _TAIL.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)),
}
_STOP_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")


def write_vocabulary(tokenizer: Tokenizer, chat: ChatConfig, rows: int) -> dict[str, Any]:
    """A tokenizer, its chat template and its stop tokens under llama.cpp's keys, without "tokenizer."; `rows` is the
    size of the embedding, where rows without a token get a name of their own.

    Raises:
        ValueError: llama.cpp would encode text differently, or has no place for so many stop tokens.
    """
    table = json.loads(tokenizer.backend.to_str())
    pre = _pre_tokenizer(table)
    added = {entry["id"]: entry for entry in table["added_tokens"]}
    names = {number: name for name, number in table["model"]["vocab"].items()}
    names |= {number: entry["content"] for number, entry in added.items()}
    kinds = [
        UNUSED if i not in names else NORMAL if i not in added else CONTROL if added[i]["special"] else USER_DEFINED
        for i in range(rows)
    ]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in table["model"]["merges"]]
    entries: dict[str, Any] = {
        "ggml.model": "gpt2",
        "ggml.pre": pre,
        "ggml.tokens": [names.get(i, f"[PAD{i}]") for i in range(rows)],
        "ggml.token_type": kinds,
        "ggml.merges": merges,
        "ggml.add_bos_token": _adds_bos(tokenizer, chat),
    }
    stops = stop_ids(tokenizer, chat)
    if len(stops) > len(_STOP_KEYS):
        raise ValueError(f"the model has {len(stops)} stop tokens, but GGUF has places for {len(_STOP_KEYS)}")
    entries |= {f"ggml.{key}": number for key, number in zip(_STOP_KEYS, stops, strict=False)}
    for name, key in (
        ("bos_token", "bos_token_id"),
        ("unk_token", "unknown_token_id"),
        ("pad_token", "padding_token_id"),
    ):
        number = tokenizer.backend.token_to_id(chat.token(name)) if chat.token(name) else None
        if number is not None:
            entries[f"ggml.{key}"] = number
    if chat.template is not None:
        entries["chat_template"] = chat.template
    return entries


def stop_ids(tokenizer: Tokenizer, chat: ChatConfig) -> list[int]:
    """The tokens that end an answer: those of the generation config, else the tokenizer's end of text."""
    named = chat.generation_config.get("eos_token_id")
    if named is None and chat.token("eos_token"):
        named = tokenizer.backend.token_to_id(chat.token("eos_token"))
    return [] if named is None else [named] if isinstance(named, int) else list(named)


def read_vocabulary(entries: Mapping[str, Any]) -> tuple[Tokenizer, ChatConfig]:
    """The tokenizer and the chat settings of a file, from its entries without "tokenizer.".

    Raises:
        ValueError: it is of a kind that is not supported.
    """
    kind, pre = entries.get("ggml.model"), entries.get("ggml.pre", "gpt-2")
    if kind != "gpt2" or pre not in PRE_TOKENIZERS:
        known = ", ".join(PRE_TOKENIZERS)
        raise ValueError(
            f"its tokenizer '{kind}' with pre-tokenizer '{pre}' is not supported; supported: gpt2 with {known}"
        )
    tokens, kinds = entries["ggml.tokens"], entries.get("ggml.token_type")
    kinds = kinds or [NORMAL] * len(tokens)
    vocab = {token: number for number, token in enumerate(tokens) if kinds[number] != UNUSED}
    merges = [tuple(merge.split(" ")) for merge in entries["ggml.merges"]]
    backend = tokenizers.Tokenizer(models.BPE(vocab, merges, ignore_merges=pre == "llama-bpe"))
    backend.pre_tokenizer = _from_json(PRE_TOKENIZERS[pre])
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([_added(token) for token, number in vocab.items() if kinds[number] == CONTROL])
    backend.add_tokens([_added(token) for token, number in vocab.items() if kinds[number] == USER_DEFINED])
    places = {"bos_token": "bos_token_id", "eos_token": "eos_token_id", "unk_token": "unknown_token_id"}
    places |= {"pad_token": "padding_token_id"}
    config = {name: tokens[entries[f"ggml.{key}"]] for name, key in places.items() if f"ggml.{key}" in entries}
    if entries.get("ggml.add_bos_token") and "bos_token" in config:
        bos = config["bos_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, vocab[bos])]
        )
    stops = [entries[f"ggml.{key}"] for key in _STOP_KEYS if f"ggml.{key}" in entries]
    generation = {"eos_token_id": stops[0] if len(stops) == 1 else stops} if stops else {}
    return Tokenizer(backend), ChatConfig(entries.get("chat_template"), config, generation)


def _pre_tokenizer(table: Mapping[str, Any]) -> str:
    """llama.cpp's name for how a tokenizer cuts text before its merges."""
    found = _relevant(table["pre_tokenizer"])
    # llama.cpp does not normalise; NFC, as in Qwen, changes no text in that form.
    plain = table["normalizer"] is None or table["normalizer"] == {"type": "NFC"}
    name = next((name for name, known in PRE_TOKENIZERS.items() if _relevant(known) == found), None)
    if table["model"]["type"] != "BPE" or not plain or name is None:
        raise ValueError(
            "llama.cpp has no name for this tokenizer's rules, so it would encode text differently; it has one for "
            f"byte-level BPE with the rules of {', '.join(PRE_TOKENIZERS)}"
        )
    return name


def _relevant(value: Any) -> Any:
    """A part of a tokenizer.json without the options that do not change ids."""
    if isinstance(value, dict):
        return {key: _relevant(item) for key, item in value.items() if key != "trim_offsets"}
    return [_relevant(item) for item in value] if isinstance(value, list) else value


def _adds_bos(tokenizer: Tokenizer, chat: ChatConfig) -> bool:
    bos = tokenizer.backend.token_to_id(chat.token("bos_token")) if chat.token("bos_token") else None
    return bos is not None and tokenizer.backend.encode("a", add_special_tokens=True).ids[:1] == [bos]


def _added(token: str) -> AddedToken:
    return AddedToken(token, normalized=False)


def _from_json(table: Mapping[str, Any]) -> pre_tokenizers.PreTokenizer:
    """A pre-tokenizer from its part of a tokenizer.json."""
    holder = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
    text = json.dumps({**holder, "pre_tokenizer": _with_offsets(table)})
    return tokenizers.Tokenizer.from_str(text).pre_tokenizer


def _with_offsets(value: Any) -> Any:
    """Adds the option that `_relevant` removes."""
    if isinstance(value, list):
        return [_with_offsets(item) for item in value]
    if not isinstance(value, dict):
        return value
    extra = {"trim_offsets": True} if value.get("type") == "ByteLevel" else {}
    return {key: _with_offsets(item) for key, item in value.items()} | extra
