"""Input files as they will be read: what was learned of them at launch, and slices of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from tango_beam.guarantees.certificate import Corpus, CorpusFile
from tango_beam.io.files import InputFile
from tango_beam.options import CHECKPOINT_BYTES


@dataclass(frozen=True)
class PlannedFile:
    """An input file with what was learned of it at launch.

    Attributes:
      file: the file.
      row_groups: rows and uncompressed bytes of each (Parquet), at least `parquet.ROW_BYTES` a row.
      stop: how many uncompressed bytes are read (JSONL); None for all.
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
      weight: bytes of input, about.
      stream: a compressed file, read as a stream of several checkpoints.
    """

    slices: tuple[Slice, ...]
    weight: int
    stream: bool = False


@dataclass(frozen=True)
class Input:
    """The input as it will be read.

    Attributes:
      files: with row groups, cut to the limit.
      schema: the columns that pass through.
      row_schema: every column that a row may have.
      text_columns: one, or two for pairs; a row without a text in each is dead.
      checkpoint_bytes: uncompressed input in a checkpoint.
      allow_broken_files: a file that breaks midway is listed instead of raising; None where the
        command has no such option.
      broken: files that could not be opened, with the error; only where that is allowed.
    """

    files: tuple[PlannedFile, ...]
    schema: pa.Schema
    row_schema: pa.Schema
    text_columns: tuple[str, ...] = ()
    checkpoint_bytes: int = CHECKPOINT_BYTES
    allow_broken_files: bool | None = None
    broken: tuple[dict[str, Any], ...] = ()


def cuts(total: int, count: int) -> list[tuple[int, int]]:
    """Cuts 0 to `total` into `count` runs of about equal length, and leaves out empty ones."""
    edges = [total * part // count for part in range(count + 1)]
    return [(start, stop) for start, stop in pairwise(edges) if stop > start]


def describe_corpus(
    files: Sequence[PlannedFile], text_columns: Sequence[str], rows: int | None = None
) -> Corpus:
    """Files, sizes, rows and columns; rows are those of the footers where there are any."""
    counted = [sum(rows for rows, _ in planned.row_groups) for planned in files]
    described = tuple(
        CorpusFile(planned.file.path, planned.file.size, count or None)
        for planned, count in zip(files, counted, strict=True)
    )
    cut = any(planned.stop is not None for planned in files)
    return Corpus(described, cut, sum(counted) or rows, tuple(text_columns))


def to_json(planned: PlannedFile) -> dict[str, Any]:
    """What `_run.json` says of a file; what does not apply to it is left out."""
    groups = [list(group) for group in planned.row_groups]
    entry = {**asdict(planned.file), "row_groups": groups, "stop": planned.stop}
    return {name: value for name, value in entry.items() if value not in (None, [])}


def from_json(entry: dict[str, Any]) -> PlannedFile:
    """Reads back what `to_json` wrote."""
    file = InputFile(
        entry["path"], entry["size"], entry["modified"], entry["format"], entry.get("compression")
    )
    groups = tuple((rows, size) for rows, size in entry.get("row_groups", ()))
    return PlannedFile(file, groups, entry.get("stop"))
