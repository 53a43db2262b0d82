"""Weights on disk: safetensors, in one file or in shards with an index, read tensor by tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file

from tutelage.files import atomic_file, read_json, write_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5 * 10**9  # as transformers once cut them: a file system or a mirror may refuse larger ones
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    with atomic_file(path) as temporary:
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, metadata={"format": "pt"})  # what transformers asks of a file it reads


def load_tensors(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Read a safetensors file; ValueError where it is missing or broken."""
    try:
        return load_file(path, device=device)
    except FileNotFoundError:
        raise _missing(path) from None
    except (safetensors.SafetensorError, OSError) as error:
        raise _broken(path, error) from error


def read_tensor(path: Path, name: str) -> torch.Tensor:
    """Read one tensor. The file is opened anew, so that the pages of the tensors before it are given back."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            return file.get_tensor(name)
    except (safetensors.SafetensorError, OSError) as error:
        raise _broken(path, error) from error


def refuse_not_finite(tensor: torch.Tensor, name: str, where: Path) -> None:
    """ValueError, which names the tensor, where it holds NaN or infinity: training on it would fail at its first step,
    as if the learning rate were to blame. One pass over the numbers, which takes a fraction of reading them."""
    if tensor.numel() and not all(bool(torch.isfinite(end)) for end in torch.aminmax(tensor.detach())):
        raise ValueError(
            f"{where}: {name} holds NaN or infinity, so the model can neither answer nor be trained; fetch it again, "
            "or take another"
        )


def weights_mark(files: Mapping[str, Path]) -> str:
    """A hexadecimal hash by which one model's weights are told from another's: of the name, shape and first row of each
    tensor, so that no more than a sliver of the files is read. `files` says which file holds each."""
    mark = hashlib.sha256()
    for name, path in sorted(files.items()):
        try:
            with safetensors.safe_open(path, "pt") as file:
                part = file.get_slice(name)
                mark.update(f"{name} {part.get_shape()} ".encode())
                mark.update(part[:1].float().numpy().tobytes())
        except (safetensors.SafetensorError, OSError) as error:
            raise _broken(path, error) from error
    return mark.hexdigest()


def trained_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A module's state without its frozen parameters: what training changes. A parameter of several names, as the
    embedding and head of a model that transformers holds, stands in it once."""
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    others = {name for name, _ in module.named_parameters(remove_duplicate=False)} - trained
    return {name: tensor for name, tensor in module.state_dict().items() if name not in others}


def load_trained_state(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Take up what `trained_state` gave of a module like this one."""
    differing = trained_state(module).keys() ^ tensors.keys()
    if differing:
        raise ValueError(f"{min(differing)} is trained in one of the two and not in the other; start the stage again")
    module.load_state_dict(tensors, strict=False)


def tensor_files(folder: Path) -> dict[str, Path]:
    """The name of every tensor of a model's folder, and the file that holds it.

    Raises:
        ValueError: there are no weights, only pickled ones, or a shard is missing or broken.
    """
    index = folder / INDEX
    if (folder / WEIGHTS).exists() or not index.exists():
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles and not (folder / WEIGHTS).exists():
            raise ValueError(
                f"{folder} holds its weights as {pickles[0]}, a pickle, which can run code when it is read and is "
                "never loaded; convert it with transformers: from_pretrained(...), then save_pretrained(...)"
            )
        return dict.fromkeys(_names(folder / WEIGHTS), folder / WEIGHTS)
    table = read_json(index)
    places = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{index} has no weight_map; fetch it again")
    held: dict[str, Path] = {}
    for shard in sorted({str(shard) for shard in places.values()}):
        if Path(shard).name != shard:
            raise ValueError(f"{index} names the shard {shard}, which is no file of its folder; fetch it again")
        held |= dict.fromkeys(_names(folder / shard), folder / shard)
    lost = sorted(places.keys() - held.keys())
    if lost:
        raise ValueError(
            f"{folder / str(places[lost[0]])} lacks {lost[0]}, which {INDEX} says it holds; fetch it again"
        )
    return held


def _names(path: Path) -> list[str]:
    if not path.exists():
        raise _missing(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            return list(file.keys())
    except (safetensors.SafetensorError, OSError) as error:
        raise _broken(path, error) from error


def write_weights(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a model's weights, in shards with an index where they are large, and remove those that stood there."""
    shards = _sharded(tensors)
    names = (
        [WEIGHTS]
        if len(shards) == 1
        else [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    )
    for name, shard in zip(names, shards, strict=True):
        save_tensors(folder / name, shard)
    if len(shards) > 1:
        places = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        total = sum(tensor.nbytes for tensor in tensors.values())
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})
        names.append(INDEX)
    for path in [folder / WEIGHTS, folder / INDEX, *folder.glob("model-*-of-*.safetensors")]:
        if path.name not in names:
            path.unlink(missing_ok=True)


def _sharded(tensors: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """The tensors in order, cut where one more would make a file too large."""
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def _missing(path: Path) -> ValueError:
    return ValueError(f"{path} is missing; the folder {path.parent} is not a whole model")


def _broken(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is not a whole safetensors file ({error}); copy or make it again")
