"""Answered rows in bins that add up, so that a run can be drawn without reading its rows again."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam.answers import Decoder
from tango_beam.arrays import Int64
from tango_beam.json_record import JsonRecord

# Where bins begin. Confidences are compared as float32, the type in which they are written.
CONFIDENCES = np.array([n / 100 for n in range(100)], np.float32)
LENGTHS = np.array([0, *(1 << n for n in range(4, 17))], np.int64)
# A receipt names so many labels at most; a cascade's further ones are counted together.
MOST_NAMES = 200
OTHERS = "(others)"


@dataclass(frozen=True)
class AnswerCounts(JsonRecord):
    """Rows by what was answered.

    Attributes:
      confidences: by the first tier's confidence: `0.95` holds 0.95 up to 0.96, `0.99` up to 1.
      tiers: by the number of the tier that answered.
      answers: by label, or bucket of a score; a row with several labels counts for each.
      lengths: by characters of the texts: `64` holds 64 up to 128.
    """

    confidences: dict[str, int] = field(default_factory=dict)
    tiers: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)


def total(several: Iterable[AnswerCounts]) -> AnswerCounts:
    """Adds counts up: bins in ascending order, the most frequent answers first."""
    sums: dict[str, Counter[str]] = {name: Counter() for name in AnswerCounts.__dataclass_fields__}
    for counts in several:
        for name, added in vars(counts).items():
            sums[name].update(added)
    answers = dict(sorted(sums.pop("answers").items(), key=lambda one: (-one[1], one[0])))
    bins = {name: dict(sorted(rows.items(), key=_begins)) for name, rows in sums.items()}
    return AnswerCounts(answers=answers, **bins)


def _begins(counted: tuple[str, int]) -> float:
    return float(counted[0])


class AnswerTally:
    """Counts answered rows as they come, in Arrow and NumPy.

    Args:
      decoder: says what an answer calls a row.
      labels: of the cascade.
      prefix: of the answers' columns.
      texts: columns with the texts.
    """

    def __init__(
        self, decoder: Decoder, labels: Sequence[str], prefix: str, texts: Sequence[str]
    ) -> None:
        self._decoder, self._prefix, self._texts = decoder, prefix, texts
        self._unnamed = frozenset(labels[MOST_NAMES:])
        self._confidences: Int64 = np.zeros(len(CONFIDENCES), np.int64)
        self._lengths: Int64 = np.zeros(len(LENGTHS), np.int64)
        self._tiers: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()

    def add(self, rows: pa.RecordBatch) -> None:
        """Counts the rows of a batch that has the answers' columns."""
        answers = {
            name.removeprefix(self._prefix): column
            for name, column in zip(rows.schema.names, rows.columns, strict=True)
            if name.startswith(self._prefix)
        }
        self._confidences += _binned(answers["first_tier_confidence"], CONFIDENCES)
        self._lengths += _binned(_characters(rows, self._texts), LENGTHS)
        self._tiers.update({str(tier): count for tier, count in _counted(answers["tier"])})
        for name, count in _counted(self._decoder.names(answers)):
            self._answers[OTHERS if name in self._unnamed else name] += count

    def counts(self) -> AnswerCounts:
        """What was counted so far; empty bins are left out."""
        return AnswerCounts(
            confidences=_filled(self._confidences, [f"{edge:.2f}" for edge in CONFIDENCES]),
            tiers=dict(self._tiers),
            answers=dict(self._answers),
            lengths=_filled(self._lengths, [str(edge) for edge in LENGTHS]),
        )


def _binned(values: pa.Array, edges: np.ndarray) -> Int64:
    """Rows in each bin; what lies before the first is in the first."""
    at = np.searchsorted(edges, values.to_numpy(zero_copy_only=False), side="right") - 1
    return np.bincount(np.maximum(at, 0), minlength=len(edges))


def _characters(rows: pa.RecordBatch, texts: Sequence[str]) -> pa.Array:
    """Characters in the texts of each row, both of a pair."""
    lengths = [pc.utf8_length(_strings(rows.column(name))) for name in texts]
    return functools.reduce(pc.add, lengths)


def _strings(column: pa.Array) -> pa.Array:
    kind = column.type
    plain = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return column if plain else column.cast(pa.string())


def _counted(values: pa.Array) -> Iterable[tuple[str, int]]:
    counts = pc.value_counts(values)
    return zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)


def _filled(counts: Int64, names: Sequence[str]) -> dict[str, int]:
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}
