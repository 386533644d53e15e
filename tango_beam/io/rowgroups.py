"""One Parquet row group read forward, one range of rows after the other, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from tango_beam.io.files import open_input

BATCH_ROWS = 2048


class RowGroupStream:
    """Streams a row group's rows; what is left of a batch waits for the next range.

    Args:
      path: the file.
      row_group: its index.
      columns: names of the columns to read.
    """

    def __init__(self, path: str, row_group: int, columns: list[str]) -> None:
        self.path, self.row_group = path, row_group
        self._raw = open_input(path)
        # Unbuffered, a row group's columns would be read whole before the first row comes out.
        self._file = pq.ParquetFile(self._raw, buffer_size=1 << 20, pre_buffer=False)
        self._batches = self._file.iter_batches(
            BATCH_ROWS, [row_group], columns=columns, use_threads=False
        )
        self._held: pa.RecordBatch | None = None
        self.at = 0

    def can_reach(self, row_group: int, start: int) -> bool:
        """Whether reading on comes to that row."""
        return self.row_group == row_group and self.at <= start

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        self._raw.close()

    def rows(self, start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches of the rows from `start` up to `stop`, each with its first row's number.

        Raises:
          OSError: the row group ends, or does not decode, before `stop`.
        """
        while self.at < stop:
            batch = self._held if self._held is not None else next(self._batches, None)
            self._held = None
            if batch is None:
                raise OSError(f"expected {stop:,} rows in row group, found {self.at:,}")
            if not batch.num_rows:
                continue
            inside = min(batch.num_rows, stop - self.at)
            if inside < batch.num_rows:
                self._held = batch.slice(inside)
            skip = max(0, start - self.at)
            first, self.at = self.at + skip, self.at + inside
            if skip < inside:
                yield first, batch.slice(skip, inside - skip)
