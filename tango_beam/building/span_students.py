"""Candidate students of a second tier that answers with spans: some of its own layers.

The rows have no right answers. A student learns where the second tier sees answers begin and end.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tango_beam.building.options import OF_SPANS, BuildOptions
from tango_beam.building.passes import Plan, passes_within
from tango_beam.building.teacher import Teacher
from tango_beam.errors import RefusedError
from tango_beam.models.span_transformer import SpanTransformer
from tango_beam.training import inputs, layers, span_distillation, span_training, texts
from tango_beam.training.distill_options import DistillOptions
from tango_beam.training.finetune_options import FinetuneOptions
from tango_beam.training.questions import Questions
from tango_beam.training.span_teacher import Edges

logger = logging.getLogger(__name__)

_STEPS_OF = 60_000
# Of the longer of two trials: contexts are long, and few of them tell how long a training takes.
_TRIAL_CHARACTERS, _MOST_TRIAL = 50_000, 1024


def wanted(teacher: Teacher, options: BuildOptions) -> list[Plan]:
    """A quarter of the second tier's layers, a half of them, and an encoder, where one is named.

    Raises:
      RefusedError: a second tier without layers to leave out.
    """
    plans = []
    if not {*OF_SPANS}.isdisjoint(options.students):
        plans = [_of_layers(count) for count in _counts(teacher, options)]
    if options.encoder:
        plans.append(Plan("encoder", "encoder", "pieces", {}, _STEPS_OF))
    return plans


def _of_layers(count: int) -> Plan:
    return Plan(f"layers_{count}", "layers", "pieces", {"layers": count}, _STEPS_OF)


def _counts(teacher: Teacher, options: BuildOptions) -> list[int]:
    made = _training(teacher, options, teacher.tier.source, "")
    with inputs.naming("--second_tier", options.second_tier):
        network = span_training.start(made).network
        try:
            depth = layers.depth(network)
        except ValueError as error:
            if not options.encoder:
                raise
            logger.info("no student of the second tier's own layers: %s", error)
            return []
    counts = sorted({-(-depth // 4), depth // 2} - {0, depth})
    if not counts and not options.encoder:
        raise RefusedError(
            f"--second_tier {options.second_tier}: expected two layers or more, of which a student "
            f"has some, found {depth}; --encoder names a student of another make"
        )
    return counts


def train(
    plan: Plan,
    teacher: Teacher,
    options: BuildOptions,
    rows: Sequence[texts.Row],
    said: Edges,
    folder: Path,
    seconds: float,
) -> None:
    """Trains a candidate for about so long, and saves it.

    Args:
      plan: which.
      teacher: whose edges it learns.
      options: of the build.
      rows: a question and a context each.
      said: what the teacher said of them.
      folder: where it goes.
      seconds: that the training may take.

    Raises:
      RefusedError: an encoder that does not fit.
    """
    own = plan.kind == "encoder"
    name, given = ("--encoder", options.encoder) if own else ("--second_tier", options.second_tier)
    source = (options.encoder if own else None) or teacher.tier.source
    made = _training(teacher, options, source, str(folder), **plan.shape)

    def start() -> SpanTransformer:
        with inputs.naming(name, str(given)):
            return span_training.start(made)

    def learn(count: int) -> None:
        once = replace(made, epochs=1, output=str(folder) + "_trial", resume=False)
        _learn(start(), rows[:count], said, once)

    mean = sum(len(question) + len(context) for question, context in rows) / len(rows)
    more = min(_MOST_TRIAL, 8 + int(_TRIAL_CHARACTERS / (1 + mean)))
    passes = passes_within(plan, learn, len(rows), seconds, folder, (more // 8, more))
    model = start()
    _learn(model, rows[: passes.rows], said, replace(made, epochs=passes.epochs))
    model.save(folder)


def _training(
    teacher: Teacher, options: BuildOptions, source: str, output: str, layers: int | None = None
) -> FinetuneOptions:
    """Options of a training, as `distill` has them for spans."""
    given = DistillOptions(
        teacher=source, train="", output=output, resume=True, device="cpu", seed=options.seed
    )
    usual = span_distillation.as_finetuning(given)
    stride = teacher.tier.stride
    return replace(usual, layers=layers, max_length=teacher.max_length, stride=stride)


def _learn(
    model: SpanTransformer, rows: Sequence[texts.Row], said: Edges, options: FinetuneOptions
) -> None:
    questions, contexts = texts.columns(rows)
    windows = model.tokenize(questions, contexts)
    nothing = Questions(questions[:0], contexts[:0], (), ())
    span_training.fit(model, windows, said.onto(windows), options, nothing)
