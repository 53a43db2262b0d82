"""Named heads: linear maps from the last hidden states to numbers, such as values, rewards or class scores.

A head NAME is the tensor `heads.NAME.weight` in the model folder, and an entry of `output_heads` in its config.json.
`model.outputs(batch)` computes them. A model without heads has no tensor and no config entry for them.

Shape suffixes: D width, K outputs of a head.
"""

from __future__ import annotations

import torch

from tutelage.model.checkpoint import Checkpoint


@torch.no_grad()
def add_head(checkpoint: Checkpoint, name: str, outputs: int, seed: int) -> Checkpoint:
    """The same model, changed in place, with one more head of `outputs` numbers per position. Its weights are normal
    with standard deviation 0.02, as those of `initialise`; the same seed gives the same weights.

    Raises:
        ValueError: the name is taken or not an identifier, `outputs` is below 1, or the architecture is not built in.
    """
    model = checkpoint.model
    if model.config.hf_parameters is not None:
        raise ValueError(f"head '{name}' needs a built-in architecture, and that of this model is not")
    if not name.isidentifier():
        raise ValueError(f"'{name}' cannot name a head; use letters, digits and underscores")
    if name in model.heads:
        raise ValueError(f"the model has a head '{name}' already; choose another name")
    if outputs < 1:
        raise ValueError(f"head '{name}' has {outputs} outputs; it needs at least 1")
    weight = model.embedding.weight
    weight_KD = torch.randn((outputs, model.config.width), generator=torch.Generator().manual_seed(seed)) * 0.02
    model.set_head(name, weight_KD.to(weight.device))
    return checkpoint
