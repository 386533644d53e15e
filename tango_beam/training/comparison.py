"""A student beside its teacher on labelled rows: how right both are, and both as a cascade."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tango_beam import answer_metrics, routing
from tango_beam.answers import Decoder
from tango_beam.answers.task import SCORE
from tango_beam.arrays import Bool, Float32
from tango_beam.guarantees.thresholds import threshold_for_agreement
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models.bilstm import BiLSTM
from tango_beam.models.logits import logits_of
from tango_beam.models.transformer import Transformer
from tango_beam.training import objectives


@dataclass(frozen=True)
class Comparison:
    """Both tiers' raw outputs for the same rows.

    Attributes:
      kind: of answer.
      first: the student's, float32, shape [rows, outputs].
      second: the teacher's.
      targets: as `LabelledTexts.targets` has them.
    """

    kind: str
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
        """The lowest threshold at which cascade and second tier agree on such a share of rows."""
        return threshold_for_agreement(self.confidences, self._agrees(self.first), agreement)

    @property
    def confidences(self) -> Float32:
        """The first tier's, float32, shape [rows]."""
        return Decoder().confidences(self.first)

    def _right(self, outputs: Float32, whose: str, where: str) -> dict[str, float]:
        scores = objectives.scores_of(self.kind, outputs, self.targets)
        return {f"{name} of {whose}, {where}": value for name, value in scores.items()}

    def _agreement(self, outputs: Float32, whose: str) -> dict[str, float]:
        if self.kind == SCORE:
            scores = answer_metrics.of_scores(outputs[:, 0], self.second[:, 0])
            return {f"{name} between {whose}": value for name, value in scores.items()}
        return {f"agreement of {whose}": float(self._agrees(outputs).mean())}

    def _agrees(self, outputs: Float32) -> Bool:
        same = objectives.decisions(self.kind, outputs) == self._taught
        return same if same.ndim == 1 else same.all(axis=1)

    @property
    def _taught(self) -> npt.NDArray:
        return objectives.decisions(self.kind, self.second)


def with_teacher(teacher: Transformer, data: LabelledTexts) -> Callable[[BiLSTM], Comparison]:
    """Compares students with their teacher on labelled texts; the teacher answers them once."""
    taught = logits_of(teacher, data.texts, data.pairs)

    def compare(student: BiLSTM) -> Comparison:
        outputs = logits_of(student, data.texts, data.pairs)
        return Comparison(data.kind, outputs, taught, data.targets)

    return compare
