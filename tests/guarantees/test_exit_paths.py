"""Which exits a path opens, and what its points let err."""

import numpy as np
import pytest

from tango_beam.guarantees.chains import Demand
from tango_beam.guarantees.exit_paths import MOST_EXITS, SHUT, path_of_exits
from tango_beam.guarantees.tier_answers import TierAnswers

ROWS = 600


def answered(rng, skills, *, first=0.8):
    """A first tier and exits, each with a share of rows that it is right on, and sure of.

    A tier is sure of a row as it should be: right ones lie above 0.5, wrong ones below.
    """
    whole = np.ones(ROWS, np.int64)
    answers, confidences = [], []
    for skill in (first, *skills):
        right = rng.random(ROWS) < skill
        answers.append(right.astype(np.int64))
        confidences.append((rng.random(ROWS) / 2 + right / 2).astype(np.float32))
    return TierAnswers(tuple(confidences), (*answers, whole))


def opened(path):
    """Numbers of the exits that a path opens, the first behind the first layer."""
    return {number for point in path for number, one in enumerate(point[1:]) if one < SHUT}


def test_the_exits_that_pay_are_opened_and_no_others(rng):
    fit = answered(rng, (0.0, 0.0, 0.9, 0.0, 0.0))
    path = path_of_exits(fit, (0.1, *[1.0] * 6), 2, Demand(0.98))
    assert opened(path) == {2}
    assert {len(point) for point in path} == {6}


def test_an_exit_behind_which_little_is_left_is_not_worth_its_risk(rng):
    """The layers behind it cost nothing, so leaving there saves nothing."""
    fit = answered(rng, (0.0, 0.9))
    assert opened(path_of_exits(fit, (0.1, 1.0, 1.0, 0.0), 2, Demand(0.98))) == set()
    assert opened(path_of_exits(fit, (0.1, 1.0, 1.0, 9.0), 2, Demand(0.98))) == {1}


def test_no_more_than_a_few_exits_are_opened(rng):
    fit = answered(rng, (0.5, 0.6, 0.7, 0.8, 0.9))
    found = opened(path_of_exits(fit, (0.1, *[1.0] * 6), 2, Demand(0.95)))
    assert 1 <= len(found) <= MOST_EXITS


def test_a_path_begins_where_none_of_its_rows_errs_and_goes_far_past_the_goal(rng):
    fit = answered(rng, (0.3, 0.6, 0.9))
    path = path_of_exits(fit, (0.1, *[1.0] * 4), 2, Demand(0.95))
    errors = [int(fit.disagrees(point).sum()) for point in path]
    assert errors[0] == 0
    assert max(errors) > 2 * 0.05 * ROWS
    assert len(path) == len({*path})


def test_what_counts_may_be_some_of_the_rows(rng):
    """The first tier errs on rows that do not count: it may answer them all."""
    fit = answered(rng, (0.0,), first=0.5)
    free = Demand(0.98, rows=fit.answers[0] == 1)
    path = path_of_exits(fit, (0.1, 1.0, 1.0), 2, free)
    assert fit.disagrees(path[0]).sum() > 0.3 * ROWS
    held = path_of_exits(fit, (0.1, 1.0, 1.0), 2, Demand(0.98))
    assert fit.disagrees(held[0]).sum() == 0


@pytest.mark.parametrize("real", [2, 3])
def test_tiers_before_the_last_are_never_shut_out(rng, real):
    fit = answered(rng, (0.9,) * 4)
    path = path_of_exits(fit, (0.1, *[1.0] * 5), real, Demand(0.95))
    assert min(point[real - 2] for point in path) < SHUT
