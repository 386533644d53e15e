"""What the tiers cost on this machine: timed in this run, on the rows that are escalated.

Two costs are kept apart, as in the paper. At the *tiers' own batch sizes* rows come in windows of
`batch_rows`, sorted by length and cut into micro-batches, as in the job. The tiers behind the first
are timed on the rows that a routing escalates, at a few levels of escalation, with straight lines
in between. Labelled rows are few where a corpus's are many: those that would leave micro-batches
half empty are taken again and again until they are full. At *batch size 1* every text is scored
alone. A sample is timed, and the other rows' seconds follow from their number of tokens. Both costs
are higher where a routing escalates long rows.

Tokenization is timed where the job does it: a tier with the vocabulary of the tier before takes
over that tier's tokens. The last tier alone, with which a cascade is compared, tokenizes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from tango_beam.answers import Decoder
from tango_beam.arrays import Bool, Float64, Int64
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models.logits import logits_of_tokens
from tango_beam.models.protocol import Model
from tango_beam.models.tokens import Tokens

logger = logging.getLogger(__name__)


LEVELS = (0.05, 0.1, 0.25, 0.5, 1.0)
_WARM_UP_ROWS = 16
# Tokens that fill micro-batches on every core: of a first tier, which may want rows of one length,
# and of a later one.
_FIRST_TOKENS, _LATER_TOKENS = 1 << 17, 1 << 13


@dataclass(frozen=True)
class Stage:
    """A tier, as its costs see it.

    Attributes:
      model: the tier's.
      decoder: makes answers of its outputs.
      batch_rows: rows in a window.
      tokens: of all rows.
      takes_tokens: in the cascade, it takes over the tokens of the tier before.
      reached: rows that get to this tier if the first one escalates all; bool, shape [rows].
    """

    model: Model
    decoder: Decoder
    batch_rows: int
    tokens: Tokens
    takes_tokens: bool
    reached: Bool


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
    shares: Float64
    later: Float64

    def speedups(self, shares: Float64) -> Float64:
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
    first: Float64
    alone: Float64
    rows: int


def at_own_batch_sizes(
    stages: list[Stage],
    texts: LabelledTexts,
    orders: Mapping[str, Int64],
    rows: Int64,
    *,
    repeats: int,
) -> Costs:
    """Times the tiers in windows of their own, on escalated rows of each routing.

    Args:
      stages: the tiers in order.
      texts: all rows.
      orders: for each routing, all rows in the order in which they are escalated.
      rows: those that are timed, int64, ascending.
      repeats: how often each piece of work is timed, in turn; the median counts.
    """
    counts = sorted({max(1, round(level * len(rows))) for level in LEVELS})
    first, last = filled(stages[0], rows, _FIRST_TOKENS), filled(stages[-1], rows, _LATER_TOKENS)
    work: dict[tuple[str, int], Callable[[], None]] = {
        ("first", 0): partial(_run, stages[0], texts, first, tokenize=True),
        ("alone", 0): partial(_run, stages[-1], texts, last, tokenize=True),
    }
    times = {("first", 0): len(first) / len(rows), ("alone", 0): len(last) / len(rows)}
    for routing, order in orders.items():
        timed = order[np.isin(order, rows)]
        for count in counts:
            chosen, key = (
                filled(stages[1], timed[:count], _LATER_TOKENS),
                _key(routing, count, rows),
            )
            work[key], times[key] = partial(_later, stages, texts, chosen), len(chosen) / count
    seconds = _time(stages, texts, work, repeats)
    seconds = {key: taken / times[key] for key, taken in seconds.items()}
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
    each = {name: seconds[name, 0] / len(rows) for name in ("first", "alone")}
    return Costs(curves, **each, rows=len(rows))


def filled(stage: Stage, rows: Int64, tokens: int) -> Int64:
    """Rows as often as they must be taken to fill a window, or so many tokens; int64, ascending.

    Args:
      stage: whose window and tokens count.
      rows: at least one, int64.
      tokens: that are enough.
    """
    lengths = stage.tokens.by_row(stage.tokens.lengths)[rows]
    least = min(tokens / max(1, int(lengths.sum())), stage.batch_rows / len(rows))
    return np.sort(np.tile(rows, max(1, int(np.ceil(least)))))


def _key(routing: str, count: int, rows: Int64) -> tuple[str, int]:
    """Names a piece of work; all routings share the one that escalates every row."""
    return ("all" if count == len(rows) else routing, count)


def at_batch_size_1(
    stages: list[Stage],
    texts: LabelledTexts,
    orders: Mapping[str, Int64 | None],
    rows: Int64,
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
      repeats: how often every row is timed; the median counts.
    """
    tokenizing, scoring, means = [], [], []
    for number, stage in enumerate(stages, start=1):
        logger.info("timing tier %s at batch size 1 on %s rows", number, len(rows))
        _run(stage, texts, rows[:_WARM_UP_ROWS], tokenize=True)
        to_tokenize, to_score = _singles(stage, texts, rows, repeats)
        lengths = stage.tokens.by_row(stage.tokens.lengths)
        tokenizing.append(carry_over(lengths[rows], np.median(to_tokenize, axis=0), lengths))
        scoring.append(carry_over(lengths[rows], np.median(to_score, axis=0), lengths))
        means.append((to_tokenize + to_score).mean(axis=1))
    later = np.zeros(len(texts))
    for number, stage in enumerate(stages[1:], start=1):
        seconds = scoring[number] + (0 if stage.takes_tokens else tokenizing[number])
        later += stage.reached * seconds
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
    return Costs(curves, means[0], means[-1], len(rows))


def seconds_in_batches(stage: Stage, texts: LabelledTexts, rows: Int64) -> float:
    """Seconds of a tier on its own over some rows, in windows of its own, tokenization included."""
    started = time.perf_counter()
    _run(stage, texts, rows, tokenize=True)
    return time.perf_counter() - started


def seconds_alone(stage: Stage, texts: LabelledTexts, rows: Int64) -> float:
    """Seconds of a tier on its own over some rows, one at a time, tokenization included."""
    return float(np.sum(_singles(stage, texts, rows, 1)))


def carry_over(lengths: Int64, seconds: Float64, wanted: Int64) -> Float64:
    """Seconds of rows that were not timed, by their tokens; float64, shape of `wanted`.

    A least-squares line, a + b x tokens, with neither a nor b under 0. Its mean over the timed rows
    is the mean that was measured.

    Args:
      lengths: tokens of the timed rows, int64.
      seconds: that they took, float64.
      wanted: tokens of the rows whose seconds are asked for, int64.
    """
    mean_length, mean = float(lengths.mean()), float(seconds.mean())
    centred = lengths - mean_length
    spread = float((centred**2).sum())
    slope = float((centred * seconds).sum()) / spread if spread else 0.0
    slope = min(max(slope, 0.0), mean / max(mean_length, 1e-9))
    return np.asarray(mean + slope * (wanted - mean_length), np.float64)


def _run(stage: Stage, texts: LabelledTexts, rows: Int64, *, tokenize: bool) -> None:
    """Scores rows with a tier as the job does: window by window, micro-batch by micro-batch."""
    for at in range(0, len(rows), stage.batch_rows):
        window = rows[at : at + stage.batch_rows]
        tokens = _tokenize(stage, texts, window) if tokenize else stage.tokens.take(window)
        outputs = logits_of_tokens(stage.model, tokens)
        stage.decoder(outputs, stage.model.labels, _contexts(texts, window))


def _contexts(texts: LabelledTexts, rows: Int64) -> pa.Array | None:
    return None if texts.pairs is None else texts.pairs.take(pa.array(rows))


def _later(stages: list[Stage], texts: LabelledTexts, rows: Int64) -> None:
    """Sends escalated rows through the tiers behind the first."""
    for stage in stages[1:]:
        reaching = rows[stage.reached[rows]]
        _run(stage, texts, reaching, tokenize=not stage.takes_tokens)


def _tokenize(stage: Stage, texts: LabelledTexts, rows: Int64) -> Tokens:
    return stage.model.tokenize(texts.texts.take(pa.array(rows)), _contexts(texts, rows))


def _time(
    stages: list[Stage],
    texts: LabelledTexts,
    work: Mapping[tuple[str, int], Callable[[], None]],
    repeats: int,
) -> dict[tuple[str, int], Float64]:
    """Seconds of each piece of work, one entry a repeat.

    The pieces take turns, so that a machine that slows down slows all of them alike.
    """
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
    stage: Stage, texts: LabelledTexts, rows: Int64, repeats: int
) -> tuple[Float64, Float64]:
    """Seconds to tokenize and to score each row alone, both of shape [repeats, rows]."""
    model = stage.model
    to_tokenize, to_score = np.zeros((2, repeats, len(rows)))
    for repeat in range(repeats):
        for place in range(len(rows)):
            started = time.perf_counter()
            tokens = _tokenize(stage, texts, rows[place : place + 1])
            between = time.perf_counter()
            # All windows of a long context at once.
            outputs = model.gathered(model.forward(tokens, np.arange(len(tokens))), tokens)
            stage.decoder(outputs, model.labels, _contexts(texts, rows[place : place + 1]))
            to_tokenize[repeat, place] = between - started
            to_score[repeat, place] = time.perf_counter() - between
    return to_tokenize, to_score
