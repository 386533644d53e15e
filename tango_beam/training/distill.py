"""Distils a second tier into a first one: squared error on the teacher's logits.

TangoBERT, section 4.2, after Tang et al. (2019). The student reads the teacher's own word pieces
(a text is then tokenized once for both tiers) or words of its own (the paper's student); it is a
BiLSTM, static, or a small BERT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tango_beam.answers import Task
from tango_beam.answers.task import SCORE, SPAN
from tango_beam.arrays import Float32, Int64
from tango_beam.cascade_directory import save_cascade
from tango_beam.config import CascadeConfig, TierConfig
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models import transformer
from tango_beam.models.bilstm import BiLSTM
from tango_beam.models.loading import resolve_precision
from tango_beam.models.protocol import Model
from tango_beam.models.static import StaticModel
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import Transformer
from tango_beam.training import (
    augmented_rows,
    comparison,
    exit_training,
    inputs,
    loop,
    lstm_training,
    model_card,
    objectives,
    span_distillation,
    students,
    teacher_logits,
    texts,
    tinybert,
)
from tango_beam.training.distill_options import DistillOptions
from tango_beam.training.objectives import PROBLEM_TYPES, Scale
from tango_beam.training.students import Student


def run(options: DistillOptions, command: str) -> dict[str, float]:
    """Labels the texts, trains the student, writes it with its card; returns its scores.

    Args:
      options: see `DistillOptions`.
      command: for the card.

    Raises:
      RefusedError: before any training; says what does not fit.
    """
    kind = inputs.kind_of_teacher(options.teacher)
    if kind == SPAN:
        return span_distillation.run(options, command)
    options = students.settled(options)
    folder = inputs.output_folder(options)
    device = "cpu" if options.student == "exits" else inputs.device_of(options)
    teacher = inputs.load_teacher(options.teacher, options.max_length, device)
    task, makes_cascade = _task(options, kind)
    data = inputs.read_data(options, kind, teacher.labels)
    rows, used = gather(data.train, options)
    if options.student == "exits":
        return exit_training.run(options, data, rows, used, command)
    student = students.make(options, teacher, PROBLEM_TYPES[kind], rows)
    answering = transformer.to_answer(teacher)
    logits = teacher_logits.teach({options.teacher: answering}, rows, teacher.labels, options)
    held_out = data.held_out if options.held_out else None
    compare = held_out and comparison.with_teacher(answering, task, held_out)

    def rank(current: Student) -> dict[str, float]:
        return compare(_answering(current)).scores("held-out") if compare else {}

    history = distill(student, rows, logits, options, rank)
    shared = bool(options.cascade) and options.student in ("pieces", "static")
    save(student, folder, options, shared=shared)
    scores, threshold = rank(student), None
    if compare and makes_cascade:
        tiers = compare(_answering(student))
        threshold = tiers.threshold(options.agreement)
        scores |= {"threshold": threshold, **tiers.cascade_scores(threshold, "held-out")}
    if data.dev:
        tiers = comparison.with_teacher(answering, task, data.dev)(_answering(student))
        scores |= tiers.scores("dev")
        scores |= {} if threshold is None else tiers.cascade_scores(threshold, "dev")
    used += model_card.scored_rows(options, data.held_out, data.dev)
    about = f"A first tier distilled from {options.teacher} ({options.student})."
    stated = asdict(options) | _shape(student)
    model_card.write(folder, folder.name, about, command, used, scores, history, stated)
    if options.cascade and threshold is not None:
        _save_cascade(options, threshold, teacher.labels, task, shared)
    return scores


def _answering(student: Student) -> Model:
    """A student as it will answer, in bf16 where that is native; it may be in training."""
    if isinstance(student, Transformer):
        precision = resolve_precision("auto", student.device)
        return transformer.to_answer(transformer.twin(student, precision))
    return student


def save(student: Student, folder: Path, options: DistillOptions, *, shared: bool) -> None:
    """Writes a student's checkpoint.

    Args:
      student: trained.
      folder: where it goes.
      options: say in which precision.
      shared: it reads the teacher's word pieces, and needs no tokenizer of its own.
    """
    dtype = torch.bfloat16 if options.store == "bf16" else torch.float32
    if isinstance(student, Transformer):
        student.save(folder, dtype)
    else:
        student.save(folder, dtype, tokenizer=not shared)


def _shape(student: Student) -> dict[str, Any]:
    if isinstance(student, Transformer):
        return dict(student.network.config.to_diff_dict())
    return asdict(student.config)


def gather(
    train: LabelledTexts, options: DistillOptions
) -> tuple[list[texts.Row], list[dict[str, Any]]]:
    """Distinct texts or pairs to learn from, and what a model card says of where they come from."""
    augment = None
    if options.augmented_texts:
        make = partial(augmented_rows.make, options=options)
        augment = texts.Augment(make, options.kinds, options.augment_unlabeled)
    return texts.gather(train, options, augment)


def _task(options: DistillOptions, kind: str) -> tuple[Task, bool]:
    """The teacher's kind of answer, and whether it makes a cascade."""
    if kind == SCORE and not options.cuts and not options.cascade:
        # A score without cuts has no buckets, of which a cascade could be sure.
        return Task(SCORE, (0.0,)), False
    return Task(kind, options.cuts), True


def _save_cascade(
    options: DistillOptions, threshold: float, labels: tuple[str, ...], task: Task, shared: bool
) -> None:
    student, teacher = Path(options.output).resolve(), Path(options.teacher).resolve()
    first = TierConfig(
        str(student),
        threshold=threshold,
        max_length=options.max_length,
        tokenizer=str(teacher) if shared else None,
        batch_rows=16_384,
    )
    second = TierConfig(str(teacher), max_length=options.max_length, batch_rows=4096)
    pair = options.text_pair_column is not None
    cascade = CascadeConfig((first, second), labels, options.cascade or "", pair=pair, task=task)
    save_cascade(cascade, student.parent)


def distill(
    student: Student,
    rows: list[texts.Row],
    teacher_logits: Float32,
    options: DistillOptions,
    rank: Callable[[Student], dict[str, float]],
) -> list[dict[str, float]]:
    """Trains a student in place; returns a dict an epoch: its mean loss and what `rank` said.

    Args:
      student: from `students.make`.
      rows: labelled, unlabelled and augmented texts alike.
      teacher_logits: its raw outputs, float32, shape [rows, labels].
      options: see `DistillOptions`.
      rank: called after every epoch with the student; returns scores to log.
    """
    if isinstance(student, Transformer):
        return tinybert.train(student, rows, teacher_logits, options, rank)
    rng = np.random.default_rng(options.seed)
    torch.manual_seed(options.seed)
    tokens = _tokenize(student, rows)
    usable = np.flatnonzero(tokens.lengths > 0)
    lengths = tokens.lengths[usable]
    if isinstance(student, StaticModel):
        lengths = np.ones_like(lengths)  # nothing is padded, so any rows may meet
    epochs = [
        [
            usable[batch]
            for batch in loop.epoch_batches(lengths, rng, rows=options.batch_size, exact=True)
        ]
        for _ in range(options.epochs)
    ]

    def train(goal: Float32, look: Callable[[], dict[str, float]]) -> list[dict[str, float]]:
        aim = torch.from_numpy(goal)

        def loss(batch: Int64) -> torch.Tensor:
            return _mean_loss(student, tokens, batch, aim[batch])

        return loop.train(student.network, epochs, options, loss, per_row=True, rank=look)

    if student.config.problem_type == PROBLEM_TYPES[SCORE]:
        _, head = objectives.head_of(student.network, 1)
        Scale.of(teacher_logits, head).to_scores(head)  # it is fresh
        return objectives.train_on_scores(
            student.network, teacher_logits, lambda: rank(student), train
        )
    return train(teacher_logits, lambda: rank(student))


def _mean_loss(
    student: BiLSTM | StaticModel, tokens: Tokens, rows: Int64, aim: torch.Tensor
) -> torch.Tensor:
    if isinstance(student, StaticModel):
        return functional.mse_loss(student.logits(tokens, rows), aim)
    ids = torch.from_numpy(tokens.padded(rows, student.config.pad_id))
    return lstm_training.mean_loss(student.network, ids, aim)


def _tokenize(student: BiLSTM | StaticModel, rows: list[texts.Row], window: int = 65_536) -> Tokens:
    """Tokens of many texts; windows keep the tokenizer's own objects few."""
    parts = [
        student.tokenize(*texts.columns(rows[at : at + window]))
        for at in range(0, len(rows), window)
    ]
    lengths = np.concatenate([part.lengths for part in parts])
    return Tokens(
        ids=np.concatenate([part.ids for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        truncated=np.concatenate([part.truncated for part in parts]),
    )
