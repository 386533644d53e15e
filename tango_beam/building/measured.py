"""Candidates with their fastest settings on this machine, and what each says of the rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam.answers.task import SPAN
from tango_beam.arrays import Float32, Float64
from tango_beam.building.options import BuildOptions
from tango_beam.building.settings import Settings
from tango_beam.building.teacher import Teacher, tuned_on
from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.models import loading
from tango_beam.models.logits import logits_of
from tango_beam.resolve import load_tier
from tango_beam.tuning.tune import with_settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """A tier that has answered the rows that choose and those that sign.

    Attributes:
      name: of the tier.
      settings: its fastest.
      choose, sign: raw outputs, float32, shape [rows, outputs], columns in the cascade's order.
    """

    name: str
    settings: Settings
    choose: Float32
    sign: Float32


def settled(
    tier: TierConfig,
    teacher: Teacher,
    texts: Sequence[pa.Array],
    options: BuildOptions,
    path: Path,
) -> Settings:
    """A student with its fastest settings; measured once.

    Args:
      tier: the student.
      teacher: whose cascade it will stand in.
      texts: rows to measure on.
      options: of the build.
      path: where what was measured is kept.
    """
    known = Settings.read(path, tier)
    if known is not None:
        return known
    cascade = CascadeConfig(
        (replace(tier, threshold=0.5), teacher.tier), teacher.labels, task=teacher.task
    )
    tuned = tuned_on(cascade, tier, texts, options)
    # Windows are cut anew by every tier.
    shares = teacher.task.kind != SPAN
    shares = shares and loading.vocabulary(tier) == loading.vocabulary(teacher.tier)
    made = Settings(
        with_settings(tier, tuned), tuned.seconds, 0.0 if shares else tuned.seconds_tokenizing
    )
    made.write(path)
    return made


def outputs_of(
    settings: Settings, texts: Sequence[pa.Array], labels: Sequence[str], compute: Compute
) -> Float32:
    """Raw outputs of a tier, columns in the cascade's order."""
    model = load_tier(settings.tier, compute)
    return logits_of(model, *texts, labels=labels if len(labels) > 1 else None)


def answered(
    candidates: Sequence[Measured], texts: Mapping[str, Sequence[pa.Array]], teacher: Teacher
) -> tuple[tuple[Measured, ...], dict[str, list[pa.Array]]]:
    """The rows to which every candidate has an answer: a run counts the others as dead.

    Args:
      candidates: that have answered the same rows.
      texts: of the rows that `choose` and that `sign`.
      teacher: says what an answer is.
    """
    kept = {
        part: reduce(np.intersect1d, (teacher.fine(getattr(one, part)) for one in candidates))
        for part in texts
    }
    fine = tuple(
        replace(one, **{part: getattr(one, part)[rows] for part, rows in kept.items()})
        for one in candidates
    )
    taken = {
        part: [column.take(pa.array(kept[part])) for column in columns]
        for part, columns in texts.items()
    }
    return fine, taken


def costs(settings: Settings, texts: Sequence[pa.Array]) -> Float64:
    """Seconds of each row in a tier, float64, shape [rows]: in proportion to its length."""
    sizes = np.zeros(len(texts[0]))
    for text in texts:
        sizes += pc.binary_length(text).to_numpy(zero_copy_only=False)
    even = settings.seconds + settings.tokenizing
    return even * (1 + sizes) / float(np.mean(1 + sizes))
