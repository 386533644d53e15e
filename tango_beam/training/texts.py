"""The texts that a student learns from: labelled, augmented, unlabelled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tango_beam.io.labelled import LabelledTexts, read_rows
from tango_beam.training import model_card
from tango_beam.training.options import TrainingOptions

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|<br\s*/?>|\n")
_PUNCTUATION = re.compile(r"([.,!?;:()\"“”])")
_SPACE = re.compile(r"\s+")


# A text, or the two of a pair.
Row = tuple[str, ...]


def rows_of(data: LabelledTexts) -> list[Row]:
    """The texts of labelled rows, without their labels."""
    sides = (data.texts, *([] if data.pairs is None else [data.pairs]))
    return list(zip(*(side.to_pylist() for side in sides), strict=True))


def columns(rows: Sequence[Row]) -> list[pa.Array]:
    """Rows as models take them: a column of texts, or two."""
    return [pa.array(side, pa.string()) for side in zip(*rows, strict=True)]


@dataclass(frozen=True)
class Augment:
    """How augmented rows are made.

    Attributes:
      make: gives them, of some rows.
      kinds: for the card.
      of_unlabeled: they are made of the unlabelled texts, too, and not of the labelled ones alone.
    """

    make: Callable[[Sequence[Row]], list[Row]]
    kinds: Sequence[str]
    of_unlabeled: bool = False


def gather(
    train: LabelledTexts,
    options: TrainingOptions,
    augment: Augment | None = None,
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Distinct texts or pairs, and what a model card says of where they come from.

    Args:
      train: the labelled rows.
      options: name the files; unlabelled texts are cut into sentences, pairs are taken as they are.
      augment: makes augmented rows, if there are to be any.
    """
    labelled = list(dict.fromkeys(rows_of(train)))
    used = [model_card.data_row(options.train, len(train), "train")]
    unlabeled = list[Row]()
    for path in options.unlabeled:
        read = _unlabeled(path, options)
        most = options.unlabeled_rows
        if most is not None and most < len(read):
            rng = np.random.default_rng(options.seed)
            chosen = np.sort(rng.choice(len(read), most, replace=False))
            read = [read[row] for row in chosen]
        used.append(model_card.data_row(path, len(read), "unlabelled"))
        unlabeled += read
    made = list[Row]()
    if augment is not None:
        made = augment.make(labelled + (unlabeled if augment.of_unlabeled else []))
        of = " of all texts" if augment.of_unlabeled else ""
        use = f"augmented ({', '.join(augment.kinds)}){of}"
        used.append(model_card.data_row(options.train, len(made), use))
    return list(dict.fromkeys([*labelled, *made, *unlabeled])), used


def _unlabeled(path: str, options: TrainingOptions) -> list[Row]:
    if len(options.text_columns) == 1:
        return [(text,) for text in read_sentences(path, options.text_column)]
    table = read_rows([path], options.text_columns, option="--unlabeled")
    sides = (table[name].to_pylist() for name in options.text_columns)
    return list(dict.fromkeys(zip(*sides, strict=True)))


def read_sentences(
    path: str, text_column: str = "text", *, min_words: int = 3, max_words: int = 40
) -> list[str]:
    """Distinct sentences of longer texts, in order, in SST-2's spelling.

    Texts are cut behind . ! ? and at line breaks, put into lower case, and punctuation is set apart
    by spaces. Rows without a text are passed over.

    Raises:
      RefusedError: no such file or column.
    """
    texts = read_rows([path], (text_column,), option="--unlabeled")[text_column]
    return list(dict.fromkeys(sentences(texts.to_pylist(), min_words, max_words)))


def sentences(texts: Iterable[str], min_words: int, max_words: int) -> Iterator[str]:
    """Sentences of `min_words` to `max_words` words."""
    for text in filter(None, texts):
        for piece in _SENTENCE_END.split(text):
            spaced = _PUNCTUATION.sub(r" \1 ", piece.lower().replace("n't", " n't"))
            sentence = _SPACE.sub(" ", spaced.replace("'s", " 's")).strip()
            if min_words <= sentence.count(" ") + 1 <= max_words:
                yield sentence
