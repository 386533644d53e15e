"""A run's output, read as keys and answers in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tango_beam.answers.task import LABELS, MULTI_LABEL, SCORE, SPAN, Task
from tango_beam.errors import RefusedError
from tango_beam.record_columns import SOURCE_FIELDS, TEXTS
from tango_beam.run.layout import MANIFEST
from tango_beam.run.manifest import Manifest, read_manifest
from tango_beam.run.store import Store

BATCH_ROWS = 1 << 13
APART = "\0"  # between the parts of a position; no path holds it
KEY, ANSWER, SHOWN, CONFIDENCE, TIER = "key", "answer", "shown", "confidence", "tier"
_SOURCE = tuple(field.name for field in SOURCE_FIELDS)


@dataclass(frozen=True)
class Output:
    """A complete output.

    Attributes:
      name: as the user names it.
      store: where it lies.
      manifest: that lies there.
      task: the kind of its answers.
    """

    name: str
    store: Store
    manifest: Manifest
    task: Task

    @property
    def prefix(self) -> str:
        """What goes before the names of the added columns."""
        return self.manifest.options.get("answer_prefix", "")

    @property
    def columns(self) -> dict[str, str]:
        """Types by name, as the manifest says them."""
        return {column["name"]: column["type"] for column in self.manifest.schema}

    @property
    def source(self) -> tuple[str, ...]:
        """The columns of rows' files and positions; none where the run wrote none."""
        names = tuple(self.prefix + name for name in _SOURCE)
        return names if {*names} <= self.columns.keys() else ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The text columns that passed through."""
        options = self.manifest.options
        named = (options.get("text_column"), options.get("text_pair_column"))
        return tuple(name for name in named if name and "string" in self.columns.get(name, ""))


def open_output(name: str) -> Output:
    """Opens a run's output.

    Raises:
      RefusedError: it is not complete, or none.
    """
    try:
        store = Store(name)
        manifest, _ = read_manifest(store)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise RefusedError(f"{name}: expected the output of a run, found {error}") from error
    if manifest is None:
        raise RefusedError(
            f"{name}: expected the complete output of a run, found no {MANIFEST}; a run that was "
            "cut short goes on with --resume"
        )
    return Output(name, store, manifest, _task(manifest))


def _task(manifest: Manifest) -> Task:
    if manifest.cascade.task:
        return Task.from_json(manifest.cascade.task)
    prefix = manifest.options.get("answer_prefix", "")
    types = {column["name"]: column["type"] for column in manifest.schema}
    if types.get(f"{prefix}prediction", "").startswith("list"):
        return Task(MULTI_LABEL)
    if f"{prefix}bucket" in types:
        return Task(SCORE, cuts=(0.0,))  # the cuts themselves are not asked for
    return Task(SPAN if f"{prefix}answer_start" in types else LABELS)


def refuse_key(output: Output, key: str) -> None:
    """Raises RefusedError where a column cannot tell rows apart."""
    kind = output.columns.get(key)
    if kind is None and output.manifest.options.get("output_format") == "jsonl":
        return  # lines pass through as they are, and only their texts are columns
    if kind is None:
        shown = ", ".join(output.columns)
        raise RefusedError(f"--key {key}: no such column in {output.name}; found {shown}")
    if not ("string" in kind or kind.startswith(("int", "uint"))):
        raise RefusedError(
            f"--key {key}: expected a column of text or whole numbers, found {kind} in "
            f"{output.name}"
        )


def read_rows(output: Output, key: str | None, texts: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """All rows of an output, as `key` (bytes), `answer`, `shown`, `confidence`, `tier` and texts.

    Two answers are the same where `answer` is equal; `shown` is the prediction, for people.

    Raises:
      RefusedError: a row has no key.
    """
    keys = (key,) if key else output.source
    more = {SCORE: ("bucket",)}.get(output.task.kind, ())
    names = [output.prefix + name for name in ("prediction", *more, CONFIDENCE, TIER)]
    for batch in _read(output, list(dict.fromkeys([*keys, *names, *texts]))):
        columns = {
            KEY: _keys(output, batch, keys),
            **_answers(output, batch),
            CONFIDENCE: batch.column(output.prefix + CONFIDENCE).cast(pa.float32()),
            TIER: batch.column(output.prefix + TIER).cast(pa.int8()),
        }
        for name, hidden in zip(texts, TEXTS, strict=False):  # a text may bear a name of ours
            columns[hidden] = batch.column(name).cast(pa.large_string())
        yield pa.RecordBatch.from_arrays([*columns.values()], names=[*columns])


def _read(output: Output, names: list[str]) -> Iterator[pa.RecordBatch]:
    for part in output.manifest.files:
        try:
            with output.store.open_input(part.name) as file:
                if part.name.endswith(".parquet"):
                    with pq.ParquetFile(file) as source:
                        yield from source.iter_batches(BATCH_ROWS, columns=names)
                else:
                    while lines := list(islice(file, BATCH_ROWS)):
                        yield _of_lines(lines, names)
        except FileNotFoundError as error:
            raise RefusedError(
                f"{output.name}: expected {part.name}, which its {MANIFEST} names, found no such "
                "file"
            ) from error


def _of_lines(lines: list[bytes], names: list[str]) -> pa.RecordBatch:
    rows: list[dict[str, Any]] = [orjson.loads(line) for line in lines]
    return pa.RecordBatch.from_pydict({name: [row.get(name) for row in rows] for name in names})


def _keys(output: Output, batch: pa.RecordBatch, names: Sequence[str]) -> pa.Array:
    columns = [batch.column(name) for name in names]
    if len(columns) > 1:  # a position: no row group, where a file has none
        columns[1] = pc.fill_null(columns[1].cast(pa.int32()), -1)
    words = [_words(output, name, one) for name, one in zip(names, columns, strict=True)]
    joined = pc.binary_join_element_wise(*words, APART) if len(words) > 1 else words[0]
    if joined.null_count:
        row = pc.index(joined.is_null(), True).as_py()
        shown = {name: batch.column(name)[row].as_py() for name in names}
        raise RefusedError(
            f"{output.name}: expected a key in every row, found {shown}; name another --key"
        )
    return joined.cast(pa.large_binary())


def show_key(key: bytes) -> str:
    """A key, for people."""
    parts = key.decode(errors="replace").split(APART)
    return " ".join(part for place, part in enumerate(parts) if (place, part) != (1, "-1"))


def _words(output: Output, name: str, column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (texts or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise RefusedError(
            f"--key {name}: expected text or whole numbers, found {kind} in {output.name}"
        )
    return column.cast(pa.string())


def _answers(output: Output, batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """What is equal where two answers are, and what people read."""
    prediction = batch.column(f"{output.prefix}prediction")
    kind = output.task.kind
    if kind == MULTI_LABEL:
        sets = [" + ".join(sorted(one)) or "none" for one in prediction.to_pylist()]
        answer = shown = pa.array(sets, pa.string())
    elif kind == SCORE:
        shown = prediction.cast(pa.string())
        bucket = batch.column(f"{output.prefix}bucket").cast(pa.string())
        answer = pc.binary_join_element_wise("bucket", bucket, " ")
    elif kind == SPAN:
        shown = prediction.cast(pa.string())
        answer = output.task.decoder(()).keys({"prediction": prediction}).cast(pa.string())
    else:
        answer = shown = prediction.cast(pa.string())
    return {ANSWER: answer, SHOWN: shown}
