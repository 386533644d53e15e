"""Worker processes of one core each beside one process that scores on every core."""

from __future__ import annotations

import logging
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

import numpy as np
import pyarrow as pa

from tango_beam.config import TierConfig
from tango_beam.models import parallel
from tango_beam.tier import Compute, load_tier
from tango_beam.tuning import rates

_SECONDS_TO_LOAD = 600
_together: Barrier | None = None


def rate(
    tier: TierConfig,
    texts: pa.Array,
    pairs: pa.Array | None,
    *,
    processes: int,
    cores: int,
    rounds: int,
) -> float:
    """Rows a second of some processes that score at the same time, tokenization included.

    Args:
      tier: with the settings to score with.
      texts: what every process scores.
      pairs: the second texts, for tasks on pairs.
      processes: how many.
      cores: on which each of them scores.
      rounds: of measuring, all processes in step; the median counts.

    Raises:
      BrokenProcessPool: a process died, for want of memory say.
    """
    context = get_context("spawn")  # a forked child would wait for threads that it does not have
    barrier = context.Barrier(processes, timeout=_SECONDS_TO_LOAD)
    # Tables would pickle with all that they were sliced from; lists of texts do not.
    given = texts.to_pylist(), None if pairs is None else pairs.to_pylist()
    with ProcessPoolExecutor(processes, context, _begin, (barrier,)) as pool:
        calls = [pool.submit(_score, tier, *given, cores, rounds) for _ in range(processes)]
        seconds = np.array([call.result() for call in calls])
    return float(processes * len(texts) / np.median(seconds.max(axis=0)))


def _begin(barrier: Barrier) -> None:
    global _together
    _together = barrier
    logging.disable(logging.INFO)


def _score(
    tier: TierConfig, texts: list[str], pairs: list[str] | None, cores: int, rounds: int
) -> list[float]:
    """Seconds of every round; the first one, in which kernels are made, is left out."""
    if _together is None:
        raise RuntimeError("expected a process that `rate` began")
    parallel.limit(cores)
    model = load_tier(tier, Compute("cpu"))
    first, second = pa.array(texts), None if pairs is None else pa.array(pairs)

    def score() -> None:
        tokens = model.tokenize(first, second)
        parts = model.plan(tokens.lengths)
        parallel.each("cpu", parts, lambda rows: model.forward(tokens, rows), model.threads)

    spent = []
    for _ in range(1 + rounds):
        _together.wait()
        spent.append(rates.seconds_of(score))
    return spent[1:]
