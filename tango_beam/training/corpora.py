"""Labelled and unlabelled texts for training, read into memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from tango_beam.errors import RefusedError

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|<br\s*/?>|\n")
_PUNCTUATION = re.compile(r"([.,!?;:()\"“”])")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Labelled:
    """Texts with their labels.

    Attributes:
      texts: shape [rows].
      targets: index into `labels`, int64, shape [rows].
      labels: label names, in the order of a classifier's outputs.
    """

    texts: list[str]
    targets: npt.NDArray[np.int64]
    labels: tuple[str, ...]

    def take(self, rows: npt.NDArray[np.int64]) -> Labelled:
        """Some of the rows."""
        return Labelled([self.texts[row] for row in rows], self.targets[rows], self.labels)


def read_labelled(
    path: str,
    text_column: str = "text",
    label_column: str = "label",
    labels: Sequence[str] | None = None,
) -> Labelled:
    """Reads a Parquet file or folder of texts and label names.

    Args:
      path: the file or folder.
      text_column: strings.
      label_column: names, or numbers that serve as names.
      labels: the labels that may occur, in order; those that do, sorted, by default.

    Raises:
      RefusedError: no such file, column or label, no rows, or a null; names what was found.
    """
    table = read_columns(path, (text_column, label_column))
    _refuse_other_texts(path, text_column, table[text_column].type)
    for name in (text_column, label_column):
        nulls = table[name].null_count
        if nulls:
            raise RefusedError(
                f"{path}: expected no null in {name!r}, found {nulls:,} in {len(table):,} rows"
            )
    if not len(table):
        raise RefusedError(f"{path}: expected rows to read, found none")
    names = [str(label) for label in table[label_column].to_pylist()]
    labels = tuple(sorted(set(names)) if labels is None else labels)
    unknown = sorted(set(names) - set(labels))
    if unknown:
        raise RefusedError(
            f"{path}: expected labels out of {list(labels)} in {label_column!r}, found {unknown}"
        )
    index = {label: number for number, label in enumerate(labels)}
    targets = np.fromiter((index[name] for name in names), np.int64, len(names))
    return Labelled(table[text_column].to_pylist(), targets, labels)


def read_sentences(
    path: str, text_column: str = "text", *, min_words: int = 3, max_words: int = 40
) -> list[str]:
    """Distinct sentences of a Parquet file of longer texts, in order, in SST-2's spelling.

    Texts are cut behind . ! ? and at line breaks, put into lower case, and punctuation is set apart
    by spaces. Null texts are passed over.

    Raises:
      RefusedError: no such file or column.
    """
    texts = read_columns(path, (text_column,))[text_column]
    _refuse_other_texts(path, text_column, texts.type)
    return list(dict.fromkeys(sentences(texts.to_pylist(), min_words, max_words)))


def read_columns(path: str, names: Sequence[str]) -> pa.Table:
    """Some columns of a Parquet file or folder.

    Raises:
      RefusedError: no such file or column, or no Parquet.
    """
    try:
        data = ds.dataset(path, format="parquet")
        for name in names:
            if name not in data.schema.names:
                raise RefusedError(f"{path}: expected a column {name!r}, found {data.schema.names}")
        return data.to_table(columns=list(dict.fromkeys(names)))
    except FileNotFoundError as error:
        raise RefusedError(
            f"{path}: expected a Parquet file or folder, found no such file"
        ) from error
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise RefusedError(f"{path}: expected readable Parquet, found: {reason}") from error


def _refuse_other_texts(path: str, name: str, kind: pa.DataType) -> None:
    stored = kind.value_type if pa.types.is_dictionary(kind) else kind
    if stored not in (pa.string(), pa.large_string(), pa.string_view()):
        raise RefusedError(f"{path}: expected texts in {name!r}, found {kind}")


def sentences(texts: Iterable[str], min_words: int, max_words: int) -> Iterator[str]:
    """Sentences of `min_words` to `max_words` words."""
    for text in filter(None, texts):
        for piece in _SENTENCE_END.split(text):
            spaced = _PUNCTUATION.sub(r" \1 ", piece.lower().replace("n't", " n't"))
            sentence = _SPACE.sub(" ", spaced.replace("'s", " 's")).strip()
            if min_words <= sentence.count(" ") + 1 <= max_words:
                yield sentence
