"""What a teacher said of where answers begin and end, kept on disk, so that it is asked once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam.training import span_teacher
from tango_beam.training.kept_answers import KeptAnswers
from tango_beam.training.span_teacher import Edges, Reader
from tango_beam.training.texts import Row, columns

# A context has hundreds of tokens, of which a teacher takes few for an edge: the others' chances
# are not kept. What is left out is told to nobody, and no chance of a student is lowered for it.
LEAST = 1e-3
_EDGE = pa.struct(
    [
        ("start", pa.int32()),
        ("stop", pa.int32()),
        ("first", pa.float32()),
        ("last", pa.float32()),
    ]
)
_SAID = pa.schema({"edges": pa.list_(_EDGE)})


class TeacherEdges:
    """A folder of Parquet files for one teacher: `text`, a hash, and `edges`, a list of tokens.

    Args:
      folder: in which the teacher has a folder of its own.
      stated: all that its answers hang on.
    """

    def __init__(self, folder: Path, stated: str) -> None:
        self._kept = KeptAnswers(folder, f"{stated} edges {LEAST}")

    def of(self, teacher: Reader, rows: Sequence[Row]) -> Edges:
        """Where the teacher sees answers begin and end: what it takes for an edge, by `LEAST`.

        Args:
          teacher: the one that the folder is of.
          rows: a question and a context each.
        """

        def ask(some: Sequence[Row]) -> tuple[pa.Table, float]:
            windows = teacher.tokenize(*columns(some))
            found = span_teacher.edges_of(teacher, windows)
            return _table(found, len(some)), float(teacher.operations(windows.lengths).sum())

        return _edges(self._kept.of(rows, _SAID, ask)["edges"].combine_chunks())


def _table(edges: Edges, rows: int) -> pa.Table:
    """Edges as a list a row."""
    kept = edges.chances.max(axis=1) >= LEAST
    keys, chances = edges.keys[kept], edges.chances[kept]
    offsets = np.searchsorted(keys[:, 0], np.arange(rows + 1))
    each = (*keys[:, 1:].T.astype(np.int32), *chances.T)
    tokens = pa.StructArray.from_arrays([pa.array(one) for one in each], fields=[*_EDGE])
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), tokens)
    return pa.table([lists], schema=_SAID)


def _edges(lists: pa.ListArray) -> Edges:
    rows = pc.list_parent_indices(lists).to_numpy()
    tokens = pc.list_flatten(lists)
    each = [tokens.field(name).to_numpy() for name in _EDGE.names]
    keys = np.stack([rows, *each[:2]], axis=1).astype(np.int64)
    return Edges(keys, np.stack(each[2:], axis=1).astype(np.float32))
