"""POST /v1/weights: a served model gets new weights, for a trainer that samples here."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch

from tutelage.engine.engine import Engine
from tutelage.model.hub import load_tensors
from tutelage.model.transformer import Transformer
from tutelage.serve.errors import ApiError
from tutelage.serve.served_model import ServedModel


class WeightsRequest(msgspec.Struct):
    """The model, and the file of its new weights: safetensors, one tensor for each parameter, by its name."""

    model: str
    path: str


def read_weights_request(body: bytes) -> WeightsRequest:
    """ApiError, 400, where the body is none."""
    try:
        return msgspec.json.decode(body, type=WeightsRequest)
    except msgspec.DecodeError as error:
        raise ApiError(400, f"the body is no request for new weights: {error}") from None


def weights_file(path: str, root: Path | None) -> Path:
    """The file, if the server was allowed to read weights there.

    Raises:
        ApiError: 403 or 404.
    """
    if root is None:
        raise ApiError(403, "this server takes no new weights; start it with --weights-from DIR", "path", "forbidden")
    found = Path(path).resolve()
    if not found.is_relative_to(root.resolve()):
        raise ApiError(403, "the file is not below the folder of --weights-from", "path", "forbidden")
    if not found.is_file():
        raise ApiError(404, "there is no such file on the server's machine", "path")
    return found


def check_replaceable(model: ServedModel) -> None:
    """ApiError, 400, where the weights of a model cannot be replaced."""
    if model.adapter is not None or not isinstance(model.checkpoint.model, Transformer):
        message = f"the weights of {model.name} cannot be replaced: it is an adapter, or is held by transformers"
        raise ApiError(400, message, "model")


@torch.no_grad()
def replace_weights(engine: Engine, path: Path) -> str:
    """Give the engine's model the weights of a file, and return their digest. For the engine's thread, between two
    steps. Heads, which write nothing, stay as they are.

    Raises:
        ApiError: 409 where requests run: theirs would be written by two sets of weights; 400 where the file is of
            another model.
    """
    scheduler = engine.scheduler
    if scheduler.running or scheduler.paused or any(request.pages for request in scheduler.waiting):
        raise ApiError(409, "requests run; new weights are taken between them", retry_after=1)
    own = {name: tensor for name, tensor in engine.model.named_parameters() if not name.startswith("heads.")}
    try:
        tensors = load_tensors(path)
    except (OSError, ValueError) as error:
        raise ApiError(400, f"the file cannot be read: {error}", "path") from None
    if {name: t.shape for name, t in tensors.items()} != {name: t.shape for name, t in own.items()}:
        raise ApiError(400, "the file holds other tensors than the model", "path")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])
    engine.weights_changed()
    return engine.weights
