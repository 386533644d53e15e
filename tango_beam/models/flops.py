"""What a network needs for a row: floating-point operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from tango_beam.arrays import Float64, Int64
from tango_beam.models import encoder_layers


@dataclass(frozen=True)
class Operations:
    """Counts operations of rows, no padding counted.

    Two for each weight of a linear or recurrent layer and token; attention besides takes 4 x hidden
    size for each pair of tokens and layer. The head of an encoder that `encoder_layers.known` knows
    reads one token a row, and so most of its last layer is counted once a row; other heads, once a
    token.

    Attributes:
      each_token: weights that every token meets.
      each_row: weights that a row meets once.
      width: hidden size.
      depth: layers whose tokens all attend to all.
    """

    each_token: int
    each_row: int
    width: int
    depth: int

    @classmethod
    def of(cls, network: Any) -> Operations:
        """Reads a torch module; packed and quantized layers count as what they stand for."""
        config = getattr(network, "config", None)
        width = getattr(config, "hidden_size", None) or 0
        depth = getattr(config, "num_hidden_layers", None) or 0
        whole, once = _weights(network), 0
        if config is not None and encoder_layers.known(network):
            before = encoder_layers.layers(network)[:-1]
            once = whole - _weights(before) - 2 * width * width  # the last layer's keys and values
            depth -= 1
        return cls(whole - once, once, width, depth)

    def __call__(self, lengths: Int64) -> Float64:
        """Operations of rows of these lengths (tokens), float64, shape [rows]."""
        tokens = lengths.astype(np.float64)
        pairs = self.depth * tokens**2 + (tokens if self.each_row else 0.0)
        return 2.0 * self.each_token * tokens + 2.0 * self.each_row + 4.0 * self.width * pairs


def _weights(module: nn.Module) -> int:
    total = 0
    part: Any
    for part in module.modules():
        if isinstance(part, nn.LSTM):
            total += sum(weight.numel() for weight in part.parameters() if weight.dim() == 2)
        elif hasattr(part, "in_features") and hasattr(part, "out_features"):
            total += part.in_features * part.out_features
    return total
