"""What teachers said of texts, kept on disk, so that no text is labelled twice."""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tango_beam import checkpoint_files
from tango_beam.arrays import Float32
from tango_beam.models.checkpoints import revision_of
from tango_beam.models.logits import in_order, logits_of_tokens
from tango_beam.models.protocol import Model
from tango_beam.training.options import TrainingOptions
from tango_beam.training.progress import speed
from tango_beam.training.resume import LOGITS_FOLDER
from tango_beam.training.texts import Row, columns

logger = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
# Characters labelled at a time, about: some ten seconds of a base-size teacher's work.
_CHARACTERS = 1 << 17
_KEY = pa.binary(16)


class TeacherLogits:
    """A folder of Parquet files for one teacher: `text`, a hash, and `logits`, a list of float32.

    Args:
      folder: in which the teacher has a folder of its own.
      stated: all that its answers hang on; see `of_checkpoint`.
    """

    def __init__(self, folder: Path, stated: str) -> None:
        self._folder = folder / hashlib.sha256(stated.encode()).hexdigest()[:16]

    @classmethod
    def of_checkpoint(cls, folder: Path, source: str, reading: str) -> TeacherLogits:
        """The folder of a checkpoint.

        Args:
          folder: in which the teacher has a folder of its own.
          source: of the teacher, a folder or a hub id: other weights are another teacher.
          reading: what else its answers hang on, max_length and precision.
        """
        return cls(folder, f"{checkpoint_files.digest(source, revision_of(source))} {reading}")

    def of(self, teacher: Model, rows: Sequence[Row]) -> Float32:
        """Raw outputs for texts or pairs, float32, shape [rows, outputs].

        What is not in the folder yet is labelled, and written once a minute.

        Args:
          teacher: the one that the folder is of.
          rows: a text each, or the two of a pair.
        """
        keys = pa.array([_key(row) for row in rows], _KEY)
        known, found = self._read(teacher.outputs)
        missing = np.flatnonzero(pc.is_null(pc.index_in(keys, known)).to_numpy(False))
        if len(missing) < len(rows):
            before = f"{len(rows) - len(missing):,} of {len(rows):,}"
            logger.info("%s texts were labelled by this teacher before", before)
        if len(missing):
            self._label(teacher, rows, keys, missing)
            known, found = self._read(teacher.outputs)
        return found[pc.index_in(keys, known).to_numpy()]

    def _read(self, outputs: int) -> tuple[pa.Array, Float32]:
        schema = pa.schema({"text": _KEY, "logits": pa.list_(pa.float32(), outputs)})
        files = sorted(self._folder.glob("*.parquet"))
        table = pa.concat_tables(
            [schema.empty_table(), *(pq.read_table(file, schema=schema) for file in files)]
        ).combine_chunks()
        logits = pc.list_flatten(table["logits"]).to_numpy().reshape(-1, outputs)
        return pa.concat_arrays(table["text"].chunks or [pa.array([], _KEY)]), logits

    def _label(
        self, teacher: Model, rows: Sequence[Row], keys: pa.Array, missing: np.ndarray
    ) -> None:
        started = written = time.monotonic()
        waiting, useful, done = list[pa.Table](), 0.0, 0
        for part in _pieces(rows, missing):
            tokens = teacher.tokenize(*columns([rows[row] for row in part]))
            logits = logits_of_tokens(teacher, tokens)
            flat = pa.FixedSizeListArray.from_arrays(logits.ravel(), teacher.outputs)
            waiting.append(pa.table({"text": keys.take(pa.array(part)), "logits": flat}))
            useful += float(teacher.operations(tokens.lengths).sum())
            done += len(part)
            now = time.monotonic()
            if now - written > EVERY_SECONDS or done == len(missing):
                self._write(pa.concat_tables(waiting))
                left = (now - started) * (len(missing) - done) / done
                counts = f"{done:,} of {len(missing):,} texts"
                rate = speed(useful / (now - started)) if useful else ""
                logger.info("the teacher labelled %s, about %.0f s left%s", counts, left, rate)
                waiting, written = [], now

    def _write(self, table: pa.Table) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        partial = self._folder / f"{name}.partial"
        pq.write_table(table, partial, compression="zstd")
        partial.rename(self._folder / f"{name}.parquet")


def _key(row: Row) -> bytes:
    total = hashlib.blake2b(digest_size=16)
    for text in row:
        encoded = text.encode()
        total.update(len(encoded).to_bytes(8, "little") + encoded)
    return total.digest()


def _pieces(rows: Sequence[Row], missing: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of about as many characters each."""
    reached = np.cumsum([sum(map(len, rows[row])) + 1 for row in missing])
    edges = np.searchsorted(reached, np.arange(_CHARACTERS, reached[-1], _CHARACTERS))
    yield from (part for part in np.split(missing, edges) if len(part))


def teach(
    teachers: Mapping[str, Model],
    rows: Sequence[Row],
    labels: tuple[str, ...],
    options: TrainingOptions,
) -> Float32:
    """Mean raw outputs of some teachers over texts or pairs, float32, shape [rows, labels].

    Args:
      teachers: by their sources.
      rows: a text each, or the two of a pair.
      labels: order of the outputs; the name of a single output does not matter.
      options: say where the logits are kept.

    Raises:
      ValueError: a teacher with other labels.
    """
    folder = Path(options.teacher_logits or Path(options.output) / LOGITS_FOLDER)
    found = []
    for source, teacher in teachers.items():
        reading = f"{options.max_length} {teacher.precision}"
        kept = TeacherLogits.of_checkpoint(folder, source, reading)
        found.append(in_order(kept.of(teacher, rows), teacher, labels))
    return np.mean(found, axis=0, dtype=np.float32)
