"""The texts that a student learns from (labelled, augmented, unlabelled) and their labelling."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from tango_beam.arrays import Float32
from tango_beam.errors import RefusedError
from tango_beam.models.logits import logits_of
from tango_beam.models.transformer import Transformer
from tango_beam.training import augmentation, model_card

logger = logging.getLogger(__name__)

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|<br\s*/?>|\n")
_PUNCTUATION = re.compile(r"([.,!?;:()\"“”])")
_SPACE = re.compile(r"\s+")


def gather(
    train: Sequence[str],
    train_path: str,
    unlabeled: Sequence[str],
    *,
    text_column: str = "text",
    kinds: Sequence[str] = (),
    augmented: int = 0,
    unlabeled_rows: int | None = None,
    seed: int = 0,
) -> tuple[list[str], list[dict[str, Any]]]:
    """Distinct texts, and what a model card says of where they come from.

    Args:
      train: texts of the labelled rows.
      train_path: where they came from.
      unlabeled: Parquet files of longer texts, cut into sentences.
      text_column: of those files.
      kinds: augmentations, out of `augmentation.KINDS`.
      augmented: how many augmented texts.
      unlabeled_rows: the most sentences taken of each file; drawn at random.
      seed: draws both.
    """
    texts = list(dict.fromkeys(train))
    used = [model_card.data_row(train_path, len(train), "train")]
    made = augmentation.augment(texts, kinds, augmented, seed) if augmented else []
    if made:
        used.append(model_card.data_row(train_path, len(made), f"augmented ({', '.join(kinds)})"))
    texts = texts + made
    for path in unlabeled:
        read = read_sentences(path, text_column)
        if unlabeled_rows is not None and unlabeled_rows < len(read):
            chosen = np.random.default_rng(seed).choice(len(read), unlabeled_rows, replace=False)
            read = [read[row] for row in np.sort(chosen)]
        used.append(model_card.data_row(path, len(read), "unlabelled sentences"))
        texts += read
    return list(dict.fromkeys(texts)), used


def teach(teachers: Sequence[Transformer], texts: list[str], labels: tuple[str, ...]) -> Float32:
    """Mean logits of some teachers over texts, float32, shape [rows, labels].

    Raises:
      ValueError: a teacher with other labels.
    """
    total = np.zeros((len(texts), len(labels)), np.float32)
    for number, teacher in enumerate(teachers, start=1):
        logger.info("teacher %d labels %s texts", number, f"{len(texts):,}")
        total += logits_of(teacher, texts, labels=labels)
    return (total / len(teachers)).astype(np.float32)


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
