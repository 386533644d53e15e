"""Distils a tier that answers with spans into some of its own layers; makes a cascade of both."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np

from tango_beam import routing
from tango_beam.answers import Task
from tango_beam.answers.span import SpanDecoder
from tango_beam.answers.task import SPAN
from tango_beam.cascade_directory import save_cascade
from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.guarantees.thresholds import threshold_for_agreement
from tango_beam.models import loading
from tango_beam.models.logits import logits_of
from tango_beam.training import span_training
from tango_beam.training.distill_options import DistillOptions
from tango_beam.training.finetune_options import FinetuneOptions
from tango_beam.training.options import TrainingOptions
from tango_beam.training.questions import Questions

# Of fine-tuning, where an option was left as it is for students of other kinds.
_EPOCHS, _RATE, _ROWS, _LENGTH = 3, 1e-4, 16, 384


def run(options: DistillOptions, command: str) -> dict[str, float]:
    """Trains the student, writes it with its card; returns its scores.

    Args:
      options: see `DistillOptions`.
      command: for the card.

    Raises:
      RefusedError: before any training; says what does not fit.
    """
    if options.student != "pieces":
        raise RefusedError(
            f"--student {options.student}: expected a teacher that gives labels or a score, "
            f"found one of spans; its student is some of its layers: leave --student out"
        )
    taught = as_finetuning(options)
    scores, held_out = span_training.run(taught, command)
    if not options.cascade:
        return scores
    tiers = [
        TierConfig(str(Path(folder).resolve()), max_length=taught.max_length, stride=taught.stride)
        for folder in (options.output, options.teacher)
    ]
    threshold, more = _threshold(tiers, held_out, options.agreement)
    first = TierConfig(**{**vars(tiers[0]), "threshold": threshold})
    cascade = CascadeConfig((first, tiers[1]), (), options.cascade, pair=True, task=Task(SPAN))
    save_cascade(cascade, Path(options.output).resolve().parent)
    return scores | {"threshold": threshold} | more


def as_finetuning(options: DistillOptions) -> FinetuneOptions:
    """The same as a fine-tuning of the teacher's layers on the teacher's answers."""
    own = options.usual(epochs=_EPOCHS, learning_rate=_RATE, batch_size=_ROWS, max_length=_LENGTH)
    shared = {field.name: getattr(options, field.name) for field in fields(TrainingOptions)}
    about = f"A first tier of {options.layers} layers distilled from {options.teacher}."
    return FinetuneOptions(
        **{
            **shared,
            **own,
            "task": SPAN,
            "encoder": options.teacher,
            "teacher": (options.teacher,),
            "layers": options.layers,
            "about": about,
            "weight_decay": FinetuneOptions.weight_decay,
            "warm_up": FinetuneOptions.warm_up,
        }
    )


def _threshold(
    tiers: list[TierConfig], rows: Questions, agreement: float
) -> tuple[float, dict[str, float]]:
    """The lowest threshold with such an agreement on some rows, and what it escalates of them."""
    decoder = SpanDecoder()
    outputs = [
        logits_of(loading.load(tier, Compute()), rows.questions, rows.contexts) for tier in tiers
    ]
    answers = [decoder(each, (), rows.contexts).columns() for each in outputs]
    agrees = decoder.agrees(*answers).to_numpy(zero_copy_only=False)
    confidences = decoder.confidences(outputs[0])
    threshold = threshold_for_agreement(confidences, agrees, agreement)
    escalated = float(np.mean(routing.is_complex(confidences, threshold)))
    return threshold, {"escalation rate, held-out": escalated}
