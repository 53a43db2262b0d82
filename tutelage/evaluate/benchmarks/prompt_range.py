"""How far the score of a benchmark that is answered in words moves with its prompt: the same items in a fixed set of
formats, each different from the first in one thing. `prompt_formats` does it for multiple choice by likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tutelage.evaluate.answer_formats import WORDINGS, range_over
from tutelage.evaluate.answers import can_chat
from tutelage.evaluate.benchmarks.benchmark import PromptBenchmark
from tutelage.evaluate.benchmarks.measured import AskSettings, Measured
from tutelage.evaluate.benchmarks.run_prompts import run_prompts
from tutelage.evaluate.result_cache import ResultCache
from tutelage.model.hub import Checkpoint

EXAMPLES = (0, 5)
TEMPLATES = {"'Question:', 'Answer:'": "Question: {}\nAnswer:", "'Q:', 'A:'": "Q: {}\nA:"}
_CHAT_WORDINGS = ("'Question:', 'Answer:'", "'Please answer'")

Format = tuple[str, PromptBenchmark, AskSettings]


def formats(benchmark: PromptBenchmark, settings: AskSettings, chat: bool, chats: bool) -> list[Format]:
    """The further formats of a benchmark that is asked in a chat or as plain text: their names, and how they are asked.

    chats: whether the model can chat.
    """
    found: list[Format] = []
    if chat:
        found += [(name, replace(benchmark, wording=WORDINGS[name]), settings) for name in _CHAT_WORDINGS]
        if benchmark.instruction:
            found.append(("without its instruction", replace(benchmark, instruction=""), settings))
    elif benchmark.template in TEMPLATES.values():  # of another template, such as that of code, the answer is a part
        for name, template in TEMPLATES.items():
            if template != benchmark.template:
                found.append((name, replace(benchmark, template=template), settings))
    shots = benchmark.shots if settings.shots is None else settings.shots
    found += [(f"{count} examples", benchmark, replace(settings, shots=count)) for count in EXAMPLES if count != shots]
    if chats and not benchmark.chat_only:
        found.append(("plain text" if chat else "chat template", benchmark, replace(settings, chat=not chat)))
    return found


def prompt_range(
    checkpoint: Checkpoint,
    benchmark: PromptBenchmark,
    files: Sequence[Path],
    shot_files: Sequence[Path],
    settings: AskSettings,
    measured: Measured,
    cache: ResultCache,
) -> dict[str, Any] | None:
    """The headline in each format on the items that were asked, their median and range, and how many items change. An
    item counts as right with at least half of its samples. Formats that ask as another one does, such as 5 examples
    of a set without solutions, or cannot be asked, are left out, and so are items that are too long in one of them.
    None where no item fits. Raises as `run_prompts`."""
    chat = measured.format.startswith("chat")
    settings = replace(
        settings, limit=len(measured.items), budget_seconds=None, think_tokens=(), think_at_least=(), reward=None
    )
    right = {"as asked": _right(measured)}
    seen = {_prompts(measured)}
    left_out = []
    for name, asked, how in formats(benchmark, settings, chat, can_chat(checkpoint)):
        try:
            found = run_prompts(checkpoint, asked, files, shot_files, how, cache)
        except ValueError:  # fewer examples than 5
            left_out.append(name)
            continue
        if _prompts(found) not in seen:
            seen.add(_prompts(found))
            right[name] = _right(found)
    names = [item.id for item in measured.items if all(item.id in own for own in right.values())]
    if not names:
        return None
    shares = {name: [own[item] for item in names] for name, own in right.items()}
    return {**range_over(shares), "left_out": left_out, "too_long": len(measured.items) - len(names)}


def _right(measured: Measured) -> dict[str, bool]:
    return {item.id: item.passed[measured.headline] >= 0.5 for item in measured.items if item.samples}


def _prompts(measured: Measured) -> tuple[str, ...]:
    return tuple(item.prompt for item in measured.items)
