"""What stages are predicted to take, written before they are trained, to be shown beside what they took."""

from __future__ import annotations

import gc

import msgspec

from tutelage.files import DiskError, read_json, write_json
from tutelage.plan import plan
from tutelage.process import rank_and_world_size, release_freed_memory, rss_bytes
from tutelage.runner import PREDICTED, Run

# What a process that trains holds beside its state and one step's activations: modules that are imported at the first
# step, and freed memory in pieces that no later step fits into. Measured on 14 stages of six recipes: 78 to 293 MiB,
# with which all predictions were within 25% (LOG.md, "Predicted and measured").
KEPT_BYTES = 150 * 2**20


class Prediction(msgspec.Struct, frozen=True):
    """Of the stage with this fingerprint: seconds of training, and the peak memory of the process."""

    fingerprint: str
    seconds: float
    peak_rss_bytes: int


class _File(msgspec.Struct, frozen=True):
    stages: dict[str, Prediction]


def predict(run: Run) -> None:
    """Write DIR/predicted.json, the plan of every stage that is not begun; a stage that is keeps what was predicted of
    it. Nothing is predicted of a run of several processes, nor where it cannot be planned or written: the run itself
    then says what is wrong.

    Raises:
        ValueError: the folder holds something that is not a run.
    """
    run.check_folder()
    if rank_and_world_size()[1] > 1:
        return
    try:
        known = predictions(run)
        if any(name not in known and run.stage_done(name) is None for name in run.trained_stages()):
            write_json(run.folder / PREDICTED, msgspec.to_builtins(_File({**_planned(run), **known})))
    except (ValueError, DiskError):
        return


def _planned(run: Run) -> dict[str, Prediction]:
    """The predictions of the stages that have not begun."""
    stages = plan(run)["stages"]
    gc.collect()
    release_freed_memory()
    process = rss_bytes()  # with PyTorch and the tokenizer, but without a model
    return {
        name: Prediction(
            run.fingerprint(name),
            stage["seconds"],
            process + KEPT_BYTES + stage["state_bytes"] + stage["activation_bytes"],
        )
        for name, stage in stages.items()
        if not (stage["done"] or stage["steps_done"])
    }


def predictions(run: Run) -> dict[str, Prediction]:
    """What was predicted of the stages as they are now, by name; ValueError if the file is broken."""
    path = run.folder / PREDICTED
    if not path.exists():
        return {}
    try:
        stages = msgspec.convert(read_json(path), _File).stages
    except msgspec.ValidationError as error:
        raise ValueError(f"{path} is broken ({error}); remove it") from error
    trained = run.trained_stages()
    return {name: one for name, one in stages.items() if name in trained and one.fingerprint == run.fingerprint(name)}
