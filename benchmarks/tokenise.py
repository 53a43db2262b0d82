"""Conversations per second to token ids and loss mask, verified and written to disk: ours and TRL's `SFTTrainer`.

All use the same tokenizer (byte-level BPE with Qwen's special tokens), the same ChatML template with the generation
tags that TRL needs, and the same conversations: GSM8K's training split if the data folder has it, else conversations of
the built-in world. TRL prepares its dataset with `assistant_only_loss=True`, in one process (its default) and in two.
The run fails if token ids or loss masks differ.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from common import Measurement, argument_parser, data_folder, measure_in_turn, print_comparison
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tutelage import tokenizer as ours
from tutelage.batching.datasets import SplitLedgers, conversation_groups, open_or_write
from tutelage.chat import ChatConfig
from tutelage.chat.render.hf import HFRenderer
from tutelage.records import Conversation, message
from tutelage.world import World
from tutelage.world.society import WorldSettings

CONVERSATIONS, VOCABULARY, CONTEXT = 7000, 8192, 4096
GSM8K = "gsm8k/train.jsonl.gz"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PRE_TOKEN = (
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


def conversations() -> list[tuple[str, str]]:
    """Questions and answers, the same in every process."""
    if (data_folder() / GSM8K).exists():
        with gzip.open(data_folder() / GSM8K, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in islice(lines, CONVERSATIONS)]
        return [(row["question"], row["answer"]) for row in rows]
    chats = (row.messages[:2] for row in World(WorldSettings(people=4000)).conversations("train"))
    pairs = (chat for chat in chats if [message.role for message in chat] == ["user", "assistant"])
    return [(question.text, answer.text) for question, answer in islice(pairs, CONVERSATIONS)]


def make_tokenizer(rows: Iterable[tuple[str, str]]) -> Tokenizer:
    """Trained on these conversations, with Qwen's pre-tokenizer pattern."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKEN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator((text for row in islice(rows, 2000) for text in row), trainer)
    bpe.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    return bpe


def digest(examples: Iterable[tuple[np.ndarray, np.ndarray]]) -> str:
    """A hash of the token ids and the loss mask of every example."""
    sha = hashlib.sha256()
    for ids, mask in examples:
        sha.update(np.asarray(ids, np.int64).tobytes() + np.asarray(mask, bool).tobytes())
    return sha.hexdigest()


def measure_ours(_quick: bool) -> Measurement:
    """`conversation_groups` with verification, into a store on disk, as in a training run."""
    rows = conversations()
    backend = make_tokenizer(rows)
    source = ChatConfig(TEMPLATE, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    chats = [Conversation((message("user", question), message("assistant", answer))) for question, answer in rows]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        renderer = HFRenderer(ours.Tokenizer(backend), source)
        ledgers = SplitLedgers.of("chats")
        groups = conversation_groups(chats, renderer, CONTEXT, 0.0, "assistant", "error", 0.0, ledgers)
        store = open_or_write(Path(folder), ["chats"], groups, ledgers).train
        seconds = time.perf_counter() - start
        examples = [store.group(number)[0] for number in range(len(store))]
        tokens = digest((example.tokens, np.asarray(example.weights) > 0) for example in examples)
    return {"value": len(rows) / seconds, "tokens": tokens}


def measure_trl(_quick: bool, processes: int | None) -> Measurement:
    """Only `SFTTrainer`'s dataset preparation: from messages to token ids and labels."""
    from datasets import Dataset, disable_caching
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    disable_caching()
    rows = conversations()
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
        start = time.perf_counter()
        prepared = prepare(*arguments, **named)
        seconds += time.perf_counter() - start
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
        tokens = digest((row["input_ids"], row["labels"] != -100) for row in prepared)
    return {"value": len(rows) / seconds, "tokens": tokens}


if __name__ == "__main__":
    roles = {
        "ours": measure_ours,
        "TRL": partial(measure_trl, processes=None),
        "TRL, 2 processes": partial(measure_trl, processes=2),
    }
    arguments = argument_parser(rounds=3, quick_rounds=2).parse_args()
    measured = measure_in_turn(roles, arguments, unit="conversations/s")
    digests = {measurement["tokens"] for rounds in measured.values() for measurement in rounds}
    assert len(digests) == 1, "token ids or loss masks differ"
    print_comparison(measured, arguments, name="tokenise", unit="conversations/s", main_peer="TRL")
