"""What teachers say of the first and last tokens of answers, for a student to learn from.

The student may cut words otherwise than its teacher: what they share are characters of the context.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tango_beam.arrays import Float32, Int64
from tango_beam.models.logits import each_micro_batch
from tango_beam.models.span_transformer import SpanTransformer
from tango_beam.models.windows import Windows
from tango_beam.training.questions import Questions

# A row, and the first and last character of a token of its context; no answer has none.
_Keys = Int64


def taught(teachers: Sequence[SpanTransformer], data: Questions, windows: Windows) -> Float32:
    """Mean probabilities that each token of some windows is an answer's first, and its last.

    Where two windows of a teacher hold a token, the one counts that is surer of it.

    Args:
      teachers: whose probabilities are meant.
      data: the questions.
      windows: the student's, of these questions.

    Returns:
      float32, shape [tokens, 2]; 0 for tokens that a teacher does not know.
    """
    wanted, total = _keys(windows), np.zeros((len(windows.ids), 2), np.float32)
    for teacher in teachers:
        own = teacher.tokenize(data.questions, data.contexts)
        keys, chances = _keys(own), _chances(teacher, own)
        order = np.lexsort((chances.max(axis=1), *keys.T[::-1]))
        known = _ranked(keys[order])
        places = np.searchsorted(known, _ranked(wanted), side="right") - 1
        found = order[np.maximum(places, 0)]
        same = (keys[found] == wanted).all(axis=1) & (wanted[:, 2] > 0)
        total += np.where(same[:, None], chances[found], 0)
    return (total / len(teachers)).astype(np.float32)


def _keys(windows: Windows) -> _Keys:
    rows = np.repeat(windows.owners, windows.lengths)
    keys = np.column_stack([rows, windows.characters]).astype(np.int64)
    at = np.arange(len(windows.ids)) - np.repeat(windows.offsets[:-1], windows.lengths)
    # The first token of all stands for no answer: a key of its own.
    keys[at == 0, 1:] = 0, 1 << 30
    inside = np.repeat(windows.first, windows.lengths) <= at
    inside &= at < np.repeat(windows.stop, windows.lengths)
    keys[~inside & (at > 0), 1:] = 0
    return keys


def _ranked(keys: _Keys) -> np.ndarray:
    """Keys as records, which compare part by part."""
    return np.ascontiguousarray(keys).view([("row", "i8"), ("start", "i8"), ("stop", "i8")])[:, 0]


def _chances(teacher: SpanTransformer, windows: Windows) -> Float32:
    """Probabilities of first and last tokens within each window, float32, shape [tokens, 2]."""
    found = np.zeros((len(windows.ids), 2), np.float32)

    @torch.inference_mode()
    def score(rows: Int64) -> None:
        edges = teacher.edges(windows, rows).float()
        chances = allowed_log_softmax(edges, windows, rows).exp().cpu().numpy()
        for row, one in zip(rows, chances, strict=True):
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
    return edges.masked_fill(~allowed[:, :, None], -1e9).log_softmax(dim=1)
