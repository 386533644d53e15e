"""A uniform sample of an input's rows, without replacement.

Parquet: row numbers are drawn from the footers, and only the row groups that hold one are read, and
of them only the columns asked for. JSONL does not say where its rows begin: it is read once, and
the rows with the lowest random keys stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tango_beam.io import files as input_files
from tango_beam.io.files import PARQUET
from tango_beam.io.inputs import Inputs
from tango_beam.io.plan import PlannedFile, plan_items
from tango_beam.io.run import Run
from tango_beam.io.slices import Reading, SliceReader, not_utf8

_CHECKPOINT_BYTES = 32 << 20


@dataclass(frozen=True)
class Sample:
    """Rows in random order, so that any stretch of them is a sample too.

    Attributes:
      rows: the columns asked for; no null among the texts.
      drawn: rows drawn, those without a text among them.
      corpus: rows that there are; of JSONL, those that can be read.
    """

    rows: pa.Table
    drawn: int
    corpus: int


def draw(
    inputs: Inputs, columns: Sequence[str], text_columns: Sequence[str], most: int, part: float,
    seed: int,
) -> Sample:  # fmt: skip
    """Draws up to `most` rows, and at most `part` of the corpus.

    Args:
      inputs: from `inputs.inspect`.
      columns: to read, the text columns among them.
      text_columns: rows without a text in each are drawn and dropped.
      most: rows.
      part: of the corpus, 0 to 1.
      seed: the same rows for the same seed and input.

    Raises:
      OSError: a file that breaks.
    """
    rng = np.random.default_rng(seed)
    parquet = inputs.files[0].file.format == PARQUET
    pick = _from_parquet if parquet else _from_lines
    table, corpus = pick(inputs, list(columns), most, part, rng)
    drawn = table.num_rows
    for name in text_columns:
        table = table.filter(table[name].is_valid())
    # Rows that the job would not score either; Arrow leaves unchecked what it reads.
    whole = table.combine_chunks().to_batches()
    lost = {row for part in whole for rows in not_utf8(part).values() for row in rows}
    kept = np.setdiff1d(np.arange(table.num_rows), sorted(lost))
    return Sample(table.take(pa.array(kept)), drawn, corpus)


def _share(corpus: int, most: int, part: float) -> int:
    return min(most, int(corpus * part + 1e-9))


def _from_parquet(
    inputs: Inputs, columns: list[str], most: int, part: float, rng: np.random.Generator
) -> tuple[pa.Table, int]:
    groups = [
        (planned, index, rows)
        for planned in inputs.files
        for index, (rows, _) in enumerate(planned.row_groups)
    ]
    edges = np.cumsum([0, *(rows for _, _, rows in groups)])
    corpus = int(edges[-1])
    chosen = np.sort(rng.choice(corpus, _share(corpus, most, part), replace=False))
    owners = np.searchsorted(edges, chosen, side="right") - 1
    schema = pa.schema([inputs.schema.field(name) for name in columns])
    parts = [schema.empty_table()]
    for owner in np.unique(owners):
        planned, index, _ = groups[owner]
        inside = chosen[owners == owner] - edges[owner]
        parts.append(_rows_of_group(planned, index, schema, inside))
    table = pa.concat_tables(parts)
    return table.take(pa.array(rng.permutation(table.num_rows))), corpus


def _rows_of_group(
    planned: PlannedFile, group: int, schema: pa.Schema, rows: npt.NDArray[np.int64]
) -> pa.Table:
    columns = schema.names
    with (
        input_files.open_input(planned.file.path) as raw,
        pq.ParquetFile(raw, pre_buffer=False) as file,
    ):
        return (
            file.read_row_group(group, columns=columns)
            .select(columns)
            .cast(schema)
            .take(pa.array(rows))
        )


def _from_lines(
    inputs: Inputs, columns: list[str], most: int, part: float, rng: np.random.Generator
) -> tuple[pa.Table, int]:
    schema = pa.schema([inputs.schema.field(name) for name in columns])
    kept, keys, corpus = schema.empty_table(), np.zeros(0), 0
    held: list[pa.RecordBatch] = []
    held_keys = [keys]

    def prune() -> None:
        nonlocal kept, keys
        kept = pa.concat_tables([kept, pa.Table.from_batches(held, schema)])
        keys = np.concatenate([keys, *held_keys])
        lowest = np.argsort(keys, kind="stable")[:most]
        kept, keys = kept.take(pa.array(lowest)), keys[lowest]
        held.clear()
        held_keys.clear()

    for batch in _batches(inputs):
        drawn = rng.random(batch.num_rows)
        corpus += batch.num_rows
        # Past the first rows, next to none of a batch is among the lowest.
        low = np.flatnonzero(drawn < keys[-1]) if len(keys) == most else np.arange(len(drawn))
        held.append(batch.select(columns).take(pa.array(low)).cast(schema))
        held_keys.append(drawn[low])
        if sum(map(len, held_keys)) > max(most, 10_000):
            prune()
    prune()
    # Rows lie in the order of their keys, which is random.
    return kept.slice(0, _share(corpus, most, part)), corpus


def _batches(inputs: Inputs) -> Iterator[pa.RecordBatch]:
    """Every readable row of JSONL files."""
    run = Run(
        files=inputs.files, row_schema=inputs.row_schema, input_schema=inputs.schema,
        output_schema=inputs.schema, text_columns=(),
    )  # fmt: skip
    reader = SliceReader(run)
    for item in plan_items(inputs.files, _CHECKPOINT_BYTES):
        if not item.stream:
            for piece in item.slices:
                yield from _good(reader.read(piece, Reading(0, 0)))
            continue
        index, more = 0, True
        while more:
            yield from _good(reader.read_stream(item.slices[0], index, Reading(index, 0)))
            more, index = not reader.stream_ended(item.slices[0]), index + 1
    reader.close()


def _good(pieces: Iterator) -> Iterator[pa.RecordBatch]:
    return (piece.good for piece in pieces if piece.good is not None)
