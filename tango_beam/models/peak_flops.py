"""The most floating-point operations a second that this machine reaches in matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from tango_beam.models import thread_pool

# Small enough that a run's memory does not peak here: with 4096 rows it rose by a sixth.
PRODUCTS = ((2048, 2048, 2048), (2048, 768, 768), (2048, 768, 3072))


@torch.inference_mode()
def peak_flops(precision: str, seconds: float = 0.3) -> float:
    """FLOP/s of the best of three matrix products, on all cores at once or one on each.

    Args:
      precision: `fp32` or `bf16`.
      seconds: to spend on each product, about.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    cores, best = thread_pool.workers(), 0.0
    for rows, inner, columns in PRODUCTS:
        left = torch.randn(rows, inner).to(dtype)
        product = nn.Linear(inner, columns, bias=False).to(dtype)
        flop = 2.0 * rows * inner * columns
        repeats = max(2, int(seconds / seconds_of(lambda: product(left))))  # noqa: B023
        together = min(seconds_of(lambda: product(left)) for _ in range(repeats))  # noqa: B023
        apart = min(
            seconds_of(lambda: thread_pool.each("cpu", [left] * cores, product))  # noqa: B023
            for _ in range(max(2, repeats // cores))
        )
        best = max(best, flop / together, cores * flop / apart)
    return best


def seconds_of(action: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
