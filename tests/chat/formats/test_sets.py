"""Real files: what is kept and what is broken, counted, after a look at them by eye."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tutelage.chat.formats import find_format, read_conversations, read_preferences
from tutelage.chat.formats.tools import NOT_OFFERED, WITHOUT_CALL
from tutelage.chat.formats.turns import END_MARKER
from tutelage.ledger import Ledger
from tutelage.records import Reasoning, ToolCall, ToolResult, UnpairedPreference

Data = Callable[[str], Path]

NO_ANSWER = "a message that cannot be learned from"
TOOLFORMER = "gpteacher/Toolformer/toolformer"
OUTPUTS = "bbh/code-davinci-002-outputs/code-davinci-002-cot"
FEW_SHOT = "few_shot_template_0-255000.json"
MATH, JUICER, LLAMA = "math_sets", "datajuicer_demos", "llamafactory_demos"
BBH = "boolean_expressions date_understanding multistep_arithmetic_two navigate object_counting word_sorting".split()

# File, format, rows kept, conversations, rows broken by reason.
CONVERSATIONS: list[tuple[str, str, int, int, dict[str, int]]] = [
    ("chat_fixtures/axolotl_conversation.json", "sharegpt", 1, 1, {}),
    ("chat_fixtures/axolotl_conversation.missingturns.json", "sharegpt", 0, 0, {NO_ANSWER: 1}),
    ("chat_fixtures/litgpt_alpaca.json", "alpaca", 23, 23, {}),
    ("chat_fixtures/litgpt_dolly.json", "dolly", 12, 12, {}),
    ("chat_fixtures/litgpt_longform_train.json", "inputs-targets", 17, 17, {}),
    ("chat_fixtures/litgpt_longform_val.json", "inputs-targets", 9, 9, {}),
    ("chat_fixtures/oumi_alpaca_format.json", "alpaca", 2, 2, {}),
    ("chat_fixtures/oumi_alpaca_format.jsonl", "alpaca", 2, 2, {}),
    ("chat_fixtures/oumi_oumi_format.json", "messages", 2, 2, {}),
    ("chat_fixtures/oumi_oumi_format.jsonl", "messages", 2, 2, {}),
    ("chat_fixtures/oumi_vision_language_oumi_format.jsonl", "messages", 0, 0, {"multimodal row": 2}),
    (f"{LLAMA}/alpaca_en_demo.json", "alpaca", 999, 999, {}),
    (f"{LLAMA}/alpaca_zh_demo.json", "alpaca", 1000, 1000, {}),
    (f"{LLAMA}/glaive_toolcall_en_demo.json", "sharegpt", 300, 300, {}),
    (f"{LLAMA}/glaive_toolcall_zh_demo.json", "sharegpt", 300, 300, {}),
    (f"{LLAMA}/identity.json", "alpaca", 91, 91, {}),
    (f"{LLAMA}/reason_tool_use_demo_50.jsonl", "messages", 50, 50, {}),
    (f"{LLAMA}/v1_multimodal_demo.jsonl", "messages", 0, 0, {"multimodal row": 24, "blank line": 1}),
    (f"{LLAMA}/v1_sft_demo.jsonl", "messages", 500, 500, {}),
    ("gpteacher/Roleplay/roleplay-simple-deduped-roleplay-dataset.json.gz", "alpaca", 3146, 3146, {}),
    (f"{TOOLFORMER}-dedupe-only-dataset.json.gz", "alpaca", 7673, 7673, {}),
    (f"{TOOLFORMER}-similarity-0.6-dataset.json.gz", "alpaca", 2396, 2396, {}),
    (f"{TOOLFORMER}-similarity-0.7-dataset.json.gz", "alpaca", 3487, 3487, {}),
    (f"{TOOLFORMER}-similarity-0.8-dataset.json.gz", "alpaca", 4709, 4709, {}),
    (f"{TOOLFORMER}-similarity-0.9-dataset.json.gz", "alpaca", 5959, 5959, {}),
    ("gsm8k/train.jsonl.gz", "question", 7473, 7473, {}),
    ("dolly_hhrlhf_small/dolly_hhrlhf_train_small.jsonl", "prompt-completion", 1000, 1000, {}),
    ("dolly_hhrlhf_small/finetune_example_train.jsonl", "question", 100, 100, {}),
    ("oasst_sample/en_100_tree.jsonl", "oasst", 100, 546, {}),
    ("oasst_sample/en_100_message.jsonl.gz", "oasst", 100, 546, {}),
    ("self_instruct/seed_tasks.jsonl", "self-instruct", 175, 175, {}),
    # 1,400 answers are an end marker and nothing else.
    ("t0_50k/t0_train_50k_by_template.jsonl.zst", "prompt-completion", 53785, 53785, {NO_ANSWER: 1400}),
    ("fastchat/dummy_conversation.json", "sharegpt", 500, 500, {}),
    (f"{MATH}/asdiv/test.jsonl", "question", 2215, 2215, {}),
    (f"{MATH}/cmath/test.jsonl", "question", 600, 600, {}),
    (f"{MATH}/cn_middle_school/test.jsonl", "question", 101, 101, {}),
    (f"{MATH}/college_math/test.jsonl.gz", "question", 2818, 2818, {}),
    (f"{MATH}/mawps/addsub.jsonl", "inputs-targets", 395, 395, {}),
    (f"{MATH}/mawps/multiarith.jsonl", "inputs-targets", 600, 600, {}),
    (f"{MATH}/mawps/singleeq.jsonl", "inputs-targets", 508, 508, {}),
    (f"{MATH}/mawps/singleop.jsonl", "inputs-targets", 562, 562, {}),
    (f"{MATH}/mawps/test.jsonl", "inputs-targets", 2065, 2065, {}),
    (f"{MATH}/sat_math/test.jsonl", "question", 32, 32, {}),
    (f"{MATH}/svamp/test.jsonl", "question", 1000, 1000, {}),
    (f"{JUICER}/data/demo-dataset-chatml.jsonl", "messages", 4, 4, {}),
    # The instruction stands in 'text', and the input of 22 rows is empty.
    (f"{JUICER}/data_visualization_diversity/data/demo-dataset.jsonl", "inputs-targets", 7, 7, {NO_ANSWER: 22}),
    (f"{JUICER}/process_cft_zh_data/data/alpaca-cot.jsonl", "alpaca", 10, 10, {NO_ANSWER: 1}),
    *((f"bbh/bbh/{task}.json", "inputs-targets", 250, 250, {}) for task in BBH),
    *((f"{OUTPUTS}/{task}_{FEW_SHOT}", "inputs-targets", 250, 250, {}) for task in BBH),
]
PREFERENCES: list[tuple[str, int, dict[str, int]]] = [
    ("chat_fixtures/oumi_vision_language_dpo_format.jsonl", 0, {"multimodal row": 3}),
    (f"{LLAMA}/dpo_en_demo.json.gz", 300, {}),
    (f"{LLAMA}/dpo_zh_demo.json", 300, {}),
    (f"{LLAMA}/v1_dpo_demo.jsonl", 10, {}),
    (f"{LLAMA}/kto_en_demo.json", 300, {}),
    ("hh_rlhf/split_give.jsonl.gz", 1463, {"two assistant turns in a row": 8, NO_ANSWER: 2}),
    ("alpaca_eval_pairs/split_give_no_selfinstruct.jsonl.gz", 9891, {NO_ANSWER: 3}),
]
# Nothing of a chat to learn from, and why.
REFUSED: list[tuple[str, str]] = [
    (f"{LLAMA}/c4_demo.jsonl", "no known format (its fields: 'text';"),
    (f"{LLAMA}/dataset_info.json", "no known format (its fields: 'identity',"),
    (f"{LLAMA}/dpo_en_demo.json.gz", "no known format (these are preferences, not conversations)"),
    (f"{LLAMA}/kto_en_demo.json", "an answer with a label (its label says whether it is good"),
    ("chat_fixtures/oumi_vision_language_dpo_format.jsonl", "no known format (these are preferences"),
    ("hh_rlhf/split_give.jsonl.gz", "no known format (these are preferences"),
    ("alpaca_eval_pairs/split_give_no_selfinstruct.jsonl.gz", "no known format (these are preferences"),
    ("dolly_hhrlhf_small/arxiv.jsonl.gz", "no known format (its fields: 'text', 'meta';"),
    ("oasst_sample/en_100_text.jsonl", "not a JSON object"),
    ("oasst_sample/prompt_lottery_en_250_text.jsonl", "not a JSON object"),
    ("oasst_sample/realistic_seed_data.json", "no known format (one message of a tree; use the file of complete trees"),
    ("fastchat/judge_prompts.jsonl", "no known format (its fields: 'name', 'type', 'system_prompt'"),
    ("fastchat/vicuna_bench/question.jsonl", "no known format (its fields: 'question_id', 'category', 'turns'"),
    ("bfcl/BFCL_v4_multiple.json", "no known format (its fields: 'id', 'question', 'function'"),
    ("bfcl/possible_answer/BFCL_v4_multiple.json", "no known format (its fields: 'id', 'ground_truth'"),
    (f"{MATH}/carp_en/test.jsonl.gz", "no known format (its fields: 'content', 'answer'"),
    (
        f"{JUICER}/data/demo-dataset-annotation-human-preference.jsonl",
        "no known format (its fields: 'prompt', 'answer1'",
    ),
    (f"{JUICER}/data/demo-dataset-deduplication.jsonl", "no known format (its fields: 'text'"),
    (f"{JUICER}/process_code_data/data/stack_exchange.jsonl", "no known format (its fields: 'text', 'meta', 'stats'"),
]


def broken(ledger: Ledger) -> dict[str, int]:
    ledger.check()
    return {reason: entry.rows for reason, entry in ledger.dropped.items()}


@pytest.mark.parametrize(("file", "format", "kept", "conversations", "reasons"), CONVERSATIONS)
def test_conversations(
    file: str, format: str, kept: int, conversations: int, reasons: dict[str, int], data: Data
) -> None:
    ledger = Ledger(file)
    count = sum(1 for _ in read_conversations(data(file), ledger, 1.0))
    assert (find_format(data(file)), ledger.rows_kept, count, broken(ledger)) == (format, kept, conversations, reasons)


@pytest.mark.parametrize(("file", "kept", "reasons"), PREFERENCES)
def test_preferences(file: str, kept: int, reasons: dict[str, int], data: Data) -> None:
    ledger = Ledger(file)
    assert sum(1 for _ in read_preferences(data(file), ledger, 1.0)) == kept == ledger.rows_kept
    assert broken(ledger) == reasons


@pytest.mark.parametrize(("file", "reason"), REFUSED)
def test_other_files_are_refused(file: str, reason: str, data: Data) -> None:
    with pytest.raises(ValueError, match="rows are (all )?broken") as error:
        list(read_conversations(data(file), Ledger(file)))
    assert reason in str(error.value)


def test_corrections_are_noted(data: Data) -> None:
    ledger = Ledger("rows")
    first = next(read_conversations(data("t0_50k/t0_train_50k_by_template.jsonl.zst"), ledger))
    assert "<|endoftext|>" not in first.messages[1].text
    assert list(ledger.noted) == [END_MARKER]
    ledger = Ledger("rows")
    list(read_conversations(data(f"{LLAMA}/glaive_toolcall_zh_demo.json"), ledger))
    assert {what: note.examples for what, note in ledger.noted.items()} == {
        WITHOUT_CALL: ["glaive_toolcall_zh_demo.json#198", "glaive_toolcall_zh_demo.json#294"]
    }


def test_the_best_way_through_each_tree(data: Data) -> None:
    ledger = Ledger("trees")
    assert sum(1 for _ in read_conversations(data("oasst_sample/en_100_tree.jsonl"), ledger, 0, "oasst-best")) == 100


def test_calls_results_reasoning_and_tools_arrive(data: Data) -> None:
    for file, kinds in (
        (f"{LLAMA}/reason_tool_use_demo_50.jsonl", {Reasoning: 112, ToolCall: 68, ToolResult: 42}),
        (f"{LLAMA}/glaive_toolcall_en_demo.json", {Reasoning: 0, ToolCall: 211, ToolResult: 211}),
    ):
        rows = list(read_conversations(data(file), Ledger(file)))
        parts = [part for row in rows for message in row.messages for part in message.content]
        assert {kind: sum(isinstance(part, kind) for part in parts) for kind in kinds} == kinds
        assert all(tool.startswith('{"type":"function","function":{"name":') for row in rows for tool in row.tools)
        assert sum(1 for row in rows if row.tools) == (48 if "reason" in file else 191)


def test_binary_labels(data: Data) -> None:
    judged = list(read_preferences(data(f"{LLAMA}/kto_en_demo.json"), Ledger("kto")))
    assert all(isinstance(row, UnpairedPreference) for row in judged)
    assert sum(row.desirable for row in judged if isinstance(row, UnpairedPreference)) == 150


def test_guided_dialogues(data: Data, tmp_path: Path) -> None:
    packed = data("sgd_train/sgd_train_30files.tar.zst").read_bytes()
    unpacked = pa.CompressedInputStream(pa.BufferReader(packed), "zstd").read()
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        for name in ("train/dialogues_001.json", "train/dialogues_002.json"):
            member = archive.extractfile(name)
            assert member is not None
            (tmp_path / Path(name).name).write_bytes(member.read())
    ledger = Ledger("sgd")
    rows = list(read_conversations(tmp_path, ledger, 0))
    assert (len(rows), broken(ledger)) == (256, {})
    assert ledger.noted.keys() == {NOT_OFFERED, "fields that are not read: services"}
    assert find_format(tmp_path) == "sgd"
    assert all(any(isinstance(part, ToolCall) for m in row.messages for part in m.content) for row in rows)
