"""The slow model as a teacher: how it will answer in the cascade, and what it says of rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tango_beam import checkpoint_files
from tango_beam.answers import Task
from tango_beam.answers.task import LABELS, MULTI_LABEL, SCORE, SPAN
from tango_beam.arrays import Float32, Int64
from tango_beam.building import clock, parts
from tango_beam.building.options import BuildOptions
from tango_beam.building.settings import Settings
from tango_beam.cascade_directory import fetched
from tango_beam.checkpoint_files import EMBEDDED
from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.endpoints.answers_cache import AnswersCache, answer_key
from tango_beam.errors import RefusedError
from tango_beam.models import loading
from tango_beam.models.logits import logits_of
from tango_beam.models.protocol import Model
from tango_beam.models.span_transformer import PackedSpanTransformer, SpanTransformer
from tango_beam.models.tokens import TextTokenizer
from tango_beam.resolve import load_tier, pinned, stated_by, task_of, tier_of
from tango_beam.training.span_teacher import Edges
from tango_beam.training.teacher_edges import TeacherEdges
from tango_beam.training.teacher_logits import TeacherLogits
from tango_beam.training.texts import Row
from tango_beam.tuning.candidates import TunedTier
from tango_beam.tuning.options import TuneOptions
from tango_beam.tuning.tune import tune_one, with_settings

logger = logging.getLogger(__name__)

# Rows that tuning compares precisions on: fewer cannot show that 99.5 % agree.
TUNING_ROWS = 640
# Whose word pieces students read where the teacher has none: English, upper and lower case alike.
USUAL_PIECES = EMBEDDED / "sst2" / "second_tier"
USUAL_LENGTH = 256


@dataclass(frozen=True)
class Teacher:
    """The second tier, loaded.

    Attributes:
      settings: the tier as it will stand in the cascade, and what a row takes in it.
      model: loaded.
      task: its kind of answer.
      labels: in the cascade's order, sorted.
      pair: whether it reads two texts a row.
    """

    settings: Settings
    model: Model
    task: Task
    labels: tuple[str, ...]
    pair: bool

    @property
    def tier(self) -> TierConfig:
        """As it will stand in the cascade."""
        return self.settings.tier

    @property
    def pieces(self) -> str | None:
        """The checkpoint whose word pieces students share; None where it is no transformer."""
        own = self.tier.is_asked or loading.is_own(self.tier.source)
        return None if own else self.tier.source

    @property
    def max_length(self) -> int:
        """Tokens that it reads of a text; the usual number where it has none."""
        tokenizer = getattr(self.model, "tokenizer", None)
        if isinstance(tokenizer, TextTokenizer):
            return tokenizer.max_length
        return self.tier.max_length or USUAL_LENGTH

    def fine(self, outputs: Float32) -> Int64:
        """Rows of which an answer can be made of a tier's outputs, ascending."""
        lost = self.alone().decoder(self.tier).complaints(outputs)
        return np.setdiff1d(np.arange(len(outputs)), [*lost]).astype(np.int64)

    def alone(self, name: str = "") -> CascadeConfig:
        """A cascade of it alone."""
        return CascadeConfig((self.tier,), self.labels, name, pair=self.pair, task=self.task)


def named(options: BuildOptions) -> tuple[TierConfig, Task, tuple[str, ...]]:
    """The tier that the options name, its kind of answer and its labels, without loading it.

    Raises:
      RefusedError: it is not there, or gives answers that no student learns.
    """
    tier = tier_of(options.second_tier, options)
    if not tier.is_asked:
        tier = replace(tier, max_length=options.max_length, stride=options.stride)
    stated = stated_by(tier)
    kind = options.task or stated.kind or SCORE
    if kind == SPAN:
        _refuse_no_reader(options, tier, stated.kind)
    if kind in (LABELS, MULTI_LABEL) and len(stated.labels) < 2 - (kind == MULTI_LABEL):
        raise RefusedError(
            f"--second_tier {options.second_tier}: expected labels (--labels A,B), found "
            f"{[*stated.labels]}"
        )
    if kind == SCORE and not options.cuts:
        raise RefusedError("--cuts: expected what the score must reach, found none")
    cuts = options.cuts or () if kind == SCORE else ()
    task, labels = task_of(options, Task(kind, cuts)), tuple(sorted(stated.labels))
    # A filter on what the tier does not say is refused here.
    CascadeConfig((tier,), labels, options.second_tier, task=task, filter=options.goals.label)
    return tier, task, labels


def _refuse_no_reader(options: BuildOptions, tier: TierConfig, kind: str | None) -> None:
    if tier.is_asked or kind != SPAN:
        found = "what is given texts" if tier.is_asked else f"one for {kind or 'a score'}"
        raise RefusedError(
            f"--second_tier {options.second_tier}: expected a checkpoint for spans "
            f"(...ForQuestionAnswering), found {found}"
        )
    if options.text_pair_column is None:
        raise RefusedError(
            "--text_pair_column: expected the column of contexts, in which the answers stand, "
            "found none"
        )


def load(options: BuildOptions, compute: Compute, texts: Sequence[pa.Array], path: Path) -> Teacher:
    """The second tier as it answers fastest on this machine, timed; what was measured is kept.

    Args:
      options: name it.
      compute: settled.
      texts: rows to time it on, and to compare its precisions on.
      path: of what an earlier run measured.

    Raises:
      RefusedError: it does not load.
    """
    tier, task, labels = named(options)
    pair = options.text_pair_column is not None
    cascade = pinned(fetched(CascadeConfig((tier,), labels, pair=pair, task=task)))
    tier = cascade.tiers[0]
    settings = Settings.read(path, tier)
    if settings is None:
        settings = _measured(cascade, compute, texts, options)
        settings.write(path)
    return Teacher(settings, load_tier(settings.tier, compute), task, labels, pair)


def _measured(
    cascade: CascadeConfig, compute: Compute, texts: Sequence[pa.Array], options: BuildOptions
) -> Settings:
    tier = cascade.tiers[0]
    if not tier.is_asked:
        tuned = tuned_on(cascade, tier, texts, options)
        return Settings(with_settings(tier, tuned), tuned.seconds, tuned.seconds_tokenizing)
    return Settings(tier, _seconds_asked(tier, compute, texts), 0.0)


def _seconds_asked(tier: TierConfig, compute: Compute, texts: Sequence[pa.Array]) -> float:
    """Seconds a row of a tier that is asked, on rows that the cache of answers does not know.

    Where it knows nearly all, some are asked about once more: how fast a cache is says nothing.
    """
    # As many at once as there are to be, a few times over.
    rows = np.arange(len(texts[0]))
    count = min(4 * compute.limits.requests, len(rows))
    if tier.endpoint is not None and compute.answers_cache is not None:
        keys = [answer_key(row, tier.endpoint.fingerprint) for row in parts.rows_of(texts)]
        with AnswersCache(compute.answers_cache) as cache:
            known = cache.get_many(keys)
        unknown = np.flatnonzero([key not in known for key in keys])
        if len(unknown) >= count:
            rows = unknown
        else:
            compute = replace(compute, answers_cache=None)
    chosen = pa.array(rows[:count])
    return _seconds(load_tier(tier, compute), [text.take(chosen) for text in texts])


def tuned_on(
    cascade: CascadeConfig, tier: TierConfig, texts: Sequence[pa.Array], options: BuildOptions
) -> TunedTier:
    """A tier's fastest settings among those that answer as fp32 does (see `pipelines.tune`)."""
    how = TuneOptions(
        input=options.input,
        output=options.output,
        device=options.device,
        timed_seconds=clock.timed_seconds(options.minutes),
        rounds=2,
        seed=options.seed,
    )
    some = [text[:TUNING_ROWS] for text in texts]
    return tune_one(cascade, tier, some, how, options.device, onnx=False)


def _seconds(model: Model, texts: Sequence[pa.Array]) -> float:
    """Seconds a row for the model alone, in batches."""
    started = time.perf_counter()
    logits_of(model, *texts)
    return (time.perf_counter() - started) / max(1, len(texts[0]))


def answers_of(teacher: Teacher, rows: Sequence[Row], folder: Path) -> Float32:
    """What a teacher says of rows, float32, shape [rows, outputs], columns as `labels`.

    What it has said is kept, and it is not asked again. NaN where it had no answer.

    Args:
      teacher: loaded.
      rows: a text each, or two.
      folder: where its answers are kept.
    """
    outputs = TeacherLogits(folder, _stated(teacher)).of(teacher.model, rows)
    if len(teacher.labels) < 2:
        return outputs
    return outputs[:, [teacher.model.labels.index(label) for label in teacher.labels]]


def edges_of(teacher: Teacher, rows: Sequence[Row], folder: Path) -> Edges:
    """Where a teacher that answers with spans sees answers begin and end; kept as its answers are.

    Args:
      teacher: loaded.
      rows: a question and a context each.
      folder: where its answers are kept.
    """
    model = teacher.model
    assert isinstance(model, SpanTransformer | PackedSpanTransformer)
    return TeacherEdges(folder, _stated(teacher)).of(model, rows)


def _stated(teacher: Teacher) -> str:
    """All that its answers hang on."""
    tier, model = teacher.tier, teacher.model
    known = checkpoint_files.digest(tier.source, tier.revision)
    way = (model.precision, tier.backend, tier.kept_tokens, tier.max_length)
    return f"{known} {way if tier.stride is None else (*way, tier.stride)}"
