"""Run one stage from start, or from where it was stopped, to its finished folder."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from tutelage.batching.loader import Cursor, State, count_steps
from tutelage.batching.store import Store
from tutelage.config import convert, to_plain
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.loss import group_losses, mean_loss
from tutelage.evaluate.samples import held_out_samples
from tutelage.files import read_json, write_json, write_text
from tutelage.model.hub import load_tensors, save_model, save_tensors
from tutelage.model.sizes import parameter_count
from tutelage.model.transformer import Transformer
from tutelage.model.verify_adapter import publish_adapter
from tutelage.model.weights import load_trained_state, trained_state
from tutelage.process import Stopped, environment, peak_rss_bytes, stop_requests
from tutelage.progress import Bar, status, track
from tutelage.stages.evaluate import Trial, behaviour, make_trial
from tutelage.stages.prepare import StageContext, TrainSetup, prepare
from tutelage.stages.settings import Sft, TrainedStage, chooses
from tutelage.train.checkpoint import TrainState, load_checkpoint, save_checkpoint
from tutelage.train.distributed import (
    all_gather_object,
    barrier,
    broadcast_object,
    is_main_process,
    main_process_first,
    shard,
)
from tutelage.train.find_lr import ABOVE, BELOW, SWEEP_STEPS, RateSearch, find_rate
from tutelage.train.loop import Precision, StepReport, train
from tutelage.train.optimizers import Optimizer
from tutelage.train.schedule import make_schedule

SAMPLES, SAMPLING = 3, SamplingSettings(max_tokens=32)
STAGE, LOG, CHECKPOINT, CHOSEN = "stage.json", "train.jsonl", "checkpoint", "chosen.safetensors"
RATES = "find_lr.json"


@dataclass
class Journal:
    """What a stage's hooks write while it trains: the log, the checkpoints, the weights that behaved best so far, and
    the bar on the screen. Of many processes the first alone writes and looks; `whole` gives it the model for that."""

    at: StageContext
    stage: TrainedStage
    prepared: TrainSetup
    optimizer: Optimizer
    position: TrainState
    steps: int
    bar: Bar
    stop: Callable[[], bool]
    trial: Trial | None
    best: Merit
    whole: Callable[[], Transformer | None]
    began: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)

    def __call__(self, report: StepReport) -> None:
        before = self.position
        now = time.monotonic()
        seconds = before.seconds + now - self.began
        self.position = replace(
            before,
            step=report.done,
            data=report.state,
            tokens=before.tokens + report.tokens,
            trained_tokens=before.trained_tokens + report.trained_tokens,
            seconds=seconds,
        )
        means = named_by_source(report.metrics.means(), list(self.prepared.sources))
        line: dict[str, Any] = {
            "step": report.done,
            **means,
            "lr": self.optimizer.lr * report.lr_factor,
            "gradient_norm": report.gradient_norm,
            "tokens": self.position.tokens,
            "trained_tokens": self.position.trained_tokens,
        }
        last = report.done == self.steps
        if last or self.looks_after(report.done, before.data):
            line |= self.look()
        self.lines.append(json.dumps(line))
        self.bar.update(1, {**means, "lr": line["lr"], "tokens/s": self.position.tokens / max(seconds, 1e-9)})
        # One clock decides, and any process may be the one that is asked to stop.
        said = all_gather_object([self.stop(), now - self.saved >= self.stage.checkpoint_seconds])
        stopping = any(asked for asked, _ in said) and not last
        if last or stopping or said[0][1]:
            self.save()
        if stopping:
            raise Stopped(f"stopped after step {report.done} of {self.steps} of stage {self.at.name}")
        self.began = time.monotonic()  # looking and saving are not training

    def looks_after(self, step: int, data: State) -> bool:
        """Whether the model is looked at after a step; `data` is how far the data had been read before it."""
        every = self.stage.evaluate_every
        if every == "epoch":
            main = next(iter(self.prepared.sources))
            return self.position.data[main].epoch > data.get(main, Cursor()).epoch
        return bool(every) and step % every == 0

    def look(self) -> dict[str, Any]:
        """The loss on held-out data, a few samples and, where it can be tried, how the model behaves."""
        model = self.whole()
        if model is None:
            return {}
        prepared = self.prepared.with_model(model)
        line: dict[str, Any] = {}
        for kind, stores in (("held_out", prepared.held_out), ("base_held_out", prepared.base_held_out)):
            line |= {f"{kind}.{name}": loss for name, loss in held_out_losses(prepared, stores, self.stage).items()}
        line["samples"] = samples(prepared)
        if self.trial is not None and (figures := behaviour(prepared.checkpoint, self.trial)):
            line["behaviour"] = figures
        if chooses(self.stage) and (merit := merit_of(line, self.stage)) is not None and merit > self.best:
            self.best = merit
            save_tensors(self.at.folder / CHOSEN, trained_state(prepared.checkpoint.model))
        return line

    def save(self) -> None:
        # The log goes first: lines past the checkpoint are cut when it is taken up again.
        if is_main_process():
            with (self.at.folder / LOG).open("a") as log:
                log.writelines(line + "\n" for line in self.lines)
        self.lines.clear()
        save_checkpoint(self.at.folder / CHECKPOINT, self.prepared.checkpoint.model, self.optimizer, self.position)
        self.saved = time.monotonic()


def named_by_source(means: Mapping[str, float], sources: list[str]) -> dict[str, float]:
    """Metrics by the names of the sources in place of their numbers."""
    numbered = {f"loss.{number}": f"loss.{name}" for number, name in enumerate(sources)}
    return {numbered.get(name, name): value for name, value in means.items()}


def held_out_losses(prepared: TrainSetup, stores: Mapping[str, Store], stage: TrainedStage) -> dict[str, float]:
    """Mean loss in nats per trained token on each held-out part that has rows."""
    model, micro = prepared.checkpoint.model, prepared.micro_tokens(stage)
    return {name: mean_loss(group_losses(model, store, micro), store) for name, store in stores.items() if len(store)}


def own_loss(line: Mapping[str, Any]) -> float:
    """The held-out loss of a look at the stage's own data, the mean over its parts; inf where it has none."""
    losses = [loss for name, loss in line.items() if name.startswith("held_out.")]
    return sum(losses) / len(losses) if losses else math.inf


Merit = tuple[float, float]


def merit_of(line: Mapping[str, Any], stage: TrainedStage) -> Merit | None:
    """What a look's weights are chosen by, the higher the better; None where the line has nothing of it. Behaviour and,
    where it is equal, the lower held-out loss; or the loss alone."""
    if isinstance(stage, Sft) and stage.keep == "loss":
        return (-own_loss(line), 0.0) if own_loss(line) < math.inf else None
    return by_behaviour(line) if "behaviour" in line else None


def by_behaviour(line: Mapping[str, Any]) -> Merit:
    """How a look behaved and, where that is equal, its lower held-out loss."""
    return round(line["behaviour"]["score"], 6), -own_loss(line)


def samples(prepared: TrainSetup) -> list[dict[str, str]]:
    """What the model writes after a few held-out prompts."""
    stores = [store for store in prepared.held_out.values() if len(store)]
    return [row for store in stores for row in held_out_samples(prepared.checkpoint, store, SAMPLES, SAMPLING)]


def run_stage(stage: TrainedStage, at: StageContext, fingerprint: str) -> None:
    """Train a stage and write its folder; takes up a checkpoint of the same fingerprint where one stands.

    Raises:
        Stopped: Ctrl-C or SIGTERM came; a checkpoint was saved and the same command goes on from it.
        ValueError: the data cannot be trained on.
    """
    with main_process_first():  # it tokenises the data, which the others then find
        prepared = prepare(stage, at)
    checkpoint = prepared.checkpoint
    whole = shard(checkpoint.model)
    for store in [source.store for source in prepared.sources.values()]:
        store.ledger.check()
    steps = stage.steps
    if steps is None:
        assert stage.epochs is not None
        steps = count_steps(prepared.sources, stage.batch_tokens, stage.seed, stage.epochs)
    search = search_rate(stage, at, prepared, fingerprint) if isinstance(stage, Sft) and stage.find_lr else None
    if search is not None:
        prepared = replace(prepared, lr=search.chosen)
    optimizer = Optimizer(checkpoint.model, stage.optimizer, prepared.lr)
    at.folder.mkdir(parents=True, exist_ok=True)
    position = load_checkpoint(at.folder / CHECKPOINT, checkpoint.model, optimizer, fingerprint)
    if position is None:
        if (at.folder / CHECKPOINT).exists():
            status(f"{at.name}: its settings or what it builds on changed, so it starts again and replaces the old one")
        position = TrainState(0, {}, fingerprint)
    else:
        status(f"{at.name}: going on after step {position.step} of {steps}")
    lines = _cut_log(at.folder / LOG, position.step) if is_main_process() else []
    merits = [merit_of(line, stage) for line in lines]
    best = max((merit for merit in merits if merit is not None), default=(-math.inf, -math.inf))
    trial = make_trial(stage, at) if is_main_process() and isinstance(stage, Sft) and stage.evaluate_every else None
    stream = prepared.batches(stage, position.data or None)
    with stop_requests() as stop, track(at.name, steps, "steps", position.step) as bar:
        journal = Journal(at, stage, prepared, optimizer, position, steps, bar, stop, trial, best, whole)
        schedule = make_schedule(stage.schedule, steps)
        start = position.step
        train(
            checkpoint.model, optimizer, stream, prepared.loss, start=start, steps=steps, lr=schedule, hooks=[journal],
            precision=precision_of(stage, checkpoint.model),
        )  # fmt: skip
    model = whole()
    if model is not None:
        _finish(stage, at, fingerprint, prepared.with_model(model), journal.position, search)
    barrier()


def search_rate(stage: Sft, at: StageContext, prepared: TrainSetup, fingerprint: str) -> RateSearch:
    """The rate found by a sweep over the stage's own first steps; read where it was made before for the same stage."""
    path = at.folder / RATES
    stored = broadcast_object(read_json(path) if is_main_process() and path.exists() else None)
    if stored is not None and stored["fingerprint"] == fingerprint:
        return convert(stored["search"], RateSearch, str(path))
    model = prepared.checkpoint.model
    stream = prepared.batches(msgspec.structs.replace(stage, epochs=None, steps=SWEEP_STEPS))
    with track(f"{at.name}: finding the rate", SWEEP_STEPS, "steps") as bar:
        search = find_rate(
            model, stage.optimizer, stream, prepared.loss, lowest=prepared.lr * BELOW, highest=prepared.lr * ABOVE,
            precision=precision_of(stage, model), bar=bar,
        )  # fmt: skip
    if is_main_process():
        write_json(path, {"fingerprint": fingerprint, "search": asdict(search)})
    status(f"{at.name}: the peak rate is {search.chosen:g}, found by {search.by}")
    return search


def precision_of(stage: TrainedStage, model: torch.nn.Module) -> Precision:
    """What a stage's matrix products are made in, where its settings leave it open too."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    return stage.precision or ("bfloat16" if on_gpu else "float32")


def _finish(
    stage: TrainedStage,
    at: StageContext,
    fingerprint: str,
    prepared: TrainSetup,
    position: TrainState,
    search: RateSearch | None,
) -> None:
    log = [json.loads(line) for line in (at.folder / LOG).read_text().splitlines()]
    chosen = _choose(log, stage)
    if chosen["by"] != "last" and chosen["step"] != position.step:
        load_trained_state(prepared.checkpoint.model, load_tensors(at.folder / CHOSEN))
    if isinstance(stage, Sft) and stage.lora is not None:
        assert stage.parent is not None
        publish_adapter(at.folder, prepared.checkpoint, at.folders[stage.parent], stage.lora)
    else:
        save_model(at.folder, prepared.checkpoint)
    look = next(line for line in log if line["step"] == chosen["step"])
    held_out = {name.removeprefix("held_out."): loss for name, loss in look.items() if name.startswith("held_out.")}
    groups = {name: len(source.store) for name, source in prepared.sources.items()}
    passes = {name: round(cursor.epoch + cursor.position / groups[name], 4) for name, cursor in position.data.items()}
    write_json(
        at.folder / STAGE,
        {
            "name": at.name,
            "fingerprint": fingerprint,
            "settings": to_plain(stage),
            "lr": prepared.lr,
            **({"rate_search": asdict(search)} if search else {}),
            "parameters": parameter_count(prepared.checkpoint.model.config),
            "trained_parameters": sum(p.numel() for p in prepared.checkpoint.model.parameters() if p.requires_grad),
            "vocab": prepared.checkpoint.tokenizer.vocab_size,
            "steps": position.step,
            "tokens": position.tokens,
            "trained_tokens": position.trained_tokens,
            "seconds": position.seconds,
            "tokens_per_second": position.tokens / max(position.seconds, 1e-9),
            "loss": _recent_loss(log),
            "loss_start": log[0]["loss"],
            "held_out": held_out,
            "chosen": chosen,
            "passes": passes,
            "trained_by_dataset": {name: cursor.trained_tokens for name, cursor in position.data.items()},
            "ledgers": {name: source.store.ledger.to_dict() for name, source in prepared.sources.items()},
            "stores": {name: source.store.folder.name for name, source in prepared.sources.items()},
            "peak_rss_bytes": peak_rss_bytes(),
            "environment": environment(),
        },
    )
    (at.folder / CHOSEN).unlink(missing_ok=True)


def _choose(log: list[dict[str, Any]], stage: TrainedStage) -> dict[str, Any]:
    """Which look's weights become the model, by what, and which look behaved best and which had the lowest held-out
    loss, whether they were picked or not."""
    last = log[-1]["step"]
    chosen: dict[str, Any] = {"step": last, "by": "last", "last": last}
    looks = [line for line in log if "behaviour" in line]
    if looks:
        best = max(looks, key=by_behaviour)
        chosen |= {"best_behaviour_step": best["step"], "score": best["behaviour"]["score"]}
    rated = [(merit, line) for line in log if (merit := merit_of(line, stage)) is not None] if chooses(stage) else []
    if rated:
        assert isinstance(stage, Sft)
        _, kept = max(rated, key=lambda one: one[0])  # the first of equals, as the weights were kept
        chosen |= {"step": kept["step"], "by": stage.keep}
    with_loss = [line for line in looks or [line for _, line in rated] if own_loss(line) < math.inf]
    return chosen | ({"lowest_loss_step": min(with_loss, key=own_loss)["step"]} if with_loss else {})


def _recent_loss(log: list[dict[str, Any]]) -> float:
    """The training loss over the last twentieth of the steps; the last alone may hold only a few leftover tokens."""
    recent = log[-max(2, len(log) // 20) :]
    before = [0.0, *(line["trained_tokens"] for line in log)][-len(recent) - 1 : -1]
    weights = [line["trained_tokens"] - done for line, done in zip(recent, before, strict=True)]
    return sum(line["loss"] * weight for line, weight in zip(recent, weights, strict=True)) / sum(weights)


def finished(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """What a finished stage wrote of itself; None where it is unfinished or was another."""
    path = folder / STAGE
    if not path.exists():
        return None
    info = read_json(path)
    return info if isinstance(info, dict) and info.get("fingerprint") == fingerprint else None


def _cut_log(path: Path, step: int) -> list[dict[str, Any]]:
    """Forget what the log says of steps after the checkpoint, which are done again; returns the lines that stay."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    write_text(path, "".join(kept))
    return [json.loads(line) for line in kept]
