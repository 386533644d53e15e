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
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tango_beam.errors import JobError
from tango_beam.io import plan
from tango_beam.io.planned import Item
from tango_beam.json_record import JsonRecord
from tango_beam.record_columns import Origin
from tango_beam.run.answer_counts import AnswerCounts
from tango_beam.run.layout import RECEIPTS
from tango_beam.run.store import Store

READ = "read"
EXAMPLES = 3  # of dead rows, for each reason


@dataclass(frozen=True)
class StoredFile(JsonRecord):
    """A file in the output directory: its name there, its rows, its bytes."""

    name: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class TierCost(JsonRecord):
    """What rows took in one tier.

    Attributes:
      seconds: in all.
      computing: of these, within the model.
      operations: floating-point operations, none for padding.
      tokens: in the texts.
      padded: tokens, padding counted.
      calls, tokens_in, tokens_out: of an endpoint, with the tokens of prompts and answers.
    """

    seconds: float = 0.0
    computing: float = 0.0
    operations: float = 0.0
    tokens: int = 0
    padded: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def __add__(self, other: TierCost) -> TierCost:
        return TierCost(*(a + b for a, b in zip(_values(self), _values(other), strict=True)))


def _values(cost: TierCost) -> tuple[Any, ...]:
    return tuple(vars(cost).values())


def add_costs(sums: dict[str, TierCost], costs: dict[str, TierCost]) -> None:
    """Adds the costs of some rows to sums, tier by tier."""
    for tier, cost in costs.items():
        sums[tier] = sums.get(tier, TierCost()) + cost


@dataclass(frozen=True)
class Checked(JsonRecord):
    """Rows of an audit that the last tier answered, disagreements among them, and failures."""

    rows: int = 0
    disagreements: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Example(JsonRecord):
    """The beginning of a dead letter.

    Attributes:
      file: that the record stood in.
      row: its number there, or in its row group; None where `offset` says where it stood.
      offset: byte at which its line begins.
      error: what was expected and what was found, or how that begins.
      raw: how the record begins; None where it could not be read.
    """

    file: str
    row: int | None
    offset: int | None
    error: str
    raw: str | None


@dataclass(frozen=True)
class Receipt(JsonRecord):
    """Rows of one attempt at a checkpoint that one step has dealt with.

    Attributes:
      checkpoint: its number (see `io.plan`).
      attempt: random, 63 bits.
      step: `read`, or the sink: `accepted`, `escalated`, `audited`, `audited_later` (see
        `write.Sink`), `dead`.
      rows: rows read, or rows dealt with: stored, or filtered.
      files: that were stored.
      seconds: that reading took (`read` only).
      costs: by tier.
      last: no checkpoint follows in this item (`read` only).
      broken: files that broke midway, with what was not read (`read` only).
      errors: dead rows by stage and reason (`dead` only).
      examples: some of them, by stage and reason.
      counts: answered rows in bins, the filtered ones too.
      audit: what the last tier checked.
      parcel: the parcel that the rows came in; 0 where they crossed no shuffle.
      delivery: which arrival of it.
      parcel_rows: rows that it held when it was sent.
      filtered: rows that were dealt with and not stored (`--keep`).
      weight: bytes of input that were taken in, for progress (`read` only).
    """

    checkpoint: int
    attempt: int
    step: str
    rows: int
    files: tuple[StoredFile, ...] = ()
    seconds: float = 0.0
    costs: dict[str, TierCost] = field(default_factory=dict)
    last: bool = True
    broken: tuple[dict[str, Any], ...] = ()
    errors: dict[str, int] = field(default_factory=dict)
    audit: Checked = Checked()
    parcel: int = 0
    delivery: int = 0
    parcel_rows: int = 0
    filtered: int = 0
    examples: dict[str, tuple[Example, ...]] = field(default_factory=dict)
    counts: AnswerCounts = field(default_factory=AnswerCounts)
    weight: int = 0


@dataclass(frozen=True)
class ReceiptName:
    """What a receipt's name says, so that whether it counts is known without reading it.

    Attributes:
      origin: checkpoint and attempt, and the parcel that the rows came in.
      step: as in the receipt.
      rows: as in the receipt.
    """

    origin: Origin
    step: str
    rows: int

    @classmethod
    def of(cls, receipt: Receipt) -> ReceiptName:
        """The name of a receipt."""
        origin = Origin(*(getattr(receipt, name) for name in Origin._fields))
        return cls(origin, receipt.step, receipt.rows)

    @classmethod
    def parse(cls, name: str) -> ReceiptName:
        """Reads back what `fresh` gave."""
        checkpoint, attempt, step, rows, unique, _ = name.rsplit("/", 1)[-1].split(".")
        parcel, delivery, held = 0, 0, 0
        if "-" in unique:
            first, second, third, _ = unique.split("-")
            parcel, delivery, held = int(first, 16), int(second, 16), int(third)
        origin = Origin(int(checkpoint, 16), int(attempt, 16), parcel, delivery, held)
        return cls(origin, step, int(rows))

    def fresh(self) -> str:
        """A name in the output directory that no other receipt has."""
        origin, unique = self.origin, uuid.uuid4().hex[:8]
        if origin.parcel:
            unique = f"{origin.parcel:x}-{origin.delivery:x}-{origin.parcel_rows}-{unique}"
        attempt = f"{origin.checkpoint:016x}.{origin.attempt:016x}"
        return f"{RECEIPTS}/{attempt}.{self.step}.{self.rows}.{unique}.json"

    @property
    def key(self) -> tuple[int, int]:
        """Checkpoint and attempt."""
        return self.origin.checkpoint, self.origin.attempt


def publish(store: Store, receipt: Receipt) -> str:
    """Stores a receipt; what an attempt has stored counts from then on. Returns its name."""
    name = ReceiptName.of(receipt).fresh()
    store.write_json(name, receipt.to_json())
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

    def add(self, name: ReceiptName) -> None:
        origin = name.origin
        if name.step == READ:
            self.read = (self.read or 0) + name.rows
        elif not origin.parcel:
            self.stored += name.rows
        else:
            deliveries = self.parcels.setdefault(origin.parcel, {})
            deliveries.setdefault(origin.delivery, [origin.parcel_rows, 0])[1] += name.rows

    def chosen(self) -> dict[int, int]:
        """The delivery that counts of each parcel that arrived whole: the lowest of them."""
        whole = {
            parcel: [delivery for delivery, (held, stored) in arrived.items() if held == stored]
            for parcel, arrived in self.parcels.items()
        }
        return {parcel: min(deliveries) for parcel, deliveries in whole.items() if deliveries}

    def adds_up(self) -> bool:
        sent = sum(self.parcels[parcel][delivery][0] for parcel, delivery in self.chosen().items())
        return self.read is not None and self.read == self.stored + sent


def _tallies(names: Iterable[ReceiptName]) -> dict[tuple[int, int], _Tally]:
    tallies: dict[tuple[int, int], _Tally] = {}
    for name in names:
        tallies.setdefault(name.key, _Tally()).add(name)
    return tallies


def committed(names: Iterable[str]) -> dict[int, int]:
    """Checkpoints that are committed with the attempt that counts, from receipts' names alone.

    Where several attempts add up, the lowest counts: the same one for whoever looks.
    """
    done: dict[int, int] = {}
    for (checkpoint, attempt), tally in sorted(_tallies(map(ReceiptName.parse, names)).items()):
        if tally.adds_up():
            done.setdefault(checkpoint, attempt)
    return done


@dataclass(frozen=True)
class Progress:
    """What is committed so far.

    Attributes:
      names: of the receipts that count.
      rows: of these, by step.
    """

    names: tuple[str, ...] = ()
    rows: Counter[str] = field(default_factory=Counter)


def progress(store: Store) -> Progress:
    """What is committed so far, from receipts' names alone."""
    names = store.names(RECEIPTS)
    counted = of_attempts(names, committed(names))
    rows: Counter[str] = Counter()
    for name in map(ReceiptName.parse, counted):
        rows[name.step] += name.rows
    return Progress(tuple(counted), rows)


def load(store: Store, names: Iterable[str]) -> list[Receipt]:
    """Reads receipts, many at once.

    Raises:
      FileNotFoundError: one is gone: the run has ended meanwhile.
    """

    def read(name: str) -> Receipt:
        stored = store.read_json(name)
        if stored is None:
            raise FileNotFoundError(store.path(name))
        return Receipt.from_json(stored)

    with ThreadPoolExecutor(16) as pool:
        return [*pool.map(read, names)]


def require_every_checkpoint(items: Iterable[Item], counted: Iterable[Receipt]) -> None:
    """Raises JobError unless every checkpoint of the plan was read, each once."""
    last = {receipt.checkpoint: receipt.last for receipt in counted if receipt.step == READ}
    missing = []
    for number, item in enumerate(items):
        index = 0
        while last.get(plan.number(number, index)) is False:
            index += 1
        if item.stream or index == 0:
            # An extra, empty checkpoint may follow a stream's last.
            missing += [] if plan.number(number, index) in last else [(number, index)]
    if missing:
        raise JobError(
            f"expected every checkpoint to be committed, found {len(missing)} that are not; the "
            f"first is number {missing[0][1]} of item {missing[0][0]}"
        )


def of_attempts(names: Iterable[str], attempts: dict[int, int]) -> list[str]:
    """The names that belong to attempts that count, and to the deliveries that count in them."""
    parsed = {name: ReceiptName.parse(name) for name in names}
    wanted = set(attempts.items())
    tallies = _tallies(name for name in parsed.values() if name.key in wanted)
    chosen = {key: tally.chosen() for key, tally in tallies.items()}
    return [name for name, said in parsed.items() if _counts(said, chosen)]


def _counts(name: ReceiptName, chosen: dict[tuple[int, int], dict[int, int]]) -> bool:
    if name.key not in chosen or not name.origin.parcel:
        return name.key in chosen
    return chosen[name.key].get(name.origin.parcel) == name.origin.delivery
