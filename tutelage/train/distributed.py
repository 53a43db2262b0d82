"""Several processes on one run, started by `torchrun`: each computes a part of every step and holds a part of the
model.

What a step trains on does not depend on the number of processes (see `batching.loader`), and gradients are summed,
never averaged: so N processes train as one does. Only the main process (rank 0) prints, writes the log and evaluates.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import safetensors
import torch
import torch.distributed as dist
from torch import nn

from tutelage.cost.layout import Layout
from tutelage.files import atomic_folder
from tutelage.process import device_type, rank_and_world_size
from tutelage.progress import set_mode
from tutelage.train.row_orders import in_model_order, orders_of

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

# The main process may tokenise or evaluate for hours while the others wait. Nobody waits for a process that died: its
# connections break, or its note in the store is found.
TIMEOUT = timedelta(days=7)
# Seconds between two checks whether another process failed, and until this one is ended where it does not end itself.
CHECK_EVERY, GRACE = 0.5, 5.0
FAILED = "tutelage/failed"

Model = TypeVar("Model", bound=nn.Module)


class ProcessLost(ConnectionError):
    """Another process of the run ended without an error: it was killed, or its machine is gone."""


def world_size() -> int:
    """The number of processes of this run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main_process() -> bool:
    """Whether this is the process that prints, writes and evaluates."""
    return rank() == 0


@contextmanager
def init_distributed() -> Iterator[None]:
    """Within the block this process works on one run with all that `torchrun` started beside it, over gloo on CPUs and
    NCCL on GPUs, one GPU a process; only the main one shows its progress. A process started alone stays alone.

    When one of them fails all end: the first to fail raises its error out of the block, and every other exits silently
    with status 1, whatever it waits for.

    Raises:
        ProcessLost: another process was killed.
    """
    own_rank, size = rank_and_world_size()
    if size == 1 or dist.is_initialized():
        yield
        return
    if own_rank > 0:
        set_mode("quiet")
    store, *_ = next(iter(dist.rendezvous("env://")))
    backend = "gloo"
    if device_type() == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=own_rank, world_size=size, timeout=TIMEOUT)
    # A thread of its own on a connection of its own: the main thread may wait inside a call that no signal ends.
    done = threading.Event()
    watcher = threading.Thread(target=_exit_with_the_others, args=(store.clone(), done), daemon=True)
    watcher.start()
    try:
        yield
    except BaseException as error:
        if _announce_failure(store) > 1:
            raise SystemExit(1) from None
        if isinstance(error, RuntimeError) and _is_network_error(error):
            raise ProcessLost(
                "another process of this run was killed, or its machine is gone; rerun to resume from the last "
                "checkpoint"
            ) from error
        raise
    done.set()
    watcher.join()  # the interpreter must not end while the thread is inside a call of the store
    dist.destroy_process_group()


def _announce_failure(store: dist.Store) -> int:
    """Tell all processes that this one failed; returns how many have, this one included."""
    try:
        return store.add(FAILED, 1)
    except RuntimeError:  # the store went with the process that failed first
        return 2


def _is_network_error(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _exit_with_the_others(store: dist.Store, done: threading.Event) -> None:
    """Exit soon after any process has failed, unless this one is done."""
    while not done.wait(CHECK_EVERY):
        try:
            failed = store.check([FAILED])
        except RuntimeError:
            failed = True
        if failed and not done.wait(GRACE):  # time to say what happened, and to finish what is being written
            os._exit(1)


def all_gather_object(value: Any) -> list[Any]:
    """The value of every process, by rank; for figures, names and other plain data. All must call it."""
    if world_size() == 1:
        return [value]
    own = torch.frombuffer(bytearray(msgspec.msgpack.encode(value)), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
    count = torch.tensor([len(own)])
    dist.all_gather(sizes, count)
    longest = max(int(size) for size in sizes)
    rows = [torch.empty(longest, dtype=torch.uint8) for _ in sizes]
    padded = nn.functional.pad(own, (0, longest - len(own)))
    dist.all_gather(rows, padded)
    _wait_until_released([count, *sizes, padded, *rows])
    return [msgspec.msgpack.decode(row[: int(size)].numpy().tobytes()) for row, size in zip(rows, sizes, strict=True)]


def _wait_until_released(tensors: Sequence[torch.Tensor]) -> None:
    """Wait until the threads of gloo let go of the tensors of a collective, soon after it is done.

    A thread that is the last to hold a tensor made in Python needs the interpreter to free it. If the interpreter ends
    meanwhile, as after the last collective of a run, Python up to 3.13 ends the thread inside a destructor, and C++
    aborts the process: "terminate called without an active exception".
    """
    while any(tensor._use_count() > 1 for tensor in tensors):  # type: ignore[attr-defined]
        time.sleep(0)  # on to the other thread


def broadcast_object(value: Any) -> Any:
    """The value of the main process, on every process. All must call it."""
    return all_gather_object(value if is_main_process() else None)[0]


def barrier() -> None:
    """Wait until every process gets here."""
    all_gather_object(None)


@contextmanager
def main_process_first() -> Iterator[None]:
    """The main process runs the block first; what it writes, the others find."""
    if not is_main_process():
        barrier()
    yield
    if is_main_process():
        barrier()


@contextmanager
def shared_folder(path: Path) -> Iterator[Path]:
    """`atomic_folder` for all processes together: all write into it, and it takes its place when all have."""
    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_folder(path)) if is_main_process() else None
        yield Path(broadcast_object(str(temporary)))
        barrier()
    barrier()


def shard(model: Model) -> Callable[..., Model | None]:
    """Shard a model's parameters over all processes, in place, as the run's layout says (FSDP2: a block's are gathered
    while it runs), on this process's GPU where there is one.

    Returns a function that all processes must call together: it returns the whole model on the main process, as an
    ordinary module, and None on the others; with `everywhere=True` on all of them. With one process the model stays as
    it is.

    Raises:
        ValueError: the model is not made of our blocks, or does not fit the layout.
    """
    if world_size() == 1:
        return lambda everywhere=False: model
    blocks = getattr(model, "blocks", None)
    if blocks is None:
        raise ValueError(
            "a model whose architecture is not built in cannot be trained by several processes; start the command "
            "without torchrun"
        )
    from torch.distributed.fsdp import fully_shard

    from tutelage.train.context_parallel import share_tokens
    from tutelage.train.expert_parallel import share_experts
    from tutelage.train.layout import check_model, make_meshes, meshes
    from tutelage.train.tensor_parallel import share_matrices

    # Advice on performance that no user can follow, at every start.
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    # The losses of a batch are a slice, and nothing is done to them in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    # A sharded model cannot be deep-copied. This copy holds no numbers, and so no memory.
    outlines = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    outline = copy.deepcopy(model, dict(outlines))
    shared = meshes() or make_meshes(Layout(dp=world_size()))
    check_model(shared.layout, model.config)  # type: ignore[arg-type]
    if shared.layout.tp > 1:
        share_matrices(model, shared.weights["tp"])  # type: ignore[arg-type]
    if shared.context is not None:
        share_tokens(model, shared.context)  # type: ignore[arg-type]
    everywhere = shared.weights["fsdp"] if shared.layout.tp > 1 else shared.weights
    modules: list[tuple[nn.Module, DeviceMesh]] = [(module, everywhere) for module in (*blocks, model)]
    if shared.experts is not None:
        experts = share_experts(model, shared.experts["ep"])  # type: ignore[arg-type]
        modules = [*((module, shared.experts["groups"]) for module in experts), *modules]
    for module, mesh in modules:
        sharded = fully_shard(module, mesh=mesh)
        # By default gradients are averaged. A loss is already divided by the whole step's count: the sum is right.
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
    return lambda everywhere=False: _gathered(model, outline, everywhere)


@torch.no_grad()
def _gathered(model: Model, outline: Model, everywhere: bool) -> Model | None:
    tensors = {}
    for name, tensor in model.state_dict().items():
        whole = in_model_order(full_tensor(tensor), orders_of(model).get(name))
        if is_main_process() or everywhere:
            tensors[name] = whole
    if not (is_main_process() or everywhere):
        return None
    plain = copy.deepcopy(outline)
    plain.load_state_dict(tensors, assign=True)
    return plain.to(next(iter(tensors.values())).device)  # the tables that are worked out and never saved


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that may be sharded over all processes, whole on each of them."""
    if world_size() == 1:
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharding(tensor: torch.Tensor) -> object:
    """How a tensor is sharded; equal for those that are sharded alike."""
    if world_size() == 1:
        return None
    from torch.distributed.tensor import DTensor

    return (tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else None


def distribute_like(whole: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """A tensor that each process has whole, sharded as `other` is; nothing is sent."""
    if world_size() == 1:
        return whole
    from torch.distributed.tensor import DTensor

    assert isinstance(other, DTensor)
    mesh, local = other.device_mesh, whole
    for dim in reversed(range(mesh.ndim)):  # FSDP2 splits what is left of a matrix that tensor parallel has split
        split_dim = getattr(other.placements[dim], "dim", None)
        if split_dim is not None:  # else every process has all of it
            pieces = local.chunk(mesh.size(dim), split_dim)
            place = mesh.get_local_rank(dim)
            local = pieces[place] if place < len(pieces) else local.narrow(split_dim, 0, 0)
    return DTensor.from_local(
        local.contiguous(), mesh, other.placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )


def save_shards(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write what each process holds of some tensors: a safetensors file per process, whose header says which part of
    each tensor is in it (`torch.distributed.checkpoint`, without the pickle of its own format)."""
    from torch.distributed import checkpoint

    writer = checkpoint.HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        checkpoint.save(dict(tensors), storage_writer=writer)
    except checkpoint.CheckpointException as error:  # not an Exception subclass, so nothing would clean up after it
        raise next(iter(error.failures.values()))[0] from error


def saved_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The tensors in the safetensors files of a folder, however many processes wrote it, with their full shapes.
    ValueError where a file is broken or missing."""
    from torch.distributed import checkpoint

    try:
        saved = checkpoint.HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except safetensors.SafetensorError as error:
        raise _incomplete(folder, error) from error
    shapes = {}
    for name, one in saved.items():
        assert isinstance(one, checkpoint.TensorStorageMetadata), "safetensors files hold tensors alone"
        # A part that no file holds would silently stay as it is.
        if sum(chunk.sizes.numel() for chunk in one.chunks) != one.size.numel():
            raise _incomplete(folder, f"it lacks a part of {name}")
        shapes[name] = tuple(one.size)
    return shapes


def load_shards(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Fill tensors, in place, from the safetensors files of a folder, however many processes wrote it; each process
    reads no more than what it holds. ValueError where one is missing or a file is broken."""
    from torch.distributed import checkpoint

    reader = checkpoint.HuggingFaceStorageReader(str(folder))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")
            checkpoint.load(dict(tensors), storage_reader=reader, no_dist=world_size() == 1)
    except checkpoint.CheckpointException as error:
        raise _incomplete(folder, next(iter(error.failures.values()))[0]) from error


def _incomplete(folder: Path, reason: object) -> ValueError:
    return ValueError(f"{folder} is not a complete checkpoint ({reason}); remove it to restart the stage")
