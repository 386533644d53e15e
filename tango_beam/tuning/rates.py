"""What the machine can do, and what a model needs of it: floating-point operations."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tango_beam.models import parallel

PRODUCTS = ((4096, 4096, 4096), (4096, 768, 768), (4096, 768, 3072))


@torch.inference_mode()
def machine(precision: str, seconds: float = 0.3) -> float:
    """FLOP/s of the best of three matrix products, on all cores at once or one on each.

    Args:
      precision: `fp32` or `bf16`.
      seconds: to spend on each product, about.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    cores, best = parallel.workers(), 0.0
    for rows, inner, columns in PRODUCTS:
        left = torch.randn(rows, inner).to(dtype)
        product = nn.Linear(inner, columns, bias=False).to(dtype)
        flop = 2.0 * rows * inner * columns
        repeats = max(2, int(seconds / seconds_of(lambda: product(left))))  # noqa: B023
        together = min(seconds_of(lambda: product(left)) for _ in range(repeats))  # noqa: B023
        apart = min(
            seconds_of(lambda: parallel.each("cpu", [left] * cores, product))  # noqa: B023
            for _ in range(max(2, repeats // cores))
        )
        best = max(best, flop / together, cores * flop / apart)
    return best


def useful(network: Any, lengths: npt.NDArray[np.int64]) -> float:
    """Operations that rows of these lengths need of a network, no padding counted.

    Two for each weight of a linear or recurrent layer and token; attention besides takes 4 x hidden
    size for each pair of tokens and layer. What a head does once a row is counted once a token.

    Args:
      network: a torch module, before any quantization.
      lengths: tokens in each row, shape [rows].
    """
    weights = 0
    for module in network.modules():
        if isinstance(module, nn.Linear):
            weights += module.in_features * module.out_features  # a packed one holds none
        elif isinstance(module, nn.LSTM):
            weights += sum(weight.numel() for weight in module.parameters() if weight.dim() == 2)
    total = 2.0 * weights * float(lengths.sum())
    config = getattr(network, "config", None)
    if config is not None and getattr(config, "hidden_size", None):
        squares = float((lengths.astype(np.float64) ** 2).sum())
        total += 4.0 * config.num_hidden_layers * config.hidden_size * squares
    return total


def seconds_of(action: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
