"""Learning rates and initial weights that keep their meaning over model widths: maximal update parametrisation (muP,
Yang et al. 2022, arXiv 2203.03466, table 3), relative to a model of width `base_width`, in which nothing changes.

Heads must keep their size, as they do by default, and the output embedding must not be tied.
"""

from __future__ import annotations

from typing import Literal

from tutelage.model.sizes import ModelConfig
from tutelage.model.transformer import Transformer, initialise

Part = Literal["hidden", "output", "other"]


def part_of(name: str, matrix: bool) -> Part:
    """What a parameter is to muP: a matrix of a block, the output embedding, or the input embedding and vectors."""
    if name == "head.weight":
        return "output"
    return "hidden" if matrix and "blocks." in name else "other"


def rate_factor(part: Part, optimizer: Literal["adamw", "muon"], width: int, base_width: int) -> float:
    """What the learning rate of a part is multiplied by. Steps of AdamW have one size per weight, and a matrix product
    sums over the width; those of Muon, scaled to the RMS of AdamW's, have a spectral norm that grows with the square
    root of the width."""
    if part == "other":
        return 1.0
    return base_width / width if optimizer == "adamw" else (base_width / width) ** 0.5


def std_factor(part: Part, width: int, base_width: int | None) -> float:
    """What the initial standard deviation of a part is multiplied by."""
    if base_width is None or part == "other":
        return 1.0
    return base_width / width if part == "output" else (base_width / width) ** 0.5


def scaled_model(config: ModelConfig, seed: int, base_width: int | None) -> Transformer:
    """A model of random weights, as `initialise` makes them, scaled from `base_width`."""
    return initialise(Transformer(config), seed, lambda name: std_factor(part_of(name, True), config.width, base_width))


def check_width(config: ModelConfig) -> None:
    """ValueError where muP does not hold for a model."""
    if config.tied:
        raise ValueError(
            "optimizer.base_width scales the output embedding and not the input embedding; set model.tied = false"
        )
