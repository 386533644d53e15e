from dataclasses import replace

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from tango_beam.evaluation import costs
from tango_beam.evaluation.costs import CostCurve, Stage
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models.tokens import Tokens


class Clock:
    """Time that passes only where a `FakeModel` works."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


class FakeModel:
    """Takes a second a token to score and a tenth of one to tokenize; a text is its length."""

    device, threads, labels, width = "cpu", 1, ("a",), 1

    def __init__(self, clock, seconds):
        self.clock, self.seconds, self.seen = clock, seconds, 0

    def tokenize(self, texts, pairs=None):
        lengths = [int(text) for text in texts.to_pylist()]
        self.clock.now += 0.1 * sum(lengths)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Tokens(np.zeros(offsets[-1], np.int32), offsets, np.zeros(len(lengths), bool))

    def plan(self, lengths):
        return [np.arange(len(lengths))] if len(lengths) else []

    def forward(self, tokens, rows):
        self.clock.now += self.seconds * tokens.lengths[rows].sum()
        self.seen += len(rows)
        return rows[:, None]

    def gathered(self, found, tokens):
        return found


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(costs, "time", made)
    return made


LENGTHS = np.array([9, 2, 5, 7, 1, 3, 8, 4, 6, 10, 2, 3, 4, 5, 6, 7, 8, 9, 1, 20])


def cascade(clock, *, takes_tokens, reached=None):
    texts = LabelledTexts(pa.array([str(n) for n in LENGTHS]), None, np.zeros(20, np.int64), ("a",))
    everyone = np.ones(20, bool)
    models = [
        FakeModel(clock, seconds) for seconds in (0.5, 3.0, 10.0)[: 2 if reached is None else 3]
    ]
    reaching = [everyone, everyone, reached]
    stages = [
        Stage(
            model,
            lambda outputs, labels, contexts: outputs,
            4,
            model.tokenize(texts.texts),
            takes_tokens and number > 0,
            reaching[number],
        )
        for number, model in enumerate(models)
    ]
    return stages, texts


@pytest.mark.parametrize("takes_tokens", [True, False])
def test_at_their_own_batch_sizes_the_escalated_rows_themselves_are_timed(clock, takes_tokens):
    stages, texts = cascade(clock, takes_tokens=takes_tokens)
    longest_first, shortest_first = np.argsort(-LENGTHS), np.argsort(LENGTHS)
    orders = {"long": longest_first, "short": shortest_first}
    found = costs.at_own_batch_sizes(stages, texts, orders, np.arange(20), repeats=2)
    a_token = 3.0 if takes_tokens else 3.1
    for name, order in orders.items():
        curve = found.curves[name]
        assert curve.shares.tolist() == [0, 0.05, 0.1, 0.25, 0.5, 1]
        expected = [a_token * LENGTHS[order[:count]].sum() / 20 for count in (0, 1, 2, 5, 10, 20)]
        assert curve.later.tolist() == pytest.approx(expected)
        assert curve.first == pytest.approx(0.6 * LENGTHS.sum() / 20)
        assert curve.alone == pytest.approx(3.1 * LENGTHS.sum() / 20)
    assert len(found.first) == len(found.alone) == 2


def test_few_rows_are_taken_again_until_a_window_or_micro_batches_are_full(clock):
    stages, _ = cascade(clock, takes_tokens=True)
    few = np.array([3, 0])  # nine and seven tokens
    assert costs.filled(stages[0], few, 1000).tolist() == [0, 0, 3, 3]  # a window of four rows
    wide = replace(stages[0], batch_rows=1000)
    assert costs.filled(wide, few, 33).tolist() == [0, 0, 0, 3, 3, 3]
    assert costs.filled(wide, few, 10).tolist() == [0, 3]
    assert costs.filled(stages[0], np.arange(20), 1).tolist() == [*range(20)]


def test_only_rows_that_reach_a_third_tier_are_timed_in_it(clock):
    reached = LENGTHS > 6
    stages, texts = cascade(clock, takes_tokens=True, reached=reached)
    orders = {"cascade": np.arange(20)}
    found = costs.at_own_batch_sizes(stages, texts, orders, np.arange(20), repeats=1)
    half = 3.0 * LENGTHS[:10].sum() + 10.0 * LENGTHS[:10][reached[:10]].sum()
    assert found.curves["cascade"].later[-2] == pytest.approx(half / 20)
    assert found.curves["cascade"].alone == pytest.approx(10.1 * LENGTHS.sum() / 20)
    single = costs.at_batch_size_1(stages, texts, orders, np.arange(20), repeats=1)
    assert single.curves["cascade"].later[10] == pytest.approx(half / 20)


def test_a_sample_is_carried_over_to_all_rows_by_their_tokens(clock):
    stages, texts = cascade(clock, takes_tokens=False)
    order = np.argsort(-LENGTHS)
    rows = np.array([0, 3, 4, 11, 17])
    seen = stages[1].model.seen
    found = costs.at_batch_size_1(
        stages, texts, {"cascade": order, "random": None}, rows, repeats=3
    )
    curve = found.curves["cascade"]
    assert stages[1].model.seen == seen + 3 * 5 + 5  # and once to warm up
    expected = 3.1 * np.concatenate([[0], np.cumsum(LENGTHS[order])]) / 20
    assert curve.later.tolist() == pytest.approx(expected.tolist())
    assert curve.first == pytest.approx(0.6 * LENGTHS.mean())
    assert found.curves["random"].later.tolist() == pytest.approx([0, 3.1 * LENGTHS.mean()])


def test_speedup_is_the_papers_quotient():
    curve = CostCurve(
        first=0.1, alone=1.0, shares=np.array([0, 0.5, 1]), later=np.array([0, 0.6, 0.9])
    )
    shares = np.array([0, 0.25, 1.0])
    assert curve.speedups(shares).tolist() == pytest.approx([10, 1 / 0.4, 1.0])


seconds_and_lengths = st.integers(1, 20).flatmap(
    lambda count: st.tuples(
        hnp.arrays(np.int64, count, elements=st.integers(1, 500)),
        hnp.arrays(np.float64, count, elements=st.floats(1e-6, 10)),
    )
)


@given(seconds_and_lengths)
def test_carrying_over_keeps_the_mean_is_never_negative_and_grows_with_length(given_rows):
    lengths, seconds = given_rows
    again = costs.carry_over(lengths, seconds, lengths)
    assert again.mean() == pytest.approx(seconds.mean())
    wanted = costs.carry_over(lengths, seconds, np.arange(1, 600))
    assert (wanted >= -1e-12).all()
    assert (np.diff(wanted) >= 0).all()
