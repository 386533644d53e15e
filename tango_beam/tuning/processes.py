"""Worker processes of one core each beside one process that scores on every core."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

import numpy as np
import pyarrow as pa

from tango_beam.config import Compute, TierConfig
from tango_beam.models import loading, thread_pool
from tango_beam.models.logits import logits_of_tokens
from tango_beam.models.peak_flops import seconds_of

_SECONDS_TO_LOAD = 600
_together: Barrier | None = None


def rate(
    tier: TierConfig, texts: Sequence[pa.Array], *, processes: int, cores: int, rounds: int
) -> float:
    """Rows a second of some processes that score at the same time, tokenization included.

    Args:
      tier: with the settings to score with.
      texts: what every process scores, one column or two for pairs.
      processes: how many.
      cores: on which each of them scores.
      rounds: of measuring, all processes in step; the median counts.

    Raises:
      BrokenProcessPool: a process died, for want of memory say.
    """
    context = get_context("spawn")  # a forked child would wait for threads that it does not have
    barrier = context.Barrier(processes, timeout=_SECONDS_TO_LOAD)
    # Tables would pickle with all that they were sliced from; lists of texts do not.
    given = [column.to_pylist() for column in texts]
    with ProcessPoolExecutor(processes, context, _begin, (barrier,)) as pool:
        calls = [pool.submit(_score, tier, given, cores, rounds) for _ in range(processes)]
        seconds = np.array([call.result() for call in calls])
    return float(processes * len(texts[0]) / np.median(seconds.max(axis=0)))


def _begin(barrier: Barrier) -> None:
    global _together
    _together = barrier
    logging.disable(logging.INFO)


def _score(tier: TierConfig, texts: list[list[str]], cores: int, rounds: int) -> list[float]:
    """Seconds of every round; the first one, in which kernels are made, is left out."""
    if _together is None:
        raise RuntimeError("expected a process that `rate` began")
    thread_pool.limit(cores)
    model = loading.load(tier, Compute("cpu"))
    columns = [pa.array(column, pa.string()) for column in texts]
    spent = []
    for _ in range(1 + rounds):
        _together.wait()
        spent.append(seconds_of(lambda: logits_of_tokens(model, model.tokenize(*columns))))
    return spent[1:]
