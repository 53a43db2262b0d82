from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.hf import HFRenderer
from tutelage.records import Conversation, Message, Reasoning, Text, ToolCall, ToolResult
from tutelage.tokenizer import Tokenizer

# What the templates that are tried write as tokens of their own.
SPECIAL = re.compile(
    r"<\|[^<>\s|]+\|?>|<[a-z_]+\|>|<｜[^<>｜\s]+｜>|<(?:start|end)_of_turn>|<end_of_utterance>|<sop>|\[gMASK\]"
    r"|</?s>|<(?:bos|eos)>"
)
TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.",
    "You are a helpful assistant. Think step by step, then give the final answer to the user.",
    "def add(first, second):\n    return first + second\n\nprint(add(2, 3))  # 5\n",
    "Natalia sold 48/2 = 24 clips in May, so she sold 48 + 24 = 72 clips altogether.",
    '{"name": "weather", "arguments": {"city": "Bern", "days": 3}}',
    "Größe, naïve, Ελλάδα, 日本語, 🙂: these are words too.",
] * 4

Make = Callable[..., HFRenderer]


@functools.cache
def backend(kind: str) -> Backend:
    """A small tokenizer without special tokens, of one of the kinds that checkpoints have.

    "bytes": byte-level BPE, as from GPT-2 to Llama 3. "nfc": the same after NFC, as Qwen has it. "pieces": BPE over
    characters with a space before every text and bytes for what it does not know, as Llama 2, Mistral and Phi-3 have.
    "gemma": the same without that space. "unigram": SentencePiece's other model, which knows its characters alone.
    """
    if kind in ("bytes", "nfc"):
        made = Backend(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        made.normalizer = normalizers.NFC() if kind == "nfc" else None
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
        made.train_from_iterator(TEXTS, trainer)
        return made
    if kind == "unigram":
        made = Backend(models.Unigram())
        made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        known = {"unk_token": "<unk>", "special_tokens": ["<unk>"]}
        made.train_from_iterator(TEXTS, trainers.UnigramTrainer(vocab_size=300, show_progress=False, **known))
        return made
    made = Backend(models.BPE())
    spaced = normalizers.Replace(" ", "▁")
    made.normalizer = spaced if kind == "gemma" else normalizers.Sequence([normalizers.Prepend("▁"), spaced])
    if kind == "gemma":
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    plain = json.loads(made.to_str())
    vocab = plain["model"]["vocab"]
    for name in ("<unk>", *(f"<0x{byte:02X}>" for byte in range(256))):
        vocab.setdefault(name, len(vocab))
    plain["model"] |= {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True}
    made = Backend.from_str(json.dumps(plain))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence(steps if kind == "gemma" else [*steps, decoders.Strip(" ", 1, 0)])
    return made


@pytest.fixture(scope="session")
def make() -> Make:
    """A renderer for a template: its tokenizer has the special tokens that the template names, and `more`. Those named
    in `swallow` take the white space after them for a part of themselves, as Phi-3's do."""

    def renderer(
        template: str,
        bos: str = "<s>",
        eos: str = "</s>",
        more: tuple[str, ...] = (),
        kind: str = "bytes",
        swallow: tuple[str, ...] = (),
    ) -> HFRenderer:
        made = Backend.from_str(backend(kind).to_str())
        names = dict.fromkeys([*SPECIAL.findall(template), *filter(None, (bos, eos)), *more])
        made.add_special_tokens(
            [AddedToken(name, special=True, normalized=False, rstrip=name in swallow) for name in names]
        )
        tokens = {"bos_token": bos, "eos_token": eos}
        return HFRenderer(Tokenizer(made), ChatConfig(template, {k: v for k, v in tokens.items() if v}))

    return renderer


@pytest.fixture(scope="session")
def openai() -> Callable[[Conversation, bool], list[dict[str, Any]]]:
    """A conversation as other programs hold it, written independently of our code; content as text or in parts."""

    def messages(conversation: Conversation, in_parts: bool = False) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for number, one in enumerate(conversation.messages):
            row: dict[str, Any] = {"role": one.role, "content": _joined(one, Text) or _joined(one, ToolResult)}
            if thought := _joined(one, Reasoning):
                row["reasoning_content"] = row["thinking"] = thought
            calls = [part for part in one.content if isinstance(part, ToolCall)]
            if calls:
                row["tool_calls"] = [
                    {
                        "id": f"{number:05d}{place:04d}",
                        "type": "function",
                        "function": {"name": call.name, "arguments": json.loads(call.arguments)},
                    }
                    for place, call in enumerate(calls)
                ]
            if one.role == "tool":
                asked = next(m for m in reversed(rows) if m["role"] == "assistant")["tool_calls"]
                call = asked[sum(1 for m in rows[-len(asked) :] if m["role"] == "tool")]
                row |= {"name": call["function"]["name"], "tool_call_id": call["id"]}
            if in_parts:
                row["content"] = [{"type": "text", "text": row["content"]}] if row["content"] else []
            rows.append(row)
        return rows

    return messages


def _joined(one: Message, kind: type) -> str:
    return "".join(part.text for part in one.content if isinstance(part, kind))
