"""The texts that a student learns from (labelled, augmented, unlabelled) and their labelling."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tango_beam.models.bulk import logits_of
from tango_beam.models.transformer import Transformer
from tango_beam.training import augmentation, card, corpora

logger = logging.getLogger(__name__)


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
      unlabeled_rows: at most so many sentences of each file, drawn at random.
      seed: draws both.
    """
    texts = list(dict.fromkeys(train))
    used = [card.data_row(train_path, len(train), "train")]
    made = augmentation.augment(texts, kinds, augmented, seed) if augmented else []
    if made:
        used.append(card.data_row(train_path, len(made), f"augmented ({', '.join(kinds)})"))
    texts = texts + made
    for path in unlabeled:
        found = corpora.read_sentences(path, text_column)
        if unlabeled_rows is not None and unlabeled_rows < len(found):
            chosen = np.random.default_rng(seed).choice(len(found), unlabeled_rows, replace=False)
            found = [found[row] for row in np.sort(chosen)]
        used.append(card.data_row(path, len(found), "unlabelled sentences"))
        texts += found
    return list(dict.fromkeys(texts)), used


def teach(
    teachers: Sequence[Transformer], texts: list[str], labels: tuple[str, ...]
) -> npt.NDArray[np.float32]:
    """Mean logits of some teachers over texts, float32, shape [rows, labels].

    Raises:
      ValueError: a teacher with other labels.
    """
    total = np.zeros((len(texts), len(labels)), np.float32)
    for number, teacher in enumerate(teachers, start=1):
        logger.info("teacher %d labels %s texts", number, f"{len(texts):,}")
        total += logits_of(teacher, texts, labels=labels)
    return (total / len(teachers)).astype(np.float32)
