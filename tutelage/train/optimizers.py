"""AdamW and Muon behind one step: gradient clipping, one learning rate, a state of plain tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.autograd.graph import increment_version

from tutelage.config import Settings
from tutelage.model.parts import as_rows, is_matrix, parts
from tutelage.model.sizes import ModelConfig
from tutelage.train.distributed import distribute_like, full_tensor, sharding, world_size
from tutelage.train.eight_bit import adamw_8bit, state_to_tensors, tensors_to_state
from tutelage.train.row_orders import in_model_order, in_stored_order, orders_of
from tutelage.train.width import check_width, part_of, rate_factor

# Part of the fingerprint of every trained stage. Raise it when a change here makes the same settings take other steps.
OPTIMIZER = 2


# The RMS that torch.optim.Muon scales its updates to.
MATCHED_RMS = 0.2


class OptimizerSettings(Settings, frozen=True, kw_only=True):
    """The optimizer section of a stage.

    kind:         muon trains the matrices of the blocks with Muon and the rest with AdamW; adamw trains all with AdamW.
    betas, eps:   of AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).
    momentum:     of Muon (Jordan et al. 2024). Its update is scaled to the RMS of AdamW's (arXiv 2502.16982, eq. 4), so
                  both use one learning rate.
    update_rms:   RMS of Muon's update at a learning rate of 1. AdamW's is about 0.2; DeepSeek-V4 takes 0.18.
    state_bits:   of AdamW's two numbers per weight; 8 needs the extra `bitsandbytes` (see `train.eight_bit`).
    weight_decay: decoupled, on matrices only.
    clip:         maximum norm of the gradient; None does not clip.
    base_width:   lr, weight_decay and initial weights are meant for a model of this width, and scaled to the width of
                  the model at hand (muP, arXiv 2203.03466; see `train.width`). None scales nothing.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    momentum: float = 0.95
    update_rms: float = 0.2
    state_bits: Literal[32, 8] = 32
    weight_decay: float = 0.0
    clip: float | None = 1.0
    base_width: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("betas", self.betas[0]), ("betas", self.betas[1]), ("momentum", self.momentum)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} holds {value}; it must be at least 0 and below 1")
        if not (self.eps > 0 and self.weight_decay >= 0 and self.update_rms > 0):
            raise ValueError("eps and update_rms must be above 0, and weight_decay at least 0")
        if self.base_width is not None and self.base_width < 1:
            raise ValueError(f"base_width is {self.base_width}; it must be at least 1")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip is {self.clip}; it must be above 0 (inf never clips)")


class MuonOnParts(torch.optim.Muon):
    """Muon that orthogonalises each logical matrix of a parameter by itself (see `model.parts`).

    Orthogonalised as one, q, k and v would share the norm of the fused matrix: with gradients of scale 10, 1 and 0.1
    their updates have an RMS of 0.29, 0.09 and 0.01 instead of 0.18 each. The step is that of `torch.optim.Muon` on the
    separate matrices, bit for bit, and each update is scaled by its own shape (arXiv 2502.16982, eq. 4). The state
    remains one momentum buffer per parameter.

    Parameters sharded over processes are gathered one at a time. Each process takes the same step on the full matrix,
    and keeps its shard of the result.
    """

    def __init__(
        self,
        named: Mapping[str, nn.Parameter],
        config: ModelConfig,
        settings: OptimizerSettings,
        lr: float,
        orders: Mapping[str, torch.Tensor],
    ) -> None:
        scale = settings.update_rms / MATCHED_RMS
        if settings.base_width is not None:
            scale *= rate_factor("hidden", "muon", config.width, settings.base_width)
        super().__init__(
            [nn.Parameter(torch.empty(1, 1))],  # it takes matrices alone, and a parameter may hold many: see below
            lr=lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay / scale,
            adjust_lr_fn="match_rms_adamw",
        )
        self.param_groups[0]["scale"] = scale
        self.param_groups[0]["params"] = list(named.values())
        self.names = {parameter: name for name, parameter in named.items()}
        self.orders = {parameter: orders.get(name) for name, parameter in named.items()}
        self.rows = {parameter: [part.rows for part in parts(config, name)] for name, parameter in named.items()}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        (group,) = self.param_groups
        for parameter, rows in self.rows.items():
            if parameter.grad is None:
                continue
            order = self.orders[parameter]
            weight, grad = (in_model_order(full_tensor(x), order) for x in (parameter, parameter.grad))
            state = self.state.pop(parameter, {})
            momentum = in_model_order(full_tensor(state["momentum_buffer"]), order) if state else torch.zeros_like(grad)
            # Views, so that the step changes the rows of weight and momentum in place.
            weight_rows, grad_rows, momentum_rows = (
                as_rows(tensor, self.names[parameter]) for tensor in (weight, grad, momentum)
            )
            matrices = [nn.Parameter(weight_rows[part]) for part in rows]
            for matrix, part in zip(matrices, rows, strict=True):
                matrix.grad = grad_rows[part]
                self.state[matrix] = {"momentum_buffer": momentum_rows[part]}
            group["params"] = matrices
            super().step()
            for matrix in matrices:
                del self.state[matrix]
            momentum = distribute_like(in_stored_order(momentum, order), parameter)
            self.state[parameter] = {"momentum_buffer": momentum}
            if world_size() > 1:
                parameter.copy_(distribute_like(in_stored_order(weight, order), parameter))
        group["params"] = list(self.rows)


class Optimizer:
    """The optimizers of one model, stepped together."""

    def __init__(self, model: nn.Module, settings: OptimizerSettings, lr: float) -> None:
        if not lr > 0:
            raise ValueError(f"lr is {lr}; a learning rate must be above 0")
        self.settings, self.lr = settings, lr
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.parameters, self.orders = list(self.named.values()), orders_of(model)
        matrices = {name: p for name, p in self.named.items() if is_matrix(name, p)}
        muon = {name: p for name, p in matrices.items() if settings.kind == "muon" and "blocks." in name}
        rest = {name: p for name, p in self.named.items() if name not in muon}
        config = cast(ModelConfig, getattr(model, "config", None))  # baselines have none
        if settings.base_width is not None:
            check_width(config)
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
        for name, parameter in rest.items():
            part = part_of(name, name in matrices)
            scale = (
                1.0 if settings.base_width is None else rate_factor(part, "adamw", config.width, settings.base_width)
            )
            groups.setdefault((scale, name in matrices), []).append(parameter)
        # Weight decay is multiplied by the rate: what a rate loses by scaling, decay gains, and their product stays.
        adam_groups = [
            {"params": params, "scale": scale, "weight_decay": settings.weight_decay / scale if decays else 0.0}
            for (scale, decays), params in groups.items()
        ]
        self.optimizers: list[torch.optim.Optimizer] = []
        if rest:
            filled = [group for group in adam_groups if group["params"]]
            if settings.state_bits == 8:
                self.optimizers.append(adamw_8bit(filled, lr, settings.betas, settings.eps))
            else:
                adam = torch.optim.AdamW(filled, lr=lr, betas=settings.betas, eps=settings.eps, fused=True)
                self.optimizers.append(adam)
        if muon:
            self.optimizers.append(MuonOnParts(muon, config, settings, lr, self.orders))

    def gradient_norm(self) -> float:
        """The norm of the full gradient. Gradients that are sharded alike have one norm; their squares add up."""
        norms = [float(full_tensor(torch.nn.utils.get_total_norm(group))) for group in self._gradients()]
        return norms[0] if len(norms) == 1 else math.hypot(*norms)

    def _gradients(self) -> list[list[torch.Tensor]]:
        """All gradients, in groups of those that are sharded alike: one operation cannot mix others."""
        groups: dict[object, list[torch.Tensor]] = {}
        for parameter in self.parameters:
            if (grad := parameter.grad) is not None:
                groups.setdefault(sharding(grad), []).append(grad)
        return list(groups.values()) or [[]]

    def step(self, factor: float, norm: float) -> None:
        """Clip the gradient, whose norm is `norm`, then take one step at `factor` times the peak learning rate."""
        clip = self.settings.clip
        if clip is not None and norm > clip:
            for gradients in self._gradients():
                torch._foreach_mul_(gradients, clip / norm)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * factor * group["scale"]
            optimizer.step()
        for parameter in self.parameters:
            # Fused and view-based steps do not count as changes, and the engine's digest of weights reads the count.
            increment_version(parameter)

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
            for key, value in state_to_tensors(state).items()
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
        states: dict[nn.Parameter, dict[str, Any]] = {}
        for key, tensor in tensors.items():
            states.setdefault(self._owner(key), {})[key.rpartition("/")[2]] = tensor
        for parameter, state in states.items():
            optimizer = owners[id(parameter)]
            eight_bit = self.settings.state_bits == 8 and not isinstance(optimizer, MuonOnParts)
            optimizer.state[parameter] = tensors_to_state(optimizer, state) if eight_bit else state
