"""Weights on disk: safetensors, in one file or in shards with an index, loaded one tensor at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file

from tutelage.files import atomic_file, read_json, write_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5 * 10**9  # once the default of transformers; some file systems and mirrors limit file size
_LFS = b"version https://git-lfs.github.com/spec/"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Save tensors as safetensors, atomically."""
    with atomic_file(path) as temporary:
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, metadata={"format": "pt"})  # transformers requires it


def load_tensors(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Load a safetensors file.

    Raises:
        ValueError: it is missing or broken.
    """
    try:
        return load_file(path, device=device)
    except FileNotFoundError:
        raise _missing(path) from None
    except (safetensors.SafetensorError, OSError) as error:
        raise _broken(path, error) from error


def read_tensor(path: Path, name: str) -> torch.Tensor:
    """Load one tensor. The file is reopened each time, so that pages of earlier tensors are released."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            return file.get_tensor(name)
    except (safetensors.SafetensorError, OSError) as error:
        raise _broken(path, error) from error


def as_dtype(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of floating-point numbers in this dtype, any other as it is."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def check_finite(tensor: torch.Tensor, name: str, where: Path) -> None:
    """Check a loaded tensor. Training would fail at its first step and point at the learning rate. The check takes a
    fraction of the time of loading.

    Raises:
        ValueError: the tensor contains NaN or infinity; the message names it.
    """
    if tensor.numel() and not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(tensor.detach())):
        raise ValueError(
            f"{where}: {name} contains NaN or infinity, so the model is unusable; download it again, or use another"
        )


def weights_fingerprint(files: Mapping[str, Path]) -> str:
    """A hexadecimal hash of a model's weights: of the name, shape and first row of each tensor, so that little of the
    files is read. `files` maps each tensor to its file."""
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        try:
            with safetensors.safe_open(path, "pt") as file:
                tensor = file.get_slice(name)
                digest.update(f"{name} {tensor.get_shape()} ".encode())
                digest.update(tensor[:1].float().numpy().tobytes())
        except (safetensors.SafetensorError, OSError) as error:
            raise _broken(path, error) from error
    return digest.hexdigest()


def trained_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A module's state without its frozen parameters. A parameter with several names, as the tied embeddings of a
    transformers-backed model, appears once."""
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    excluded = {name for name, _ in module.named_parameters(remove_duplicate=False)} - trained
    return {name: tensor for name, tensor in module.state_dict().items() if name not in excluded}


def load_trained_state(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Load what `trained_state` returned for a module of the same structure.

    Raises:
        ValueError: other parameters are trained.
    """
    differing = trained_state(module).keys() ^ tensors.keys()
    if differing:
        raise ValueError(
            f"{min(differing)} is trained in the model or in the checkpoint, but not in both; restart the stage"
        )
    module.load_state_dict(tensors, strict=False)


def tensor_files(folder: Path) -> dict[str, Path]:
    """Maps the name of every tensor in a model folder to its file.

    Raises:
        ValueError: the weights are missing or pickled, or a shard is missing or broken.
    """
    index = folder / INDEX
    if (folder / WEIGHTS).exists() or not index.exists():
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles and not (folder / WEIGHTS).exists():
            raise ValueError(
                f"{folder}: the weights are in {pickles[0]}, a pickle, which can run code when loaded and is never "
                "loaded; convert it with transformers: from_pretrained(...), then save_pretrained(...)"
            )
        return dict.fromkeys(_names(folder / WEIGHTS), folder / WEIGHTS)
    table = read_json(index)
    shard_of = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(shard_of, dict) or not shard_of:
        raise ValueError(f"{index} has no weight_map; download it again")
    file_of: dict[str, Path] = {}
    for shard in sorted({str(shard) for shard in shard_of.values()}):
        if Path(shard).name != shard:
            raise ValueError(f"{index} names the shard {shard}, which is not a file in its folder; download it again")
        file_of |= dict.fromkeys(_names(folder / shard), folder / shard)
    missing = sorted(shard_of.keys() - file_of.keys())
    if missing:
        raise ValueError(
            f"{folder / str(shard_of[missing[0]])} lacks {missing[0]}, which {INDEX} lists there; download it again"
        )
    return file_of


def _names(path: Path) -> list[str]:
    if not path.exists():
        raise _missing(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            return list(file.keys())
    except (safetensors.SafetensorError, OSError) as error:
        raise _broken(path, error) from error


def write_weights(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Save a model's weights, large ones in shards with an index, and delete weight files of an earlier save."""
    shards = _sharded(tensors)
    names = (
        [WEIGHTS]
        if len(shards) == 1
        else [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    )
    for name, shard in zip(names, shards, strict=True):
        save_tensors(folder / name, shard)
    if len(shards) > 1:
        shard_of = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        total = sum(tensor.nbytes for tensor in tensors.values())
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": shard_of})
        names.append(INDEX)
    for path in [folder / WEIGHTS, folder / INDEX, *folder.glob("model-*-of-*.safetensors")]:
        if path.name not in names:
            path.unlink(missing_ok=True)


def _sharded(tensors: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """The tensors in order, in groups of at most SHARD_BYTES."""
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file only says where Git LFS keeps its content."""
    try:
        with path.open("rb") as file:
            return file.read(len(_LFS)) == _LFS
    except OSError:
        return False


def _missing(path: Path) -> ValueError:
    return ValueError(f"{path} is missing; the model in {path.parent} is incomplete")


def _broken(path: Path, error: Exception) -> ValueError:
    if is_lfs_pointer(path):
        return ValueError(f"{path} is a Git LFS pointer, not the weights themselves; fetch them: git lfs pull")
    return ValueError(f"{path} is not a valid safetensors file ({error}); copy or create it again")
