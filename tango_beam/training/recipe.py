"""From a teacher and texts to a first tier with its card, and a cascade over both."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tango_beam import routing
from tango_beam.calibration.threshold import threshold_for_agreement
from tango_beam.config import CascadeConfig, TierConfig, save_cascade
from tango_beam.errors import RefusedError
from tango_beam.models.bilstm import BiLSTM
from tango_beam.models.bilstm_config import BiLSTMConfig
from tango_beam.models.bulk import logits_of
from tango_beam.models.transformer import Transformer
from tango_beam.training import card, distill, launch, mixture
from tango_beam.training.corpora import Labelled
from tango_beam.training.settings import DistillConfig, Recipe, refuse_outside

logger = logging.getLogger(__name__)


def run(
    recipe: Recipe, shape: BiLSTMConfig, config: DistillConfig, command: str
) -> dict[str, float]:
    """Labels the texts, trains the student, writes it with its card; returns its scores.

    Args:
      recipe: see `Recipe`.
      shape: the student's; its labels (and the vocabulary of pieces) are the teacher's.
      config: see `DistillConfig`.
      command: for the card.

    Raises:
      RefusedError: before any training; says what does not fit.
    """
    _refuse_shape(shape)
    launch.refuse_output(recipe.output)
    teacher = launch.load_teacher(recipe.teacher, shape.max_length)
    shape = replace(shape, labels=teacher.labels)
    data = launch.read_data(recipe, teacher.labels)
    texts, used = _texts(recipe, data.train, config.seed)
    student = _student(recipe, teacher, texts, shape, config.seed)
    logger.info("%s texts to distil on", f"{len(texts):,}")
    logits = logits_of(teacher, texts)
    held_out = data.held_out
    held_logits = logits_of(teacher, held_out.texts) if recipe.held_out else None

    def rank(current: BiLSTM) -> dict[str, float]:
        return {} if held_logits is None else _scores(current, held_out, held_logits, "held-out")

    history = distill.distill(student, texts, logits, config, rank)
    scores = rank(student)
    folder = Path(recipe.output)
    dtype = torch.bfloat16 if recipe.store == "bf16" else torch.float32
    shared = bool(recipe.cascade) and recipe.student == "pieces"
    student.save(folder, dtype, tokenizer=not shared)
    threshold = None
    if held_logits is not None:
        used.append(
            card.data_row(recipe.train, recipe.held_out, "held-out sentences, to choose on")
        )
        threshold, found = _threshold(student, held_out, held_logits, recipe.agreement)
        scores |= found
    if recipe.dev and data.dev:
        used.append(card.data_row(recipe.dev, len(data.dev.texts), "dev, scored once"))
        scores |= _dev_scores(student, data.dev, logits_of(teacher, data.dev.texts), threshold)
    about = f"A first tier distilled from {recipe.teacher} ({recipe.student})."
    settings = {**asdict(recipe), **asdict(student.config), **asdict(config)}
    card.write(folder, folder.name, about, command, used, scores, history, settings)
    if recipe.cascade and threshold is not None:
        _save_cascade(recipe, threshold, shape, shared)
    return scores


def _texts(recipe: Recipe, train: Labelled, seed: int) -> tuple[list[str], list[dict[str, Any]]]:
    return mixture.gather(
        train.texts,
        recipe.train,
        recipe.unlabeled,
        text_column=recipe.text_column,
        kinds=recipe.kinds,
        augmented=recipe.augmented,
        seed=seed,
    )


def _refuse_shape(shape: BiLSTMConfig) -> None:
    refuse_outside(shape, 1, "embedding_size", "hidden_size", "feed_forward_size")
    # Padding, the unknown word, and one that is known.
    refuse_outside(shape, 3, "vocabulary_size", "max_length")
    refuse_outside(shape, 0, "dropout", under=1)


def _student(
    recipe: Recipe, teacher: Transformer, texts: list[str], shape: BiLSTMConfig, seed: int
) -> BiLSTM:
    if recipe.student == "words":
        return distill.words_student(texts, shape, seed, recipe.vectors)
    widest = min(teacher.network.get_input_embeddings().weight.shape)
    if shape.embedding_size > widest:
        raise RefusedError(
            f"--embedding_size: expected at most the teacher's {widest}, found "
            f"{shape.embedding_size}"
        )
    return distill.pieces_student(teacher, shape, seed)


def _scores(student: BiLSTM, data: Labelled, teacher: np.ndarray, where: str) -> dict[str, float]:
    answers = logits_of(student, data.texts).argmax(axis=1)
    return {
        f"accuracy of the first tier, {where}": float((answers == data.targets).mean()),
        f"accuracy of the second tier, {where}": float(
            (teacher.argmax(axis=1) == data.targets).mean()
        ),
        f"agreement of both, {where}": float((answers == teacher.argmax(axis=1)).mean()),
    }


def _dev_scores(
    student: BiLSTM, dev: Labelled, teacher: np.ndarray, threshold: float | None
) -> dict[str, float]:
    scores = _scores(student, dev, teacher, "dev")
    if threshold is not None:
        scores |= cascade_scores(student, dev, teacher, threshold, "dev")
    return scores


def _threshold(
    student: BiLSTM, data: Labelled, teacher: np.ndarray, goal: float
) -> tuple[float, dict[str, float]]:
    answers, confidences = routing.top(routing.softmax(logits_of(student, data.texts)))
    agrees = answers == teacher.argmax(axis=1)
    threshold = threshold_for_agreement(confidences, agrees, goal)
    found = cascade_scores(student, data, teacher, threshold, "held-out")
    return threshold, {"threshold": threshold, **found}


def cascade_scores(
    student: BiLSTM, data: Labelled, teacher: np.ndarray, threshold: float, where: str
) -> dict[str, float]:
    """Agreement with the second tier, escalation rate and accuracy of the cascade."""
    answers, confidences = routing.top(routing.softmax(logits_of(student, data.texts)))
    escalated = routing.is_complex(confidences, threshold)
    final = np.where(escalated, teacher.argmax(axis=1), answers)
    return {
        f"agreement of cascade and second tier, {where}": float(
            (final == teacher.argmax(axis=1)).mean()
        ),
        f"escalation rate, {where}": float(escalated.mean()),
        f"accuracy of the cascade, {where}": float((final == data.targets).mean()),
    }


def _save_cascade(recipe: Recipe, threshold: float, shape: BiLSTMConfig, shared: bool) -> None:
    folder = Path(recipe.output).resolve().parent
    first = TierConfig(
        str(Path(recipe.output).resolve()),
        threshold=threshold,
        max_length=shape.max_length,
        tokenizer=str(Path(recipe.teacher).resolve()) if shared else None,
        batch_rows=16_384,
    )
    second = TierConfig(
        str(Path(recipe.teacher).resolve()), max_length=shape.max_length, batch_rows=4096
    )
    assert recipe.cascade is not None
    save_cascade(CascadeConfig((first, second), shape.labels, recipe.cascade, pair=False), folder)
