"""Rows of two runs joined by their keys, and what differs. Pure Arrow."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tango_beam.comparing.outputs import ANSWER, CONFIDENCE, KEY, SHOWN, TIER, show_key
from tango_beam.errors import RefusedError

# Of answers that are hardly ever alike twice, no more pairs than this are told apart.
_MOST_PAIRS = 10_000


@dataclass
class Differences:
    """What some rows of two runs say.

    Attributes:
      both: rows of both.
      changed: of these, with another answer.
      only: rows of the one alone, and of the other alone.
      pairs: changed rows by both answers.
      moves: rows of both by both tiers, and whether the answer changed.
      tiers: of each run, rows and the sum of their confidences, by tier.
      examples: changed rows, with the sum of both confidences, the surest first.
    """

    both: int = 0
    changed: int = 0
    only: list[int] = field(default_factory=lambda: [0, 0])
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    moves: Counter[tuple[int, int, bool]] = field(default_factory=Counter)
    tiers: tuple[dict[int, list[float]], dict[int, list[float]]] = field(
        default_factory=lambda: ({}, {})
    )
    examples: list[dict[str, Any]] = field(default_factory=list)


def refuse_twins(rows: pa.Table, name: str, key: str | None) -> None:
    """Raises RefusedError where two rows of a run have one key."""
    column = rows[KEY]
    if pc.count_distinct(column).as_py() == len(column):
        return
    counts = pc.value_counts(column)
    most = max(counts, key=lambda one: one["counts"].as_py())
    shown = show_key(most["values"].as_py())
    raise RefusedError(
        f"{name}: expected another {f'--key {key}' if key else 'position'} in every row, found "
        f"{shown!r} in {most['counts'].as_py():,} rows; name a column that tells rows apart"
    )


def compare(
    a: pa.Table, b: pa.Table, found: Differences, examples: int, tolerance: float | None = None
) -> pa.Table:
    """Adds what differs in some rows to what was found; returns the changed rows.

    Args:
      a: rows of the one run, as `outputs.read_rows` gives them.
      b: rows of the other, all that have the same keys' hashes.
      found: is added to.
      examples: how many to keep.
      tolerance: of scores.

    Returns:
      The columns of the one run, and those of the other with `_b` behind their names.
    """
    for side, rows in enumerate((a, b)):
        for tier, count, sum_ in _by_tier(rows):
            held = found.tiers[side].setdefault(tier, [0, 0.0])
            held[0], held[1] = held[0] + count, held[1] + sum_
    at = pc.index_in(a[KEY], value_set=b[KEY]).combine_chunks()
    in_both = at.is_valid()
    left, right = a.filter(in_both), b.take(at.drop_null())
    differs = _differ(left, right, tolerance)
    found.both += left.num_rows
    found.only[0] += a.num_rows - left.num_rows
    found.only[1] += b.num_rows - left.num_rows
    moves = pa.table({"a": left[TIER], "b": right[TIER], "changed": differs})
    for row in _counted(moves):
        found.moves[row["a"], row["b"], row["changed"]] += row["count_all"]
    names = [KEY, ANSWER, SHOWN, CONFIDENCE, TIER]
    changed = left.filter(differs)
    for name in names[1:]:
        changed = changed.append_column(f"{name}_b", right[name].filter(differs))
    found.changed += changed.num_rows
    for row in _counted(changed.select([ANSWER, f"{ANSWER}_b"])):
        pair = row[ANSWER], row[f"{ANSWER}_b"]
        known = pair in found.pairs or len(found.pairs) < _MOST_PAIRS
        found.pairs[pair if known else ("other", "other")] += row["count_all"]
    _keep_examples(changed, found, examples)
    return changed


def _differ(a: pa.Table, b: pa.Table, tolerance: float | None) -> pa.ChunkedArray:
    if tolerance is None:
        return pc.fill_null(pc.not_equal(a[ANSWER], b[ANSWER]), True)
    apart = pc.subtract(a[SHOWN].cast(pa.float64()), b[SHOWN].cast(pa.float64()))
    return pc.fill_null(pc.greater(pc.abs(apart), tolerance), True)


def _counted(rows: pa.Table) -> list[dict[str, Any]]:
    return rows.group_by(rows.column_names).aggregate([([], "count_all")]).to_pylist()


def _by_tier(rows: pa.Table) -> list[tuple[int, int, float]]:
    sums = rows.group_by(TIER).aggregate([([], "count_all"), (CONFIDENCE, "sum")])
    return [
        (row[TIER], row["count_all"], row[f"{CONFIDENCE}_sum"] or 0.0) for row in sums.to_pylist()
    ]


def _keep_examples(changed: pa.Table, found: Differences, count: int) -> None:
    if not count or not changed.num_rows:
        return
    sure = pc.fill_null(pc.add(changed[CONFIDENCE], changed[f"{CONFIDENCE}_b"]), 0.0)
    ranked = changed.append_column("sure", sure)
    order = [("sure", "descending"), (KEY, "ascending")]
    few = ranked.take(pc.sort_indices(ranked, sort_keys=order)[:count]).to_pylist()
    best = heapq.nsmallest(count, [*found.examples, *few], key=lambda row: (-row["sure"], row[KEY]))
    found.examples[:] = best
