"""Signs for what a scored sample can carry: fit, thresholds, certificate, cascade directory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np

from tango_beam import machine
from tango_beam.arrays import Float32
from tango_beam.calibration import attempts, exits, filtering, kinds, score_sample
from tango_beam.calibration.goals import Goals
from tango_beam.calibration.offers import Offer, offers
from tango_beam.calibration.options import CalibrateOptions
from tango_beam.calibration.score_sample import TierLogits
from tango_beam.config import CascadeConfig, Compute
from tango_beam.errors import RefusedError
from tango_beam.guarantees import bounds, filters, guarantees, means
from tango_beam.guarantees.certificate import (
    Attempt,
    Certificate,
    ClassAgreement,
    Corpus,
    Guarantee,
    SampleRows,
    Speed,
)


@dataclass(frozen=True)
class Outcome:
    """What a calibration gave.

    Attributes:
      certificate: with the guarantees, whether they are met or not.
      offers: what the same rows could sign for, for people to choose from; none for a filter.
      cascade: with the thresholds and temperatures that were signed for; its tiers lie where they
        lay.
      wanted_rows: about so many that test would sign where these were too few; None otherwise.
    """

    certificate: Certificate
    offers: tuple[Offer, ...]
    cascade: CascadeConfig
    wanted_rows: int | None = None

    @property
    def met(self) -> bool:
        """Whether all guarantees hold with some row accepted, so that the cascade was written."""
        return self.certificate.attempts[-1].met


@dataclass(frozen=True)
class ScoredSample:
    """The scored sample.

    Attributes:
      fit: rows that only fit; often none.
      test: rows that only test.
      first_tier: under a budget, the first tier's logits for further rows.
      corpus: rows that the sample was drawn from; None for labelled rows, which are themselves a
        sample of what the guarantees are about.
      seed: with which it was drawn.
      path: thresholds of three tiers or more, from the safest down, to be tested in this order;
        none: one that `fit` gives.
    """

    fit: TierLogits
    test: TierLogits
    first_tier: Float32 | None
    corpus: int | None
    seed: int
    path: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Signing:
    """What a certificate says beside the cascade and the sample.

    Attributes:
      options: goals, how to fit, and the output directory.
      compute: settled.
      corpus: that the sample was drawn from.
      drawn: rows, those without an answer among them.
      earlier: attempts on record.
      tiers: of the cascade, its exits not counted.
      kept: names in the output directory that stay.
    """

    options: CalibrateOptions
    compute: Compute
    corpus: Corpus
    drawn: int
    earlier: tuple[Attempt, ...] = ()
    tiers: int = 2
    kept: tuple[str, ...] = ()


def sign(given: Signing, cascade: CascadeConfig, scored: ScoredSample) -> Outcome:
    """Fits and signs what a scored sample can carry, and writes the cascade directory.

    Args:
      given: what the certificate says besides.
      cascade: its thresholds are passed over; exits are tiers of it.
      scored: rows that nobody has looked at to choose the cascade.
    """
    options, goals, real = given.options, given.options.goals, given.tiers
    before = cascade
    if options.temperature == "fit":
        cascade = kinds.fitted(cascade, scored.fit if len(scored.fit) else scored.test)
    if options.exits:
        path = exits.path(cascade, scored.fit, real, goals, len(scored.test))
        scored = replace(scored, path=path)
    each = _guarantees(goals, cascade, scored)
    # With two tiers, a guarantee that holds at a threshold holds at every higher one.
    thresholds, of_label = max(one.thresholds for one in each), each[0].label_threshold
    cascade = _with_thresholds(cascade, thresholds, of_label)
    classes = kinds.by_class(cascade, scored.test, thresholds, goals.delta, of_label)
    costs = speed(scored.test, cascade, thresholds, of_label)
    errors = score_sample.calibration_errors(before, cascade, scored.test)
    fit, test = scored.fit.answers(cascade), scored.test.answers(cascade)
    offered = offers(fit, test, goals.delta, scored.corpus, scored.path)
    cascade = exits.joined(cascade, real) if options.exits else cascade
    precision = given.compute.precision
    certificate = Certificate(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        signed=tuple(each),
        delta=goals.delta,
        thresholds=thresholds[: real - 1],
        seed=scored.seed,
        sample=SampleRows(given.drawn, len(scored.test), len(scored.fit)),
        corpus=given.corpus,
        speed=costs,
        by_class=classes,
        calibration=errors,
        versions=machine.versions(),
        unseen_classes=_unseen(cascade, classes),
        scoring=cascade.scoring(precision),
        scoring_fingerprint=cascade.scoring_fingerprint(precision),
        filter=goals.label,
        label_threshold=of_label,
        exit_thresholds=cascade.tiers[-1].exit_thresholds,
    )
    certificate = replace(certificate, attempts=(*given.earlier, certificate.attempt()))
    attempts.write(cascade, certificate, options.output, given.kept)
    return Outcome(certificate, offered, cascade, _wanted(certificate, len(cascade.tiers)))


def _wanted(certificate: Certificate, tiers: int) -> int | None:
    """Rows that sign for an agreement that these were too few for; None where they were enough.

    The safest thresholds of a chain are those at which no row of the fit is wrong. Fresh rows then
    err about once in as many in each tier, whatever the size: so often must the test allow it.
    """
    (one, *others) = certificate.signed
    if one.met or others or one.goal != "agreement" or not certificate.sample.fitted:
        return None
    likely = (tiers - 1) * one.rows / certificate.sample.fitted
    rows = bounds.rows_that_allow(math.ceil(likely + math.sqrt(likely)), 1 - one.value, one.delta)
    return rows if rows > one.rows else None


def _unseen(cascade: CascadeConfig, classes: Sequence[ClassAgreement]) -> tuple[str, ...]:
    seen = {one.label for one in classes}
    return tuple(name for name in kinds.classes(cascade) if name not in seen)


def _guarantees(goals: Goals, cascade: CascadeConfig, rows: ScoredSample) -> list[Guarantee]:
    """What the sample can sign for: each with the thresholds that it takes."""
    if goals.has_budget:
        return _within_budget(goals, cascade, rows)
    test = rows.test.answers(cascade)
    if goals.f1_agreement is not None or goals.f1_retained is not None:
        return [kinds.mean_f1(cascade, rows.fit, rows.test, goals, rows.seed)]
    if goals.accuracy_retained is not None:
        fit, rho = rows.fit.answers(cascade), goals.accuracy_retained
        return [means.accuracy_retained(fit, test, rho, goals.delta, rows.seed, rows.path)]
    if len(cascade.tiers) > 2:
        return kinds.on_a_path(cascade, rows.fit, rows.test, goals, rows.corpus, rows.path)
    labels, columns = kinds.classes(cascade), kinds.columns(cascade, rows.test)
    share, corpus, each = goals.share, rows.corpus, []
    if goals.agreement is not None:
        each.append(guarantees.agreement(test, goals.agreement, share, corpus))
    if goals.class_agreement is not None and columns:
        each += guarantees.label_agreement(columns, labels, goals.class_agreement, share, corpus)
    elif goals.class_agreement is not None:
        each += guarantees.class_agreement(test, labels, goals.class_agreement, share)
    move = partial(
        guarantees.at_one_threshold, each, test, labels=labels, corpus=corpus, columns=columns
    )
    if goals.label is None:
        return move()
    promises = filtering.promises(goals)
    at = filters.sides(test, promises)
    at = at.at_least(max((one.thresholds[0] for one in each), default=0.0))
    signed = filters.sign(test, promises, at, goals.label)
    return [*move(at=at), *signed]


def _within_budget(goals: Goals, cascade: CascadeConfig, rows: ScoredSample) -> list[Guarantee]:
    """Escalation within the budget on one sample, agreement at that threshold on another."""
    budget = goals.max_escalation
    if budget is None:
        first, last = rows.test.seconds
        assert goals.min_speedup is not None
        budget = 1 / goals.min_speedup - first / last
        if not 0 < budget < 1:
            raise RefusedError(
                f"--min_speedup {goals.min_speedup}: expected less than {last / first:.1f}, which "
                "is how many times as fast the first tier is alone, on this machine"
            )
    assert rows.first_tier is not None
    confidences = cascade.decoder(cascade.tiers[0]).confidences(rows.first_tier)
    within = guarantees.escalation(confidences, budget, goals.delta / 2, rows.corpus)
    test = rows.test.answers(cascade)
    return [within, guarantees.prove_agreement(test, within.thresholds, goals.delta / 2)]


def _with_thresholds(
    cascade: CascadeConfig, thresholds: Sequence[float], label_threshold: float | None
) -> CascadeConfig:
    tiers = [
        replace(tier, threshold=threshold)
        for tier, threshold in zip(cascade.tiers[:-1], thresholds, strict=True)
    ]
    first = replace(tiers[0], label_threshold=label_threshold)
    return replace(cascade, tiers=(first, *tiers[1:], cascade.tiers[-1]))


def speed(
    rows: TierLogits,
    cascade: CascadeConfig,
    thresholds: Sequence[float],
    label_threshold: float | None = None,
) -> Speed:
    """Seconds a row in each tier, and how many times as fast as the last tier alone the cascade is.

    Costs are those of this machine, batched and sorted by length, tokenization included; escalated
    rows are taken to cost what rows of the sample cost on average.
    """
    tier = rows.answers(cascade).cascaded(thresholds, label_threshold)[1]
    reached = tuple(float((tier >= number).mean()) for number in range(1, len(rows.seconds) + 1))
    times = rows.alone / float(np.dot(reached, rows.seconds))
    return Speed(rows.seconds, reached[1], reached, times, times > 1)
