"""What a network needs for a row: floating-point operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn


def of_rows(network: Any, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Operations that rows of these lengths need of a network, no padding counted.

    Two for each weight of a linear or recurrent layer and token; attention besides takes 4 x hidden
    size for each pair of tokens and layer. What a head does once a row is counted once a token.

    Args:
      network: a torch module; packed and quantized layers count as what they stand for.
      lengths: tokens in each row, shape [rows].

    Returns:
      float64, shape [rows].
    """
    tokens = lengths.astype(np.float64)
    return 2.0 * _weights(network) * tokens + 4.0 * _attention(network) * tokens**2


def _weights(network: Any) -> int:
    found = 0
    for module in network.modules():
        if isinstance(module, nn.LSTM):
            found += sum(weight.numel() for weight in module.parameters() if weight.dim() == 2)
        elif hasattr(module, "in_features") and hasattr(module, "out_features"):
            found += module.in_features * module.out_features  # a packed one holds no weights
    return found


def _attention(network: Any) -> int:
    config = getattr(network, "config", None)
    wide = getattr(config, "hidden_size", None)
    return config.num_hidden_layers * wide if config is not None and wide else 0
