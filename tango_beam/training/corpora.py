"""Labelled and unlabelled texts for training, read into memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.dataset as ds

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|<br\s*/?>|\n")
_PUNCTUATION = re.compile(r"([.,!?;:()\"“”])")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Labelled:
    """Texts with their labels.

    Attributes:
      texts: shape [rows].
      targets: index into `labels`, int64, shape [rows].
      labels: label names, sorted.
    """

    texts: list[str]
    targets: npt.NDArray[np.int64]
    labels: tuple[str, ...]

    def take(self, rows: npt.NDArray[np.int64]) -> Labelled:
        """Some of the rows."""
        return Labelled([self.texts[row] for row in rows], self.targets[rows], self.labels)


def read_labelled(path: str, text_column: str = "text", label_column: str = "label") -> Labelled:
    """Reads a Parquet file or folder of texts and label names.

    Raises:
      ValueError: a column is missing, or a row is null; names what was found.
    """
    data = ds.dataset(path, format="parquet")
    for name in (text_column, label_column):
        if name not in data.schema.names:
            raise ValueError(f"{path}: expected a column {name!r}, found {data.schema.names}")
    table = data.to_table(columns=[text_column, label_column])
    nulls = sum(column.null_count for column in table.columns)
    if nulls:
        raise ValueError(f"{path}: expected no null texts or labels, found {nulls}")
    names = [str(label) for label in table[label_column].to_pylist()]
    labels = tuple(sorted(set(names)))
    index = {label: number for number, label in enumerate(labels)}
    targets = np.fromiter((index[name] for name in names), np.int64, len(names))
    return Labelled(table[text_column].to_pylist(), targets, labels)


def read_sentences(
    path: str, text_column: str = "text", *, min_words: int = 3, max_words: int = 40
) -> list[str]:
    """Distinct sentences of a Parquet file of longer texts, in order, in SST-2's spelling.

    Texts are cut behind . ! ? and at line breaks, put into lower case, and punctuation is set apart
    by spaces.
    """
    texts = ds.dataset(path, format="parquet").to_table(columns=[text_column])[text_column]
    return list(dict.fromkeys(sentences(texts.to_pylist(), min_words, max_words)))


def sentences(texts: Iterable[str], min_words: int, max_words: int) -> Iterator[str]:
    """Sentences of `min_words` to `max_words` words."""
    for text in filter(None, texts):
        for piece in _SENTENCE_END.split(text):
            spaced = _PUNCTUATION.sub(r" \1 ", piece.lower().replace("n't", " n't"))
            sentence = _SPACE.sub(" ", spaced.replace("'s", " 's")).strip()
            if min_words <= sentence.count(" ") + 1 <= max_words:
                yield sentence
