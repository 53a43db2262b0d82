"""An LSTM language model: a baseline for the transformer on the same loop, with the same interface `model(batch)`.

Shape suffixes: N tokens laid end to end, S segments, L tokens of the longest segment, D width.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from tutelage.model.logprobs import label_logprobs
from tutelage.model.transformer import make_embedding
from tutelage.records import Batch


class Lstm(nn.Module):
    """Layers of LSTM (Hochreiter & Schmidhuber 1997) of equal width, with tied embeddings. `model(batch)` returns the
    log-probabilities of the labels at the trained positions, float32 [trained], in order."""

    def __init__(self, vocab: int, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = make_embedding(vocab, width)
        self.layers = nn.LSTM(width, width, layers, batch_first=True)

    def forward(self, batch: Batch) -> torch.Tensor:
        x_ND = self.embedding(batch.tokens_N)
        # Padding on the right follows a segment, so that no state of the segment depends on it.
        padded_SLD, _ = self.layers(pad_sequence(x_ND.split(list(batch.lengths)), batch_first=True))
        hidden_ND = torch.cat([row_LD[:length] for row_LD, length in zip(padded_SLD, batch.lengths, strict=True)])
        trained = batch.weights_N.nonzero()[:, 0]
        return label_logprobs(hidden_ND[trained], self.embedding.weight, batch.labels_N[trained])


@torch.no_grad()
def initialise_lstm(model: Lstm, seed: int) -> Lstm:
    """Set random weights: embeddings normal with standard deviation 0.02, matrices with 1 / sqrt(width), biases 0 but 1
    for the forget gate (Jozefowicz et al. 2015). The same seed gives the same weights."""
    generator = torch.Generator().manual_seed(seed)
    width = model.layers.hidden_size
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.zero_()
            if "bias_ih" in name:
                parameter[width : 2 * width] = 1.0
        else:
            std = 0.02 if name.startswith("embedding") else 1 / math.sqrt(width)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return model


def lstm_parameters(vocab: int, width: int, layers: int) -> int:
    """The exact number of parameters: four gates with two matrices and two biases each."""
    return vocab * width + layers * (8 * width * width + 8 * width)


def lstm_width(vocab: int, layers: int, parameters: int) -> int:
    """The largest width with at most so many parameters.

    Raises:
        ValueError: even a width of 1 has more.
    """
    slope, square = vocab + 8 * layers, 8 * layers
    width = int((-slope + math.sqrt(slope**2 + 4 * square * parameters)) / (2 * square))
    if width < 1:
        raise ValueError(
            f"no LSTM of {layers} layers and {vocab} tokens has only {parameters} parameters; use fewer layers"
        )
    return width
