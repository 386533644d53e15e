"""How long a candidate's training may be: told by a short trial, and kept for a killed build."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tango_beam.building import clock
from tango_beam.building.parts import FEWEST_TRAIN
from tango_beam.models import thread_pool
from tango_beam.models.peak_flops import seconds_of

logger = logging.getLogger(__name__)

_TRIAL_ROWS = (128, 1024)
_TRIED_ON_THREADS = 256
TRIALS = 2
# Rows take at least this part of a trial: noise can make few of them take as long as many.
_LEAST_SHARE = 0.1
# Trials that took so long are not repeated: short ones are what other work disturbs.
ENOUGH_SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    """A candidate student.

    Attributes:
      name: its folder's.
      kind: in `clock.TRAIN`.
      student: as `distill --student` names it; not looked at for `encoder` and `layers`.
      shape: options of `distill`.
      steps_of: rows that its training sees in all, about, with enough of them.
    """

    name: str
    kind: str
    student: Literal["pieces", "static", "tinybert"]
    shape: dict[str, Any]
    steps_of: int


@dataclass(frozen=True)
class Passes:
    """What a training goes over.

    Attributes:
      epochs: passes.
      rows: of a pass.
    """

    epochs: int
    rows: int


def threads_for(learn: Callable[[int], object], rows: int) -> int:
    """Threads on which a training is fastest: one, or every core.

    Operations as small as an LSTM's wait for each other longer than they compute, the more so
    where the machine has other work.

    Args:
      learn: trains a student on so many rows, once.
      rows: to try it on.
    """
    learn(min(rows, _TRIAL_ROWS[0]))  # warms up

    def spent(threads: int) -> float:
        with thread_pool.bound_to(threads):
            return seconds_of(partial(learn, min(rows, _TRIED_ON_THREADS)))

    return min((1, thread_pool.workers()), key=spent)


def passes_within(
    plan: Plan,
    learn: Callable[[int], object],
    rows: int,
    seconds: float,
    folder: Path,
    trial_rows: tuple[int, int] = _TRIAL_ROWS,
) -> Passes:
    """Passes over rows that a training makes in a time, told by passes over a few of them.

    What a pass takes whatever its rows are, such as making the student, is left out. Where the time
    is too short for one pass, it has fewer rows.

    Args:
      plan: the candidate.
      learn: trains it on so many of the rows, once, and drops what came of it.
      rows: that there are.
      seconds: that the training may take.
      folder: the student's: a training that goes on makes as many passes as it began with.
      trial_rows: a few and more of them, whose trainings tell how long one takes.
    """
    path = folder.parent / f"{folder.name}_passes.json"
    if path.is_file():
        return Passes(**json.loads(path.read_text()))
    counts = [min(rows, count) for count in trial_rows]
    learn(counts[0])  # warms up
    # In turns, and the fastest of each counts: other work on the machine only ever adds.
    spent: list[list[float]] = []
    while len(spent) < TRIALS and sum(map(sum, spent)) < ENOUGH_SECONDS:
        spent.append([seconds_of(partial(learn, count)) for count in counts])
    few, many = map(min, zip(*spent, strict=True))
    a_row = _seconds_a_row((few, many), counts)
    fits = min(rows, max(FEWEST_TRAIN, clock.rows_within(seconds, a_row)))
    epochs = clock.epochs_within(seconds, a_row * rows, fits, plan.steps_of)
    passes = f"{epochs} pass" + "es" * (epochs != 1)
    logger.info("%s: %s over %s rows", plan.name, passes, f"{fits:,}")
    found = Passes(epochs, fits)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(found)) + "\n")
    return found


def _seconds_a_row(spent: tuple[float, float], counts: list[int]) -> float:
    """What one row more takes, by trials on a few rows and on more."""
    few, many = spent
    slope = (many - few) / max(1, counts[1] - counts[0])
    return max(slope, _LEAST_SHARE * many / counts[1], 1e-9)
