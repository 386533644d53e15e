"""What a network needs for a row: floating-point operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from tango_beam.models import encoders


def of_rows(network: Any, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Operations that rows of these lengths need of a network, no padding counted.

    Two for each weight of a linear or recurrent layer and token; attention besides takes 4 x hidden
    size for each pair of tokens and layer. The head of an encoder that `encoders.known` knows reads
    one token a row, and so most of its last layer is counted once a row; other heads, once a token.

    Args:
      network: a torch module; packed and quantized layers count as what they stand for.
      lengths: tokens in each row, shape [rows].

    Returns:
      float64, shape [rows].
    """
    tokens, wide = lengths.astype(np.float64), _wide(network)
    whole, once, depth = _weights(network), 0, _depth(network)
    if hasattr(network, "config") and encoders.known(network):
        stack = encoders.layers(network)
        once = whole - _weights(stack[:-1]) - 2 * wide * wide  # the last layer's keys and values
        depth -= 1
    pairs = depth * tokens**2 + (tokens if once else 0.0)
    return 2.0 * (whole - once) * tokens + 2.0 * once + 4.0 * wide * pairs


def _weights(module: nn.Module) -> int:
    found = 0
    part: Any
    for part in module.modules():
        if isinstance(part, nn.LSTM):
            found += sum(weight.numel() for weight in part.parameters() if weight.dim() == 2)
        elif hasattr(part, "in_features") and hasattr(part, "out_features"):
            found += part.in_features * part.out_features  # a packed one holds no weights
    return found


def _wide(network: Any) -> int:
    return getattr(getattr(network, "config", None), "hidden_size", None) or 0


def _depth(network: Any) -> int:
    return getattr(getattr(network, "config", None), "num_hidden_layers", None) or 0
