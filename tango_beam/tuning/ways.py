"""Ways to compute a tier, how fast each is, and how often it answers as fp32 does."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam.calibration import bounds
from tango_beam.models import parallel
from tango_beam.models.base import Model
from tango_beam.models.operations import of_rows
from tango_beam.models.tokens import Tokens
from tango_beam.tuning import rates

logger = logging.getLogger(__name__)

BUDGETS = (512, 1024, 2048, 4096, 8192, 16384)


@dataclass(frozen=True)
class Measured:
    """One way to compute a tier.

    Attributes:
      precision: `fp32`, `bf16` or `int8`.
      batch_tokens: padded tokens in a micro-batch.
      rate: rows a second, tokenization apart; the median of the rounds.
      padding: padded over real tokens.
    """

    precision: str
    batch_tokens: int
    rate: float
    padding: float


@dataclass(frozen=True)
class Agreement:
    """How often a precision gives fp32's answer.

    Attributes:
      rows: compared.
      differ: rows among them with another answer.
      bound: lower bound on the share that agrees (Clopper and Pearson), one-sided.
    """

    rows: int
    differ: int
    bound: float


@dataclass(frozen=True)
class Chosen:
    """What was measured of a tier, and what came of it.

    Attributes:
      way: the fastest whose agreement is high enough.
      measured: every way, in the order in which they were tried.
      agreements: by precision; fp32 agrees with itself.
      outputs: logits of the way that was chosen, shape [rows, labels].
      seconds_tokenizing: a row.
      useful_share: useful FLOP/s over the machine's in that precision; None for int8.
    """

    way: Measured
    measured: list[Measured]
    agreements: dict[str, Agreement]
    outputs: npt.NDArray[np.float32]
    seconds_tokenizing: float
    useful_share: float | None

    @property
    def seconds(self) -> float:
        """A row, tokenization apart."""
        return 1 / self.way.rate


def agreement(
    ours: npt.NDArray[np.float32], reference: npt.NDArray[np.float32], delta: float
) -> Agreement:
    """How often two sets of logits, shape [rows, labels], give the same answer."""
    differ = int((ours.argmax(axis=1) != reference.argmax(axis=1)).sum())
    return Agreement(len(ours), differ, 1 - bounds.upper(differ, len(ours), delta))


def best(measured: Sequence[Measured], agreements: dict[str, Agreement], least: float) -> Measured:
    """The fastest way whose precision agrees with fp32 on the share `least`; fp32 always may."""
    allowed = [
        way
        for way in measured
        if way.precision == "fp32" or agreements[way.precision].bound >= least
    ]
    return max(allowed, key=lambda way: way.rate)


def try_all(
    models: dict[str, Model],
    texts: pa.Array,
    pairs: pa.Array | None,
    *,
    budgets: Sequence[int],
    rounds: int,
    timed_rows: int,
    least: float,
    delta: float,
) -> Chosen:
    """Measures every precision at every budget, in turns, and picks the fastest that agrees.

    Args:
      models: the tier by precision, fp32 among them.
      texts: the sample; every row is compared with fp32.
      pairs: the second texts, for tasks on pairs.
      budgets: padded tokens in a micro-batch.
      rounds: of measuring; medians count.
      timed_rows: rows that are timed at each budget, the first of the sample.
      least: share of rows that must agree with fp32, by its lower bound.
      delta: level of that bound.
    """
    reference = models["fp32"]
    tokens = reference.tokenize(texts, pairs)
    tokenizing = rates.seconds_of(lambda: reference.tokenize(texts, pairs)) / len(texts)
    outputs = {name: _logits(model, tokens) for name, model in models.items()}
    agreements = {name: agreement(found, outputs["fp32"], delta) for name, found in outputs.items()}
    part = tokens.take(np.arange(min(timed_rows, len(tokens))))
    seconds: dict[tuple[str, int], list[float]] = {}
    padding: dict[tuple[str, int], float] = {}
    for number in range(rounds):
        for budget in budgets:
            for name, model in models.items():
                spent, ratio = _timed(model, part, budget)
                seconds.setdefault((name, budget), []).append(spent)
                padding[name, budget] = ratio
        logger.info("round %d of %d", number + 1, rounds)
    measured = [
        Measured(name, budget, len(part) / statistics.median(spent), padding[name, budget])
        for (name, budget), spent in seconds.items()
    ]
    way = best(measured, agreements, least)
    share = None
    if way.precision != "int8" and reference.device == "cpu":
        operations = float(of_rows(models[way.precision].network, part.lengths).sum())
        share = operations / len(part) * way.rate / rates.machine(way.precision)
    return Chosen(way, measured, agreements, outputs[way.precision], tokenizing, share)


def _logits(model: Model, tokens: Tokens) -> npt.NDArray[np.float32]:
    found = np.zeros((len(tokens), len(model.labels)), np.float32)

    def run(rows: npt.NDArray[np.int64]) -> None:
        found[rows] = model.forward(tokens, rows)

    parallel.each(model.device, model.plan(tokens.lengths), run)
    return found


def _timed(model: Model, tokens: Tokens, budget: int) -> tuple[float, float]:
    """Seconds for all rows, as the job scores them, and padded over real tokens."""
    kept, model.batch_tokens = model.batch_tokens, budget
    try:
        parts = model.plan(tokens.lengths)
    finally:
        model.batch_tokens = kept
    lengths = tokens.lengths
    padded = sum(int(model.padded(lengths[rows]).sum()) for rows in parts)

    def score() -> None:
        parallel.each(model.device, parts, lambda rows: model.forward(tokens, rows))

    return rates.seconds_of(score), padded / max(1, int(lengths.sum()))
