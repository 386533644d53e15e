"""What teachers said of texts, kept on disk as it comes, so that no text is labelled twice."""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tango_beam.logs import figures
from tango_beam.training.progress import speed
from tango_beam.training.texts import Row

logger = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
# So small a share of known texts is not worth a line: a corpus has some twice.
_FEW = 0.01
# Characters labelled at a time, about: some ten seconds of a base-size teacher's work. A GPU, which
# is faster, gets more: rows of like lengths then fill its batches.
CHARACTERS, ON_GPU = 1 << 17, 16
_KEY = pa.binary(16)
# What a teacher says of some rows, a column an attribute of it, and the operations that it took.
Ask = Callable[[Sequence[Row]], tuple[pa.Table, float]]


class KeptAnswers:
    """A folder of Parquet files for one teacher: `text`, a hash, and what it said, by column.

    Args:
      folder: in which the teacher has a folder of its own.
      stated: all that its answers hang on.
    """

    def __init__(self, folder: Path, stated: str) -> None:
        self._folder = folder / hashlib.sha256(stated.encode()).hexdigest()[:16]

    def of(self, rows: Sequence[Row], said: pa.Schema, ask: Ask, device: str = "cpu") -> pa.Table:
        """What the teacher says of texts or pairs, in their order.

        What is not in the folder yet is asked for, and written once a minute.

        Args:
          rows: a text each, or the two of a pair.
          said: of what it says.
          ask: asks the teacher.
          device: on which it answers.
        """
        keys = pa.array([_key(row) for row in rows], _KEY)
        known = self._read(said)
        missing = np.flatnonzero(pc.is_null(_places(keys, known)).to_numpy(zero_copy_only=False))
        known_rows = len(rows) - len(missing)
        if known_rows > _FEW * len(rows):
            before = f"{known_rows:,} of {len(rows):,}"
            logger.info("%s texts were labelled by this teacher before", before)
        if len(missing):
            self._label(rows, keys, missing, ask, device)
            known = self._read(said)
        return known.take(_places(keys, known)).select(said.names).combine_chunks()

    def _read(self, said: pa.Schema) -> pa.Table:
        schema = pa.schema([pa.field("text", _KEY), *said])
        files = sorted(self._folder.glob("*.parquet"))
        tables = [schema.empty_table(), *(pq.read_table(file, schema=schema) for file in files)]
        return pa.concat_tables(tables).combine_chunks()

    def _label(
        self, rows: Sequence[Row], keys: pa.Array, missing: np.ndarray, ask: Ask, device: str
    ) -> None:
        started = written = time.monotonic()
        waiting, useful, done = list[pa.Table](), 0.0, 0
        characters = CHARACTERS * (1 if device == "cpu" else ON_GPU)
        for part in _pieces(rows, missing, characters):
            table, operations = ask([rows[row] for row in part])
            waiting.append(table.add_column(0, "text", keys.take(pa.array(part))))
            useful += operations
            done += len(part)
            now = time.monotonic()
            if now - written > EVERY_SECONDS or done == len(missing):
                self._write(pa.concat_tables(waiting))
                left = (now - started) * (len(missing) - done) / done
                counts = f"{done:,} of {len(missing):,} texts"
                rate = speed(useful / (now - started), device) if useful else ""
                said = figures(rows=done, share=done / len(missing), seconds_left=left)
                told = counts, left, rate
                logger.info("the teacher labelled %s, about %.0f s left%s", *told, extra=said)
                waiting, written = [], now

    def _write(self, table: pa.Table) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        partial = self._folder / f"{name}.partial"
        pq.write_table(table, partial, compression="zstd")
        partial.rename(self._folder / f"{name}.parquet")


def _places(keys: pa.Array, known: pa.Table) -> pa.Array:
    """Which known row each key is; null where it is none."""
    return pc.index_in(keys, pa.concat_arrays(known["text"].chunks or [pa.array([], _KEY)]))


def _key(row: Row) -> bytes:
    total = hashlib.blake2b(digest_size=16)
    for text in row:
        encoded = text.encode()
        total.update(len(encoded).to_bytes(8, "little") + encoded)
    return total.digest()


def _pieces(rows: Sequence[Row], missing: np.ndarray, characters: int) -> Iterator[np.ndarray]:
    """Rows of about as many characters each."""
    reached = np.cumsum([sum(map(len, rows[row])) + 1 for row in missing])
    edges = np.searchsorted(reached, np.arange(characters, reached[-1], characters))
    yield from (part for part in np.split(missing, edges) if len(part))
