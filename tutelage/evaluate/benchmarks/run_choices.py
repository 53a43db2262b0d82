"""Runs a benchmark of multiple choice by likelihood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tutelage.evaluate.benchmarks.benchmark import ChoiceBenchmark
from tutelage.evaluate.benchmarks.data_folder import read_rows
from tutelage.evaluate.benchmarks.measured import AskSettings, Measured, group_figures, outcome_rates
from tutelage.evaluate.benchmarks.sampling import stratified_order, unique_ids, within_seconds
from tutelage.evaluate.calibration import calibration
from tutelage.evaluate.choice_items import Asked, ChoiceItem, Form, asked, choice_item
from tutelage.evaluate.choice_rows import LETTERS, is_choice_row
from tutelage.evaluate.choices import ChoiceScore, choice_figures, choice_rates, score_choices
from tutelage.evaluate.item_results import ItemResult
from tutelage.evaluate.result_cache import ResultCache
from tutelage.model.hub import Checkpoint


def read_choice_set(benchmark: ChoiceBenchmark, files: Sequence[Path]) -> list[ChoiceItem]:
    """The items of a benchmark's files, under unique ids.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken, the message names it; or there is none.
    """
    if benchmark.read is not None:
        items = benchmark.read(files)
    else:
        items = list(
            read_rows(
                files,
                lambda row, place: choice_item(benchmark.convert(row), place),
                lambda row: is_choice_row(benchmark.convert(row)),
            )
        )
    if not items:
        raise ValueError(f"{files[0]} has no rows of {benchmark.name}")
    return unique_ids(items)


def questions_of(
    benchmark: ChoiceBenchmark, items: Sequence[ChoiceItem], pool: Sequence[ChoiceItem], settings: AskSettings
) -> list[Asked]:
    """The items as they are asked, in their order, with examples from the pool, which may be the items; with a limit a
    stratified part. ValueError where there are fewer examples than asked for."""
    form, shots = _form(benchmark, settings), _shots(benchmark, items, pool, settings)
    wanted = {item.id for item in stratified_order(items, settings.seed)[: settings.limit]}
    return [_asked(benchmark, item, pool, form, shots, settings.seed) for item in items if item.id in wanted]


def run_choices(
    checkpoint: Checkpoint,
    benchmark: ChoiceBenchmark,
    files: Sequence[Path],
    shot_files: Sequence[Path],
    settings: AskSettings,
    cache: ResultCache,
) -> Measured:
    """The likeliest choices of a benchmark's items.

    Raises:
        ValueError: a row is broken; as `questions_of`; or nothing fits into the context.
    """
    items = read_choice_set(benchmark, files)
    pool = read_choice_set(benchmark, shot_files) if shot_files else items
    picked = questions_of(benchmark, items, pool, settings)
    form, chat, shots = _form(benchmark, settings), bool(settings.chat), len(picked[0].examples)
    alone = settings.pmi or form == "letters" or benchmark.metric == "acc/pmi"  # else it costs as much as the choices
    if settings.budget_seconds is not None:
        places = {one.item.id: one for one in picked}
        order = [places[item.id] for item in stratified_order([one.item for one in picked], settings.seed)]
        count = within_seconds(
            len(order),
            lambda start, end: score_choices(checkpoint, order[start:end], chat, alone, cache),
            settings.budget_seconds,
        )
        wanted = {one.item.id for one in order[:count]}
        picked = [one for one in picked if one.item.id in wanted]
    scores, _ = score_choices(checkpoint, picked, chat, alone, cache)
    rates = choice_rates(scores)
    metric = benchmark.metric if benchmark.metric in rates and form == benchmark.form else "acc"
    by_id = {score.item.id: score for score in scores}
    results = [_result(one, by_id.get(one.item.id), metric, form) for one in picked]
    duplicates = Counter((item.question, item.choices) for item in items)
    figures = {
        **choice_figures(scores, len(picked)),
        **calibration([score.logprob_C for score in scores], [score.item.gold for score in scores]),
        **group_figures(results, metric),
        "duplicates": sum(count - 1 for count in duplicates.values()),
        "shots": shots,
    }
    named = f"{'chat' if chat else 'plain text'}, {form}, {shots} examples"
    rates.update(outcome_rates([result.outcome for result in results]))
    names = [file.name for file in files]
    return Measured(benchmark.name, benchmark.title, named, metric, results, rates, figures, names, len(items))


def _form(benchmark: ChoiceBenchmark, settings: AskSettings) -> Form:
    return cast(Form, settings.form or benchmark.form)


def _shots(
    benchmark: ChoiceBenchmark, items: Sequence[ChoiceItem], pool: Sequence[ChoiceItem], settings: AskSettings
) -> int:
    """The number of examples; the benchmark's own choice is no more than each item has."""
    if settings.shots is not None:
        return settings.shots
    if not benchmark.shots:
        return 0

    def key(item: ChoiceItem) -> str:
        return item.group if benchmark.first else ""

    groups = Counter(key(item) for item in pool)
    same = Counter((key(item), item.question) for item in pool)
    return min(benchmark.shots, *(groups[key(item)] - same[key(item), item.question] for item in items))


def _asked(
    benchmark: ChoiceBenchmark, item: ChoiceItem, pool: Sequence[ChoiceItem], form: Form, shots: int, seed: int
) -> Asked:
    own = [one for one in pool if one.group == item.group] if benchmark.first else pool
    bare = form in benchmark.bare
    return asked(item, form, own, shots, None if benchmark.first else seed, bare, benchmark.header(item.group))


def _result(one: Asked, score: ChoiceScore | None, metric: str, form: Form) -> ItemResult:
    item = one.item
    names = LETTERS if form == "letters" else item.choices
    prompt = one.contexts[0] if len(set(one.contexts)) == 1 else "\n".join(one.contexts)
    blank = ItemResult(item.id, prompt, names[item.gold], "too long", item.group)
    if score is None:
        return blank
    if len(item.choices) == 1:
        greedy = bool(score.greedy_C is not None and score.greedy_C[0])
        passed, output = {"acc": float(greedy)}, item.choices[0] if greedy else ""
    else:
        picks = score.picks()
        passed, output = {name: float(pick == item.gold) for name, pick in picks.items()}, names[picks[metric]]
    return ItemResult(
        item.id, prompt, names[item.gold], "right" if passed[metric] else "wrong", item.group, passed, output,
        score.logprob_C.tolist(), score.tokens_C.tolist(),
    )  # fmt: skip
