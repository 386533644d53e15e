"""What a comparison found, as a record: for people and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tango_beam.comparing.differences import Differences
from tango_beam.comparing.outputs import CONFIDENCE, KEY, SHOWN, TIER, Output, show_key
from tango_beam.json_record import JsonRecord
from tango_beam.record_columns import TEXTS

_SHOWN = 3


@dataclass(frozen=True)
class TierRows(JsonRecord):
    """Rows that a tier answered, and its mean confidence in them."""

    tier: int
    rows: int
    confidence: float


@dataclass(frozen=True)
class Side(JsonRecord):
    """One of the two runs.

    Attributes:
      output: as the user names it.
      cascade, fingerprint, thresholds: that answered.
      read, dead, filtered: rows of the whole run.
      escalated: share of the answered rows that a later tier answered.
      seconds: over all workers, by stage.
      confidence: mean over the rows that are written.
      tiers: of these rows.
    """

    output: str
    cascade: str
    fingerprint: str
    thresholds: tuple[float, ...]
    read: int
    dead: int
    filtered: int
    escalated: float
    seconds: dict[str, float]
    confidence: float
    tiers: tuple[TierRows, ...]


@dataclass(frozen=True)
class Pair(JsonRecord):
    """Rows whose answer changed from one to another."""

    a: str
    b: str
    rows: int


@dataclass(frozen=True)
class Move(JsonRecord):
    """Rows by the tiers that answered them in both runs, and how many of them changed."""

    a: int
    b: int
    rows: int
    changed: int


@dataclass(frozen=True)
class Example(JsonRecord):
    """A changed row: its key, its texts where they passed through, and both answers."""

    key: str
    texts: tuple[str, ...]
    a: str
    b: str
    confidence_a: float | None
    confidence_b: float | None
    tier_a: int
    tier_b: int


@dataclass(frozen=True)
class Report(JsonRecord):
    """Two runs side by side.

    Attributes:
      a, b: the runs.
      matched_by: the key's column, or `source file and position`.
      both: rows that both hold.
      changed: of these, with another answer.
      only_a, only_b: rows that one alone holds.
      pairs: of answers, the most frequent first; none for spans.
      moves: from tier to tier.
      notes: what of the two runs is not alike.
      examples: changed rows, those of which both are surest first.
    """

    a: Side
    b: Side
    matched_by: str
    both: int
    changed: int
    only_a: int
    only_b: int
    pairs: tuple[Pair, ...]
    moves: tuple[Move, ...]
    notes: tuple[str, ...]
    examples: tuple[Example, ...]


def make_report(a: Output, b: Output, key: str | None, found: Differences) -> Report:
    """Puts the figures of both runs and of their rows together."""
    pairs = tuple(Pair(*answers, rows) for answers, rows in found.pairs.most_common())
    moves: dict[tuple[int, int], list[int]] = {}
    for (before, after, changed), rows in sorted(found.moves.items()):
        counts = moves.setdefault((before, after), [0, 0])
        counts[0] += rows
        counts[1] += rows * changed
    return Report(
        a=_side(a, found.tiers[0]),
        b=_side(b, found.tiers[1]),
        matched_by=key or "source file and position",
        both=found.both,
        changed=found.changed,
        only_a=found.only[0],
        only_b=found.only[1],
        pairs=pairs,
        moves=tuple(Move(*tiers, *counts) for tiers, counts in moves.items()),
        notes=_notes(a, b, key),
        examples=tuple(map(_example, found.examples)),
    )


def _side(output: Output, tiers: dict[int, list[float]]) -> Side:
    manifest = output.manifest
    rows, cascade = manifest.rows, manifest.cascade
    count = sum(held[0] for held in tiers.values())
    return Side(
        output.name,
        cascade.name,
        cascade.fingerprint,
        cascade.thresholds,
        rows.read,
        rows.dead,
        rows.filtered,
        rows.escalated / max(1, rows.accepted + rows.escalated),
        manifest.seconds,
        sum(held[1] for held in tiers.values()) / max(1, count),
        tuple(
            TierRows(tier, int(rows), sum_ / max(1, rows))
            for tier, (rows, sum_) in sorted(tiers.items())
        ),
    )


def _example(row: dict[str, Any]) -> Example:
    return Example(
        show_key(row[KEY]),
        tuple(row[name] or "" for name in TEXTS if name in row),
        row[SHOWN] or "",
        row[f"{SHOWN}_b"] or "",
        row[CONFIDENCE],
        row[f"{CONFIDENCE}_b"],
        row[TIER],
        row[f"{TIER}_b"],
    )


def _notes(a: Output, b: Output, key: str | None) -> tuple[str, ...]:
    """What of two runs is not alike, and what of them is not compared."""
    notes = []
    first, second = (
        {entry["path"]: (entry["size"], entry["modified"]) for entry in one.manifest.inputs}
        for one in (a, b)
    )
    for one, alone in (a, first.keys() - second.keys()), (b, second.keys() - first.keys()):
        if alone:
            notes.append(f"{len(alone):,} input files were read for {one.name} alone{_some(alone)}")
    changed = {path for path in first.keys() & second.keys() if first[path] != second[path]}
    if changed:
        risk = "" if key else "; a position in them may be that of another row: --key is safer"
        notes.append(
            f"{len(changed):,} input files changed between both runs{_some(changed)}{risk}"
        )
    for one in (a, b):
        after = one.manifest.after
        if after and after.outputs:
            names = {earlier.output for earlier in after.outputs}
            notes.append(
                f"{one.name} came after {len(names)} other outputs, which are not compared"
                f"{_some(names)}"
            )
    return tuple(notes)


def _some(names: set[str]) -> str:
    more = ["..."] if len(names) > _SHOWN else []
    return f" ({', '.join([*sorted(names)[:_SHOWN], *more])})"
