"""Spans of contexts: which one is best, and how likely it is among all. Pure NumPy.

A span is valid where it lies in the context and has at most so many tokens. Its score is the sum of
its first token's start logit and its last token's end logit (Devlin et al., 2019, section 4.2); its
probability, a softmax over the valid spans of all windows of a row, where what two windows share is
counted once: in the later one.
"""

from __future__ import annotations

import numpy as np

from tango_beam.answers import span
from tango_beam.arrays import Float32, Float64, Int64
from tango_beam.models.windows import Windows

# What is known of a window: the best span's score, its first and last token (counted in the
# window), the log of the sum over the spans that are counted here, and the score of no answer.
SCORE, START, END, TOTAL, NONE = range(5)
WIDTH = 5
ANSWER_TOKENS = 30


def of_windows(
    starts: Float32, ends: Float32, first: Int64, stop: Int64, fresh: Int64, longest: int
) -> Float32:
    """What is known of each window; of equal spans the first, then the shortest, is best.

    Args:
      starts: logits of first tokens, shape [windows, tokens].
      ends: logits of last tokens, shape [windows, tokens].
      first: as `Windows` has it, shape [windows].
      stop: as `Windows` has it.
      fresh: as `Windows` has it.
      longest: tokens of a valid span, at most.

    Returns:
      float32, shape [windows, WIDTH]; the score is -inf where a window has no valid span.
    """
    rows, tokens = starts.shape
    at = np.arange(tokens)
    inside = (at >= first[:, None]) & (at < stop[:, None])
    begins = np.where(inside, starts, -np.inf).astype(np.float32)
    closes = np.full((rows, tokens + longest - 1), -np.inf, np.float32)
    closes[:, :tokens] = np.where(inside, ends, -np.inf)
    band = np.lib.stride_tricks.sliding_window_view(closes, longest, axis=1)
    scores = begins[:, :, None] + band
    best = scores.reshape(rows, -1).argmax(axis=1)
    start, more = np.divmod(best, longest)
    top = scores[np.arange(rows), start, more]
    # The sum over all ends of a start, and of those over the starts that are counted here.
    safe = np.where(np.isfinite(top), top, 0)[:, None, None]
    sums = np.exp(scores - safe).sum(axis=2, dtype=np.float64)
    counted = np.where(at < fresh[:, None], sums, 0).sum(axis=1)
    with np.errstate(divide="ignore"):
        total = np.log(counted) + safe[:, 0, 0]
    found = np.stack([top, start, start + more, total, starts[:, 0] + ends[:, 0]], axis=1)
    return found.astype(np.float32)


def of_rows(found: Float32, windows: Windows) -> Float32:
    """The best span of each row over all its windows; of equal windows, the first one's.

    No answer has the lowest score that a window gives it (SQuAD 2.0, as transformers counts it).

    Args:
      found: of each window, shape [windows, WIDTH].
      windows: whose they are.

    Returns:
      float32, shape [rows, answers.span.WIDTH].
    """
    edges = np.searchsorted(windows.owners, np.arange(windows.rows))
    rows = np.empty((len(edges), span.WIDTH), np.float32)
    if not len(edges):
        return rows
    rows[:, span.SCORE] = np.maximum.reduceat(found[:, SCORE], edges)
    rows[:, span.TOTAL] = _log_sum(found[:, TOTAL].astype(np.float64), edges)
    rows[:, span.NONE] = np.minimum.reduceat(found[:, NONE], edges)
    best = np.flatnonzero(found[:, SCORE] == rows[windows.owners, span.SCORE])[::-1]
    chosen = edges.copy()  # a row with NaN has no best one
    chosen[windows.owners[best]] = best
    tokens = windows.offsets[chosen]
    for place, edge, side in ((span.START, START, 0), (span.STOP, END, 1)):
        at = np.nan_to_num(found[chosen, edge]).astype(np.int64)
        rows[:, place] = windows.characters[tokens + at, side]
    return rows


def _log_sum(values: Float64, edges: Int64) -> Float64:
    """Log of the sum of exponentials over runs of values."""
    most = np.maximum.reduceat(values, edges)
    most = np.where(np.isfinite(most), most, 0)
    counts = np.diff(np.append(edges, len(values)))
    with np.errstate(divide="ignore"):
        return most + np.log(np.add.reduceat(np.exp(values - np.repeat(most, counts)), edges))
