"""Answers that are spans of a context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam.answers import span_text
from tango_beam.answers.base import Answers, Decoder, probabilities
from tango_beam.arrays import Bool, Float32, Float64, Int64

# A row's outputs: the best span's score, where it begins and stops in characters, the log of the
# sum over all valid spans, and the score of no answer.
SCORE, START, STOP, TOTAL, NONE = range(5)
WIDTH = 5


@dataclass(frozen=True)
class SpanDecoder(Decoder):
    """The best span, how likely it is among the valid ones, and where it stands.

    Attributes:
      no_answer: a context may hold no answer, which is then the empty text (SQuAD 2.0).
    """

    no_answer: bool = False

    def __call__(
        self, outputs: Float32, labels: Sequence[str], contexts: pa.Array | None = None
    ) -> Answers:
        """Answers of what a model gives for a row, float32, shape [rows, WIDTH]."""
        assert contexts is not None
        starts, stops, chances, nothing = self._best(outputs)
        texts = [
            text[start:stop]
            for text, start, stop in zip(contexts.to_pylist(), starts, stops, strict=True)
        ]
        names = ["answer", *(["no answer"] if self.no_answer else [])]
        scores = [chances, *([nothing] if self.no_answer else [])]
        return Answers(
            predictions=pa.array(texts, pa.string()),
            confidences=chances,
            scores=probabilities(np.stack(scores, axis=1), names),
            more={
                "answer_start": pa.array(starts.astype(np.int32)),
                "answer_end": pa.array(stops.astype(np.int32)),
            },
        )

    def texts(self, outputs: Float32, contexts: pa.Array) -> list[str]:
        """The answers alone."""
        return self(outputs, (), contexts).predictions.to_pylist()

    def confidences(self, outputs: Float32) -> Float32:
        """How likely the best span is, float32, shape [rows]."""
        return self._best(outputs)[2]

    def _best(self, outputs: Float32) -> tuple[Int64, Int64, Float32, Float32]:
        """Start and stop of the answers, their probability, and that of no answer."""
        wide = outputs.astype(np.float64)
        score, total, none = wide[:, SCORE], wide[:, TOTAL], wide[:, NONE]
        starts, stops = (np.nan_to_num(wide[:, side]).astype(np.int64) for side in (START, STOP))
        if not self.no_answer:
            return starts, stops, _chances(score, total), np.zeros(len(score), np.float32)
        total, empty = np.logaddexp(total, none), none >= score
        nothing = _chances(none, total)
        chances = np.where(empty, nothing, _chances(score, total))
        return np.where(empty, 0, starts), np.where(empty, 0, stops), chances, nothing

    def keys(self, answers: Mapping[str, pa.Array]) -> pa.Array:
        """The texts, as SQuAD compares them."""
        texts = answers["prediction"].to_pylist()
        return pa.array([None if one is None else span_text.normalised(one) for one in texts])

    def names(self, answers: Mapping[str, pa.Array]) -> pa.Array:
        """Whether there is an answer."""
        return pc.if_else(pc.equal(answers["prediction"], ""), "no answer", "an answer")

    def calls(self, answers: Mapping[str, pa.Array], label: str) -> pa.BooleanArray:
        """None: a text is called nothing."""
        return pa.array(np.zeros(len(answers["prediction"]), bool))

    def filtering(self, label: str, labels: Sequence[str]) -> Decoder:
        """Itself: nothing can be found among spans (see `Task.calls`)."""
        return self

    def complaints(self, outputs: Float32) -> dict[int, str]:
        """Rows without a score, and those whose context has no word."""
        fine: Bool = np.isfinite(outputs[:, NONE]) & ~np.isnan(outputs).any(axis=1)
        empty: Bool = fine & ~np.isfinite(outputs[:, SCORE])
        found = {
            int(row): f"expected finite scores, found {outputs[row].tolist()}"
            for row in np.flatnonzero(~fine)
        }
        if self.no_answer:
            return found
        return found | {
            int(row): "expected a context with a word in it, found none; --no_answer answers "
            "such a row with an empty text"
            for row in np.flatnonzero(empty)
        }

    def outputs(self, labels: Sequence[str]) -> int:
        """What is known of a row."""
        return WIDTH


def _chances(scores: Float64, totals: Float64) -> Float32:
    # A span in two windows is counted with the later one's score, which may be the lower one.
    with np.errstate(invalid="ignore"):
        return np.exp(np.minimum(scores - totals, 0)).astype(np.float32)
