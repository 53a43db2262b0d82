"""Conversations a second to tokens and loss mask, proven and written to disk: ours against TRL's `SFTTrainer`.

The same tokenizer (byte-level BPE with Qwen's special tokens), the same ChatML template with what TRL needs in it to
find the answers, the same conversations: GSM8K's training part where the folder of data has it, else conversations of
the built-in world. TRL prepares its data set with `assistant_only_loss=True`, in one process, which is its default, and
in two. All must find the same tokens and grade the same answers, or the run fails.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from common import Measured, measure_in_turn, print_lines
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tutelage.batching.sources import conversation_groups, open_or_write

from tutelage import tokenizer as ours
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.hf import HFRenderer
from tutelage.ledger import Ledger
from tutelage.records import Conversation, message
from tutelage.world import World
from tutelage.world.society import WorldSettings

CONVERSATIONS, VOCABULARY, CONTEXT = 7000, 8192, 4096
GSM8K = "gsm8k/train.jsonl.gz"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = """\
{%- if messages[0].role != 'system' %}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}
        {{- message.content + '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def conversations(quick: bool) -> list[tuple[str, str]]:
    """Questions and answers, the same in every process."""
    folder = Path(os.environ.get("TUTELAGE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    count = 200 if quick else CONVERSATIONS
    if (folder / GSM8K).exists():
        with gzip.open(folder / GSM8K, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in islice(lines, count)]
        return [(row["question"], row["answer"]) for row in rows]
    turns = (row.messages for row in World(WorldSettings(people=4000)).conversations("train"))
    pairs = ((m[0].text, m[1].text) for m in turns if [one.role for one in m[:2]] == ["user", "assistant"])
    return list(islice(pairs, count))


def make_tokenizer(rows: Iterable[tuple[str, str]]) -> Tokenizer:
    """Trained on what is tokenised, with the pattern that Qwen cuts with."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator((text for row in islice(rows, 2000) for text in row), trainer)
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    return made


def digest(examples: Iterable[tuple[np.ndarray, np.ndarray]]) -> str:
    """A hash of the tokens of every example, and of those that are graded."""
    hashed = hashlib.sha256()
    for ids, graded in examples:
        hashed.update(np.asarray(ids, np.int64).tobytes() + np.asarray(graded, bool).tobytes())
    return hashed.hexdigest()


def measure_ours(quick: bool) -> Measured:
    """`conversation_groups`, each conversation proven, into a store on disk, as a training run has it."""
    rows = conversations(quick)
    backend = make_tokenizer(rows)
    source = ChatConfig(TEMPLATE, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    chats = [Conversation((message("user", asked), message("assistant", said))) for asked, said in rows]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        renderer = HFRenderer(ours.Tokenizer(backend), source)
        ledger = Ledger("chats")
        units = conversation_groups(chats, renderer, CONTEXT, "train", 0.0, "assistant", "error", 0.0, ledger)
        store = open_or_write(Path(folder), ["chats"], units, ledger)
        seconds = time.perf_counter() - began
        examples = [store.group(number)[0] for number in range(len(store))]
        found = digest((one.tokens, np.asarray(one.weights) > 0) for one in examples)
    return {"figure": len(rows) / seconds, "tokens": found}


def measure_trl(quick: bool, processes: int | None) -> Measured:
    """`SFTTrainer`'s preparation of its data set, alone: from messages to token ids and labels."""
    from datasets import Dataset, disable_caching
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    disable_caching()
    rows = conversations(quick)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(rows), chat_template=TEMPLATE, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    roles = ("user", "assistant")
    chats = [{"messages": [{"role": r, "content": t} for r, t in zip(roles, row, strict=True)]} for row in rows]
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    seconds = 0.0
    prepare = SFTTrainer._prepare_dataset

    def timed(*arguments: object, **named: object) -> Dataset:
        nonlocal seconds
        began = time.perf_counter()
        prepared = prepare(*arguments, **named)
        seconds += time.perf_counter() - began
        return prepared

    SFTTrainer._prepare_dataset = timed
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder, assistant_only_loss=True, dataset_num_proc=processes, max_length=CONTEXT,
            report_to="none", use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        trainer = SFTTrainer(
            LlamaForCausalLM(config), args=arguments, train_dataset=Dataset.from_list(chats), processing_class=tokenizer
        )
        prepared = trainer.train_dataset.with_format("numpy")
        found = digest((row["input_ids"], row["labels"] != -100) for row in prepared)
    return {"figure": len(rows) / seconds, "tokens": found}


if __name__ == "__main__":
    roles = {
        "ours": measure_ours,
        "TRL": partial(measure_trl, processes=None),
        "TRL, 2 processes": partial(measure_trl, processes=2),
    }
    measured = measure_in_turn(roles, rounds=3, unit="conversations/s")
    assert len({one["tokens"] for rounds in measured.values() for one in rounds}) == 1, "they do not train the same"
    print_lines(measured, name="tokenise", unit="conversations/s", binding="TRL")
