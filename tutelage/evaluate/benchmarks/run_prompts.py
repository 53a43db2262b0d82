"""Runs a benchmark whose questions the model answers in words."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.engine.power_sampling import PowerSettings
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import can_chat
from tutelage.evaluate.benchmarks.benchmark import ItemScore, PromptBenchmark, PromptItem
from tutelage.evaluate.benchmarks.data_folder import read_rows
from tutelage.evaluate.benchmarks.measured import AskSettings, Measured, group_figures, outcome_rates
from tutelage.evaluate.benchmarks.sampling import stratified_order, unique_ids, within_seconds
from tutelage.evaluate.item_results import ItemResult, Sample
from tutelage.evaluate.repeated_samples import best_of_figures, k_figures, right_by_length, share_rate
from tutelage.evaluate.result_cache import ResultCache
from tutelage.evaluate.sampled_answers import Prompt, SampledAnswer, chat_prompts, plain_prompts, sample_answers
from tutelage.evaluate.statistics import Rate
from tutelage.evaluate.thinking_budget import ThinkBudget
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation, Message, message
from tutelage.scoring.refusal import refusal_of

Examples = Sequence[tuple[str, str]]


def read_prompt_set(benchmark: PromptBenchmark, files: Sequence[Path]) -> list[PromptItem]:
    """The items of a benchmark's files, under unique ids.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken, the message names it; or there is none.
    """
    items = list(read_rows(files, benchmark.read)) if benchmark.read_files is None else benchmark.read_files(files)
    if not items:
        raise ValueError(f"{files[0]} has no rows of {benchmark.name}")
    return unique_ids(items)


def examples_of(item: PromptItem, pool: Sequence[PromptItem], shots: int, seed: int) -> Examples:
    """The examples before an item: its own, or the same seeded draw from the pool for every item; never the item itself
    or one with its question. ValueError where the pool has too few."""
    if item.examples or not shots:
        return item.examples[:shots]
    order = list(range(len(pool)))
    random.Random(seed).shuffle(order)
    found: list[tuple[str, str]] = []
    for other in (pool[place] for place in order):
        if len(found) == shots:
            break
        if other.solution and other.id != item.id and other.question != item.question:
            found.append((other.question, other.solution))
    if len(found) < shots:
        raise ValueError(f"{shots} examples are asked for, but there are {len(found)} other questions with a solution")
    return found


def conversation(benchmark: PromptBenchmark, item: PromptItem, examples: Examples) -> Conversation:
    """A question as a chat: examples are turns, so that no gold answer stands in a user's turn."""
    below = f"\n\n{benchmark.instruction}" if benchmark.instruction else ""
    messages: list[Message] = [message("system", item.system)] if item.system else []
    for question, answer in examples:
        asked = benchmark.wording.replace("{}", question) + below
        messages += [message("user", asked), message("assistant", answer)]
    return Conversation((*messages, message("user", benchmark.wording.replace("{}", item.question) + below)), item.id)


def plain_text(benchmark: PromptBenchmark, item: PromptItem, examples: Examples) -> str:
    """A question as the beginning of a text."""
    parts = [benchmark.template.replace("{}", q) + benchmark.between + a for q, a in examples]
    return "\n\n".join(
        [*([item.system] if item.system else []), *parts, benchmark.template.replace("{}", item.question)]
    )


def run_prompts(
    checkpoint: Checkpoint,
    benchmark: PromptBenchmark,
    files: Sequence[Path],
    shot_files: Sequence[Path],
    settings: AskSettings,
    cache: ResultCache,
    scorer: Checkpoint | None = None,
) -> Measured:
    """The model's answers to a benchmark's items, and their outcomes; with a reward model how often the best of several
    samples by its score is right.

    Raises:
        ValueError: a row is broken; fewer examples than asked for; or the model does not chat where it must.
    """
    items = read_prompt_set(benchmark, files)
    pool = read_prompt_set(benchmark, shot_files) if shot_files else items
    chat = can_chat(checkpoint) if settings.chat is None else settings.chat
    if benchmark.chat_only and not chat:
        raise ValueError(f"{benchmark.name} asks in a chat, which a base model does not; leave it out")
    shots = benchmark.shots if settings.shots is None else settings.shots
    if not any(item.examples or item.solution for item in (*items, *pool)):
        shots = 0  # such as IFEval and XSTest; the format says so
    limit = benchmark.max_tokens if settings.max_tokens is None else settings.max_tokens
    sampling = SamplingSettings(max_tokens=limit, temperature=settings.temperature, seed=settings.seed)
    power = None if settings.power is None else PowerSettings(power=settings.power)
    chosen = stratified_order(items, settings.seed)[: settings.limit]
    chats, asked = _prompts(checkpoint, benchmark, chosen, pool, shots, settings.seed, chat)
    fits = [len(one.ids) < checkpoint.model.config.context for one in asked]

    def answers(start: int, end: int, think: ThinkBudget | None = None) -> list[list[SampledAnswer]]:
        prompts = [one for one, fit in zip(asked[start:end], fits[start:end], strict=True) if fit]
        stops = () if chat else benchmark.stops
        count, label = settings.samples, benchmark.name
        return sample_answers(checkpoint, prompts, sampling, count, chat, stops, cache, label, power, think)

    if settings.budget_seconds is not None:
        count = within_seconds(len(chosen), answers, settings.budget_seconds)
        chosen, asked, fits = chosen[:count], asked[:count], fits[:count]
    triples = list(zip(chosen, asked, fits, strict=True))
    results = _results(benchmark, triples, answers(0, len(chosen)))
    budgets = {"by_think_tokens": [(n, ThinkBudget(at_most=n)) for n in settings.think_tokens]}
    budgets["by_think_at_least"] = [(n, ThinkBudget(at_least=n)) for n in settings.think_at_least]
    curves = {
        name: {str(tokens): _results(benchmark, triples, answers(0, len(chosen), think)) for tokens, think in own}
        for name, own in budgets.items()
    }
    place = {item.id: number for number, item in enumerate(items)}
    pairs = sorted(zip(chosen, results, strict=True), key=lambda pair: place[pair[0].id])
    chosen, results = [item for item, _ in pairs], [result for _, result in pairs]
    name = f"{'chat' if chat else 'plain text'}, {shots} examples, at most {limit} tokens"
    if power is not None:
        name += f", {settings.samples} samples by power {power.power:g}, {power.moves} moves in blocks of {power.block}"
    elif settings.samples > 1 or settings.temperature:
        name += f", {settings.samples} samples at temperature {settings.temperature:g}"
    answered = [result for result in results if result.samples]
    rates, figures = _rates(results), {**_figures(benchmark, results, settings.samples), "shots": shots}
    headline = next(iter(rates), "")
    for curve, by_tokens in curves.items():
        if by_tokens:
            figures[curve] = {tokens: asdict(_rates(own)[headline]) for tokens, own in by_tokens.items()}
    if scorer is not None and settings.samples > 1 and answered:
        prompts = [chats[result.id] for result in answered]
        figures["best_of"] = best_of_figures(scorer, prompts, answered, headline)
    own_measures = benchmark.measure(chosen, results)
    rates.update({measure: value for measure, value in own_measures.items() if isinstance(value, Rate)})
    figures.update({measure: value for measure, value in own_measures.items() if not isinstance(value, Rate)})
    files_read = [file.name for file in files]
    return Measured(benchmark.name, benchmark.title, name, headline, results, rates, figures, files_read, len(items))


def _prompts(
    checkpoint: Checkpoint,
    benchmark: PromptBenchmark,
    items: Sequence[PromptItem],
    pool: Sequence[PromptItem],
    shots: int,
    seed: int,
    chat: bool,
) -> tuple[dict[str, Conversation], list[Prompt]]:
    """Each item as a conversation, by id, and as the prompt that the model gets."""
    pools: defaultdict[str, list[PromptItem]] = defaultdict(list)
    for other in pool:
        pools[other.group if benchmark.same_group else ""].append(other)
    examples = {
        item.id: examples_of(item, pools[item.group if benchmark.same_group else ""], shots, seed) for item in items
    }
    chats = {item.id: conversation(benchmark, item, examples[item.id]) for item in items}
    if chat:
        return chats, chat_prompts(checkpoint, list(chats.values()))
    return chats, plain_prompts(checkpoint, [plain_text(benchmark, item, examples[item.id]) for item in items])


def _results(
    benchmark: PromptBenchmark,
    asked: Sequence[tuple[PromptItem, Prompt, bool]],
    answers: Sequence[Sequence[SampledAnswer]],
) -> list[ItemResult]:
    """The results of items with their prompts, and whether these fit; there are answers to those that do."""
    written = iter(answers)
    return [_result(benchmark, item, prompt, next(written) if fit else []) for item, prompt, fit in asked]


def _result(
    benchmark: PromptBenchmark, item: PromptItem, prompt: Prompt, answers: Sequence[SampledAnswer]
) -> ItemResult:
    gold = item.data.get("shown", item.gold)
    if not answers:
        return ItemResult(item.id, prompt.text, str(gold), "too long", item.group)
    samples = [_sample(benchmark, item, answer) for answer in answers]
    passed = {name: sum(sample.passed[name] for sample in samples) / len(samples) for name in samples[0].passed}
    first = samples[0]
    return ItemResult(item.id, prompt.text, str(gold), first.outcome, item.group, passed, first.text, samples=samples)


def _sample(benchmark: PromptBenchmark, item: PromptItem, answer: SampledAnswer) -> Sample:
    scores = benchmark.score(answer.text, item)
    head = next(iter(scores.values()))
    passed = {name: score.outcome == "right" for name, score in scores.items()}
    outcome = _outcome(head, answer) if benchmark.ends_matter else head.outcome
    return Sample(answer.text, outcome, passed, head.extracted, answer.tokens, answer.logprob)


def _outcome(score: ItemScore, answer: SampledAnswer) -> Any:
    """An answer that is not right counts as cut off where it reached a limit, and as refused where it declines."""
    if score.outcome == "right":
        return "right"
    if answer.finish_reason in ("length", "context"):
        return "cut off"
    if score.outcome in ("unparsable", "abstained") and refusal_of(answer.text) == "full":
        return "refused"
    return score.outcome


def _rates(results: Sequence[ItemResult]) -> dict[str, Rate]:
    """The share of right answers by each rule, and of each other outcome; over samples where there are several."""
    asked = [result for result in results if result.samples]
    if not asked:
        return {}
    rates = {name: share_rate([result.passed[name] for result in asked]) for name in asked[0].passed}
    outcomes = [sample.outcome for result in asked for sample in result.samples]
    return {**rates, **outcome_rates(outcomes)}


def _figures(benchmark: PromptBenchmark, results: Sequence[ItemResult], samples: int) -> dict[str, Any]:
    asked = [result for result in results if result.samples]
    if not asked:
        return {"too_long": len(results)}
    head = next(iter(asked[0].passed))
    lengths = np.array([sample.tokens for result in asked for sample in result.samples])
    figures: dict[str, Any] = {
        "too_long": len(results) - len(asked),
        "answer_tokens": float(lengths.mean()),
        "by_length": right_by_length(asked, head),
        **group_figures(asked, head),
    }
    return {**figures, **k_figures(asked, head, benchmark.majority)} if samples > 1 else figures
