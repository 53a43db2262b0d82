"""A digest of a model's weights: which weights wrote an answer, and whether cached keys and values are still theirs."""

from __future__ import annotations

import hashlib
import weakref

import torch
from torch import nn

Versions = tuple[tuple[int, int], ...]

_known: weakref.WeakKeyDictionary[nn.Module, tuple[Versions, str]] = weakref.WeakKeyDictionary()


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over names and values of all parameters but those of heads, as 16 hexadecimal digits. Heads write
    nothing, and a trainer may have one that its sampler lacks. It is computed again only if PyTorch counted a change
    of a parameter since the last call."""
    parameters = [(name, p) for name, p in model.named_parameters() if not name.startswith("heads.")]
    versions = tuple((parameter.data_ptr(), parameter._version) for _, parameter in parameters)
    known = _known.get(model)
    if known is not None and known[0] == versions:
        return known[1]
    digest = hashlib.sha256()
    for name, parameter in parameters:
        digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}\n".encode())
        digest.update(parameter.detach().contiguous().view(-1).view(torch.uint8).cpu().numpy().data)
    _known[model] = versions, digest.hexdigest()[:16]
    return _known[model][1]
