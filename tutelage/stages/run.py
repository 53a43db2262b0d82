"""Run one stage from its start, or from its last checkpoint, to its finished folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from tutelage.chat.render.make import with_system
from tutelage.config import convert, to_plain
from tutelage.evaluate.dev_eval import run_dev_eval
from tutelage.evaluate.session import EvalSession
from tutelage.files import read_json, write_json, write_text
from tutelage.model.hub import Checkpoint, load_tensors, save_model, save_tensors
from tutelage.model.lora_dropout import count_steps
from tutelage.model.sizes import parameter_count
from tutelage.model.transformer import Transformer
from tutelage.model.verify_adapter import publish_adapter
from tutelage.model.weights import load_trained_state, trained_state
from tutelage.process import environment, peak_rss_bytes, stop_requests
from tutelage.progress import status, track
from tutelage.stages.base import CHECKPOINT, LOG, LR_RANGE_TEST, SELECTED, STAGE, StageContext
from tutelage.stages.kept import kept_folder, kept_steps
from tutelage.stages.train_stage import TrainSetup, TrainStage, precision_of, router_training, set_up
from tutelage.tracking import TrackerName, tracker
from tutelage.train.checkpoint import TrainState, load_checkpoint, save_checkpoint
from tutelage.train.distributed import barrier, broadcast_object, is_main_process, main_process_first, shard
from tutelage.train.hooks import CheckpointHook, EvalHook, FirstStepCheck, LogHook, Tally, hooks_in_order
from tutelage.train.loop import StepReport, train
from tutelage.train.lr_range_test import ABOVE, BELOW, RANGE_STEPS, LrRangeTest, lr_range_test
from tutelage.train.optimizers import Optimizer
from tutelage.train.schedule import make_schedule
from tutelage.train.selection import Metric, best_so_far, select, selection_metric

# The layout of what this version writes into a run's folder. What another layout is written in is refused.
LAYOUT = 2


def run_stage(
    stage: TrainStage, at: StageContext, fingerprint: str, session: EvalSession, track_with: TrackerName | None = None
) -> None:
    """Train a stage and write its folder; resumes from a checkpoint of the same fingerprint where there is one.

    track_with: an experiment tracker that the log goes to as well.

    Raises:
        Stopped: Ctrl-C or SIGTERM came; a checkpoint was saved and the same command resumes from it.
        ValueError: the data cannot be trained on.
    """
    with main_process_first():  # it tokenises the data, which the others then find
        setup = set_up(stage, at)
    checkpoint, steps = setup.checkpoint, setup.stream.steps
    if stage.chats and is_main_process():  # the process that writes the model
        checkpoint = replace(checkpoint, chat_config=with_system(checkpoint.chat_config, session.prompts.system))
    gathered = shard(checkpoint.model)
    setup.stream.attach(lambda: _everywhere(gathered))
    test = range_test(stage, at, setup, fingerprint) if stage.searches_lr() else None
    setup = setup if test is None else setup.with_lr(test.chosen)
    optimizer = Optimizer(checkpoint.model, stage.optimizer, setup.lr)
    router = router_training(stage, checkpoint.model)
    mtp = stage.mtp_training(checkpoint.model, steps)
    at.folder.mkdir(parents=True, exist_ok=True)
    tally = Tally(_resume(at, checkpoint.model, optimizer, fingerprint, steps))
    log = _cut_log(at.folder / LOG, tally.state.step) if is_main_process() else []
    if is_main_process():
        _remove_kept(at.folder, tally.state.step)
    stream = setup.stream.batches(tally.state.data, False)
    if (dropout := checkpoint.model.lora_dropout) is not None:
        stream = count_steps(dropout, stream, tally.state.step)
    if mtp is not None:
        stream = mtp.batches(stream, tally.state.step)
    precision = precision_of(stage, checkpoint.model)
    if router is not None:
        stream = router.batches(stream, torch.bfloat16 if precision == "bfloat16" else None)
    shown = {"lr": setup.lr, **to_plain(stage)}
    tracked = tracker(track_with if is_main_process() else None, f"{at.folder.parent.name}/{at.name}", at.folder, shown)
    with stop_requests() as stop, tracked as send, track(at.name, steps, "steps", tally.state.step) as bar:
        log_hook = LogHook(at.folder / LOG, tally, setup.stream.names, optimizer.lr, bar, send)

        def save() -> None:
            log_hook.flush()
            with setup.stream.saving(tally.state.data):
                save_checkpoint(at.folder / CHECKPOINT, checkpoint.model, optimizer, tally.state)

        def figures(report: StepReport) -> None:
            report.figures.update(setup.stream.figures())
            if router is not None:
                report.figures.update(router.after_step())

        hooks = hooks_in_order(
            FirstStepCheck(setup.loss.first_step, precision, stage.start_settings(at)),
            tally,
            figures,
            _evaluation(stage, at, setup, gathered, tally, session, best_so_far(log, stage.selection())),
            log_hook,
            CheckpointHook(
                save=save,
                keep=lambda step: _keep(stage, at, checkpoint, gathered(), step),
                keep_every=stage.save_every,
                seconds=stage.checkpoint_seconds,
                steps=steps,
                stop_requested=stop,
                label=at.name,
            ),
        )
        loss = setup.loss if mtp is None else mtp.loss(setup.loss)
        loss = loss if router is None else router.loss(loss)
        train(
            checkpoint.model, optimizer, stream, loss, start=tally.state.step, steps=steps,
            lr=make_schedule(stage.schedule, steps, setup.stream.batch_tokens), hooks=hooks, precision=precision,
        )  # fmt: skip
    model = gathered()
    if model is not None:
        _finish(stage, at, setup, _with_model(checkpoint, model), tally.state, test)
    barrier()


def _everywhere(gathered: Callable[..., Transformer | None]) -> Transformer:
    model = gathered(everywhere=True)
    assert model is not None
    return model


def _resume(at: StageContext, model: Transformer, optimizer: Optimizer, fingerprint: str, steps: int) -> TrainState:
    state = load_checkpoint(at.folder / CHECKPOINT, model, optimizer, fingerprint)
    if state is not None:
        status(f"{at.name}: resuming after step {state.step} of {steps}")
        return state
    if (at.folder / CHECKPOINT).exists():
        status(f"{at.name}: its settings or what it builds on changed, so it starts again and replaces the old one")
    return TrainState(0, None, fingerprint)


def _with_model(checkpoint: Checkpoint, model: Transformer) -> Checkpoint:
    return replace(checkpoint, model=model)


def _evaluation(
    stage: TrainStage,
    at: StageContext,
    setup: TrainSetup,
    gathered: Callable[..., Transformer | None],
    tally: Tally,
    session: EvalSession,
    best: Metric,
) -> EvalHook:
    """Evaluates when the stage's settings say so and after the last step. Keeps the weights of the best one so far."""
    every, stream, keep = stage.evaluate_every, setup.stream, stage.selection()
    dev = stage.dev_eval(session, at) if is_main_process() and every else None

    def due(report: StepReport) -> bool:
        if every == "epoch":
            ended = stream.epoch(report.state) > stream.epoch(tally.before)
        else:
            ended = bool(every) and report.done % every == 0
        return ended or report.done == stream.steps

    def evaluate(report: StepReport) -> dict[str, Any]:
        nonlocal best
        model = gathered()
        if model is None:
            return {}
        checkpoint = _with_model(setup.checkpoint, model)
        figures = setup.evaluate(checkpoint)
        if dev is not None and (scores := run_dev_eval(checkpoint, dev)):
            figures["dev_eval"] = scores
        metric = None if keep == "last" else selection_metric(figures, keep)
        if metric is not None and metric > best:
            best = metric
            save_tensors(at.folder / SELECTED, trained_state(model))
        return figures

    return EvalHook(due, evaluate)


def range_test(stage: TrainStage, at: StageContext, setup: TrainSetup, fingerprint: str) -> LrRangeTest:
    """The learning-rate range test over the stage's own first steps; read where it was made before for this stage."""
    path = at.folder / LR_RANGE_TEST
    stored = broadcast_object(read_json(path) if is_main_process() and path.exists() else None)
    if stored is not None and stored["fingerprint"] == fingerprint:
        return convert(stored["test"], LrRangeTest, str(path))
    model = setup.checkpoint.model
    with track(f"{at.name}: finding the learning rate", RANGE_STEPS, "steps") as bar:
        test = lr_range_test(
            model, stage.optimizer, setup.stream.batches(None, True), setup.loss, lowest=setup.lr * BELOW,
            highest=setup.lr * ABOVE, precision=precision_of(stage, model), bar=bar,
        )  # fmt: skip
    if is_main_process():
        write_json(path, {"fingerprint": fingerprint, "test": asdict(test)})
    status(f"{at.name}: the peak learning rate is {test.chosen:g}, found by {test.by}")
    return test


def _write_model(folder: Path, stage: TrainStage, at: StageContext, checkpoint: Checkpoint) -> None:
    lora = stage.adapter()
    if lora is None:
        save_model(folder, checkpoint)
    else:
        publish_adapter(folder, checkpoint, at.parent_folder(stage), lora)


def _remove_kept(folder: Path, after: int) -> None:
    """Remove kept weights of steps that are not done yet: they are of another stage, or are made again."""
    for step in kept_steps(folder):
        if step > after:
            shutil.rmtree(kept_folder(folder, step))


def _keep(stage: TrainStage, at: StageContext, checkpoint: Checkpoint, model: Transformer | None, step: int) -> None:
    """Write the weights of a step as a model of their own, and remove those of the oldest steps."""
    if model is None:
        return
    _write_model(kept_folder(at.folder, step), stage, at, _with_model(checkpoint, model))
    for old in kept_steps(at.folder)[: -stage.keep_checkpoints]:
        shutil.rmtree(kept_folder(at.folder, old))


def _finish(
    stage: TrainStage,
    at: StageContext,
    setup: TrainSetup,
    checkpoint: Checkpoint,
    state: TrainState,
    test: LrRangeTest | None,
) -> None:
    """Write the model of the selected step, and stage.json."""
    log = [json.loads(line) for line in (at.folder / LOG).read_text().splitlines()]
    selected = select(log, stage.selection())
    model = checkpoint.model
    if selected["by"] != "last" and selected["step"] != state.step:
        load_trained_state(model, load_tensors(at.folder / SELECTED))
    _write_model(at.folder, stage, at, checkpoint)
    evaluated = next(line for line in log if line["step"] == selected["step"])
    write_json(
        at.folder / STAGE,
        {
            "layout": LAYOUT,
            "name": at.name,
            "title": stage.title,
            "loss_unit": stage.loss_unit,
            "chats": stage.chats,
            "reads": stage.reads,
            "fingerprint": state.fingerprint,
            "settings": to_plain(stage),
            "lr": setup.lr,
            **({"lr_range_test": asdict(test)} if test else {}),
            "parameters": parameter_count(model.config),
            "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "vocab": checkpoint.tokenizer.vocab_size,
            "steps": state.step,
            "tokens": state.tokens,
            "trained_tokens": state.trained_tokens,
            "seconds": state.seconds,
            "tokens_per_second": state.tokens / max(state.seconds, 1e-9),
            "loss": _recent_loss(log),
            "loss_start": log[0]["loss"],
            "held_out": {name[9:]: loss for name, loss in evaluated.items() if name.startswith("held_out.")},
            "selected": selected,
            **setup.stream.describe(state.data),
            "peak_rss_bytes": peak_rss_bytes(),
            "environment": environment(),
        },
    )
    (at.folder / SELECTED).unlink(missing_ok=True)


def _recent_loss(log: list[dict[str, Any]]) -> float:
    """The training loss over the last twentieth of the steps; the last alone may hold only a few leftover tokens."""
    recent = log[-max(2, len(log) // 20) :]
    before = [0.0, *(line["trained_tokens"] for line in log)][-len(recent) - 1 : -1]
    weights = [line["trained_tokens"] - done for line, done in zip(recent, before, strict=True)]
    return sum(line["loss"] * weight for line, weight in zip(recent, weights, strict=True)) / sum(weights)


def finished(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """What a finished stage wrote about itself; None where it is unfinished or was another."""
    path = folder / STAGE
    if not path.exists():
        return None
    info = read_json(path)
    return info if isinstance(info, dict) and info.get("fingerprint") == fingerprint else None


def _cut_log(path: Path, step: int) -> list[dict[str, Any]]:
    """Remove log lines of steps after the checkpoint, which are done again; returns the lines that stay."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    write_text(path, "".join(kept))
    return [json.loads(line) for line in kept]
