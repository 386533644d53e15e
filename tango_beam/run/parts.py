"""Part files: record batches appended, rolled at a size, published whole; and joined."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from tango_beam import record_columns
from tango_beam.errors import JobError
from tango_beam.io.json_members import add_columns
from tango_beam.io.json_values import dump_rows
from tango_beam.run.receipts import StoredFile
from tango_beam.run.store import Publication, Store

PARQUET_ROW_GROUP_ROWS = 1 << 16
PART_BYTES = 128 << 20
_COPY_BYTES = 1 << 20
# What is written then fits in a processor's cache, and costs no fresh memory.
JSON_LINES_AT_ONCE = 1024


# Row groups are compressed while the next rows are scored.
_behind = ThreadPoolExecutor(2, "write")


class _Writer(Protocol):
    def write(self, batch: pa.RecordBatch) -> None: ...

    def stored(self) -> int: ...

    def close(self) -> None: ...


class _Parquet:
    """Gathers batches into row groups of a useful size; one of them is written at a time."""

    def __init__(self, publication: Publication, schema: pa.Schema, part_bytes: int) -> None:
        self._schema, self._file = schema, publication.file
        self._most = min(PART_BYTES // 4, part_bytes)
        self._writer = pq.ParquetWriter(publication.file, schema, compression="zstd")
        self._held: list[pa.RecordBatch] = []
        self._rows = self._bytes = self._stored = 0
        self._under_way: Future[None] | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        self._held.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= PARQUET_ROW_GROUP_ROWS or self._bytes >= self._most:
            self._flush()

    def stored(self) -> int:
        """Bytes of the file before the row group that is being written."""
        return self._stored

    def _flush(self) -> None:
        self._wait()
        if self._held:
            table = pa.Table.from_batches(self._held, self._schema)
            self._under_way = _behind.submit(self._writer.write_table, table)
            self._held, self._rows, self._bytes = [], 0, 0

    def _wait(self) -> None:
        if self._under_way is not None:
            self._under_way.result()
            self._stored, self._under_way = self._file.tell(), None

    def close(self) -> None:
        self._flush()
        self._wait()
        self._writer.close()


class _JsonLines:
    def __init__(self, publication: Publication) -> None:
        self._file = publication.file

    def write(self, batch: pa.RecordBatch) -> None:
        columns = record_columns.drop(batch, record_columns.LINE)
        if record_columns.LINE in batch.schema.names:
            for at in range(0, batch.num_rows, JSON_LINES_AT_ONCE):
                lines = batch.column(record_columns.LINE).slice(at, JSON_LINES_AT_ONCE)
                self._file.write(add_columns(lines, columns.slice(at, JSON_LINES_AT_ONCE)))
        else:
            self._file.write(b"\n".join(dump_rows(columns)) + b"\n")

    def stored(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        pass


class Part:
    """The part files of one sink for one attempt at a checkpoint.

    Args:
      store: the output directory.
      stem: beginning of the files' names; a number and the suffix follow.
      schema: of what is written.
      output_format: `parquet` or `jsonl`.
      part_bytes: when a file has this many bytes, it is closed and the next one begins; the last
        row group is not counted yet.
    """

    def __init__(
        self,
        store: Store,
        stem: str,
        schema: pa.Schema,
        output_format: str,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._store, self._stem, self._schema = store, stem, schema
        self._format, self._part_bytes = output_format, part_bytes
        self._open: tuple[Publication, _Writer] | None = None
        self._in_file = 0
        self.rows = 0
        self.files: list[StoredFile] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends rows."""
        if self._open is None:
            name = f"{self._stem}-{len(self.files)}.{self._format}"
            publication = self._store.create(name)
            parquet = self._format == "parquet"
            self._open = (
                publication,
                _Parquet(publication, self._schema, self._part_bytes)
                if parquet
                else _JsonLines(publication),
            )
        self._open[1].write(batch)
        self._in_file += batch.num_rows
        self.rows += batch.num_rows
        if self._open[1].stored() >= self._part_bytes:
            self.publish()

    def publish(self) -> None:
        """Lets what was written appear."""
        if self._open is None:
            return
        publication, writer = self._open
        writer.close()
        size = publication.publish()
        self.files.append(StoredFile(publication.name, self._in_file, size))
        self._open, self._in_file = None, 0


def join(store: Store, name: str, pieces: Sequence[str], rows: int) -> None:
    """Joins part files into one: lines as they stand, Parquet in row groups of a useful size.

    Args:
      store: the output directory.
      name: of the file that is made.
      pieces: of one format and one schema, in order.
      rows: that they hold.

    Raises:
      FileNotFoundError: a piece is not there; JobError: they hold another number of rows.
    """
    publication = store.create(name)
    copy = _copy_parquet if name.endswith(".parquet") else _copy_lines
    found = copy(store, pieces, publication)
    if found != rows:
        raise JobError(f"{name}: expected {rows:,} rows in its pieces, found {found:,}")
    publication.publish()


def _copy_lines(store: Store, pieces: Sequence[str], publication: Publication) -> int:
    rows = 0
    for piece in pieces:
        with store.open_input(piece) as file:
            while data := file.read(_COPY_BYTES):
                publication.file.write(data)
                rows += data.count(b"\n")
    return rows


def _copy_parquet(store: Store, pieces: Sequence[str], publication: Publication) -> int:
    writer: _Parquet | None = None
    rows = 0
    for piece in pieces:
        with store.open_input(piece) as file, pq.ParquetFile(file) as source:
            if writer is None:
                # As it was written: types that Parquet alone does not know stand in it, too.
                writer = _Parquet(publication, source.schema_arrow, PART_BYTES)
            for group in range(source.num_row_groups):
                for batch in source.read_row_group(group).to_batches():
                    writer.write(batch)
                    rows += batch.num_rows
    if writer is not None:
        writer.close()
    return rows
