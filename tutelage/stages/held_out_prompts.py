"""Answers to held-out prompts of a stage that samples: figures during training, and items of an evaluation after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import ask
from tutelage.evaluate.session import TaskItem
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation
from tutelage.rl.prompts import DrawnPrompt, Prompt, PromptSet
from tutelage.rl.sampling import Sampler
from tutelage.rl.turns import Written

EVAL_PROMPTS, SHOWN = 64, 3  # of an evaluation during training


def held_out_prompts(sets: Mapping[str, PromptSet]) -> list[Prompt]:
    """The held-out prompts of all datasets."""
    return [prompt for one in sets.values() for prompt in one.held_out]


def evaluate_prompts(
    prompts: Sequence[Prompt],
    sampler: Sampler,
    texts: Callable[[Checkpoint], dict[str, Any]],
    checkpoint: Checkpoint,
) -> dict[str, Any]:
    """`eval.reward`, `eval.PART` and `eval.cut_off` of greedy answers to the first prompts, and samples, beside the
    figures of `texts`."""
    figures, prompts = texts(checkpoint), prompts[:EVAL_PROMPTS]
    if not prompts:
        return figures
    answers = greedy_answers(checkpoint, sampler, prompts)
    pairs = sampler.score(list(zip(prompts, answers, strict=True)))
    samples, scored = [sample for sample, _ in pairs], [one for _, one in pairs]
    totals = [one.total for one in scored if one.total is not None]
    figures |= {"eval.reward": float(np.mean(totals))} if totals else {}
    for name in scored[0].parts:
        values = [value for one in scored if (value := one.parts[name].value) is not None]
        figures |= {f"eval.{name}": float(np.mean(values))} if values else {}
    figures["eval.cut_off"] = float(np.mean([one.finish_reason != "stop" for one in samples]))
    figures["samples"] = figures["samples"] + [
        {"prompt": p.task.prompt[-1].text, "written": sample.text, "truth": str(p.task.gold or "")}
        for p, sample in zip(prompts[:SHOWN], samples, strict=False)
    ]
    return figures


def task_items(
    checkpoint: Checkpoint, sampler: Sampler, prompts: Sequence[Prompt], verifier: str | None
) -> list[TaskItem]:
    """Greedy answers to prompts, with their rewards and the outcome of a verifier among its parts."""
    answers = greedy_answers(checkpoint, sampler, prompts)
    scored = sampler.score(list(zip(prompts, answers, strict=True)))
    return [
        TaskItem(
            prompt.task.id, prompt.task.prompt[-1].text, sample.text, str(prompt.task.gold or ""), one.total,
            one.parts[verifier].outcome if verifier else "", sample.finish_reason == "stop",
        )
        for prompt, (sample, one) in zip(prompts, scored, strict=True)
    ]  # fmt: skip


def greedy_answers(checkpoint: Checkpoint, sampler: Sampler, prompts: Sequence[Prompt]) -> list[Written]:
    """The greedy answer to each prompt, with the environment's turns where there is one."""
    greedy = SamplingSettings(max_tokens=sampler.settings.max_tokens)
    if sampler.environment is not None:
        drawn = [DrawnPrompt("", prompt, number) for number, prompt in enumerate(prompts)]
        alone = replace(sampler, settings=greedy, group_size=1)
        return [row[0] for row in alone.write(checkpoint.model, drawn)]
    chats = [Conversation(prompt.task.prompt, prompt.task.id, tools=prompt.task.tools) for prompt in prompts]
    return [Written(one.generation) for one in ask(checkpoint, chats, greedy, "held-out prompts")]
