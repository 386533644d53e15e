"""What a user asks of a cascade, and how many rows it takes to sign for it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tango_beam.errors import RefusedError

# Under a budget, agreement is proved on this many rows, and escalation on these further ones.
BUDGET_ROWS = 2_000
BUDGET_FIRST_TIER_ROWS = 20_000
PART_OF_CORPUS = 0.1
FIT_PART = 0.2
# Which exits to open is much to choose: half as many rows often choose badly.
EXITS_FIT_PART = 0.4


@dataclass(frozen=True)
class Goals:
    """One main goal; or `class_agreement`, `recall` and `precision`, alone or beside `agreement`.

    Attributes:
      agreement: share of rows on which the cascade answers as the last tier does.
      accuracy_retained: share of the last tier's accuracy that the cascade keeps; needs labels.
      class_agreement: the same as `agreement` within every class that the last tier gives.
      max_escalation: the most of the rows that may be escalated.
      min_speedup: how many times as fast as the last tier alone the cascade must be.
      f1_agreement: mean F1 of the cascade's spans against the last tier's.
      f1_retained: share of the last tier's mean F1 that the cascade keeps; needs right answers.
      recall: share of the rows that the last tier calls `label` that the cascade does, too.
      precision: share of the rows that the cascade calls `label` that the last tier does, too.
      label: what a filter is to find; given with `recall` or `precision`.
      delta: probability, over the draw of the sample, that the promise is broken.
    """

    agreement: float | None = None
    accuracy_retained: float | None = None
    class_agreement: float | None = None
    max_escalation: float | None = None
    min_speedup: float | None = None
    f1_agreement: float | None = None
    f1_retained: float | None = None
    recall: float | None = None
    precision: float | None = None
    label: str | None = None
    delta: float = 0.05

    def __post_init__(self) -> None:
        shares = ("agreement", "accuracy_retained", "class_agreement", "max_escalation")
        means = "f1_agreement", "f1_retained"
        for name in (*shares, *means, "recall", "precision", "delta"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                meant = f"; did you mean {value / 100:g}?" if 1 < value < 100 else ""
                raise RefusedError(
                    f"--{name}: expected a share between 0 and 1, found {value:g}{meant}"
                )
        if self.min_speedup is not None and not self.min_speedup > 1:
            raise RefusedError(f"--min_speedup: expected more than 1, found {self.min_speedup}")
        names = ("agreement", "accuracy_retained", *means, "max_escalation", "min_speedup")
        main = [name for name in names if getattr(self, name) is not None]
        if len(main) > 1:
            raise RefusedError(f"expected one goal, found --{' and --'.join(main)}")
        beside = ("class_agreement", "recall", "precision")
        others = [name for name in beside if getattr(self, name) is not None]
        if others and main not in ([], ["agreement"]):
            raise RefusedError(f"--{others[0]}: expected beside --agreement, found --{main[0]}")
        if not main and not others:
            raise RefusedError("expected a goal, such as --agreement 0.99, found none")

    @property
    def has_budget(self) -> bool:
        """Whether a budget decides the threshold, and the agreement is what it then gives."""
        return self.max_escalation is not None or self.min_speedup is not None

    @property
    def share(self) -> float:
        """What of delta each goal gets."""
        together = (self.agreement, self.class_agreement, self.recall, self.precision)
        return self.delta / max(1, sum(value is not None for value in together))

    @property
    def strictest(self) -> float | None:
        """The highest share of rows that is to be proved; None under a budget, or for a filter."""
        names = ("agreement", "accuracy_retained", "class_agreement", "f1_agreement", "f1_retained")
        given = (getattr(self, name) for name in names)
        return max((value for value in given if value is not None), default=None)

    def test_rows(self) -> int:
        """Rows that the test gets by default: 100 / (1 - goal)."""
        if self.strictest is None:
            return BUDGET_ROWS
        return math.ceil(round(100 / (1 - self.strictest), 6))
