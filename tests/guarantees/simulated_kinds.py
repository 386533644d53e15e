"""Simulated promises of filters, labels, buckets and mean F1, through the real selection code.

Each case is a population of 200,000 rows; a threshold is chosen on samples of it again and again,
and those that break the promise on the population are counted. `plain` takes what a sample looks
like for the truth, and must break far more.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tango_beam.guarantees import filters, guarantees, means
from tango_beam.guarantees.filters import PRECISION, RECALL, Promise, Sides
from tango_beam.guarantees.thresholds import BELOW_ONE, lowest_threshold
from tango_beam.guarantees.tier_answers import TierAnswers, path_of_thresholds

POPULATION = 200_000
LABELS = ("a", "b", "c", "d", "e")


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def at_least(ordered, threshold):
    """How many of ascending confidences a threshold accepts; one of 1 accepts none."""
    found = len(ordered) - np.searchsorted(ordered, np.float32(threshold), side="left")
    return np.where(np.asarray(threshold) >= 1, 0, found)


def filter_of(confidences, answers):
    """A filter whose tiers answer 1 where they call its label, and else 0."""
    return TierAnswers(confidences, answers, called=tuple(one == 1 for one in answers))


@dataclass
class Filter:
    """A filter on one label; `goals` holds recall, precision, or both."""

    name: str
    goals: dict
    rows: int
    population: TierAnswers

    @cached_property
    def parts(self):
        """Ascending confidences of: each side, the missed rows, the false calls; rows wanted."""
        first, last = self.population.called
        sure = np.minimum(self.population.confidences[0], BELOW_ONE)
        chosen = (~first, first, ~first & last, first & ~last)
        return *(np.sort(sure[rows]) for rows in chosen), int(last.sum())

    def choose(self, sample, delta, seed, plain):
        promises = [
            Promise(goal, value, delta / len(self.goals)) for goal, value in self.goals.items()
        ]
        return self.plainly(sample) if plain else filters.sides(sample, promises)

    def plainly(self, sample):
        first, last = sample.called
        sure, found = sample.confidences[0], {}
        if RECALL in self.goals:
            allowed = int((1 - self.goals[RECALL]) * last.sum())
            found[RECALL] = lowest_threshold(sure[~first], last[~first], allowed)
        if PRECISION in self.goals:
            value = self.goals[PRECISION]
            allowed = int((first & last).sum() * (1 - value) / value)
            found[PRECISION] = lowest_threshold(sure[first], ~last[first], allowed)
        return Sides(*(found[goal] for goal in (RECALL, PRECISION) if goal in found))

    def broken(self, at):
        return bool(self.breaks(at.threshold, at.label_threshold or at.threshold))

    def breaks(self, threshold, label_threshold):
        """Whether any goal is broken; of arrays of thresholds too."""
        *_, missed, false, wanted = self.parts
        right, wrong = wanted - at_least(missed, threshold), at_least(false, label_threshold)
        low_recall = right < self.goals.get(RECALL, 0) * wanted - 1e-9
        return low_recall | (right < self.goals.get(PRECISION, 0) * (right + wrong) - 1e-9)

    def escalated(self, at):
        return self.escalates(at.threshold, at.label_threshold or at.threshold)

    def escalates(self, threshold, label_threshold):
        rest, label, *_ = self.parts
        accepted = at_least(rest, threshold) + at_least(label, label_threshold)
        return 1 - accepted / POPULATION

    def least(self):
        """The least escalation of thresholds that keep the goals."""
        rest, label, *_ = self.parts
        tried = np.unique(np.append(np.concatenate([rest, label]), 1.0)[::7])
        tried = np.append(tried, 1.0)
        if len(self.goals) == 1:
            fine = tried[~self.breaks(tried, tried)]
            return float(self.escalates(fine, fine).min())
        # Recall decides one side alone; the other then goes as low as precision lets it.
        first = tried[~self.breaks(tried, np.ones(len(tried)))].min()
        fine = tried[~self.breaks(np.full(len(tried), first), tried)]
        return float(self.escalates(first, fine).min())


def filter_population(rng, share, temper=1.0, finds_all=False):
    """A first tier that is calibrated, or over-confident (`temper` above 1), or misses no row."""
    centre = {0.3: -2.4, 0.05: -7.0, 0.01: -9.6}[share]
    z = rng.normal(centre, 3.9, POPULATION)
    last = (rng.random(POPULATION) < sigmoid(z)).astype(np.int64)
    p = sigmoid(temper * z).astype(np.float32)
    first = (p >= 0.5).astype(np.int64)
    last *= first if finds_all else 1
    return filter_of((np.maximum(p, 1 - p),), (first, last))


@dataclass
class Labels:
    """Label by label, or bucket by bucket: no part of the answers falls under the goal."""

    name: str
    goal: float
    rows: int
    population: TierAnswers
    columns: tuple = ()

    @cached_property
    def wrong(self):
        """Of each part, ascending confidences of the rows that disagree, and its rows."""
        if self.columns:
            parts = [(~np.equal(*column.answers), POPULATION) for column in self.columns]
        else:
            first, last = self.population.answers
            parts = [
                ((first != last) & (last == each), int((last == each).sum()))
                for each in np.unique(last)
            ]
        sure = np.minimum(self.population.confidences[0], BELOW_ONE)
        return [(np.sort(sure[errs]), rows) for errs, rows in parts]

    def choose(self, sample, delta, seed, plain):
        if plain:
            return max(self.plainly(sample))
        if self.columns:
            each = guarantees.label_agreement(sample[1], LABELS, self.goal, delta)
        else:
            each = guarantees.class_agreement(sample[0], LABELS, self.goal, delta)
        return max(one.thresholds[0] for one in each)

    def plainly(self, sample):
        whole, columns = sample
        classes = [whole.take(whole.last == each) for each in np.unique(whole.last)]
        for part in columns or classes:
            errs = part.answers[0] != part.last
            allowed = int((1 - self.goal) * len(part))
            yield lowest_threshold(part.confidences[0], errs, allowed)

    def broken(self, threshold):
        return any(at_least(errs, threshold) > (1 - self.goal) * rows for errs, rows in self.wrong)

    def escalated(self, threshold):
        sure = self.ordered
        return 1 - float(at_least(sure, threshold)) / POPULATION

    @cached_property
    def ordered(self):
        return np.sort(np.minimum(self.population.confidences[0], BELOW_ONE))

    def least(self):
        fine = [np.float32(1)]
        for threshold in self.ordered[::-50]:
            if self.broken(threshold):
                break
            fine.append(threshold)
        return self.escalated(fine[-1])


def multi_label(rng):
    """Five labels, ever rarer; the row is as sure as its least sure label."""
    sure, columns = np.ones(POPULATION), []
    for number in range(len(LABELS)):
        z = rng.normal(-1.5 * number, 6.0, POPULATION)
        last = (rng.random(POPULATION) < sigmoid(z)).astype(np.int64)
        sure = np.minimum(sure, sigmoid(np.abs(z)))
        columns.append(((z >= 0).astype(np.int64), last))
    confidences = (sure.astype(np.float32),)
    # A set's code is its own number.
    codes = tuple(sum(pair[at] << n for n, pair in enumerate(columns)) for at in (0, 1))
    return TierAnswers(confidences, codes), tuple(
        TierAnswers(confidences, pair) for pair in columns
    )


def buckets(rng):
    """A score that the first tier shrinks, in four buckets."""
    score = rng.normal(1.5, 1.0, POPULATION)
    seen = 1.5 + 0.7 * (score - 1.5) + rng.normal(0, 0.2, POPULATION)
    cuts = np.array([0.5, 1.5, 2.5])
    near = np.abs(seen[:, None] - cuts).min(axis=1)
    answers = tuple(np.searchsorted(cuts, values).astype(np.int64) for values in (seen, score))
    return TierAnswers(((sigmoid(6 * near)).astype(np.float32),), answers)


@dataclass
class MeanF1:
    """Mean F1 against the last tier (`f1_agreement`), or the share kept of it (`f1_retained`)."""

    name: str
    goal: float
    rows: int
    population: TierAnswers
    f1: list
    retained: bool = False
    points: dict = field(default_factory=dict)

    def choose(self, sample, delta, seed, plain):
        rows, f1 = sample
        cut = len(rows) // 5
        fit, test = rows.take(slice(0, cut)), rows.take(slice(cut, None))
        tested = [values[cut:] for values in f1]
        if not plain:
            find = means.f1_retained if self.retained else means.f1_agreement
            given = tested if self.retained else tested[:-1]
            return find(fit, test, given, self.goal, delta, seed).thresholds
        each = np.stack(tested)
        fine = [
            point
            for point in path_of_thresholds(fit)
            if each[test.cascaded(point)[1] - 1, np.arange(len(test))].mean()
            >= self.goal * each[-1].mean()
        ]
        return fine[-1] if fine else (1.0,)

    def at(self, thresholds):
        """The population's mean F1 over its due, and its share of escalated rows."""
        (threshold,) = thresholds
        order, gained, last = self.ordered
        taken = int(at_least(order, threshold))
        return (last + gained[taken]) / last, 1 - taken / POPULATION

    @cached_property
    def ordered(self):
        sure = np.minimum(self.population.confidences[0], BELOW_ONE)
        order = np.argsort(-sure, kind="stable")
        gained = np.concatenate([[0.0], np.cumsum((self.f1[0] - self.f1[-1])[order])])
        return sure[order][::-1], gained, float(self.f1[-1].sum())

    def broken(self, thresholds):
        return self.at(thresholds)[0] < self.goal

    def escalated(self, thresholds):
        return self.at(thresholds)[1]

    def least(self):
        _, gained, last = self.ordered
        fine = np.flatnonzero((last + gained) / last >= self.goal)
        return 1 - int(fine.max()) / POPULATION


def spans(rng, name, goal, rows, retained=False):
    sure = sigmoid(rng.normal(1.5, 2.0, POPULATION))
    same = rng.random(POPULATION) < sure
    partly = rng.beta(2, 2, POPULATION) * (rng.random(POPULATION) < 0.6)
    against_last = np.where(same, 1.0, partly)
    last = np.ones(POPULATION)
    if retained:
        last = np.where(rng.random(POPULATION) < 0.75, 1.0, rng.beta(2, 2, POPULATION))
        against_last = np.where(same, last, np.where(rng.random(POPULATION) < 0.2, 1.0, partly))
    answers = (same.astype(np.int64), np.ones(POPULATION, np.int64))
    population = TierAnswers((sure.astype(np.float32),), answers)
    return MeanF1(name, goal, rows, population, [against_last, last], retained)


@dataclass
class ThreeTiers:
    """Recall of three tiers, whose early ones differ from the last on different rows."""

    name: str
    goal: float
    rows: int
    population: TierAnswers

    def choose(self, sample, delta, seed, plain):
        cut = len(sample) // 5
        fit, test = sample.take(slice(0, cut)), sample.take(slice(cut, None))
        if not plain:
            promises = [Promise(RECALL, self.goal, delta)]
            return filters.path_sign(fit, test, promises, "yes")[0].thresholds
        wanted = test.called[-1]
        allowed = int((1 - self.goal) * wanted.sum())
        fine = [
            point
            for point in path_of_thresholds(filters.collapsed(fit))
            if (wanted & ~test.calls(point)).sum() <= allowed
        ]
        return fine[-1] if fine else (1.0, 1.0)

    def broken(self, thresholds):
        called, wanted = self.population.calls(thresholds), self.population.called[-1]
        return called[wanted].mean() < self.goal

    def escalated(self, thresholds):
        """Share of rows that reach the last tier."""
        return (self.population.cascaded(thresholds)[1] == 3).mean()

    def least(self):
        path = path_of_thresholds(filters.collapsed(self.population), steps=50)
        return min(self.escalated(point) for point in path if not self.broken(point))


def three_tiers(rng):
    """Both early tiers miss a little too much of the label, each of them other rows."""
    last = (rng.random(POPULATION) < 0.3).astype(np.int64)
    sure, answers = [], []
    for false in (0.3, 0.0):
        errs = rng.random(POPULATION) < np.where(last == 1, 0.053, false)
        answers.append(np.where(errs, 1 - last, last))
        sure.append(rng.uniform(0.5, 1, POPULATION).astype(np.float32))
    return filter_of(tuple(sure), (*answers, last))


def cases(seed=0):
    rng = np.random.default_rng(seed)
    both = {RECALL: 0.95, PRECISION: 0.9}
    # So many rows that about 300 of them are of the label.
    for share, rows in ((0.3, 1000), (0.05, 6000), (0.01, 30_000)):
        calibrated, sure = filter_population(rng, share), filter_population(rng, share, 1.6)
        # Where no row is missed, the side "not" adds no right call: precision is at its least.
        worst = filter_population(rng, share, finds_all=True)
        at = f"label at {share:.0%}"
        yield Filter(f"recall, {at}", {RECALL: 0.95}, rows, calibrated)
        yield Filter(f"recall, {at}, over-confident", {RECALL: 0.95}, rows, sure)
        yield Filter(f"precision, {at}", {PRECISION: 0.9}, rows, calibrated)
        yield Filter(f"precision, {at}, none missed", {PRECISION: 0.9}, rows, worst)
        yield Filter(f"recall and precision, {at}", both, rows, calibrated)
    yield ThreeTiers("recall, three tiers on one path", 0.95, 1500, three_tiers(rng))
    yield Labels("label by label", 0.97, 1000, *multi_label(rng))
    yield Labels("bucket", 0.95, 2000, buckets(rng))
    yield spans(rng, "mean F1 against the last tier", 0.95, 1000)
    yield spans(rng, "mean F1 retained", 0.95, 1000, retained=True)


def drawn(case, chosen):
    """The rows of a sample, as the case wants them."""
    whole = case.population.take(chosen)
    if isinstance(case, Labels):
        return whole, [column.take(chosen) for column in case.columns]
    if isinstance(case, MeanF1):
        return whole, [values[chosen] for values in case.f1]
    return whole


def simulate(case, delta, times, plain=False):
    """Share of broken promises, and mean escalation beside the least that would do."""
    rng = np.random.default_rng(1)
    broken, escalated = 0, 0.0
    for number in range(times):
        sample = drawn(case, rng.integers(0, POPULATION, case.rows))
        at = case.choose(sample, delta, number, plain)
        broken += bool(case.broken(at))
        escalated += float(case.escalated(at))
    return {
        "broken": broken / times,
        "noise": 3 * (delta * (1 - delta) / times) ** 0.5,
        "escalated": escalated / times,
        "least": case.least(),
    }
