"""Which further rows to learn from: those that a first student is unsure of, rare ones among them.

Uncertainty sampling (Lewis and Gale, 1994), for training alone: rows that choose or sign are drawn
at random, or a test on them would say nothing of the corpus.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tango_beam.arrays import Float32, Int64
from tango_beam.building import clock, students, teacher
from tango_beam.building.options import BuildOptions
from tango_beam.building.parts import rows_of
from tango_beam.building.passes import Plan
from tango_beam.building.teacher import Teacher
from tango_beam.config import CascadeConfig, Compute
from tango_beam.models.logits import logits_of
from tango_beam.resolve import load_tier
from tango_beam.training import texts
from tango_beam.training.texts import Row

logger = logging.getLogger(__name__)

# Of the rows that are added; the others are random, so that easy rows do not go missing.
UNSURE = 0.7
# The fewest rows to learn from with which a choice is worth a student's training.
FEWEST = 1_000
MOST_POOL = 50_000
_SCOUT = Plan("scout", "static", "static", {}, 300_000)


def least_sure(confidences: Float32, count: int, share: float, seed: int) -> Int64:
    """Rows of a pool to add: the least sure ones, and random others; ascending, int64.

    Args:
      confidences: of every row of the pool, shape [rows].
      count: rows to add.
      share: of them that are the least sure.
      seed: the same others for the same seed.
    """
    order = np.argsort(confidences, kind="stable")
    first = order[: int(share * count)]
    rest = np.random.default_rng(seed).permutation(order[len(first) :])
    return np.sort(np.concatenate([first, rest[: count - len(first)]]))


def rows_to_learn(
    train: Sequence[pa.Array],
    pool: Sequence[pa.Array],
    taught: Teacher,
    options: BuildOptions,
    compute: Compute,
    work: Path,
) -> list[Row]:
    """The rows to learn from: half of `train`, and as many more that a first student picks.

    Where there are no more rows than those to learn from, all of them are learnt from.

    Args:
      train: columns of the rows to learn from, drawn at random.
      pool: of further rows, which nobody has asked about.
      taught: the second tier.
      options: of the build.
      compute: where the first student computes.
      work: where its weights and the choice are kept.
    """
    rows, extra = rows_of(train), rows_of([column[:MOST_POOL] for column in pool])
    half = len(rows) // 2
    if len(rows) < FEWEST or len(extra) < half:
        return rows
    known = work / "learnt.json"
    if not known.is_file():
        logger.info("a first student picks what else to learn from, out of %s rows", len(extra))
        candidates = rows[half:] + extra
        picked = _picked(rows[:half], candidates, len(rows) - half, taught, options, compute, work)
        known.write_text(json.dumps(picked.tolist()))
    picked = np.array(json.loads(known.read_text()), np.int64)
    candidates = rows[half:] + extra
    return rows[:half] + [candidates[row] for row in picked]


def _picked(
    known: list[Row],
    candidates: list[Row],
    count: int,
    taught: Teacher,
    options: BuildOptions,
    compute: Compute,
    work: Path,
) -> Int64:
    logits = teacher.answers_of(taught, known, work / "answers")
    kept = taught.fine(logits)
    lessons, seconds = [known[row] for row in kept], 60 * options.minutes * clock.TRAIN["static"]
    tier = students.train(
        _SCOUT, taught, options, lessons, logits[kept], work / "scout", seconds / 3
    )
    model = load_tier(tier, compute)
    labels = taught.labels if len(taught.labels) > 1 else None
    outputs = logits_of(model, *texts.columns(candidates), labels=labels)
    cascade = CascadeConfig((tier,), taught.labels, task=taught.task)
    sure = cascade.decoder(tier).confidences(outputs)
    return least_sure(sure, count, UNSURE, options.seed)
