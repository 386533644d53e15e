"""A uniform sample of an input's rows, without replacement.

Where files say how many rows they have (Parquet), row numbers are drawn. Only the row groups that
hold one are read, and only the columns asked for. Files of other formats are read once: each row
gets a random key, and the rows with the lowest keys are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tango_beam import text_columns
from tango_beam.io import partitions
from tango_beam.io.formats import FORMATS
from tango_beam.io.json_values import not_utf8
from tango_beam.io.planned import Input
from tango_beam.io.slice_reader import SliceReader


@dataclass(frozen=True)
class Sample:
    """Rows in random order, so that any stretch of them is a sample too.

    Attributes:
      rows: the columns asked for; no null among the texts.
      drawn: rows drawn, those without a text among them.
      corpus: rows that there are.
    """

    rows: pa.Table
    drawn: int
    corpus: int


def draw(given: Input, columns: Sequence[str], most: int, part: float, seed: int) -> Sample:
    """Draws up to `most` rows, and at most `part` of the corpus.

    Args:
      given: from `inputs.inspect`; rows without a text in each of its text columns are drawn and
        dropped.
      columns: to read, by name; the texts among them, by name or path.
      most: rows.
      part: of the corpus, 0 to 1.
      seed: the same rows for the same seed and input.

    Raises:
      OSError: a file that breaks.
    """
    rng = np.random.default_rng(seed)
    counted = all(planned.row_groups for planned in given.files)
    table, corpus = (_by_number if counted else _by_key)(given, columns, most, part, rng)
    drawn = table.num_rows
    for name in given.text_columns:
        table = table.filter(table[name].is_valid())
    # The job does not score these rows either; Arrow does not check UTF-8 when it reads.
    table = table.combine_chunks()
    lost = [not_utf8(column) for batch in table.to_batches() for column in batch]
    kept = np.setdiff1d(np.arange(table.num_rows), np.concatenate([[], *lost]))
    return Sample(table.take(pa.array(kept)), drawn, corpus)


def schema_of(given: Input, columns: Sequence[str]) -> pa.Schema:
    """Schema of what `select` gives: texts are strings, other columns of the input's types."""
    other = {name: given.schema.field(name).type for name in columns if name in given.schema.names}
    texts = dict.fromkeys(given.text_columns, pa.string())
    return pa.schema([(name, (other | texts)[name]) for name in columns])


def select(given: Input, batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """Some columns of a batch, by name; texts by name or path, as strings."""
    hidden = dict(zip(given.text_columns, given.texts, strict=True))
    arrays = []
    for name in columns:
        at = hidden.get(name, name)
        array = batch.column(at) if at in batch.schema.names else text_columns.extract(batch, name)
        arrays.append(array.cast(pa.string()) if name in hidden else array)
    return pa.RecordBatch.from_arrays(arrays, names=[*columns])


def _share(corpus: int, most: int, part: float) -> int:
    return min(most, int(corpus * part + 1e-9))


def _by_number(
    given: Input, columns: Sequence[str], most: int, part: float, rng: np.random.Generator
) -> tuple[pa.Table, int]:
    groups = [
        (planned, index, rows)
        for planned in given.files
        for index, (rows, _) in enumerate(planned.row_groups)
    ]
    edges = np.cumsum([0, *(rows for _, _, rows in groups)])
    corpus = int(edges[-1])
    chosen = np.sort(rng.choice(corpus, _share(corpus, most, part), replace=False))
    owners = np.searchsorted(edges, chosen, side="right") - 1
    parts = [pa.Table.from_batches([], schema_of(given, columns))]
    roots = {text_columns.root_of(given.schema.names, name) for name in columns}
    read = pa.schema([field for field in given.schema if field.name in roots])
    stored = pa.schema([field for field in read if field.name not in given.outside])
    for owner in np.unique(owners):
        planned, index, _ = groups[owner]
        inside = chosen[owners == owner] - edges[owner]
        kind = FORMATS[planned.file.format]
        for batch in kind.take(planned, index, inside, stored).combine_chunks().to_batches():
            whole = partitions.add(batch, planned, read)
            parts.append(pa.Table.from_batches([select(given, whole, columns)]))
    table = pa.concat_tables(parts)
    return table.take(pa.array(rng.permutation(table.num_rows))), corpus


def _by_key(
    given: Input, columns: Sequence[str], most: int, part: float, rng: np.random.Generator
) -> tuple[pa.Table, int]:
    schema = schema_of(given, columns)
    kept, keys, corpus = pa.Table.from_batches([], schema), np.zeros(0), 0
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

    # Rows without a text are drawn too, and dropped later.
    for piece in SliceReader(given).read_all():
        lost = 0 if piece.dead is None else piece.dead.num_rows
        nulls = [pa.nulls(lost, field.type) for field in schema]
        batch = pa.RecordBatch.from_arrays(nulls, schema=schema)
        if piece.good is not None:
            good = select(given, piece.good, columns).cast(schema)
            batch = pa.concat_batches([good, batch])
        drawn = rng.random(batch.num_rows)
        corpus += batch.num_rows
        # Once `most` rows are kept, few rows of a batch have a lower key.
        low = np.flatnonzero(drawn < keys[-1]) if len(keys) == most else np.arange(len(drawn))
        held.append(batch.take(pa.array(low)))
        held_keys.append(drawn[low])
        if sum(map(len, held_keys)) > max(most, 10_000):
            prune()
    prune()
    # The rows are sorted by their keys, so their order is random.
    return kept.slice(0, _share(corpus, most, part)), corpus
