"""Trains candidate students on what the teacher said of rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tango_beam.answers.task import SPAN
from tango_beam.arrays import Float32
from tango_beam.building import span_students
from tango_beam.building.options import OF_SPANS, STUDENTS, BuildOptions
from tango_beam.building.passes import Plan, passes_within, threads_for
from tango_beam.building.teacher import USUAL_PIECES, Teacher
from tango_beam.config import TierConfig
from tango_beam.errors import RefusedError
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models import encoder_layers, thread_pool
from tango_beam.models.transformer import Transformer
from tango_beam.training import distill, finetune, inputs, resume, students, texts
from tango_beam.training.distill_options import DistillOptions
from tango_beam.training.finetune_options import FinetuneOptions
from tango_beam.training.objectives import PROBLEM_TYPES
from tango_beam.training.span_teacher import Edges

logger = logging.getLogger(__name__)

# In a student's folder: its training is done.
TRAINED = "_trained"
# What the second tier said of rows: logits, or where it sees answers begin and end.
Said = Float32 | Edges

_BILSTM = {"embedding_size": 64, "hidden_size": 96, "pooling": "max"}
PLANS = (
    Plan("static", "static", "static", {}, 1_500_000),
    Plan("bilstm", "bilstm", "pieces", _BILSTM, 900_000),
    Plan("tinybert_4x312", "tinybert", "tinybert", {}, 150_000),
    Plan(
        "tinybert_2x256",
        "tinybert",
        "tinybert",
        {"layers": 2, "hidden_size": 256, "feed_forward_size": 1024},
        200_000,
    ),
)


def refuse_kinds(options: BuildOptions, kind: str) -> None:
    """Raises RefusedError where none of the named students learns a kind of answer."""
    fit = [name for name in STUDENTS if (name in OF_SPANS) == (kind == SPAN)]
    if not options.encoder and not {*fit} & {*options.students}:
        raise RefusedError(
            f"--students {','.join(options.students)}: expected some of {', '.join(fit)}, or "
            f"--encoder, for a second tier whose answers are of the kind {kind}"
        )


def wanted(teacher: Teacher, options: BuildOptions) -> list[Plan]:
    """The students worth a training: a small BERT wants a teacher several times its size.

    Raises:
      RefusedError: a second tier that answers with spans, and has no layers to leave out.
    """
    if teacher.task.kind == SPAN:
        return span_students.wanted(teacher, options)
    chosen = [plan for plan in PLANS if plan.kind in options.students]
    if any(plan.kind == "tinybert" for plan in chosen) and not _is_large(teacher):
        chosen = [plan for plan in chosen if plan.kind != "tinybert"]
    if options.encoder:
        chosen.append(Plan("encoder", "encoder", "tinybert", {}, 60_000))
    return chosen


def _is_large(teacher: Teacher) -> bool:
    """Whether a teacher is an encoder that a small BERT can look into, of twelve layers or more."""
    if teacher.pieces is None:
        return False
    network = inputs.load_teacher(teacher.pieces, teacher.max_length).network
    return encoder_layers.known(network) and len(encoder_layers.layers(network)) >= 12


def starting_from(teacher: Teacher, options: BuildOptions) -> Transformer:
    """The network whose word pieces and embeddings students start from, with the task's labels."""
    if teacher.pieces is not None:
        return inputs.load_teacher(teacher.pieces, teacher.max_length)
    source = options.encoder or str(USUAL_PIECES)
    with inputs.naming("--encoder", source):
        return _with_a_head(source, teacher, options, "")


def _with_a_head(
    source: str, teacher: Teacher, options: BuildOptions, output: str, **more: Any
) -> Transformer:
    made = _finetuning(source, teacher, options, output, **more)
    nothing = np.zeros(0, np.int64)
    none = texts.columns([("",)])[0][:0]
    return finetune.start(
        made, LabelledTexts(none, None, nothing, teacher.labels, teacher.task.kind)
    )


def _finetuning(
    source: str, teacher: Teacher, options: BuildOptions, output: str, **more: Any
) -> FinetuneOptions:
    return FinetuneOptions(
        train="",
        output=output,
        encoder=source,
        resume=True,
        device="cpu",
        max_length=teacher.max_length,
        text_pair_column=options.text_pair_column,
        seed=options.seed,
        **more,
    )


def distilling(
    plan: Plan, teacher: Teacher, options: BuildOptions, folder: Path, **more: Any
) -> DistillOptions:
    """Options of a candidate's training."""
    given = DistillOptions(
        teacher=teacher.pieces or "",
        train="",
        output=str(folder),
        resume=True,
        device="cpu",
        student=plan.student,
        max_length=teacher.max_length,
        text_pair_column=options.text_pair_column,
        seed=options.seed,
        **plan.shape,
    )
    return replace(students.settled(given), **more)


def is_trained(folder: Path) -> bool:
    """Whether a student's training is done."""
    return (folder / TRAINED).is_file()


def train(
    plan: Plan,
    teacher: Teacher,
    options: BuildOptions,
    rows: Sequence[texts.Row],
    said: Said,
    folder: Path,
    seconds: float,
) -> TierConfig:
    """Trains a candidate for about so long, and saves it; one that is there already is kept.

    Args:
      plan: which.
      teacher: whose answers it learns.
      options: of the build.
      rows: texts, or pairs of them.
      said: what the teacher said of them: logits, float32, shape [rows, outputs], or edges.
      folder: where it goes.
      seconds: that the training may take.

    Raises:
      RefusedError: a shape that does not fit the teacher.
    """
    done = folder / TRAINED
    if not is_trained(folder):
        started = time.monotonic()
        if isinstance(said, Edges):
            span_students.train(plan, teacher, options, rows, said, folder, seconds)
        else:
            run = _fine_tuned if plan.kind == "encoder" else _distilled
            run(plan, teacher, options, [*rows], said, folder, seconds)
        done.write_text(f"{time.monotonic() - started:.0f} seconds\n")
        resume.clear(folder)
    source, tier = str(folder.resolve()), teacher.tier
    if isinstance(said, Edges):
        return TierConfig(source, max_length=tier.max_length, stride=tier.stride)
    shared = plan.student in ("pieces", "static") and teacher.pieces is not None
    return TierConfig(
        source,
        max_length=tier.max_length,
        tokenizer=teacher.pieces if shared else None,
        batch_rows=16_384 if plan.student in ("pieces", "static") else 8192,
    )


def _distilled(
    plan: Plan,
    teacher: Teacher,
    options: BuildOptions,
    rows: list[texts.Row],
    logits: Float32,
    folder: Path,
    seconds: float,
) -> None:
    base = starting_from(teacher, options)
    logits = logits[:, [teacher.labels.index(label) for label in base.labels]]
    made = distilling(plan, teacher, options, folder)
    # No wider, and no deeper, than what it starts from.
    widest = min(base.network.get_input_embeddings().weight.shape)
    width = "hidden_size" if plan.kind == "tinybert" else "embedding_size"
    made = replace(made, **{width: min(getattr(made, width), widest)})

    def fresh(how: DistillOptions) -> students.Student:
        return students.make(how, base, PROBLEM_TYPES[teacher.task.kind], rows)

    trial = replace(made, epochs=1, output=str(folder) + "_trial", resume=False)

    def learn(count: int) -> None:
        distill.distill(fresh(trial), rows[:count], logits[:count], trial, lambda student: {})

    whole = thread_pool.workers()
    with thread_pool.bound_to(whole if plan.kind == "tinybert" else threads_for(learn, len(rows))):
        passes = passes_within(plan, learn, len(rows), seconds, folder)
        how, seen = replace(made, epochs=passes.epochs), passes.rows
        student = fresh(how)
        distill.distill(student, rows[:seen], logits[:seen], how, lambda student: {})
    distill.save(student, folder, how, shared=False)


def _fine_tuned(
    plan: Plan,
    teacher: Teacher,
    options: BuildOptions,
    rows: list[texts.Row],
    logits: Float32,
    folder: Path,
    seconds: float,
) -> None:
    assert options.encoder is not None
    source = options.encoder
    with inputs.naming("--encoder", source):
        made = _finetuning(source, teacher, options, str(folder), average=0.99)
        trial = replace(made, epochs=1, output=str(folder) + "_trial", resume=False)

        def learn(count: int) -> None:
            _learn(_with_a_head(source, teacher, options, ""), rows[:count], logits[:count], trial)

        passes = passes_within(plan, learn, len(rows), seconds, folder)
        model, seen = _with_a_head(source, teacher, options, str(folder)), passes.rows
        _learn(model, rows[:seen], logits[:seen], replace(made, epochs=passes.epochs))
        model.save(folder)


def _learn(
    model: Transformer, rows: list[texts.Row], logits: Float32, options: FinetuneOptions
) -> None:
    from torch.nn import functional

    finetune.fine_tune(model, rows, logits, functional.mse_loss, options, lambda current: {})
