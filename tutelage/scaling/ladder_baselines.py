"""The baselines of a ladder: an LSTM and n-grams beside the transformers of some budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from tutelage.files import atomic_file
from tutelage.html import Html, Series, line_plot
from tutelage.progress import status
from tutelage.scaling.baselines import Baseline, compared_stage, comparison, lstm_baseline, ngram_baseline
from tutelage.scaling.ladder import Arm, Ladder, arms, runs_of

FOLDER = "baselines"


def train_baselines(ladder: Ladder, folder: Path, end: float, clock: Callable[[], float]) -> list[Arm]:
    """Train the baselines that are not finished, beside finished arms, and save the losses of all three models; returns
    the LSTMs that are left because the next one is not expected to end before `end`: it takes about as long as the
    transformer."""
    runs, left = runs_of(ladder, folder), list[Arm]()
    settings = ladder.baselines
    for arm in _compared_arms(ladder):
        run = runs[arm.size]
        done = run.stage_done(arm.stage)
        assert settings is not None and done is not None, "the transformers are trained first"
        stage = cache(lambda run=run, arm=arm: compared_stage(run, arm.stage))
        paths = baseline_paths(ladder, folder, arm)
        for lr, path in zip(settings.lrs, paths[2:], strict=True):
            if path.exists():
                continue
            if left or clock() + done["seconds"] > end:
                left.append(replace(arm, stage=f"{arm.stage}_lstm", lr=lr))
                continue
            status(f"{arm.size}: LSTM, {arm.budget:.3g} FLOPs, {arm.tokens:,} tokens, lr {lr:.3g}")
            save_baseline(path, lstm_baseline(stage(), settings.layers, lr))
        if not left and not paths[0].exists():
            save_baseline(paths[1], ngram_baseline(stage(), settings.order))
            save_baseline(paths[0], stage().transformer)
    return left


def baseline_paths(ladder: Ladder, folder: Path, arm: Arm) -> list[Path]:
    """The files of the losses beside an arm: of its transformer, of n-grams, and of an LSTM for each learning rate.
    Names hold the arm's fingerprint, so that the losses of an arm that has changed are not found."""
    settings = ladder.baselines
    assert settings is not None
    mark = runs_of(ladder, folder)[arm.size].fingerprint(arm.stage)[:12]
    names = ["transformer", f"{settings.order}-gram", *(f"lstm-{settings.layers}-{lr:g}" for lr in settings.lrs)]
    return [folder / FOLDER / f"{arm.size}-{arm.stage}-{mark}-{name}.safetensors" for name in names]


def baseline_rows(ladder: Ladder, folder: Path) -> list[dict[str, Any]]:
    """The comparison of all three models (`baselines.comparison`) beside every arm that has them, with the arm's size,
    budget, N and tokens, and the learning rate of the best LSTM."""
    rows = []
    for arm in _compared_arms(ladder):
        paths = baseline_paths(ladder, folder, arm)
        if not all(path.exists() for path in paths):
            continue
        assert ladder.baselines is not None
        transformer, ngrams = load_baseline(paths[0], "transformer"), load_baseline(paths[1], "n-grams")
        lstms = [load_baseline(path, "LSTM") for path in paths[2:]]
        totals = [sum(float(np.nansum(row)) for row in lstm.losses) for lstm in lstms]
        best = int(np.argmin(totals))
        about = {"size": arm.size, "budget": arm.budget, "N": arm.parameters, "D": arm.tokens}
        rows.append({**about, "lstm_lr": ladder.baselines.lrs[best], **comparison([transformer, lstms[best], ngrams])})
    return rows


def save_baseline(path: Path, baseline: Baseline) -> None:
    """Write the losses of a model."""
    tensors = {
        "losses": np.concatenate(baseline.losses),
        "lengths": np.array([len(row) for row in baseline.losses]),
        "parameters": np.array([baseline.parameters or 0]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        save_file(tensors, temporary)


def load_baseline(path: Path, name: str) -> Baseline:
    """The losses that `save_baseline` wrote."""
    tensors = load_file(path)
    losses = np.split(tensors["losses"], np.cumsum(tensors["lengths"])[:-1])
    return Baseline(name, int(tensors["parameters"][0]) or None, losses)


def baseline_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each comparison in a line: held-out losses, and the changes from the transformer with their 95% intervals."""
    if rows:
        yield f"baselines, held-out loss in {rows[0]['unit']}; changes from the transformer with 95% intervals"
    for row in rows:
        first, *others = row["models"]
        beside = ", ".join(
            f"{model['name']} {model['loss']:.3f}, {model['change']['value']:+.1%} "
            f"({model['change']['low']:+.1%} to {model['change']['high']:+.1%})"
            for model in others
        )
        yield (
            f"  {row['budget']:.3g} FLOPs, {row['size']} (N = {row['N']:,}, D = {row['D']:,}): "
            f"transformer {first['loss']:.3f}, {beside}; LSTM at lr {row['lstm_lr']:g}"
        )


def baseline_plots(rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    """The U-curves of all three models at each budget, and the loss by position of the best transformer."""
    series = []
    for budget in sorted({row["budget"] for row in rows}):
        here = sorted((row for row in rows if row["budget"] == budget), key=lambda row: row["N"])
        for place, model in enumerate(here[0]["models"]):
            losses = [row["models"][place]["loss"] for row in here]
            name = f"{model['name']}, {budget:.3g} FLOPs"
            series.append(Series(name, [row["N"] for row in here], losses, dashed=model["name"] == "n-grams"))
    unit = rows[0]["unit"]
    best = min(rows, key=lambda row: row["models"][0]["loss"])
    title = f"{best['size']}, {best['budget']:.3g} FLOPs"
    by_position = [
        Series(f"{model['name']}, {title}", best["positions"][:-1], model["by_position"]) for model in best["models"]
    ]
    return [
        line_plot(series, x_label="N of the transformer", y_label=f"held-out loss, {unit}", log_x=True),
        line_plot(by_position, x_label="tokens before", y_label=f"held-out loss, {unit}", log_x=True),
    ]


def _compared_arms(ladder: Ladder) -> list[Arm]:
    budgets = ladder.baselines.budgets if ladder.baselines is not None else []
    return [arm for arm in arms(ladder) if arm.factor == 1 and arm.budget in budgets]
