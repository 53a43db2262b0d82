"""Samples that are not used up, as files beside a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tutelage.records import Example, Schema


def to_tensors(examples: Sequence[Example], schema: Schema) -> dict[str, torch.Tensor]:
    """Examples as flat tensors."""
    columns: dict[str, list[Any]] = {
        "tokens": [example.tokens for example in examples],
        "weights": [example.weights for example in examples],
    }
    columns |= {f"stream.{name}": [example.streams[name] for example in examples] for name in schema.streams}
    tensors = {name: torch.from_numpy(np.concatenate(parts)) for name, parts in columns.items()}
    tensors["lengths"] = torch.tensor([len(example.tokens) for example in examples])
    for name in schema.scalars:
        values = [example.scalars.get(name, schema.scalars[name]) for example in examples]
        tensors[f"scalar.{name}"] = torch.tensor(values, dtype=torch.float64)
    return tensors


def from_tensors(tensors: Mapping[str, torch.Tensor], schema: Schema) -> list[Example]:
    """What `to_tensors` was given."""
    ends = np.cumsum(tensors["lengths"].numpy())[:-1]
    tokens, weights = (np.split(tensors[name].numpy(), ends) for name in ("tokens", "weights"))
    streams = {name: np.split(tensors[f"stream.{name}"].numpy(), ends) for name in schema.streams}
    return [
        Example(
            tokens[place],
            weights[place],
            None,
            {name: parts[place] for name, parts in streams.items()},
            {name: float(tensors[f"scalar.{name}"][place]) for name in schema.scalars},
        )
        for place in range(len(tokens))
    ]


def digest_of(examples: Sequence[Example]) -> str:
    """A hash of the tokens, loss weights and streams of examples, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for example in examples:
        for column in (example.tokens, example.weights, *(example.streams[name] for name in sorted(example.streams))):
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]
