"""What a build gave, as `report.json` and the page have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tango_beam.guarantees.certificate import Attempt, ClassAgreement, Guarantee
from tango_beam.json_record import JsonRecord


@dataclass(frozen=True)
class TierShare(JsonRecord):
    """A tier of the chain.

    Attributes:
      name: `static`, `bilstm`, ...; the last is the second tier.
      model: what it is, in a line.
      threshold: confidence under which a row goes on; None for the last.
      answers: share of the signed rows that it answers.
      seconds: a row in it, in batches, on this machine.
      share_of_cost: share of the cascade's seconds that are spent in it.
    """

    name: str
    model: str
    threshold: float | None
    answers: float
    seconds: float
    share_of_cost: float


@dataclass(frozen=True)
class Offer(JsonRecord):
    """A chain on the rows that chose: no promise.

    Attributes:
      tiers: its names.
      agreement: with the second tier, share of the rows.
      escalated: share of the rows that reach the second tier.
      speedup: times as fast as the second tier alone.
    """

    tiers: tuple[str, ...]
    agreement: float
    escalated: float
    speedup: float


@dataclass(frozen=True)
class Asked(JsonRecord):
    """What the second tier was asked for the build.

    Attributes:
      rows: different texts.
      seconds: a row, as the build measured it.
      calls, tokens_in, tokens_out: of an endpoint, in this run; 0 for a model of this machine.
      price_in, price_out: of a million tokens; None where none was stated.
    """

    rows: int
    seconds: float
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    price_in: float | None = None
    price_out: float | None = None

    @property
    def price_a_row(self) -> float | None:
        """Money for a row of the second tier; None where no price was stated."""
        if not self.calls or (self.price_in is None and self.price_out is None):
            return None
        spent = self.tokens_in * (self.price_in or 0) + self.tokens_out * (self.price_out or 0)
        return spent / 1e6 / self.calls


@dataclass(frozen=True)
class Disagreement(JsonRecord):
    """A row on which the cascade and the second tier differ, or would without a threshold.

    Attributes:
      texts: one, or two; cut, a context around the second tier's answer.
      said: each tier's answer and how sure it is, first tier first.
      answered_by: number of the tier whose answer the cascade gives.
    """

    texts: tuple[str, ...]
    said: tuple[tuple[str, str, float], ...]
    answered_by: int


@dataclass(frozen=True)
class Steadiness(JsonRecord):
    """How often a second tier that is not deterministic agrees with itself.

    Attributes:
      rows: asked twice.
      same: answered alike both times.
      bound: lower exact bound on the share that it answers alike, at the build's delta.
    """

    rows: int
    same: int
    bound: float


@dataclass(frozen=True)
class Built(JsonRecord):
    """Everything that a build says of its cascade.

    Attributes:
      name: of the cascade.
      made: when, ISO 8601.
      command: the command line.
      input, output: as given.
      corpus: rows that the corpus has.
      parts: rows that trained, chose and signed.
      pays: whether a cascade was built; else the second tier alone was written.
      why: in a sentence with figures.
      signed: what is promised; none where nothing is.
      tiers: the chain.
      agreement: with the second tier, share of the signed rows; an estimate without a promise.
      escalated: share of the signed rows that reach the second tier.
      speedup: times as fast as the second tier alone, at its fastest, on this machine.
      seconds: a row, of the cascade and of the second tier alone.
      front: the cheapest chains for a ladder of agreements.
      offers: the best of each chain.
      classes: agreement by class.
      asked: what the second tier was asked.
      disagreements: rows on which tiers differ.
      steadiness: of a second tier that may not be deterministic; None for a checkpoint.
      minutes: that the build took, those of earlier runs not counted.
      machine: what it ran on.
      columns: of the texts, one, or two for pairs.
      attempts: promises that were tried on the rows that sign, the one that is made last.
    """

    name: str
    made: str
    command: str
    input: tuple[str, ...]
    output: str
    corpus: int
    parts: dict[str, int]
    pays: bool
    why: str
    signed: tuple[Guarantee, ...]
    tiers: tuple[TierShare, ...]
    agreement: float
    escalated: float
    speedup: float
    seconds: tuple[float, float]
    front: tuple[Offer, ...]
    offers: tuple[Offer, ...]
    classes: tuple[ClassAgreement, ...]
    asked: Asked
    disagreements: tuple[Disagreement, ...]
    steadiness: Steadiness | None
    minutes: float
    machine: dict[str, Any]
    columns: tuple[str, ...] = ("text",)
    attempts: tuple[Attempt, ...] = ()
