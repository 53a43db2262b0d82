"""Every chat set of the data folder under every real template: verified, or refused with its reason, and never anything
else. A few conversations of each set; TUTELAGE_ROWS=1000000 takes all of them and prints the counts."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path

import pytest

from tutelage.chat.formats import read_conversations
from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.layout import VerificationError
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Text

_TRL = importlib.util.find_spec("trl")
FOLDER = Path(_TRL.origin).parent / "chat_templates" if _TRL and _TRL.origin else None
pytestmark = pytest.mark.skipif(FOLDER is None, reason="TRL, which carries the templates, is not installed: .[peers]")

Make = Callable[..., HFRenderer]

FEW = 4  # conversations of each set under each template, drawn from its first 100
ROWS = int(os.environ.get("TUTELAGE_ROWS", FEW))
LLAMA, TOOLFORMER = "llamafactory_demos", "gpteacher/Toolformer/toolformer"
PLAIN = ("gsm8k/train.jsonl.gz", f"{LLAMA}/alpaca_en_demo.json", f"{LLAMA}/alpaca_zh_demo.json")
SETS = (
    *PLAIN,
    "chat_fixtures/axolotl_conversation.json",
    "chat_fixtures/litgpt_dolly.json",
    "chat_fixtures/oumi_oumi_format.jsonl",
    "datajuicer_demos/data/demo-dataset-chatml.jsonl",
    "dolly_hhrlhf_small/dolly_hhrlhf_train_small.jsonl",
    "fastchat/dummy_conversation.json",
    "gpteacher/Roleplay/roleplay-simple-deduped-roleplay-dataset.json.gz",
    f"{TOOLFORMER}-similarity-0.6-dataset.json.gz",
    f"{LLAMA}/glaive_toolcall_en_demo.json",
    f"{LLAMA}/glaive_toolcall_zh_demo.json",
    f"{LLAMA}/identity.json",
    f"{LLAMA}/reason_tool_use_demo_50.jsonl",
    f"{LLAMA}/v1_sft_demo.jsonl",
    "math_sets/cmath/test.jsonl",
    "oasst_sample/en_100_tree.jsonl",
    "self_instruct/seed_tasks.jsonl",
    "t0_50k/t0_train_50k_by_template.jsonl.zst",
)
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja")) if FOLDER else []
# What a refusal may be for. Anything else is a fault of ours.
REASONS = {
    "a special token in a text",
    "prompt mismatch: the generation prompt is not a prefix of the rendered conversation",
    "the generation prompt lacks the assistant header",
    "the template changes a text",
    "the template leaves out a text",
    "the template leaves out a tool call",
    "the template leaves out the tools",
    "the template refuses it",
    "the conversation does not end with an assistant message",
}


@cache
def some(path: Path) -> tuple[Conversation, ...]:
    rows = read_conversations(path, Ledger(path.name), 1.0)
    return tuple(islice(rows, 0, max(100, ROWS), max(1, 100 // ROWS)))


def in_chunks(rows: tuple[Conversation, ...]) -> Iterator[tuple[Conversation, ...]]:
    return (rows[start : start + 512] for start in range(0, len(rows), 512))


@pytest.mark.timeout(300 if ROWS == FEW else 0)
@pytest.mark.parametrize("name", NAMES)
def test_every_conversation_is_verified_or_refused_with_its_reason(
    name: str, make: Make, data: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert FOLDER is not None
    text = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    try:
        renderer = make(text)
    except ValueError as error:
        pytest.skip(str(error))
    for set_ in SETS:
        counts: Counter[str] = Counter()
        for rows in in_chunks(some(data(set_))):
            for conversation, found in zip(rows, renderer.render_rows(rows), strict=True):
                if isinstance(found, ValueError):
                    assert isinstance(found, VerificationError), f"{set_}: {found}"
                    assert found.reason in REASONS, f"{set_}: {found}"
                    counts[found.reason] += 1
                    continue
                counts["verified"] += 1
                trained_text = "".join(renderer.tokenizer.decode(one.ids[one.weights > 0]) for one in found)
                for one in conversation.messages:
                    if one.role == "assistant":
                        assert all(p.text.strip() in trained_text for p in one.content if isinstance(p, Text)), set_
        with capsys.disabled():
            if ROWS != FEW:
                print(f"\n{name:<32} {set_:<70} {dict(counts)}", end="")
        # Plain questions and answers can be said in every template that can be used at all with answers of words.
        if set_ in PLAIN and not name.startswith("nemotron"):
            assert not counts.keys() - {"verified"}, f"{set_}: {counts}"
