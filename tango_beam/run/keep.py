"""Which answered rows are written (`--keep`); the others are only counted. Pure Arrow."""

from __future__ import annotations

import functools
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tango_beam.answers import Decoder


class Keep(NamedTuple):
    """Writes only rows that are called by one of some labels.

    Attributes:
      decoder: of the last tier; says what an answer calls a row.
      prefix: of the answers' columns.
      labels: of the rows that are written.
    """

    decoder: Decoder
    prefix: str
    labels: tuple[str, ...]

    def rows(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a batch that are written."""
        start = len(self.prefix)
        named = zip(batch.schema.names, batch.columns, strict=True)
        answers = {name[start:]: column for name, column in named if name.startswith(self.prefix)}
        calls = (self.decoder.calls(answers, label) for label in self.labels)
        return batch.filter(functools.reduce(pc.or_, calls))
