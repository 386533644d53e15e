"""The changed rows as a file: keys, texts, and both answers."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tango_beam.comparing.outputs import APART, CONFIDENCE, KEY, SHOWN, TIER, Output
from tango_beam.errors import RefusedError
from tango_beam.io.json_values import dump_rows
from tango_beam.record_columns import SOURCE_FIELDS, TEXTS

_ANSWERS = {
    f"{name}_{side}": column
    for name, column in (("prediction", SHOWN), (CONFIDENCE, CONFIDENCE), (TIER, TIER))
    for side in "ab"
}


def refuse_what_is_there(path: str, overwrite: bool) -> None:
    """Raises RefusedError where there is such a file and it may not be replaced."""
    try:
        system, inside = fsspec.core.url_to_fs(path)
        there = system.exists(inside)
    except (OSError, ValueError, ImportError) as error:
        raise RefusedError(f"--output {path}: expected a place to write to, found {error}") from (
            error
        )
    if there and not overwrite:
        raise RefusedError(
            f"--output {path}: expected no such file, found one; --overwrite replaces it"
        )


class ChangedRows:
    """A file of changed rows. A context: it appears whole, when all went well.

    Args:
      path: local or an fsspec URL, .parquet or .jsonl; None writes nothing.
      key: the key's column; None for source file and position.
      a: whose texts stand beside the answers.
      work: folder in which it is written.
    """

    def __init__(self, path: str | None, key: str | None, a: Output, work: Path) -> None:
        self._path, self._key, self._texts = path, key, a.texts
        self._written = work / "changed"
        self._file = None if path is None else self._written.open("wb")
        self._parquet: pq.ParquetWriter | None = None
        if path is not None and path.endswith(".parquet"):
            self._parquet = pq.ParquetWriter(self._file, self._schema(), compression="zstd")

    def __enter__(self) -> ChangedRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._parquet is not None:
            self._parquet.close()
        if self._file is None or self._path is None:
            return
        self._file.close()
        if kind is None:
            system, inside = fsspec.core.url_to_fs(self._path)
            system.makedirs(system._parent(inside), exist_ok=True)
            system.put_file(str(self._written), inside)

    def _schema(self) -> pa.Schema:
        keys = list(SOURCE_FIELDS) if self._key is None else [pa.field(self._key, pa.string())]
        texts = [pa.field(name, pa.large_string()) for name in self._texts]
        kinds = {"prediction": pa.string(), CONFIDENCE: pa.float32(), TIER: pa.int8()}
        answers = [pa.field(name, kinds[name.rpartition("_")[0]]) for name in _ANSWERS]
        return pa.schema([*keys, *(one for one in texts if one.name != self._key), *answers])

    def write(self, changed: pa.Table) -> None:
        """Appends rows, as `differences.compare` gives them."""
        if self._file is None or not changed.num_rows:
            return
        schema = self._schema()
        columns = {**self._keys(changed), **self._named_texts(changed)}
        for name, column in _ANSWERS.items():
            columns[name] = changed[column if name.endswith("_a") else f"{column}_b"]
        table = pa.table([columns[name] for name in schema.names], schema=schema)
        if self._parquet is not None:
            self._parquet.write_table(table)
            return
        for batch in table.to_batches():
            self._file.write(b"\n".join(dump_rows(batch)) + b"\n")

    def _keys(self, changed: pa.Table) -> dict[str, pa.ChunkedArray]:
        words = changed[KEY].cast(pa.string())
        if self._key is not None:
            return {self._key: words}
        parts = pc.split_pattern(words, APART)
        path, group, row = (pc.list_element(parts, place) for place in range(3))
        group = group.cast(pa.int32())
        none = pa.scalar(None, pa.int32())
        group = pc.if_else(pc.less(group, 0), none, group)
        columns = (path, group, row.cast(pa.int64()))
        return {field.name: column for field, column in zip(SOURCE_FIELDS, columns, strict=True)}

    def _named_texts(self, changed: pa.Table) -> dict[str, pa.ChunkedArray]:
        return {
            name: changed[hidden]
            for name, hidden in zip(self._texts, TEXTS, strict=False)
            if hidden in changed.column_names and name != self._key
        }
