"""What a calibration does by kind of answer: what it fits, and which classes it tells of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam.answers import span_text
from tango_beam.answers.margins import MarginDecoder
from tango_beam.answers.span import SpanDecoder
from tango_beam.answers.task import LABELS, MULTI_LABEL, SCORE, SPAN
from tango_beam.calibration import filtering
from tango_beam.calibration.goals import Goals
from tango_beam.calibration.options import DEFAULT_AGREEMENT, CalibrateOptions
from tango_beam.calibration.score_sample import TierLogits, with_temperatures
from tango_beam.calibration.temperature import fit_margin
from tango_beam.config import CascadeConfig
from tango_beam.errors import RefusedError
from tango_beam.guarantees import filters, guarantees, means
from tango_beam.guarantees.certificate import ClassAgreement, Guarantee
from tango_beam.guarantees.tier_answers import TierAnswers
from tango_beam.io.label_columns import targets_of


def reorders(cascade: CascadeConfig) -> bool:
    """Whether what is fitted can change the order of confidences, so that it costs rows.

    The temperature of two labels cannot.
    """
    kind = cascade.task.kind
    return kind in (MULTI_LABEL, SCORE) or (kind == LABELS and len(cascade.labels) > 2)


def refuse_goals(cascade: CascadeConfig, goals: Goals) -> None:
    """Refuses goals that a kind of answer does not have.

    Raises:
      RefusedError: names the goal and the kind.
    """
    kind = cascade.task.kind
    of_spans = "f1_agreement", "f1_retained"
    foreign = {LABELS: of_spans, SPAN: ("class_agreement", "accuracy_retained")}
    for name in foreign.get(kind, (*of_spans, "accuracy_retained")):
        if getattr(goals, name) is not None:
            raise RefusedError(
                f"--{name}: expected another goal, such as --agreement, for cascade "
                f"{cascade.name}, whose answers are of the kind {kind}"
            )
    if len(cascade.tiers) < 3:
        return
    # One path of thresholds carries one goal.
    stated = (goals.agreement, goals.class_agreement, goals.label)
    if sum(value is not None for value in stated) > 1:
        raise RefusedError(
            f"cascade {cascade.name}: expected one of --agreement, --class_agreement, and --recall "
            f"and --precision for {len(cascade.tiers)} tiers, found two of them"
        )
    if goals.has_budget or (goals.class_agreement is not None and kind != MULTI_LABEL):
        raise RefusedError(
            f"cascade {cascade.name}: expected --agreement or --accuracy_retained for "
            f"{len(cascade.tiers)} tiers, found another goal"
        )


def on_a_path(
    cascade: CascadeConfig,
    fit: TierLogits,
    test: TierLogits,
    goals: Goals,
    corpus: int | None,
    path: Sequence[tuple[float, ...]] = (),
) -> list[Guarantee]:
    """What rows can sign for of three tiers or more, along one path: that of `fit`, or `path`."""
    both = fit.answers(cascade), test.answers(cascade)
    if goals.label is not None:
        return filters.path_sign(*both, filtering.promises(goals), goals.label, path)
    if goals.class_agreement is not None:
        each, names = columns(cascade, test), cascade.labels
        share = goals.class_agreement, goals.delta
        return guarantees.path_label_agreement(both[0], each, names, *share, corpus)
    assert goals.agreement is not None
    return [guarantees.path_agreement(*both, goals.agreement, goals.delta, corpus, path)]


def with_a_goal(options: CalibrateOptions, cascade: CascadeConfig) -> CalibrateOptions:
    """The options with the usual goal where none is given: of several labels, each one's decision.

    Whole sets of twenty labels hardly ever are the same.
    """
    if options.states_a_goal or cascade.task.kind != MULTI_LABEL:
        return options
    return replace(options, class_agreement=DEFAULT_AGREEMENT)


def fitted(cascade: CascadeConfig, fit: TierLogits) -> CascadeConfig:
    """The cascade with temperatures, or a slope and intercept for each decision, fitted to rows.

    A first tier's score lies nearer to the mean than the last tier's; which of its values goes with
    a cut of the last tier is what the intercept says.
    """
    last = cascade.decoder(cascade.tiers[-1])
    if cascade.task.kind == LABELS:
        return with_temperatures(cascade, fit)
    if not isinstance(last, MarginDecoder):
        return cascade
    decided = last.decisions(fit.logits[-1])
    tiers = []
    for tier, outputs in zip(cascade.tiers[:-1], fit.logits[:-1], strict=True):
        raw = last.raw_margins(outputs)
        pairs = zip(raw.T, decided.T, strict=True)
        tiers.append(replace(tier, fits=tuple(fit_margin(*pair) for pair in pairs)))
    return replace(cascade, tiers=(*tiers, cascade.tiers[-1]))


def classes(cascade: CascadeConfig) -> tuple[str, ...]:
    """Names of what `class_agreement` is about: labels, or the numbers of buckets."""
    if cascade.task.kind != SCORE:
        return cascade.labels
    return tuple(map(str, range(len(cascade.task.cuts) + 1)))


def columns(cascade: CascadeConfig, rows: TierLogits) -> tuple[TierAnswers, ...]:
    """Of several labels, whether each tier gives each of them; none for other kinds."""
    if cascade.task.kind != MULTI_LABEL:
        return ()
    whole = rows.answers(cascade)
    decided = []
    for tier, outputs in zip(cascade.tiers, rows.logits, strict=True):
        decoder = cascade.decoder(tier)
        assert isinstance(decoder, MarginDecoder)
        decided.append(decoder.decisions(outputs).astype(np.int64))
    each = zip(*(one.T for one in decided), strict=True)
    return tuple(replace(whole, answers=answers) for answers in each)


def truth_of(cascade: CascadeConfig, table: pa.Table, column: str | None) -> npt.NDArray | None:
    """The right labels, by number, or the right answers to each question; None without a column.

    Raises:
      RefusedError: a label that is none of the cascade's.
    """
    if column is None:
        return None
    values = table[column].to_pylist()
    if cascade.task.kind != SPAN:
        where = f"--label_column {column}: expected"
        return targets_of([*map(str, values)], cascade.labels, where)
    answers = np.empty(len(values), object)
    answers[:] = [tuple(one) if isinstance(one, list) else (one or "",) for one in values]
    return answers


def mean_f1(
    cascade: CascadeConfig, fit: TierLogits, test: TierLogits, goals: Goals, seed: int
) -> Guarantee:
    """The thresholds at which the mean F1 of spans is the goal, or the share of it that is kept."""
    texts = []
    for tier, outputs in zip(cascade.tiers, test.logits, strict=True):
        decoder = cascade.decoder(tier)
        assert isinstance(decoder, SpanDecoder)
        assert test.contexts is not None
        texts.append(decoder.texts(outputs, test.contexts))
    both = fit.answers(cascade), test.answers(cascade)
    if goals.f1_retained is not None:
        assert test.truth is not None
        values = [np.array([*map(span_text.best_f1, each, test.truth)]) for each in texts]
        return means.f1_retained(*both, values, goals.f1_retained, goals.delta, seed)
    assert goals.f1_agreement is not None
    values = [np.array([*map(span_text.f1, each, texts[-1])]) for each in texts[:-1]]
    return means.f1_agreement(*both, values, goals.f1_agreement, goals.delta, seed)


def by_class(
    cascade: CascadeConfig,
    rows: TierLogits,
    thresholds: tuple[float, ...],
    delta: float,
    label_threshold: float | None,
) -> tuple[ClassAgreement, ...]:
    """Agreement in every class; of several labels, in the rows that the last tier gives each.

    None for spans.
    """
    if cascade.task.kind == SPAN:
        return ()
    names, each = classes(cascade), columns(cascade, rows)
    if not each:
        whole = rows.answers(cascade)
        return guarantees.by_class(whole, names, thresholds, delta, label_threshold)
    return tuple(
        found
        for name, column in zip(names, each, strict=True)
        for found in guarantees.by_class(
            column.take(column.last == 1), ("", name), thresholds, delta, label_threshold
        )
    )
