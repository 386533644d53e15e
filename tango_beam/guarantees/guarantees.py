"""Which thresholds keep a goal: each goal with the exact test that carries it. Pure NumPy.

Every function here may be wrong with probability delta over the draw of the sample. `met` in what
it returns means that the goal holds for all rows that the sample was drawn from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tango_beam import routing
from tango_beam.arrays import Float32
from tango_beam.guarantees import betting, bounds
from tango_beam.guarantees.certificate import ClassAgreement, Guarantee
from tango_beam.guarantees.thresholds import highest_threshold, lowest_threshold
from tango_beam.guarantees.tier_answers import TierAnswers, path_of_thresholds

NOTHING = 1.0

# Thresholds of every tier but the last, from the safest to the cheapest.
Path = Sequence[tuple[float, ...]]


def agreement(
    sample: TierAnswers, goal: float, delta: float, corpus: int | None = None
) -> Guarantee:
    """The lowest threshold of two tiers that agrees with the last tier on the goal's share.

    Every confidence of the sample is tried, not a grid: see `thresholds.lowest_threshold`.

    Args:
      sample: the sample.
      goal: share of all rows, 0 to 1.
      delta: level.
      corpus: rows of the corpus that it was drawn from; None where they are not counted.
    """
    allowed = bounds.most_errors(len(sample), 1 - goal, delta, corpus)
    wrong = sample.answers[0] != sample.last
    threshold = lowest_threshold(sample.confidences[0], wrong, allowed)
    return agreement_at((threshold,), sample, goal, delta, corpus)


def agreement_at(
    thresholds: tuple[float, ...],
    sample: TierAnswers,
    goal: float,
    delta: float,
    corpus: int | None = None,
    label_threshold: float | None = None,
) -> Guarantee:
    """What the sample says of given thresholds and a goal of agreement."""
    errors = int(sample.disagrees(thresholds, label_threshold).sum())
    p_value = float(bounds.p_values(errors, len(sample), 1 - goal, corpus))
    return Guarantee(
        goal="agreement",
        value=goal,
        delta=delta,
        thresholds=thresholds,
        rows=len(sample),
        errors=errors,
        bound=1 - bounds.upper(errors, len(sample), delta, corpus),
        met=sample.accepts_any(thresholds, label_threshold) and p_value <= delta,
        method=_method(len(sample), corpus),
        label_threshold=label_threshold,
    )


def _method(rows: int, corpus: int | None) -> str:
    return "exact hypergeometric" if bounds.is_large_part(rows, corpus) else "exact binomial"


def class_agreement(
    sample: TierAnswers, labels: Sequence[str], goal: float, delta: float
) -> list[Guarantee]:
    """For every class that the last tier gives, the threshold at which the goal holds in it.

    The classes share delta, so that all guarantees hold together with probability 1 - delta; the
    highest of the thresholds keeps them all. The rows of a class are a binomial sample of that
    class, however many they are.
    """
    given = np.unique(sample.last)
    each = [
        agreement(sample.take(sample.last == index), goal, delta / len(given)) for index in given
    ]
    return _named(each, [labels[index] for index in given])


def label_agreement(
    columns: Sequence[TierAnswers],
    labels: Sequence[str],
    goal: float,
    delta: float,
    corpus: int | None = None,
) -> list[Guarantee]:
    """For every label of several, the threshold at which its decision is the last tier's.

    The labels share delta; the highest of the thresholds keeps all the guarantees.

    Args:
      columns: one a label: whether each tier gives it (0 or 1), with the rows' confidences.
      labels: one a column.
      goal: share of all rows, 0 to 1.
      delta: level, shared by the labels.
      corpus: rows of the corpus; None where they are not counted.
    """
    share = delta / len(columns)
    return _named([agreement(column, goal, share, corpus) for column in columns], labels)


def _named(each: Sequence[Guarantee], labels: Sequence[str]) -> list[Guarantee]:
    return [
        replace(one, goal="class_agreement", label=label)
        for one, label in zip(each, labels, strict=True)
    ]


def path_agreement(
    fit: TierAnswers,
    test: TierAnswers,
    goal: float,
    delta: float,
    corpus: int | None = None,
    path: Path = (),
) -> Guarantee:
    """Thresholds of a cascade of three tiers or more, of which each may differ from the last.

    Lowering one threshold can take a row from a later tier that errs to an earlier one that does
    not, so errors do not only grow: a path fixed by `fit` is tested from the safest point down.
    """

    def passes(point: tuple[float, ...]) -> bool:
        errors = int(test.disagrees(point).sum())
        return bool(bounds.p_values(errors, len(test), 1 - goal, corpus) <= delta)

    return agreement_at(lowest_on_path(fit, passes, path), test, goal, delta, corpus)


def path_label_agreement(
    fit: TierAnswers,
    columns: Sequence[TierAnswers],
    labels: Sequence[str],
    goal: float,
    delta: float,
    corpus: int | None = None,
) -> list[Guarantee]:
    """`label_agreement` of three tiers or more: the last point of a path at which no label fails.

    Args:
      fit: rows for the path, none of them among those that test.
      columns: as for `label_agreement`.
      labels: one a column.
      goal: share of all rows, 0 to 1.
      delta: level, shared by the labels.
      corpus: rows of the corpus; None where they are not counted.
    """
    share = delta / len(columns)

    def passes(point: tuple[float, ...]) -> bool:
        errors = [int(column.disagrees(point).sum()) for column in columns]
        p = bounds.p_values(errors, len(columns[0]), 1 - goal, corpus)
        return bool((p <= share).all())

    point = lowest_on_path(fit, passes)
    each = [agreement_at(point, column, goal, share, corpus) for column in columns]
    return _named(each, labels)


def lowest_on_path(
    fit: TierAnswers, passes: Callable[[tuple[float, ...]], bool], path: Path = ()
) -> tuple[float, ...]:
    """The last point before the first that fails, on a path that no row of the test has moved.

    Where none passes, the thresholds that escalate every row.

    Args:
      fit: rows that give the path.
      passes: the test, at some thresholds.
      path: to go along instead, from the safest thresholds down.
    """
    path = path or path_of_thresholds(fit)
    last = betting.last_passed(len(path), lambda index: passes(path[index]))
    return path[last] if last >= 0 else (NOTHING,) * len(path[0])


def escalation(
    confidences: Float32, budget: float, delta: float, corpus: int | None = None
) -> Guarantee:
    """The highest first threshold that escalates at most the budget's share of rows.

    Escalation only grows with the threshold, so the sample's own confidences are walked up and the
    exact test needs no correction.

    Args:
      confidences: the first tier's on a large sample, float32, shape [rows].
      budget: share of rows that may be escalated.
      delta: level.
      corpus: rows of the corpus; None where they are not counted.
    """
    allowed = bounds.most_errors(len(confidences), budget, delta, corpus)
    threshold = highest_threshold(confidences, allowed)
    escalated = int(routing.is_complex(confidences, threshold).sum())
    return Guarantee(
        goal="escalation",
        value=budget,
        delta=delta,
        thresholds=(threshold,),
        rows=len(confidences),
        errors=escalated,
        bound=bounds.upper(escalated, len(confidences), delta, corpus),
        met=allowed >= 0,
        method=_method(len(confidences), corpus),
    )


def prove_agreement(sample: TierAnswers, thresholds: tuple[float, ...], delta: float) -> Guarantee:
    """The agreement that rows prove for thresholds that were chosen without them."""
    errors = int(sample.disagrees(thresholds).sum())
    proved = 1 - bounds.upper(errors, len(sample), delta)
    found = agreement_at(thresholds, sample, proved, delta)
    return replace(found, met=proved > 0, bound=proved)


def at_one_threshold(
    each: Sequence[Guarantee],
    sample: TierAnswers,
    *,
    labels: Sequence[str],
    corpus: int | None,
    columns: Sequence[TierAnswers] = (),
    at: tuple[float, float | None] | None = None,
) -> list[Guarantee]:
    """The guarantees at the highest of their thresholds, where all of them hold.

    One of them is met where some row of the whole sample is accepted and its own test passes. A
    class need not have an accepted row: without one, all its rows are the last tier's.

    Args:
      each: of two tiers.
      sample: whole.
      labels: of the classes, or of the columns.
      corpus: rows of the corpus; None where they are not counted.
      columns: of `label_agreement`, one a label; none where labels are classes.
      at: thresholds of both sides of a filter, where they are higher still.
    """
    threshold, label_threshold = at or (max(one.thresholds[0] for one in each), None)
    accepts = sample.accepts_any((threshold,), label_threshold)
    moved = []
    for one in each:
        part, size = sample, corpus
        if one.label is not None and columns:
            part = columns[labels.index(one.label)]
        elif one.label is not None:
            part, size = sample.take(sample.last == labels.index(one.label)), None
        again = agreement_at((threshold,), part, one.value, one.delta, size, label_threshold)
        allowed = bounds.most_errors(len(part), 1 - one.value, one.delta, size)
        met = accepts and again.errors <= allowed
        moved.append(replace(again, goal=one.goal, label=one.label, met=met))
    return moved


def by_class(
    sample: TierAnswers,
    labels: Sequence[str],
    thresholds: tuple[float, ...],
    delta: float,
    label_threshold: float | None = None,
) -> tuple[ClassAgreement, ...]:
    """Agreement with the last tier in every class that it gives, with exact two-sided intervals."""
    wrong = sample.disagrees(thresholds, label_threshold)
    accepted = sample.cascaded(thresholds, label_threshold)[1] < len(sample.answers)
    classes = []
    for index in np.unique(sample.last):
        here = sample.last == index
        rows, errors = int(here.sum()), int(wrong[here].sum())
        low, high = bounds.interval(errors, rows, delta)
        classes.append(
            ClassAgreement(
                label=labels[int(index)],
                rows=rows,
                disagreements=errors,
                agreement=1 - errors / rows,
                interval=(1 - high, 1 - low),
                accepted=int(accepted[here].sum()),
            )
        )
    return tuple(classes)
