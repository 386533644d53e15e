"""Cut, join and order rows into batches. Pure NumPy and Arrow: no Beam, no torch.

Two kinds of batch are kept apart. A *record batch* is what moves through the pipeline: rows with
all their columns. A *micro-batch* is what a model sees at once: row numbers, of about one length,
whose padded size (rows x longest) stays under a budget of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam.arrays import Int64

# Rows wait in a record batch until it is full. So that long texts do not pile up, a row also counts
# once for every so many bytes.
BYTES_PER_ROW = 4096


def plan_batches(
    lengths: npt.ArrayLike,
    token_budget: int,
    *,
    stretch: float = 1.1,
    min_rows: int = 1,
) -> list[Int64]:
    """Groups rows into length-sorted micro-batches under a budget of padded tokens.

    Rows are sorted by length and cut greedily from the shortest up. A batch ends when one more row
    would take it past the budget, or when that row is more than `stretch` times as long as the
    batch's shortest and the batch has at least `min_rows` rows already.

    Args:
      lengths: tokens in each row, shape [rows], all at least 0.
      token_budget: the most padded tokens (rows x longest) in a batch. A row longer than that is a
        batch of its own.
      stretch: longest over shortest allowed in a batch of `min_rows` rows or more; 1.0 asks for one
        exact length.
      min_rows: how small a batch must be for `stretch` to be overlooked.

    Returns:
      Arrays of row numbers, int64. Each row is in exactly one of them.

    Raises:
      ValueError: token_budget, stretch or min_rows under 1.
    """
    if token_budget < 1 or stretch < 1 or min_rows < 1:
        raise ValueError(
            "expected token_budget, stretch and min_rows of at least 1, found "
            f"{token_budget}, {stretch} and {min_rows}"
        )
    sizes = np.maximum(np.asarray(lengths, dtype=np.int64), 1)
    order = np.argsort(sizes, kind="stable")
    ordered = sizes[order]
    batches: list[Int64] = []
    start = 0
    while start < len(order):
        stop = _affordable(ordered, start, token_budget)
        similar = int(np.searchsorted(ordered, ordered[start] * stretch, side="right"))
        stop = min(stop, max(similar, start + min_rows))
        batches.append(order[start:stop])
        start = stop
    return batches


def plan_packed(
    lengths: npt.ArrayLike, token_budget: int, *, multiple: int = 1, by_length: bool = True
) -> list[Int64]:
    """Groups rows into micro-batches of about as many tokens each, for models that need no padding.

    Args:
      lengths: tokens in each row, shape [rows], all at least 0.
      token_budget: tokens in a batch, about: a batch ends with the row that reaches its share.
      multiple: batches are so many, or a multiple of it, where there are rows enough: as many as
        are scored side by side, so that none is left to run alone at the end.
      by_length: rows are sorted by length, so that texts of one length stand together; else they
        stay in order.

    Returns:
      Arrays of row numbers, int64, if sorted from short rows to long ones. Each row is in exactly
      one.

    Raises:
      ValueError: token_budget or multiple under 1.
    """
    if token_budget < 1 or multiple < 1:
        raise ValueError(
            f"expected token_budget and multiple of at least 1, found {token_budget}, {multiple}"
        )
    sizes = np.maximum(np.asarray(lengths, dtype=np.int64), 1)
    order = np.argsort(sizes, kind="stable") if by_length else np.arange(len(sizes))
    reached = np.cumsum(sizes[order])
    total = int(reached[-1]) if len(reached) else 0
    count = -(-total // token_budget)
    count = min(-(-count // multiple) * multiple, len(sizes))
    edges = np.searchsorted(reached, total * np.arange(1, count) / max(1, count), side="right")
    return [part for part in np.split(order, edges) if len(part)]


def _affordable(ordered: Int64, start: int, token_budget: int) -> int:
    """The largest `stop` whose batch of (stop - start) rows is within budget; at least one row."""
    low, high = start + 1, min(len(ordered), start + max(1, token_budget // int(ordered[start])))
    while low < high:
        middle = (low + high + 1) // 2
        if (middle - start) * int(ordered[middle - 1]) <= token_budget:
            low = middle
        else:
            high = middle - 1
    return low


def padding_ratio(lengths: npt.ArrayLike, batches: Sequence[Int64]) -> float:
    """Padded over real tokens for micro-batches of rows of the given lengths; 1.0 is none."""
    sizes = np.asarray(lengths, dtype=np.int64)
    real = int(sizes.sum())
    padded = sum(len(rows) * int(sizes[rows].max()) for rows in batches)
    return padded / real if real else 1.0


def cut(batch: pa.RecordBatch, max_rows: int) -> Iterator[pa.RecordBatch]:
    """Cuts a record batch into zero-copy slices of at most `max_rows` rows, in order."""
    if max_rows < 1:
        raise ValueError(f"expected max_rows of at least 1, found {max_rows}")
    for start in range(0, batch.num_rows, max_rows):
        yield batch.slice(start, max_rows)


def join(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Joins record batches of one schema into one, rows in order.

    Raises:
      ValueError: no batches, or two whose schemas differ (both are shown).
    """
    if not batches:
        raise ValueError("expected at least one record batch to join, found none")
    if len(batches) == 1:
        return batches[0]
    first = batches[0].schema
    for other in batches[1:]:
        if not other.schema.equals(first):
            raise ValueError(f"record batches differ:\n{first}\nagainst\n{other.schema}")
    return pa.concat_batches(batches)


def row_weight(batch: pa.RecordBatch) -> int:
    """What a batch counts for when batches are joined: its rows, or more if they are long."""
    return max(1, batch.num_rows, batch.nbytes // BYTES_PER_ROW)


def cut_rows(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    """Cuts a record batch until each piece has at most `rows` rows, or rows' worth of bytes."""
    heavy = -(-row_weight(batch) // rows)
    return cut(batch, max(1, batch.num_rows // heavy))
