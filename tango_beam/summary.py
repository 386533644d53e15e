"""What a run came to, and what it cost: the table at its end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

# Under so many rows or seconds, the time to start says more than the rate.
_ENOUGH_ROWS = 10_000
# From so many seconds on it is worth a few to see what the machine could do.
_ENOUGH_SECONDS = 120.0
_SIZES = (("1 M", 1e6), ("100 M", 1e8), ("10 B", 1e10))


@dataclass(frozen=True)
class Spent:
    """What the process that launched a run saw of its cost.

    Attributes:
      seconds: wall clock, from the command to its end.
      working: of these, while the pipeline ran.
      before: rows that earlier runs had committed, which this one had not to score.
      cores: that did the work; None where it was done elsewhere.
      peaks: what this machine does in large matrix products, FLOP/s by tier (`tier 1`).
    """

    seconds: float
    working: float = 0.0
    before: int = 0
    cores: int | None = None
    peaks: Mapping[str, float] = field(default_factory=dict)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peaks(precisions: Mapping[str, str], device: str, working: float) -> dict[str, float]:
    """FLOP/s of this machine's best matrix products, where a run was long enough to ask.

    Args:
      precisions: by tier; int8 has no rate to stand beside.
      device: on which the models ran.
      working: seconds that the run took; it takes a few more to measure.
    """
    from tango_beam.tuning import rates

    if device != "cpu" or working < _ENOUGH_SECONDS:
        return {}
    found = {kind: rates.machine(kind) for kind in {*precisions.values()} - {"int8"}}
    return {tier: found[kind] for tier, kind in precisions.items() if kind in found}


def summary(manifest: dict[str, Any], output: str, spent: Spent) -> Table:
    """The table at the end of a run.

    Args:
      manifest: as stored.
      output: where.
      spent: by this process.
    """
    rows = manifest["rows"]
    answered = rows["accepted"] + rows["escalated"]
    table = Table(title=None, show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    cascade = manifest["cascade"]
    thresholds = ", ".join(f"{value:.4f}" for value in cascade["thresholds"]) or "none"
    table.add_row("cascade", cascade["name"], f"threshold {thresholds}, {cascade['fingerprint']}")
    done = rows["read"] - spent.before
    rate = f"{done / max(spent.seconds, 1e-9):,.0f} rows/s" if done else ""
    earlier = f", {spent.before:,} of them by earlier runs" if spent.before else ""
    table.add_row("read", f"{rows['read']:,}", f"{rate}{earlier}".removeprefix(", "))
    for kind, what in (
        ("accepted", "answered by the first tier"),
        ("escalated", "answered by a later tier"),
    ):
        table.add_row(kind, f"{rows[kind]:,}", f"{rows[kind] / max(1, answered):.1%} {what}")
    _add_losses(table, manifest)
    _add_promises(table, manifest)
    for line in _costs(manifest, spent, done):
        table.add_row(*line)
    table.add_row("output", f"{len(manifest['files'])} files", output)
    return table


def _add_losses(table: Table, manifest: dict[str, Any]) -> None:
    rows = manifest["rows"]
    dead = f"{rows['dead'] / max(1, rows['read']):.2%}"
    table.add_row("dead", f"{rows['dead']:,}", f"{dead} in _dead_letters" if rows["dead"] else "")
    for reason, count in list(manifest["dead_letters"]["reasons"].items())[:5]:
        table.add_row("", f"{count:,}", reason)
    for broken in manifest["broken_files"][:5]:
        table.add_row("broken", "", f"{broken['path']}: {broken['error']}")


def _add_promises(table: Table, manifest: dict[str, Any]) -> None:
    certificate = manifest["cascade"]["certificate"]
    if certificate["status"] != "none":
        table.add_row("certificate", "", certificate["status"])
        for line in certificate["differs"][:3]:
            table.add_row("", "", line)
    if manifest["audit"]:
        audited = manifest["rows"]["audited"]
        table.add_row("audited", f"{audited:,}", describe_audit(manifest["audit"]))


Line = tuple[str, str, str]


def _costs(manifest: dict[str, Any], spent: Spent, done: int) -> Iterator[Line]:
    """Where the time went, and what larger corpora would take."""
    by_stage = ", ".join(f"{stage} {value:,.1f} s" for stage, value in manifest["seconds"].items())
    yield "seconds", f"{spent.seconds:,.1f}", by_stage
    padding = ", ".join(
        f"{tier} {count['padded'] / max(1, count['real']):.3f}"
        for tier, count in manifest["tokens"].items()
    )
    if padding:
        yield "padding", "", f"{padding} (padded over real tokens)"
    if done < _ENOUGH_ROWS:
        return
    found = manifest.get("models", {})
    within = sum(tier["seconds"] for tier in found.values())
    # Seconds of earlier runs, or of several workers at once, are no share of this one's.
    alone = spent.cores is not None and not spent.before and spent.working
    if found:
        yield (
            "models",
            f"{within / spent.working:.0%} of the time" if alone else "",
            _models(found, spent.peaks),
        )
    rate = done / max(1e-9, spent.working)
    yield from projections(rate, spent.cores)


def _models(found: dict[str, dict[str, float]], peaks: Mapping[str, float]) -> str:
    lines = []
    for tier, cost in found.items():
        rate = cost["operations"] / max(1e-9, cost["seconds"])
        share = f", {rate / peaks[tier]:.0%} of the machine's" if tier in peaks else ""
        lines.append(f"{tier} {cost['seconds']:,.1f} s at {rate / 1e9:,.0f} GFLOP/s{share}")
    return "; ".join(lines) + " (no padding counted)"


def projections(rate: float, cores: int | None) -> Iterator[Line]:
    """What corpora would take at a rate, on one such set of workers and on several.

    Args:
      rate: rows a second, start-up apart.
      cores: that it took; None where that is not known.
    """
    workers = "machine" if cores else "cluster"
    an_hour = f"{3600 * rate / cores:,.0f}" if cores else f"{3600 * rate:,.0f}"
    unit = f"rows a core-hour, on {cores} cores" if cores else "rows an hour, on this cluster"
    yield "cost", an_hour, unit
    for name, count in _SIZES:
        times = [f"{duration(count / rate / many)} on {many}" for many in (1, 10, 100)]
        yield "", name, f"{', '.join(times)} such {workers}s"


def duration(seconds: float) -> str:
    """Seconds in the largest unit of which there are two or more."""
    for unit, length in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"


def describe_audit(audit: dict[str, Any]) -> str:
    """The verdict of an audit with the figures behind it."""
    low, high = audit["interval"]
    goal = "" if audit["goal"] is None else f", certified at most {1 - audit['goal']:.2%}"
    return (
        f"{audit['verdict']}: {audit['disagreements']:,} of {audit['checked']:,} checked answers "
        f"disagree, {low:.2%} to {high:.2%} of all rows{goal}"
    )
