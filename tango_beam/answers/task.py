"""Which kind of answer a cascade gives, as a value: it stands in cascade.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tango_beam.answers.base import Decoder
from tango_beam.answers.labels import LabelDecoder
from tango_beam.answers.margins import MultiLabelDecoder, ScoreDecoder
from tango_beam.answers.span import SpanDecoder
from tango_beam.errors import RefusedError

LABELS, MULTI_LABEL, SCORE, SPAN = KINDS = ("labels", "multi_label", "score", "span")


@dataclass(frozen=True)
class Task:
    """A kind of answer, and where it says yes.

    Attributes:
      kind: `labels`, one of several; `multi_label`, any number of them; `score`, a number; `span`,
        a piece of a context.
      cuts: of a score, ascending; of several labels, the probability from which on each is given,
        in the order of the cascade's labels, 0.5 where there are none.
      tolerance: two scores agree that differ by no more; None: those of one bucket.
      no_answer: a context may hold no answer (SQuAD 2.0).

    Raises:
      RefusedError: cuts that do not fit the kind.
    """

    kind: str = LABELS
    cuts: tuple[float, ...] = ()
    tolerance: float | None = None
    no_answer: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RefusedError(f"--task: expected one of {', '.join(KINDS)}, found {self.kind!r}")
        if self.kind in (LABELS, SPAN) and self.cuts:
            raise RefusedError(f"--cuts: expected none for {self.kind}, found {[*self.cuts]}")
        if self.kind == SCORE and (not self.cuts or sorted({*self.cuts}) != [*self.cuts]):
            raise RefusedError(
                "--cuts: expected one or more for a score, ascending, such as --cuts 2.5, found "
                f"{[*self.cuts] or 'none'}"
            )
        if self.kind == MULTI_LABEL and not all(0 < cut < 1 for cut in self.cuts):
            raise RefusedError(f"--cuts: expected probabilities over 0, found {[*self.cuts]}")
        if self.kind != SCORE and self.tolerance is not None:
            raise RefusedError(f"--tolerance: expected it for scores, found {self.kind}")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise RefusedError(f"--tolerance: expected 0 or more, found {self.tolerance}")
        if self.kind != SPAN and self.no_answer:
            raise RefusedError(f"--no_answer: expected it for spans, found {self.kind}")

    def decoder(
        self,
        labels: Sequence[str],
        temperature: float = 1.0,
        confidence: str = "max_softmax",
        fits: tuple[tuple[float, float], ...] = (),
    ) -> Decoder:
        """Makes answers of a tier's outputs.

        Args:
          labels: the cascade's.
          temperature: of the tier, for one of several labels.
          confidence: of the tier, for one of several labels.
          fits: slope and intercept of each decision of the tier (see `MarginDecoder`).
        """
        if self.kind == MULTI_LABEL:
            return MultiLabelDecoder(self.every_cut(labels), fits, labels=tuple(labels))
        if self.kind == SCORE:
            return ScoreDecoder(self.cuts, fits, tolerance=self.tolerance)
        if self.kind == SPAN:
            return SpanDecoder(self.no_answer)
        return LabelDecoder(temperature, confidence)

    def calls(self, labels: Sequence[str]) -> tuple[str, ...]:
        """What a row may be called: its labels, or the numbers of the buckets that it may reach."""
        if self.kind == SPAN:
            return ()
        return tuple(map(str, range(1, len(self.cuts) + 1))) if self.kind == SCORE else (*labels,)

    def every_cut(self, labels: Sequence[str]) -> tuple[float, ...]:
        """Cuts of several labels, one for each, where one was given for all.

        Raises:
          RefusedError: another number of cuts.
        """
        cuts = self.cuts * len(labels) if len(self.cuts) == 1 else self.cuts
        if cuts and len(cuts) != len(labels):
            raise RefusedError(
                f"--cuts: expected one, or one for each of the {len(labels)} labels, found "
                f"{len(cuts)}"
            )
        return cuts

    def to_json(self) -> dict[str, Any]:
        """What cascade.json says; what is as usual is left out."""
        usual = asdict(Task(self.kind, self.cuts))
        stated = {"kind": self.kind, **({"cuts": list(self.cuts)} if self.cuts else {})}
        more = {key: value for key, value in asdict(self).items() if value != usual[key]}
        return stated | more

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Task:
        """Reads what `to_json` made."""
        return cls(**{**stored, "cuts": tuple(stored.get("cuts", ()))})
