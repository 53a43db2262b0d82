"""Policy losses and their gradients equal those that TRL's GRPOTrainer computes, on the same tensors, to 1e-5."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tutelage.batching.packing import collate
from tutelage.records import Example, ExampleGroup, Schema, Stream
from tutelage.train.loop import count, mean
from tutelage.train.policy_losses import ADVANTAGE, OLD, RESPONSE, SAMPLED, PolicyOptions, policy_loss
from tutelage.train.preference_losses import REFERENCE

pytest.importorskip("trl", reason="TRL is not installed")
LENGTHS, CAP = (5, 3, 7), 9
STREAMS = (SAMPLED, OLD, REFERENCE, ADVANTAGE)
SCHEMA = Schema({name: Stream("float64") for name in STREAMS}, {RESPONSE: 0.0})


class Given(torch.nn.Module):
    """A model whose log-probabilities are given."""

    def __init__(self, logprobs: torch.Tensor) -> None:
        super().__init__()
        self.logprobs = logprobs

    def forward(self, batch: Any) -> torch.Tensor:
        return self.logprobs


def samples() -> tuple[torch.Tensor, list[dict[str, np.ndarray]]]:
    """The log-probabilities of all tokens by the present policy, and the columns of each sample."""
    random = np.random.default_rng(0)
    columns = [
        {name: random.normal(-2, 0.3, n) for name in (SAMPLED, OLD, REFERENCE)} | {ADVANTAGE: np.full(n, a)}
        for n, a in zip(LENGTHS, (1.3, -0.7, 0.4), strict=True)
    ]
    return torch.from_numpy(random.normal(-2, 0.3, sum(LENGTHS))), columns


def ours(options: PolicyOptions) -> tuple[float, torch.Tensor]:
    """The loss, and its gradient by the log-probability of each token."""
    flat, columns = samples()
    groups: list[ExampleGroup] = []
    for own in columns:
        length = 1 + len(own[OLD])
        streams = {name: np.concatenate([[0.0], own[name]]) for name in STREAMS}
        weights = np.array([0.0] + [1.0] * (length - 1), np.float32)
        groups.append((Example(np.zeros(length, np.int32), weights, None, streams, {RESPONSE: 1.0}),))
    batch, logprobs, loss = collate(groups, SCHEMA), flat.requires_grad_(), policy_loss(options)
    components, _ = loss.function(Given(logprobs), batch)
    value = mean(components, count([batch], loss)[2])
    (gradient,) = torch.autograd.grad(value, logprobs)
    return float(value.detach()), gradient


def trls(**settings: Any) -> tuple[float, torch.Tensor]:
    """The same by TRL: its own method, on a trainer that was never set up for more."""
    from trl import GRPOTrainer

    flat, columns = samples()
    logprobs = flat.requires_grad_()
    mask = torch.tensor([[1.0] * n + [0.0] * (max(LENGTHS) - n) for n in LENGTHS], dtype=torch.float64)
    places = mask.bool().nonzero(as_tuple=True)

    def padded(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(mask).index_put(places, values)

    def of(name: str) -> torch.Tensor:
        return padded(torch.from_numpy(np.concatenate([own[name] for own in columns])))

    trainer: Any = object.__new__(GRPOTrainer)
    here = SimpleNamespace(gather=lambda values: values, reduce=lambda values, reduction: values, num_processes=1)
    trainer.__dict__ |= {
        "beta": 0.0, "epsilon_low": 0.2, "epsilon_high": 0.2, "importance_sampling_level": "token", "loss_type": "grpo",
        "max_completion_length": CAP, "top_entropy_quantile": 1.0, "off_policy_mask_threshold": None,
        "aux_loss_enabled": False, "use_vllm": False, "vllm_importance_sampling_correction": False,
        "current_gradient_accumulation_steps": 1, "_entropy_bonus_enabled": False, "accelerator": here,
        "model": torch.nn.Linear(1, 1), "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "args": SimpleNamespace(use_bias_correction_kl=True, delta=None, steps_per_generation=1),
    } | settings  # fmt: skip
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (padded(logprobs), torch.zeros_like(mask), None)
    empty = torch.zeros((len(LENGTHS), 1), dtype=torch.int64)
    inputs = {
        "prompt_ids": empty, "prompt_mask": empty, "completion_ids": mask.long(), "completion_mask": mask,
        "advantages": torch.tensor([own[ADVANTAGE][0] for own in columns]), "old_per_token_logps": of(OLD),
        "ref_per_token_logps": of(REFERENCE), "num_items_in_batch": mask.sum(),
        "importance_sampling_ratio": torch.exp(of(OLD) - of(SAMPLED)).clamp(max=1.2),
    }  # fmt: skip
    value = trainer._compute_loss(trainer.model, inputs)
    (gradient,) = torch.autograd.grad(value, logprobs)
    return float(value.detach()), gradient


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"normalisation": "sequence"}, {"loss_type": "grpo"}),
        ({}, {"loss_type": "bnpo"}),
        ({"clip_high": 0.28}, {"loss_type": "dapo", "epsilon_high": 0.28}),
        ({"normalisation": "constant", "max_tokens": CAP}, {"loss_type": "dr_grpo"}),
        ({"loss_type": "cispo", "clip_high": 0.1}, {"loss_type": "cispo", "epsilon_high": 1.1}),
        (
            {"loss_type": "gspo", "normalisation": "sequence", "clip_low": 0.05, "clip_high": 0.05},
            {"importance_sampling_level": "sequence", "epsilon_low": 0.05, "epsilon_high": 0.05},
        ),
        ({"importance_cap": 1.2}, {"loss_type": "bnpo", "use_vllm": True, "vllm_importance_sampling_correction": True}),
        ({"kl": 0.04, "kl_estimator": "k3"}, {"loss_type": "bnpo", "beta": 0.04}),
        ({"kl": 0.04, "kl_estimator": "k3", "normalisation": "sequence"}, {"loss_type": "grpo", "beta": 0.04}),
    ],
)
def test_losses_and_gradients_equal_trls(options: dict[str, Any], settings: dict[str, Any]) -> None:
    value, gradient = ours(PolicyOptions(**options))
    trl_value, trl_gradient = trls(**settings)
    assert value == pytest.approx(trl_value, abs=1e-5)
    assert float(gradient.abs().max()) > 1e-3
    if not options.get("kl"):
        torch.testing.assert_close(gradient, trl_gradient, rtol=0, atol=1e-5)
