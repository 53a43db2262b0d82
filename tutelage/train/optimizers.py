"""AdamW and Muon behind one step: gradient clipping, one learning rate, a state of plain tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import nn

from tutelage.config import Settings
from tutelage.train.distributed import distribute_like, full_tensor, world_size

# Part of the fingerprint of every trained stage. Raise it when a change here makes the same settings take other steps.
OPTIMIZER = 1


class OptimizerSettings(Settings, frozen=True, kw_only=True):
    """The optimizer section of a stage.

    kind:         muon trains the matrices of the blocks with Muon and the rest with AdamW; adamw trains all with AdamW.
    betas, eps:   of AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).
    momentum:     of Muon (Jordan et al. 2024). Its update is scaled to the RMS of AdamW's (arXiv 2502.16982, eq. 4), so
                  both use one learning rate.
    weight_decay: decoupled, on matrices only.
    clip:         maximum norm of the gradient; None does not clip.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    momentum: float = 0.95
    weight_decay: float = 0.0
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        for name, value in (("betas", self.betas[0]), ("betas", self.betas[1]), ("momentum", self.momentum)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} holds {value}; it must be at least 0 and below 1")
        if not (self.eps > 0 and self.weight_decay >= 0):
            raise ValueError("eps must be above 0, and weight_decay at least 0")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip is {self.clip}; it must be above 0 (inf never clips)")


class Optimizer:
    """The optimizers of one model, stepped together."""

    def __init__(self, model: nn.Module, settings: OptimizerSettings, lr: float) -> None:
        if not lr > 0:
            raise ValueError(f"lr is {lr}; a learning rate must be above 0")
        self.settings, self.lr = settings, lr
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.parameters = list(self.named.values())
        muon = [p for name, p in self.named.items() if settings.kind == "muon" and p.ndim == 2 and "blocks." in name]
        muon_ids = {id(p) for p in muon}
        rest = [p for p in self.parameters if id(p) not in muon_ids]
        adam_groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizers: list[torch.optim.Optimizer] = []
        if rest:
            adam = torch.optim.AdamW(
                [g for g in adam_groups if g["params"]],
                lr=lr, betas=settings.betas, eps=settings.eps, fused=True,
            )  # fmt: skip
            self.optimizers.append(adam)
        # With several processes one optimizer a matrix, so that one matrix at a time is gathered.
        for matrices in [[p] for p in muon] if world_size() > 1 else [muon] if muon else []:
            orthogonal = torch.optim.Muon(
                matrices, lr=lr, momentum=settings.momentum, weight_decay=settings.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )  # fmt: skip
            self.optimizers.append(orthogonal)

    def gradient_norm(self) -> float:
        """The norm of the full gradient."""
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        return float(full_tensor(norm))

    def step(self, factor: float, norm: float) -> None:
        """Clip the gradient, whose norm is `norm`, then take one step at `factor` times the peak learning rate."""
        clip = self.settings.clip
        if clip is not None and norm > clip:
            torch._foreach_mul_([p.grad for p in self.parameters if p.grad is not None], clip / norm)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * factor
            if world_size() > 1 and isinstance(optimizer, torch.optim.Muon):
                _step_full(optimizer)
            else:
                optimizer.step()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_tensors(self) -> dict[str, torch.Tensor]:
        """The state as named tensors, for safetensors."""
        names = {id(p): name for name, p in self.named.items()}
        return {
            f"{names[id(parameter)]}/{key}": value
            for optimizer in self.optimizers
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def blank_state(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, torch.Tensor]:
        """A state of zeros with these full shapes, distributed as its parameters are, to be loaded into.

        Raises:
            ValueError: it is the state of other parameters.
        """
        state = {}
        for key, shape in shapes.items():
            parameter = self._owner(key)
            same_shape = parameter.shape == torch.Size(shape)
            state[key] = (
                torch.zeros_like(parameter) if same_shape else torch.zeros(tuple(shape), device=parameter.device)
            )
        return state

    def _owner(self, key: str) -> nn.Parameter:
        """The parameter that an entry of the state belongs to."""
        name = key.rpartition("/")[0]
        if name not in self.named:
            raise ValueError(f"the optimizer state contains {name or key}, which the model does not train")
        return self.named[name]

    def load_state_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Load a state saved by `state_tensors`.

        Raises:
            ValueError: it is the state of other parameters.
        """
        owners = {id(p): o for o in self.optimizers for g in o.param_groups for p in g["params"]}
        for key, tensor in tensors.items():
            parameter = self._owner(key)
            owners[id(parameter)].state[parameter][key.rpartition("/")[2]] = tensor


@torch.no_grad()
def _step_full(optimizer: torch.optim.Optimizer) -> None:
    """A step of Muon on its one matrix, which is sharded. Orthogonalisation needs the full matrix: each process gathers
    it with its gradient and momentum, takes the same step, and keeps its shard of the result."""
    group = optimizer.param_groups[0]
    (parameter,) = group["params"]
    if parameter.grad is None:
        return
    full = nn.Parameter(full_tensor(parameter))
    full.grad = full_tensor(parameter.grad)
    optimizer.state[full] = {slot: full_tensor(tensor) for slot, tensor in optimizer.state.pop(parameter, {}).items()}
    group["params"] = [full]
    optimizer.step()
    group["params"] = [parameter]
    optimizer.state[parameter] = {slot: distribute_like(t, parameter) for slot, t in optimizer.state.pop(full).items()}
    parameter.copy_(distribute_like(full, parameter))
