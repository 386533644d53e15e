"""Receipts: what each sink stored of each attempt at a checkpoint, and which attempts count.

Beam may run any piece twice, and its counters count attempts. So a reader leaves a receipt of the
rows that it read, every sink one of the rows that it stored, and a checkpoint is committed when the
sinks' receipts of one attempt add up to what that attempt read. No order among sinks is needed, and
what an attempt left that never adds up is deleted at the end.

Rows behind a shuffle may be delivered twice within one attempt. They travel in parcels; a parcel
counts when the receipts of one delivery of it add up to the rows that it held when it was sent, and
it counts once.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from tango_beam.io.store import Store

N = TypeVar("N", int, float)

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
      models: seconds within the model, and floating-point operations, by tier.
      last: no checkpoint follows in this item (`read` only).
      broken: files that broke midway, with what was not read (`read` only).
      errors: dead rows by stage and reason (`dead` only).
      audit: rows that the last tier checked, and disagreements among them (`audited` only).
      parcel: the parcel that the rows came in; 0 where they crossed no shuffle.
      delivery: which arrival of it.
      parcel_rows: rows that it held when it was sent.
    """

    checkpoint: int
    attempt: int
    step: str
    rows: int
    files: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, list[int]] = field(default_factory=dict)
    models: dict[str, list[float]] = field(default_factory=dict)
    last: bool = True
    broken: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    audit: list[int] = field(default_factory=lambda: [0, 0])
    parcel: int = 0
    delivery: int = 0
    parcel_rows: int = 0


def add(sums: dict[str, list[N]], name: str, counts: list[N]) -> None:
    """Adds counts to those that stand under a name."""
    held = sums.get(name, [])
    sums[name] = [one + other for one, other in zip(held, counts, strict=True)] if held else counts


def publish(store: Store, receipt: Receipt) -> str:
    """Stores a receipt; what an attempt has stored counts from then on. Returns its name."""
    unique = uuid.uuid4().hex[:8]
    if receipt.parcel:
        unique = f"{receipt.parcel:x}-{receipt.delivery:x}-{receipt.parcel_rows}-{unique}"
    name = (
        f"{FOLDER}/{receipt.checkpoint:016x}.{receipt.attempt:016x}"
        f".{receipt.step}.{receipt.rows}.{unique}.json"
    )
    store.write_json(name, asdict(receipt))
    return name


@dataclass
class _Tally:
    """What the receipts of one attempt say.

    Attributes:
      read: rows read; None before the reader is done.
      stored: rows stored that crossed no shuffle.
      parcels: by parcel and delivery, rows that it held and rows stored of it.
    """

    read: int | None = None
    stored: int = 0
    parcels: dict[int, dict[int, list[int]]] = field(default_factory=dict)

    def add(self, step: str, rows: int, unique: str) -> None:
        if step == READ:
            self.read = (self.read or 0) + rows
        elif "-" not in unique:
            self.stored += rows
        else:
            parcel, delivery, held = _parcel_of(unique)
            deliveries = self.parcels.setdefault(parcel, {})
            deliveries.setdefault(delivery, [held, 0])[1] += rows

    def chosen(self) -> dict[int, int]:
        """The delivery that counts of each parcel that arrived whole: the lowest of them."""
        whole = {
            parcel: [delivery for delivery, (held, stored) in found.items() if held == stored]
            for parcel, found in self.parcels.items()
        }
        return {parcel: min(deliveries) for parcel, deliveries in whole.items() if deliveries}

    def adds_up(self) -> bool:
        sent = sum(self.parcels[parcel][delivery][0] for parcel, delivery in self.chosen().items())
        return self.read is not None and self.read == self.stored + sent


def _parcel_of(unique: str) -> tuple[int, int, int]:
    parcel, delivery, held, _ = unique.split("-")
    return int(parcel, 16), int(delivery, 16), int(held)


def _parse(name: str) -> tuple[tuple[int, int], str, int, str]:
    first, second, step, count, unique, _ = name.rsplit("/", 1)[-1].split(".")
    return (int(first, 16), int(second, 16)), step, int(count), unique


def _tallies(names: Iterable[str]) -> dict[tuple[int, int], _Tally]:
    tallies: dict[tuple[int, int], _Tally] = {}
    for name in names:
        key, step, count, unique = _parse(name)
        tallies.setdefault(key, _Tally()).add(step, count, unique)
    return tallies


def committed(names: Iterable[str]) -> dict[int, int]:
    """Checkpoints that are committed with the attempt that counts, from receipts' names alone.

    Where several attempts add up, the lowest counts: the same one for whoever looks.
    """
    done: dict[int, int] = {}
    for (checkpoint, attempt), tally in sorted(_tallies(names).items()):
        if tally.adds_up():
            done.setdefault(checkpoint, attempt)
    return done


def progress(store: Store) -> tuple[int, int]:
    """Checkpoints that are committed, and the rows that were read in them."""
    names = store.names(FOLDER)
    done = committed(names)
    steps = (_parse(name)[1:3] for name in of_attempts(names, done))
    return len(done), sum(rows for step, rows in steps if step == READ)


def load(store: Store, names: Iterable[str]) -> list[Receipt]:
    """Reads receipts, many at once."""
    with ThreadPoolExecutor(16) as pool:
        return [Receipt(**stored) for stored in pool.map(store.read_json, names)]


def of_attempts(names: Iterable[str], attempts: dict[int, int]) -> list[str]:
    """The names that belong to attempts that count, and to the deliveries that count in them."""
    names = list(names)
    wanted = set(attempts.items())
    chosen = {key: tally.chosen() for key, tally in _tallies(names).items() if key in wanted}
    return [name for name in names if _counts(name, chosen)]


def _counts(name: str, chosen: dict[tuple[int, int], dict[int, int]]) -> bool:
    key, _, _, unique = _parse(name)
    if key not in chosen or "-" not in unique:
        return key in chosen
    parcel, delivery, _ = _parcel_of(unique)
    return chosen[key].get(parcel) == delivery
