"""Receipts: what each sink stored of each attempt at a checkpoint, and which attempts count.

Beam may run any piece twice, and its counters count attempts. So a reader leaves a receipt of the
rows that it read, every sink one of the rows that it stored, and a checkpoint is committed when the
sinks' receipts of one attempt add up to what that attempt read. No order among sinks is needed, and
what an attempt left that never adds up is deleted at the end.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from tango_beam.io.store import Store

FOLDER = "_receipts"
READ = "read"


@dataclass(frozen=True)
class Receipt:
    """Rows of one attempt at a checkpoint that one step has dealt with.

    Attributes:
      checkpoint: its number (see `io.plan`).
      attempt: random, 63 bits.
      step: `read`, or the sink: `accepted`, `escalated`, `audited`, `dead`.
      rows: rows read, or rows stored.
      files: name, rows and bytes of each file stored.
      seconds: time spent, by stage.
      tokens: real and padded tokens, by tier.
      last: no checkpoint follows in this item (`read` only).
      broken: files that broke midway, with what was not read (`read` only).
      errors: dead rows by stage and reason (`dead` only).
      audit: rows that the last tier checked, and disagreements among them (`audited` only).
    """

    checkpoint: int
    attempt: int
    step: str
    rows: int
    files: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, list[int]] = field(default_factory=dict)
    last: bool = True
    broken: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    audit: list[int] = field(default_factory=lambda: [0, 0])


def publish(store: Store, receipt: Receipt) -> str:
    """Stores a receipt; what an attempt has stored counts from then on. Returns its name."""
    unique = uuid.uuid4().hex[:8]
    name = (
        f"{FOLDER}/{receipt.checkpoint:016x}.{receipt.attempt:016x}"
        f".{receipt.step}.{receipt.rows}.{unique}.json"
    )
    store.write_json(name, asdict(receipt))
    return name


def committed(names: Iterable[str]) -> dict[int, int]:
    """Checkpoints that are committed with the attempt that counts, from receipts' names alone.

    Where several attempts add up, the lowest counts: the same one for whoever looks.
    """
    read: dict[tuple[int, int], int] = {}
    stored: dict[tuple[int, int], int] = {}
    for name in names:
        first, second, step, count, _, _ = name.rsplit("/", 1)[-1].split(".")
        key = int(first, 16), int(second, 16)
        side = read if step == READ else stored
        side[key] = side.get(key, 0) + int(count)
    done: dict[int, int] = {}
    for (checkpoint, attempt), rows in sorted(read.items()):
        if stored.get((checkpoint, attempt), 0) == rows:
            done.setdefault(checkpoint, attempt)
    return done


def load(store: Store, names: Iterable[str]) -> list[Receipt]:
    """Reads receipts, many at once."""
    with ThreadPoolExecutor(16) as pool:
        return [Receipt(**stored) for stored in pool.map(store.read_json, names)]


def of_attempts(names: Iterable[str], attempts: dict[int, int]) -> list[str]:
    """The names that belong to the attempts that count."""
    chosen = {f"{checkpoint:016x}.{attempt:016x}" for checkpoint, attempt in attempts.items()}
    return [name for name in names if name.rsplit("/", 1)[-1][:33] in chosen]
