"""Run by several processes for test_layouts.py: `layouts.py few|all|experts OUT LAYOUT...`, a layout as tp=2,dp=2; or
`layouts.py save|resume OUT MODEL LAYOUT...` for checkpoints alone."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import torch

from tutelage.model.hub import save_tensors
from tutelage.model.settings import Experts
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import TOKEN_TYPES, Batch, Example, ExampleGroup
from tutelage.train.checkpoint import load_checkpoint, save_checkpoint
from tutelage.train.distributed import full_tensor, init_distributed, is_main_process, shard
from tutelage.train.layout import LayoutSettings, data_rank, data_world_size, use_layout
from tutelage.train.loop import StepReport, train
from tutelage.train.losses import CROSS_ENTROPY
from tutelage.train.optimizers import Optimizer, OptimizerSettings
from tutelage.train.row_orders import in_model_order, orders_of


def _two_processes() -> ModuleType:
    path = Path(__file__).with_name("two_processes.py")
    spec = importlib.util.spec_from_file_location("two_processes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


common = _two_processes()
# The same models, losses and data as for FSDP2 alone, of those that a layout does not refuse.
CASES = ("llama", "qwen3", "qwen3 with a value head", "gpt2", "llama with muon", "llama of pairs", "llama of samples")
FAMILIES = ("windowed", "bert")
MIXTURES = ("experts", "empty experts")  # of these processes can share the experts
CLIPPED = OptimizerSettings(weight_decay=0.1, clip=0.05)


def special_model(kind: str) -> Transformer:
    """Models that a recipe's settings cannot describe: sliding windows with capped scores; a BERT."""
    config = common.resolve(common.LLAMA if kind == "windowed" else common.GPT, common.VOCAB)
    changes = {"window": 7, "windowed": (1,), "attention_softcap": 2.0}
    if kind in MIXTURES:
        experts = Experts(count=4, used=2, width=16, shared=1, bias=True)
        model = initialise(Transformer(msgspec.structs.replace(config, experts=experts)), seed=0).double()
        for name, parameter in model.named_parameters():
            if kind == "empty experts" and name.endswith("router.bias"):  # the last two, of one process, get no token
                parameter.data += torch.tensor([9.0, 8.0, -9.0, -9.0])
        return model
    if kind == "bert":
        changes = {"causal": False, "norm_place": "post", "token_types": 2, "embedding_norm": True, "mlm_head": True}
    model = initialise(Transformer(msgspec.structs.replace(config, **changes)), seed=0)  # type: ignore[arg-type]
    return model.double()


def special_batches(kind: str) -> list[Batch]:
    if kind != "bert":
        return common.micro_batches(common.groups(), common.MICRO_TOKENS, data_rank(), data_world_size())
    random, groups = np.random.default_rng(7), []
    for length in (60, 3, 90, 41, 100):
        targets = random.integers(0, common.VOCAB, length).astype(np.int32)
        types = {TOKEN_TYPES: (np.arange(length) > 20).astype(np.uint8)}
        weights = (random.random(length) < 0.3).astype(np.float32)
        group: ExampleGroup = (Example(random.integers(0, common.VOCAB, length), weights, targets, types),)
        groups.append(group)
    return common.micro_batches(groups, common.MICRO_TOKENS, data_rank(), data_world_size())


def batches(name: str) -> list[Batch]:
    """The micro-batches of this process."""
    if name in (*FAMILIES, *MIXTURES):
        return special_batches(name)
    common.rank, common.world_size = data_rank, data_world_size
    return common.batches_of(common.CASES[name].loss)


def work_out(name: str) -> dict[str, torch.Tensor]:
    """Gradients, norm and figures of a step, and the weights after a few, some of them clipped."""
    case = common.CASES.get(name)
    model = special_model(name) if case is None else common.make(case)
    loss = CROSS_ENTROPY if case is None else case.loss
    whole = shard(model)
    remembering = common.Remembering(model, OptimizerSettings(clip=None), 1e-3)
    reports: list[StepReport] = []
    step = (batches(name), common.DATA)
    train(model, remembering, iter([step]), loss, start=0, steps=1, lr=lambda _: 1.0, hooks=[reports.append])
    settings = CLIPPED if case is None or case.optimizer.kind == "adamw" else case.optimizer
    optimizer = Optimizer(model, settings, 1e-2)
    train(model, optimizer, iter([step] * 3), loss, start=0, steps=3, lr=lambda _: 1.0)
    orders, after = orders_of(model), whole()
    gradients = {
        f"gradient/{key}": in_model_order(tensor, orders.get(key)) for key, tensor in remembering.gradients.items()
    }
    if after is None:
        return {}
    figures = {"norm": reports[0].gradient_norm, "tokens": reports[0].tokens, **reports[0].metrics.means()}
    return {
        **gradients,
        **{f"figure/{key}": torch.tensor(value, dtype=torch.float64) for key, value in figures.items()},
        **{f"weight/{key}": tensor for key, tensor in after.state_dict().items()},
    }


def resumed(kind: str, folder: Path, save: bool, name: str = "qwen3") -> dict[str, torch.Tensor]:
    """A checkpoint after two steps where `save`; else weights and state after the one in the folder and one more."""
    case = common.CASES["qwen3"]
    model = special_model(name) if name in MIXTURES else common.make(case)
    shard(model)
    optimizer = Optimizer(model, OptimizerSettings(kind=kind, clip=0.05), 1e-2)  # type: ignore[arg-type]
    step = (batches(name), common.DATA)
    if not save:
        assert load_checkpoint(folder, model, optimizer, "the same run") == common.POSITION
    train(model, optimizer, iter([step] * 2), case.loss, start=0, steps=2 if save else 1, lr=lambda _: 1.0)
    if save:
        save_checkpoint(folder, model, optimizer, common.POSITION)
        return {}
    orders = orders_of(model)
    return {
        name: in_model_order(full_tensor(tensor), orders.get(name.partition("/")[0]) if tensor.ndim else None)
        for name, tensor in (model.state_dict() | optimizer.state_tensors()).items()
    }


def settings_of(layout: str) -> LayoutSettings:
    return LayoutSettings(**{name: int(number) for name, number in (part.split("=") for part in layout.split(","))})


def checkpoints(out: Path, layout: str, save: bool, name: str) -> None:
    """A checkpoint as `LAYOUT/adamw`; or what becomes of all that are there, as `LAYOUT/SAVER.safetensors`."""
    with use_layout(settings_of(layout)):
        if save:
            resumed("adamw", out / layout / "adamw", True, name)
            return
        for saver in sorted(path.parent for path in out.glob("*/adamw")):
            tensors = resumed("adamw", saver / "adamw", False, name)
            if is_main_process():
                save_tensors(out / layout / f"{saver.name}.safetensors", tensors)


def everything(out: Path, layout: str, names: Sequence[str], kinds: Sequence[str]) -> None:
    """Cases as `LAYOUT/NAME.safetensors`; a checkpoint as `LAYOUT/KIND`, and what becomes of all that are there."""
    with use_layout(settings_of(layout)):
        written = {name: work_out(name) for name in names}
        resumes = names[0] if names[0] in MIXTURES else "qwen3"
        for kind in kinds:
            for other in sorted(path.name for path in out.glob(f"*/{kind}") for path in [path.parent]):
                written[f"{kind} of {other}"] = resumed(kind, out / other / kind, False, resumes)
            resumed(kind, out / layout / kind, True, resumes)
    if is_main_process():
        for name, tensors in written.items():
            save_tensors(out / layout / f"{name}.safetensors", tensors)


FEW = ("qwen3 with a value head", "windowed")

if __name__ == "__main__":
    torch.set_num_threads(1)
    jobs = {
        "few": (FEW, ["adamw"]),
        "experts": (MIXTURES, ["adamw", "muon"]),
        "all": ((*CASES, *FAMILIES), ["adamw", "muon"]),
    }
    job, out = sys.argv[1], Path(sys.argv[2])
    with init_distributed():
        if job in jobs:
            for layout in sys.argv[3:]:
                everything(out, layout, *jobs[job])
        else:
            for layout in sys.argv[4:]:
                checkpoints(out, layout, job == "save", sys.argv[3])
