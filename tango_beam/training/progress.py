"""How far a training is, and how much of the machine it uses."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from functools import cache

from tango_beam.arrays import Float64, Int64
from tango_beam.logs import figures
from tango_beam.models.loading import resolve_precision
from tango_beam.models.peak_flops import peak_flops

logger = logging.getLogger(__name__)

EVERY_SECONDS = 20.0
# Backwards a product is computed twice: for its inputs and for its weights.
PASSES = 3


def shown(
    batches: list[Int64], done: int, what: str, operations: Float64 | None, device: str
) -> Iterator[Int64]:
    """Passes on the batches that are not done yet, and logs now and then how far it is.

    Args:
      batches: row numbers.
      done: so many of the batches were trained on before.
      what: the log's word for them.
      operations: of each row in a forward pass, float64, shape [rows]; none of padding, and none
        that is done twice.
      device: on which they are done.
    """
    start = last = time.monotonic()
    useful = 0.0
    for number, batch in enumerate(batches[done:], start=1):
        yield batch
        useful += 0.0 if operations is None else PASSES * float(operations[batch].sum())
        now = time.monotonic()
        if now - last > EVERY_SECONDS:
            left = len(batches) - done - number
            part, seconds = 1 - left / len(batches), (now - start) * left / number
            rate = speed(useful / (now - start), device) if useful else ""
            said = figures(stage=what, share=part, seconds_left=seconds)
            told = what, 100 * part, seconds, rate
            logger.info("%s: %.0f %%, about %.0f s left%s", *told, extra=said)
            last = time.monotonic()


def speed(rate: float, device: str) -> str:
    """Useful operations a second, and their share of the most that a processor does; for logs."""
    said = f"; {rate / 1e12:.3f} useful TFLOP/s"
    if device != "cpu":
        return said
    return f"{said}, {rate / _best_product():.2f} of this machine's best product"


@cache
def _best_product() -> float:
    return peak_flops(resolve_precision("auto", "cpu"))
