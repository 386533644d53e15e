"""What teachers say of the first and last tokens of answers, for a student to learn from.

The student may cut words otherwise than its teacher: what they share are characters of the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tango_beam.arrays import Float32, Int64
from tango_beam.models.logits import each_micro_batch
from tango_beam.models.span_transformer import PackedSpanTransformer, SpanTransformer
from tango_beam.models.windows import Windows
from tango_beam.training.questions import Questions

# Where no answer stops.
NOWHERE = 1 << 30
Reader = SpanTransformer | PackedSpanTransformer


@dataclass(frozen=True)
class Edges:
    """Where a teacher sees answers begin and end.

    Attributes:
      keys: a row, and the characters of its context where a token begins and stops; int64, shape
        [tokens, 3], ascending, each once. No answer has the characters 0 and `NOWHERE`.
      chances: that each token is an answer's first, and its last, float32, shape [tokens, 2].
    """

    keys: Int64
    chances: Float32

    def onto(self, windows: Windows) -> Float32:
        """The chances of the tokens of some windows of the same rows, float32, shape [tokens, 2].

        Those are 0 for tokens that the teacher does not know.

        Args:
          windows: the student's.
        """
        wanted = _keys(windows)
        if not len(self.keys):
            return np.zeros((len(wanted), 2), np.float32)
        places = np.searchsorted(_ranked(self.keys), _ranked(wanted), side="right") - 1
        found = np.maximum(places, 0)
        same = (self.keys[found] == wanted).all(axis=1) & (wanted[:, 2] > 0)
        return np.where(same[:, None], self.chances[found], 0).astype(np.float32)


def edges_of(teacher: Reader, own: Windows) -> Edges:
    """Where a teacher sees the answers to some questions begin and end.

    Where two windows hold a token, the one counts that is surer of it.

    Args:
      teacher: says it.
      own: its windows of the questions.
    """
    keys, chances = _keys(own), _chances(teacher, own)
    order = np.lexsort((chances.max(axis=1), *keys.T[::-1]))
    ranked = _ranked(keys[order])
    surest = np.append(ranked[1:] != ranked[:-1], True) & (keys[order, 2] > 0)
    return Edges(keys[order[surest]], chances[order[surest]])


def taught(teachers: Sequence[Reader], data: Questions, windows: Windows) -> Float32:
    """Mean probabilities that each token of some windows is an answer's first, and its last.

    Args:
      teachers: whose probabilities are meant.
      data: the questions.
      windows: the student's, of these questions.

    Returns:
      float32, shape [tokens, 2]; 0 for tokens that a teacher does not know.
    """
    total = np.zeros((len(windows.ids), 2), np.float32)
    for teacher in teachers:
        own = teacher.tokenize(data.questions, data.contexts)
        total += edges_of(teacher, own).onto(windows)
    return (total / len(teachers)).astype(np.float32)


def _keys(windows: Windows) -> Int64:
    rows = np.repeat(windows.owners, windows.lengths)
    keys = np.column_stack([rows, windows.characters]).astype(np.int64)
    at = np.arange(len(windows.ids)) - np.repeat(windows.offsets[:-1], windows.lengths)
    # The first token of all stands for no answer: a key of its own.
    keys[at == 0, 1:] = 0, NOWHERE
    inside = np.repeat(windows.first, windows.lengths) <= at
    inside &= at < np.repeat(windows.stop, windows.lengths)
    keys[~inside & (at > 0), 1:] = 0
    return keys


def _ranked(keys: Int64) -> np.ndarray:
    """Keys as records, which compare part by part."""
    return np.ascontiguousarray(keys).view([("row", "i8"), ("start", "i8"), ("stop", "i8")])[:, 0]


def _chances(teacher: Reader, windows: Windows) -> Float32:
    """Probabilities of first and last tokens within each window, float32, shape [tokens, 2]."""
    found = np.zeros((len(windows.ids), 2), np.float32)

    @torch.inference_mode()
    def score(rows: Int64) -> None:
        for part, *sides in teacher.sides(windows, rows):
            edges = torch.from_numpy(np.stack(sides, axis=-1))
            chances = allowed_log_softmax(edges, windows, rows[part]).exp().numpy()
            for row, one in zip(rows[part], chances, strict=True):
                start, stop = windows.offsets[row : row + 2]
                found[start:stop] = one[: stop - start]

    each_micro_batch(teacher, windows, score)
    return found


def allowed_log_softmax(edges: torch.Tensor, windows: Windows, rows: Int64) -> torch.Tensor:
    """Log probabilities of first and last tokens: those of the context, and the first of all.

    Args:
      edges: start and end logits, shape [windows, tokens, 2].
      windows: of all rows.
      rows: the windows of the micro-batch.
    """
    at = torch.arange(edges.shape[1])
    first, stop = (torch.from_numpy(part[rows])[:, None] for part in (windows.first, windows.stop))
    allowed = ((at >= first) & (at < stop)) | (at == 0)
    kept_out = ~allowed[:, :, None].to(edges.device)
    return edges.masked_fill(kept_out, -1e9).log_softmax(dim=1)
