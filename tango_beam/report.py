"""What a run shows to people: progress on a terminal, a table at the end."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tango_beam import progress
from tango_beam.io import receipts
from tango_beam.io.store import Store

# Under so many rows, the time to start says more than the rate.
_ENOUGH_ROWS = 10_000


class Watch:
    """Shows rows, rows a second, escalation rate and time left; nothing where no terminal is.

    Args:
      weight: bytes of input, as the reader counts them.
      items: checkpoints expected, for runs whose workers are other processes.
      store: the output, where receipts tell of those.
    """

    def __init__(self, weight: int, items: int, store: Store) -> None:
        self._weight, self._items, self._store = max(1, weight), max(1, items), store
        self._console = Console(stderr=True)
        self._shown: Progress | None = None
        self._started = self._looked = time.monotonic()
        self._from_storage = 0.0, 0
        progress.board.clear()

    def __enter__(self) -> Watch:
        if sys.stderr.isatty():
            self._shown = Progress(
                TextColumn("{task.fields[rows]:,} rows"),
                BarColumn(),
                TextColumn("{task.fields[rate]:,.0f}/s"),
                TextColumn("{task.fields[escalated]} escalated"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._shown.add_task("", total=1.0, rows=0, rate=0.0, escalated="-")
            self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._shown.stop()

    def tick(self) -> None:
        """Brings the line up to date."""
        if not self._shown:
            return
        board = progress.board
        answered = sum(board.tiers.values())
        if board.read:
            share = board.done / self._weight
        else:
            share, answered = self._from_receipts()
        beyond = sum(rows for tier, rows in board.tiers.items() if tier > 1)
        seconds = max(1e-3, time.monotonic() - self._started)
        self._shown.update(
            self._task,
            completed=min(1.0, share),
            rows=answered,
            rate=answered / seconds,
            escalated=f"{beyond / answered:.1%}" if answered and board.read else "-",
        )

    def _from_receipts(self) -> tuple[float, int]:
        now = time.monotonic()
        if now - self._looked >= 2:
            self._looked = now
            names = self._store.names(receipts.FOLDER)
            done = receipts.committed(names)
            kept = receipts.of_attempts(names, done)
            rows = sum(int(name.split(".")[-3]) for name in kept if ".read." in name)
            self._from_storage = len(done) / self._items, rows
        return self._from_storage


def summary(manifest: dict[str, Any], output: str, seconds: float) -> Table:
    """The table at the end of a run."""
    rows = manifest["rows"]
    answered = rows["accepted"] + rows["escalated"]
    table = Table(title=None, show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    cascade = manifest["cascade"]
    thresholds = ", ".join(f"{value:.4f}" for value in cascade["thresholds"]) or "none"
    table.add_row("cascade", cascade["name"], f"threshold {thresholds}, {cascade['fingerprint']}")
    table.add_row("read", f"{rows['read']:,}", f"{rows['read'] / max(seconds, 1e-9):,.0f} rows/s")
    for kind, what in (
        ("accepted", "answered by the first tier"),
        ("escalated", "answered by a later tier"),
    ):
        table.add_row(kind, f"{rows[kind]:,}", f"{rows[kind] / max(1, answered):.1%} {what}")
    dead = f"{rows['dead'] / max(1, rows['read']):.2%}"
    table.add_row("dead", f"{rows['dead']:,}", f"{dead} in _dead_letters" if rows["dead"] else "")
    for reason, count in list(manifest["dead_letters"]["reasons"].items())[:5]:
        table.add_row("", f"{count:,}", reason)
    for broken in manifest["broken_files"][:5]:
        table.add_row("broken", "", f"{broken['path']}: {broken['error']}")
    certificate = cascade["certificate"]
    if certificate["status"] != "none":
        table.add_row("certificate", "", certificate["status"])
        for line in certificate["differs"][:3]:
            table.add_row("", "", line)
    if manifest["audit"]:
        table.add_row("audited", f"{rows['audited']:,}", describe_audit(manifest["audit"]))
    spent = ", ".join(f"{stage} {value:,.1f} s" for stage, value in manifest["seconds"].items())
    table.add_row("seconds", f"{seconds:,.1f}", spent)
    padding = ", ".join(
        f"{tier} {count['padded'] / max(1, count['real']):.3f}"
        for tier, count in manifest["tokens"].items()
    )
    if padding:
        table.add_row("padding", "", f"{padding} (padded over real tokens)")
    if rows["read"] >= _ENOUGH_ROWS:
        table.add_row("cost", *_cost(rows["read"], seconds))
    table.add_row("output", f"{len(manifest['files'])} files", output)
    return table


def _cost(rows: int, seconds: float) -> tuple[str, str]:
    """Rows a core-hour, and what larger corpora would take on this machine at the same rate."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rate = rows / max(1e-9, seconds)
    times = ", ".join(
        f"{name} {_duration(count / rate)}"
        for name, count in (("1 M", 1e6), ("100 M", 1e8), ("10 B", 1e10))
    )
    return f"{3600 * rate / (cores or 1):,.0f}", f"rows a core-hour; on this machine {times}"


def _duration(seconds: float) -> str:
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


def show(table: Table) -> None:
    """Prints a table for people, on standard output."""
    wide = None if sys.stdout.isatty() else 200
    Console(width=wide, highlight=False).print(table)
