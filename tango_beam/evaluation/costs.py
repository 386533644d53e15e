"""What the tiers cost on this machine: timed in this run, on the rows that are escalated.

Two costs are kept apart, as in the paper. At the *tiers' own batch sizes* rows come in windows of
`batch_rows`, sorted by length and cut into micro-batches, as in the job; the tiers behind the first
are timed on the rows that a routing escalates, at a few levels of escalation, with straight lines
in between. At *batch size 1* every text goes alone; a sample is timed and a line in the number of
tokens carries it over to the other rows. Either way escalated rows that are longer than the average
cost more.

Tokenization counts, wherever the job does it: a tier that shares its vocabulary with the one before
takes over its tokens. The last tier on its own, against which a cascade is measured, tokenizes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam.evaluation.labelled import LabelledTexts
from tango_beam.models import parallel
from tango_beam.models.base import Model
from tango_beam.models.tokens import Tokens

logger = logging.getLogger(__name__)

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

LEVELS = (0.05, 0.1, 0.25, 0.5, 1.0)
_WARM_UP_ROWS = 16


@dataclass(frozen=True)
class Stage:
    """A tier, as its costs see it.

    Attributes:
      model: the tier's.
      batch_rows: rows in a window.
      tokens: of all rows.
      takes_tokens: in the cascade, the tier before has made its tokens.
      reached: bool, shape [rows]: a row that the first tier escalates comes this far.
    """

    model: Model
    batch_rows: int
    tokens: Tokens
    takes_tokens: bool
    reached: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CostCurve:
    """Seconds a row of input, by share of rows escalated.

    Attributes:
      first: the first tier on all rows.
      alone: the last tier on all rows, on its own.
      shares: of rows escalated, ascending from 0 to 1, float64, shape [levels].
      later: what the tiers behind the first add, seconds a row of input, float64, shape [levels].
    """

    first: float
    alone: float
    shares: FloatArray
    later: FloatArray

    def speedups(self, shares: FloatArray) -> FloatArray:
        """How many times faster than the last tier alone (TangoBERT, section 5), float64.

        cost(last alone, all rows) / (cost(first, all rows) + cost(later tiers, escalated rows)).

        Args:
          shares: of rows escalated, 0 to 1.
        """
        return self.alone / (self.first + np.interp(shares, self.shares, self.later))


@dataclass(frozen=True)
class Costs:
    """One batch size's costs.

    Attributes:
      curves: for each routing.
      first: seconds a row of the first tier, one entry a repeat, float64.
      alone: seconds a row of the last tier on its own, one entry a repeat, float64.
      rows: how many rows were timed.
    """

    curves: Mapping[str, CostCurve]
    first: FloatArray
    alone: FloatArray
    rows: int


def at_own_batch_sizes(
    stages: list[Stage],
    texts: LabelledTexts,
    orders: Mapping[str, IntArray],
    rows: IntArray,
    *,
    repeats: int,
) -> Costs:
    """Times the tiers in windows of their own, on escalated rows of each routing.

    Args:
      stages: the tiers in order.
      texts: all rows.
      orders: for each routing, all rows in the order in which they are escalated.
      rows: those that are timed, int64, ascending.
      repeats: each piece of work is timed so often, in turn; the median counts.
    """
    counts = sorted({max(1, round(level * len(rows))) for level in LEVELS})
    work: dict[tuple[str, int], Callable[[], None]] = {
        ("first", 0): lambda: _run(stages[0], texts, rows, tokenize=True),
        ("alone", 0): lambda: _run(stages[-1], texts, rows, tokenize=True),
    }
    for routing, order in orders.items():
        timed = order[np.isin(order, rows)]
        for count in counts:
            chosen = np.sort(timed[:count])
            work[_key(routing, count, rows)] = partial(_later, stages, texts, chosen)
    seconds = _time(stages, texts, work, repeats)
    middle = {key: float(np.median(taken)) / len(rows) for key, taken in seconds.items()}
    curves = {}
    for routing in orders:
        later = [0.0, *(middle[_key(routing, count, rows)] for count in counts)]
        curves[routing] = CostCurve(
            first=middle["first", 0],
            alone=middle["alone", 0],
            shares=np.array([0, *counts]) / len(rows),
            # Noise aside, more rows take longer.
            later=np.maximum.accumulate(later),
        )
    first, alone = (seconds[name, 0] / len(rows) for name in ("first", "alone"))
    return Costs(curves, first, alone, len(rows))


def _key(routing: str, count: int, rows: IntArray) -> tuple[str, int]:
    """Names a piece of work; everything escalated is the same rows, whatever the order."""
    return ("all" if count == len(rows) else routing, count)


def at_batch_size_1(
    stages: list[Stage],
    texts: LabelledTexts,
    orders: Mapping[str, IntArray | None],
    rows: IntArray,
    *,
    repeats: int,
) -> Costs:
    """Times the tiers a row at a time on a sample, and carries it over by the rows' tokens.

    Args:
      stages: the tiers in order.
      texts: all rows.
      orders: for each routing, all rows in the order in which they are escalated; None for random
        routing, whose rows cost the average.
      rows: those that are timed, int64.
      repeats: every row is timed so often; the median counts.
    """
    tokenizing, scoring, first, alone = [], [], np.zeros(repeats), np.zeros(repeats)
    for number, stage in enumerate(stages):
        logger.info("timing tier %s at batch size 1 on %s rows", number + 1, len(rows))
        _run(stage, texts, rows[:_WARM_UP_ROWS], tokenize=True)
        made, scored = _singles(stage, texts, rows, repeats)
        lengths = stage.tokens.lengths
        tokenizing.append(carry_over(lengths[rows], np.median(made, axis=0), lengths))
        scoring.append(carry_over(lengths[rows], np.median(scored, axis=0), lengths))
        if number == 0:
            first = (made + scored).mean(axis=1)
        alone = (made + scored).mean(axis=1)
    later = np.zeros(len(texts))
    for stage, made, scored in zip(stages[1:], tokenizing[1:], scoring[1:], strict=True):
        later += stage.reached * (scored if stage.takes_tokens else scored + made)
    curves = {}
    for routing, order in orders.items():
        running = np.concatenate([[0.0], np.cumsum(later if order is None else later[order])])
        if order is None:
            running = running[[0, -1]]
        curves[routing] = CostCurve(
            first=float((tokenizing[0] + scoring[0]).mean()),
            alone=float((tokenizing[-1] + scoring[-1]).mean()),
            shares=np.linspace(0, 1, len(running)),
            later=running / len(texts),
        )
    return Costs(curves, first, alone, len(rows))


def carry_over(lengths: IntArray, seconds: FloatArray, wanted: IntArray) -> FloatArray:
    """Seconds of rows that were not timed, by their tokens; float64, shape of `wanted`.

    A least-squares line, a + b x tokens, with neither a nor b under 0. Its mean over the timed rows
    is the mean that was measured.

    Args:
      lengths: tokens of the timed rows, int64.
      seconds: what they took, float64.
      wanted: tokens of the rows that are asked for, int64.
    """
    mean_length, mean = float(lengths.mean()), float(seconds.mean())
    centred = lengths - mean_length
    spread = float((centred**2).sum())
    slope = float((centred * seconds).sum()) / spread if spread else 0.0
    slope = min(max(slope, 0.0), mean / max(mean_length, 1e-9))
    return np.asarray(mean + slope * (wanted - mean_length), np.float64)


def _run(stage: Stage, texts: LabelledTexts, rows: IntArray, *, tokenize: bool) -> None:
    """Scores rows with a tier as the job does: window by window, micro-batch by micro-batch."""
    for at in range(0, len(rows), stage.batch_rows):
        window = rows[at : at + stage.batch_rows]
        tokens = _tokenize(stage, texts, window) if tokenize else stage.tokens.take(window)
        _score(stage.model, tokens)


def _score(model: Model, tokens: Tokens) -> None:
    parts = model.plan(tokens.lengths)
    action = lambda part: model.decode(model.forward(tokens, part))  # noqa: E731
    parallel.each(model.device, parts, action, model.threads)


def _later(stages: list[Stage], texts: LabelledTexts, rows: IntArray) -> None:
    """Sends escalated rows through the tiers behind the first."""
    for stage in stages[1:]:
        reaching = rows[stage.reached[rows]]
        _run(stage, texts, reaching, tokenize=not stage.takes_tokens)


def _tokenize(stage: Stage, texts: LabelledTexts, rows: IntArray) -> Tokens:
    chosen = pa.array(rows)
    pairs = None if texts.pairs is None else texts.pairs.take(chosen)
    return stage.model.tokenize(texts.texts.take(chosen), pairs)


def _time(
    stages: list[Stage],
    texts: LabelledTexts,
    work: Mapping[tuple[str, int], Callable[[], None]],
    repeats: int,
) -> dict[tuple[str, int], FloatArray]:
    """Seconds of each piece of work, one entry a repeat; in turn, so that drift hits all alike."""
    for stage in stages:
        _run(stage, texts, np.arange(min(_WARM_UP_ROWS, len(texts))), tokenize=True)
    taken: dict[tuple[str, int], list[float]] = {key: [] for key in work}
    for repeat in range(repeats):
        logger.info("timing the tiers at their own batch sizes, %s of %s", repeat + 1, repeats)
        for key, action in work.items():
            started = time.perf_counter()
            action()
            taken[key].append(time.perf_counter() - started)
    return {key: np.array(seconds) for key, seconds in taken.items()}


def _singles(
    stage: Stage, texts: LabelledTexts, rows: IntArray, repeats: int
) -> tuple[FloatArray, FloatArray]:
    """Seconds to tokenize and to score each row alone, both of shape [repeats, rows]."""
    only = np.zeros(1, np.int64)
    made, scored = np.zeros((repeats, len(rows))), np.zeros((repeats, len(rows)))
    for repeat in range(repeats):
        for place in range(len(rows)):
            started = time.perf_counter()
            tokens = _tokenize(stage, texts, rows[place : place + 1])
            between = time.perf_counter()
            stage.model.decode(stage.model.forward(tokens, only))
            made[repeat, place] = between - started
            scored[repeat, place] = time.perf_counter() - between
    return made, scored
