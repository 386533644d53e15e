"""A student beside its teacher on labelled rows: how right both are, and both as a cascade."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tango_beam import answer_metrics, routing
from tango_beam.answers import Decoder, Task
from tango_beam.answers.margins import MarginDecoder
from tango_beam.answers.task import MULTI_LABEL, SCORE
from tango_beam.arrays import Bool, Float32
from tango_beam.guarantees.thresholds import threshold_for_agreement
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models.logits import logits_of
from tango_beam.models.protocol import Model
from tango_beam.training import objectives


@dataclass(frozen=True)
class Comparison:
    """Both tiers' raw outputs for the same rows.

    Attributes:
      task: the kind of answer; a score without cuts makes no cascade.
      labels: the teacher's, in the order of the outputs.
      first: the student's, float32, shape [rows, outputs].
      second: the teacher's.
      targets: as `LabelledTexts.targets` has them.
    """

    task: Task
    labels: tuple[str, ...]
    first: Float32
    second: Float32
    targets: npt.NDArray

    def scores(self, where: str) -> dict[str, float]:
        """How right each tier is, and how far they agree, by names that say on which rows."""
        return {
            **self._right(self.first, "the first tier", where),
            **self._right(self.second, "the second tier", where),
            **self._agreement(self.first, f"both, {where}"),
        }

    def cascade_scores(self, threshold: float, where: str) -> dict[str, float]:
        """How right the cascade is, its agreement with the second tier, and its escalations."""
        complex_rows = routing.is_complex(self.confidences, threshold)
        answered = np.where(complex_rows[:, None], self.second, self.first)
        return {
            **self._agreement(answered, f"cascade and second tier, {where}"),
            f"escalation rate, {where}": float(complex_rows.mean()),
            **self._right(answered, "the cascade", where),
        }

    def threshold(self, agreement: float) -> float:
        """The lowest threshold at which cascade and second tier agree on such a share of rows.

        Where a row has several labels, on each label's decision.
        """
        same, sure = self._same(self.first), self.confidences
        exact: Bool = np.all(same, axis=1)
        each = same.T if self.task.kind == MULTI_LABEL else [exact]
        return max(threshold_for_agreement(sure, one, agreement) for one in each)

    @property
    def confidences(self) -> Float32:
        """The first tier's, float32, shape [rows]."""
        return self._decoder.confidences(self.first)

    @property
    def _decoder(self) -> Decoder:
        return self.task.decoder(self.labels)

    def _right(self, outputs: Float32, whose: str, where: str) -> dict[str, float]:
        scores = objectives.scores_of(self.task.kind, outputs, self.targets)
        return {f"{name} of {whose}, {where}": value for name, value in scores.items()}

    def _agreement(self, outputs: Float32, whose: str) -> dict[str, float]:
        if self.task.kind == SCORE:
            scores = answer_metrics.of_scores(outputs[:, 0], self.second[:, 0])
            return {f"{name} between {whose}": value for name, value in scores.items()}
        return {f"agreement of {whose}": float(self._same(outputs).all(axis=1).mean())}

    def _same(self, outputs: Float32) -> Bool:
        """Which decisions are the teacher's, shape [rows, decisions]; of a label, one."""
        if isinstance(self._decoder, MarginDecoder):
            return self._decoder.decisions(outputs) == self._decoder.decisions(self.second)
        return (outputs.argmax(axis=1) == self.second.argmax(axis=1))[:, None]


def with_teacher(teacher: Model, task: Task, data: LabelledTexts) -> Callable[[Model], Comparison]:
    """Compares students with their teacher on labelled texts; the teacher answers them once."""
    taught = logits_of(teacher, data.texts, data.pairs)

    def compare(student: Model) -> Comparison:
        outputs = logits_of(student, data.texts, data.pairs)
        return Comparison(task, teacher.labels, outputs, taught, data.targets)

    return compare
