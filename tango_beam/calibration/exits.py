"""Exits of the last tier in a calibration: each is a tier of its own there.

An exit says something of every row and is more or less sure of it, as a tier does, so a path of
thresholds, which carries three tiers or more, carries exits, too: those few of them that pay. What
all are held to is the whole network.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from tango_beam.arrays import Float32
from tango_beam.calibration.goals import Goals
from tango_beam.calibration.score_sample import TierLogits
from tango_beam.config import CascadeConfig, Compute
from tango_beam.errors import RefusedError
from tango_beam.guarantees import bounds
from tango_beam.guarantees.chains import Demand, aimed_share
from tango_beam.guarantees.exit_paths import path_of_exits
from tango_beam.models.early_exit import KIND, ExitingTransformer
from tango_beam.models.logits import in_order
from tango_beam.models.protocol import Model
from tango_beam.resolve import load_tiers

# With which the rows that test are to sign for the exits that are chosen: they walk a path, and
# sign wherever on it they can.
_PROBABILITY = 0.5


def load(cascade: CascadeConfig, compute: Compute) -> tuple[CascadeConfig, list[Model]]:
    """The cascade with a tier for each exit of its last one, and the models of the real tiers.

    Raises:
      RefusedError: a last tier without exits, a filter, or answers that are not one label.
    """
    if cascade.filter is not None:
        raise RefusedError("--exits: expected no --recall and no --precision beside it, found one")
    whole = replace(cascade.tiers[-1], exit_thresholds=())
    asked = replace(whole, exit_thresholds=(1.0,))
    models = load_tiers(replace(cascade, tiers=(*cascade.tiers[:-1], asked)), compute)
    last = models[-1]
    assert isinstance(last, ExitingTransformer)
    exit_ = replace(whole, threshold=1.0, confidence=KIND, temperature=1.0)
    tiers = (*cascade.tiers[:-1], *[exit_] * last.exits, whole)
    return replace(cascade, tiers=tiers), models


def joined(cascade: CascadeConfig, real: int) -> CascadeConfig:
    """The cascade with its exits back in its last tier.

    Args:
      cascade: as `load` gives it, with the thresholds that were signed for.
      real: how many tiers it has that are none of its exits.
    """
    *before, last = cascade.tiers
    thresholds = tuple(tier.threshold or 0.0 for tier in before[real - 1 :])
    return replace(cascade, tiers=(*before[: real - 1], replace(last, exit_thresholds=thresholds)))


def path(
    cascade: CascadeConfig, fit: TierLogits, real: int, goals: Goals, tested: int
) -> tuple[tuple[float, ...], ...]:
    """Thresholds of tiers and exits, from the safest down, to be tested in this order.

    Args:
      cascade: as `load` gives it, with its temperatures.
      fit: rows that take no part in the test.
      real: how many tiers it has that are none of its exits.
      goals: an agreement, or a share of the accuracy to retain.
      tested: rows that test.
    """
    answers = fit.answers(cascade)
    value, counted = goals.agreement, None
    if value is None:
        assert goals.accuracy_retained is not None and answers.truth is not None
        value, counted = goals.accuracy_retained, answers.last == answers.truth
    share = 1.0 if counted is None else float(counted.mean())
    slack = 1 - value
    rows = round(share * tested)
    if rows >= bounds.fewest_rows(value, goals.delta):
        aim = aimed_share(value, goals.delta, rows, round(share * len(answers)), _PROBABILITY)
        slack = max(0.0, aim - value)
    demand = Demand(value, slack, counted)
    return tuple(path_of_exits(answers, fit.seconds, real, demand))


def score(
    model: Model, texts: Sequence[pa.Array], labels: Sequence[str]
) -> tuple[list[Float32], list[float]]:
    """Logits of all rows at every exit and behind all layers, and seconds a row to each.

    Args:
      model: an `ExitingTransformer`.
      texts: one column of strings without nulls, or two for pairs.
      labels: order of the logits' columns.
    """
    assert isinstance(model, ExitingTransformer)
    started = time.perf_counter()
    found = model.everywhere(*texts)
    seconds = (time.perf_counter() - started) / max(1, len(found)) / found.shape[1]
    parts = [in_order(np.ascontiguousarray(part), model, labels) for part in found.swapaxes(0, 1)]
    return parts, [seconds] * len(parts)
