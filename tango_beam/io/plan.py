"""The input cut into checkpoints: a fixed grid, the same for every run over the same input.

An item is what one checkpoint reads, a few slices of files that together hold about
`checkpoint_bytes`. A compressed file is an item of its own with as many checkpoints as its
uncompressed length asks for, which nobody knows before it is read. A checkpoint's number is
`item << 32 | index within the item`; numbers ascend along the input, so a range of them is a
restriction that a splittable DoFn can claim from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tango_beam.io.files import PARQUET, InputFile

INDEX_BITS = 32
CHECKPOINT_BYTES = 32 << 20


@dataclass(frozen=True)
class PlannedFile:
    """An input file with what was learned of it at launch.

    Attributes:
      file: the file.
      row_groups: rows and uncompressed bytes of each (Parquet), at least `inputs.ROW_BYTES` a row.
      stop: uncompressed bytes to read of it (JSONL); None for all, and always for whole .gz, .zst.
    """

    file: InputFile
    row_groups: tuple[tuple[int, int], ...] = ()
    stop: int | None = None


@dataclass(frozen=True)
class Slice:
    """A run of one file's rows.

    Attributes:
      file: index into the run's files.
      row_group: index, or -1 for JSONL.
      start: first row of the row group; or byte: lines that begin there or later.
      stop: row or byte before which the slice ends; None for the end of a compressed file.
    """

    file: int
    row_group: int
    start: int
    stop: int | None


@dataclass(frozen=True)
class Item:
    """Slices that are read together.

    Attributes:
      slices: in order.
      weight: about how many bytes, for progress.
      stream: a compressed file, read as a stream of several checkpoints.
    """

    slices: tuple[Slice, ...]
    weight: int
    stream: bool = False


def number(item: int, index: int = 0) -> int:
    """A checkpoint's number."""
    return item << INDEX_BITS | index


def item_of(checkpoint: int) -> tuple[int, int]:
    """Item, and index within it, of a checkpoint's number."""
    return checkpoint >> INDEX_BITS, checkpoint & ((1 << INDEX_BITS) - 1)


def plan_items(files: Sequence[PlannedFile], checkpoint_bytes: int) -> list[Item]:
    """Cuts files into items of about `checkpoint_bytes`, in order.

    Raises:
      ValueError: checkpoint_bytes under 1.
    """
    if checkpoint_bytes < 1:
        raise ValueError(f"expected checkpoint_bytes of at least 1, found {checkpoint_bytes}")
    items: list[Item] = []
    pending: list[Slice] = []
    held = 0

    def flush() -> None:
        nonlocal held
        if pending:
            items.append(Item(tuple(pending), held))
        pending.clear()
        held = 0

    for index, planned in enumerate(files):
        if planned.file.compression:
            flush()
            stream = Slice(index, -1, 0, planned.stop)
            items.append(Item((stream,), max(1, planned.file.size), stream=True))
            continue
        for piece, weight in _pieces(index, planned, checkpoint_bytes):
            if held + weight > checkpoint_bytes:
                flush()
            pending.append(piece)
            held += weight
    flush()
    return items


def _pieces(index: int, planned: PlannedFile, most: int) -> list[tuple[Slice, int]]:
    """Slices of one file, none heavier than about `most` bytes."""
    if planned.file.format == PARQUET:
        pieces = []
        for group, (rows, size) in enumerate(planned.row_groups):
            for start, stop in _cuts(rows, max(1, -(-size // most))):
                weight = max(1, size * (stop - start) // max(1, rows))
                pieces.append((Slice(index, group, start, stop), weight))
        return pieces
    size = planned.file.size if planned.stop is None else planned.stop
    cuts = _cuts(size, max(1, -(-size // most)))
    return [(Slice(index, -1, start, stop), stop - start) for start, stop in cuts]


def _cuts(total: int, count: int) -> list[tuple[int, int]]:
    edges = [total * part // count for part in range(count + 1)]
    return [(start, stop) for start, stop in pairwise(edges) if stop > start]


def to_json(planned: PlannedFile) -> dict[str, Any]:
    """What `_run.json` says of a file."""
    file = planned.file
    entry: dict[str, Any] = {
        "path": file.path,
        "size": file.size,
        "modified": file.modified,
        "format": file.format,
    }
    if file.compression:
        entry["compression"] = file.compression
    if file.format == PARQUET:
        entry["row_groups"] = [list(group) for group in planned.row_groups]
    if planned.stop is not None:
        entry["stop"] = planned.stop
    return entry


def from_json(entry: dict[str, Any]) -> PlannedFile:
    """Reads back what `to_json` wrote."""
    file = InputFile(
        entry["path"], entry["size"], entry["modified"], entry["format"], entry.get("compression")
    )
    groups = tuple((rows, size) for rows, size in entry.get("row_groups", ()))
    return PlannedFile(file, groups, entry.get("stop"))
