"""What teachers said of texts in logits, kept on disk, so that no text is labelled twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam import checkpoint_files
from tango_beam.arrays import Float32
from tango_beam.models.checkpoints import revision_of
from tango_beam.models.logits import in_order, logits_of_tokens
from tango_beam.models.protocol import Model
from tango_beam.training.kept_answers import KeptAnswers
from tango_beam.training.options import TrainingOptions
from tango_beam.training.resume import LOGITS_FOLDER
from tango_beam.training.texts import Row, columns


class TeacherLogits:
    """A folder of Parquet files for one teacher: `text`, a hash, and `logits`, a list of float32.

    Args:
      folder: in which the teacher has a folder of its own.
      stated: all that its answers hang on; see `of_checkpoint`.
    """

    def __init__(self, folder: Path, stated: str) -> None:
        self._kept = KeptAnswers(folder, stated)

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
        said = pa.schema({"logits": pa.list_(pa.float32(), teacher.outputs)})

        def ask(some: Sequence[Row]) -> tuple[pa.Table, float]:
            tokens = teacher.tokenize(*columns(some))
            logits = logits_of_tokens(teacher, tokens)
            flat = pa.FixedSizeListArray.from_arrays(logits.ravel(), teacher.outputs)
            operations = float(teacher.operations(tokens.lengths).sum())
            return pa.table([flat], schema=said), operations

        found = self._kept.of(rows, said, ask, teacher.device)["logits"]
        return pc.list_flatten(found).to_numpy().reshape(-1, teacher.outputs)


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
