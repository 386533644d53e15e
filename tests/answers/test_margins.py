"""Several labels at once, and scores: decisions, how sure they are, and which answers agree."""

import itertools
import math

import numpy as np
import pyarrow as pa
import pytest

from tango_beam.answers import Task

LABELS = ("a", "b", "c")


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def logit(probability):
    return math.log(probability / (1 - probability))


def decoder(kind="multi_label", labels=LABELS, fits=(), **task):
    return Task(kind, **task).decoder(labels, fits=fits)


def column(values, kind=None):
    return {"prediction": pa.array(values, kind)}


@pytest.mark.parametrize("cuts", [(), (0.3,), (0.2, 0.5, 0.9)])
@pytest.mark.parametrize("fits", [(), ((2.0, -0.5), (0.5, 1.0), (1.0, 0.0))])
def test_the_labels_are_those_whose_margin_is_no_less_than_0(rng, cuts, fits):
    logits = rng.normal(0, 3, (200, 3)).astype(np.float32)
    made = decoder(cuts=cuts, fits=fits)
    answers = made(logits, LABELS)
    every = cuts * 3 if len(cuts) == 1 else cuts or (0.5,) * 3
    for row, given in enumerate(logits.tolist()):
        margins = [
            slope * (value - logit(cut)) + intercept
            for value, cut, (slope, intercept) in zip(
                given, every, fits or [(1, 0)] * 3, strict=True
            )
        ]
        expected = [label for label, margin in zip(LABELS, margins, strict=True) if margin >= 0]
        assert answers.predictions[row].as_py() == expected
        sure = min(sigmoid(abs(margin)) for margin in margins)
        assert answers.confidences[row] == pytest.approx(sure, abs=1e-6)
        shown = answers.scores[row].as_py()
        assert shown == pytest.approx(dict(zip(LABELS, map(sigmoid, given), strict=True)), abs=1e-6)
        assert made.decisions(logits)[row].tolist() == [label in expected for label in LABELS]
    np.testing.assert_array_equal(made.confidences(logits), answers.confidences)


def test_all_labels_or_none_may_be_given():
    logits = np.array([[9, 9, 9], [-9, -9, -9]], np.float32)
    assert decoder()(logits, LABELS).predictions.to_pylist() == [[*LABELS], []]


def test_a_model_with_its_labels_in_another_order_gives_the_same_answers(rng):
    logits = rng.normal(0, 3, (50, 3)).astype(np.float32)
    made = decoder(cuts=(0.2, 0.5, 0.9))
    straight, turned = made(logits, LABELS), made(logits[:, [2, 0, 1]], ("c", "a", "b"))
    assert straight.predictions.equals(turned.predictions)
    assert straight.scores.equals(turned.scores)
    np.testing.assert_array_equal(straight.confidences, turned.confidences)


@pytest.mark.parametrize("cut", [0.5, 0.25, 0.9])
def test_a_probability_that_is_its_cut_reaches_it(cut):
    at = np.float32(np.log(cut / (1 - cut)))
    below = np.nextafter(at, np.float32(-np.inf))
    answers = decoder(labels=("a",), cuts=(cut,))(np.array([[at], [below]]), ("a",))
    assert answers.predictions.to_pylist() == [["a"], []]
    assert answers.confidences == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("cuts", [(2.5,), (-1.0, 0.0, 0.1)])
@pytest.mark.parametrize("fitted", [False, True])
def test_a_bucket_counts_the_cuts_that_a_score_reaches(rng, cuts, fitted):
    scores = np.concatenate([rng.normal(0, 2, 200), cuts]).astype(np.float32)[:, None]
    fits = tuple((1.5, 0.1 * number) for number in range(len(cuts))) if fitted else ()
    made = decoder("score", ("quality",), cuts=cuts, fits=fits)
    answers = made(scores, ("quality",))
    for row, value in enumerate(scores[:, 0]):
        pairs = zip(cuts, fits or [(1, 0)] * len(cuts), strict=True)
        margins = [slope * (value - np.float32(cut)) + more for cut, (slope, more) in pairs]
        assert answers.more["bucket"][row].as_py() == sum(margin >= 0 for margin in margins)
        sure = min(sigmoid(abs(margin)) for margin in margins)
        assert answers.confidences[row] == pytest.approx(sure, abs=1e-6)
    # A fit says how sure the tier is and which side a row is on; the score stays the model's.
    np.testing.assert_array_equal(answers.predictions.to_numpy(), scores[:, 0])
    assert answers.scores.to_pylist() == [{"quality": value} for (value,) in scores.tolist()]
    assert answers.more["bucket"].type == pa.int8()


def test_what_is_not_finite_gets_no_answer():
    logits = np.array([[0, 1, 2], [np.nan, 1, 2], [np.inf, 1, 2]], np.float32)
    assert sorted(decoder().complaints(logits)) == [1, 2]
    assert "found [nan]" in decoder("score", cuts=(0.0,)).complaints(np.array([[np.nan]]))[0]


def test_sets_agree_that_hold_the_same_labels():
    kind = pa.list_(pa.string())
    sets = [list(one) for n in range(4) for one in itertools.combinations(LABELS, n)]
    made = decoder()
    for one in sets:
        agree = made.agrees(column([one] * len(sets), kind), column(sets, kind)).to_pylist()
        assert agree == [one == other for other in sets]
    assert made.agrees(column([["a"]], kind), column([None], kind)).to_pylist() == [None]


def test_names_that_run_together_are_still_told_apart():
    kind = pa.list_(pa.string())
    made = decoder(labels=("a", "a, b", "b", ""))
    pairs = [(["a", "b"], ["a, b"]), ([""], []), (["", "a"], ["a"])]
    for one, other in pairs:
        assert made.agrees(column([one], kind), column([other], kind)).to_pylist() == [False]


def test_scores_agree_by_bucket_or_within_the_tolerance():
    first = decoder("score", ("q",), cuts=(2.5,))
    near = decoder("score", ("q",), cuts=(2.5,), tolerance=0.5)
    scores = [np.array(side, np.float32)[:, None] for side in ([2.4, 1, 3, 2], [2.6, 2, 3.6, 2.5])]
    one, other = (first(side, ("q",)).columns() for side in scores)
    assert first.agrees(one, other).to_pylist() == [False, True, True, False]
    assert near.agrees(one, other).to_pylist() == [True, False, False, True]
    unknown = {name: pa.nulls(4, values.type) for name, values in other.items()}
    for made in (first, near):
        assert made.agrees(one, unknown).null_count == 4


def test_columns_are_those_that_the_shape_states():
    for made, labels in ((decoder(), LABELS), (decoder("score", ("q",), cuts=(0.0,)), ("q",))):
        shape = made.shape(labels)
        answers = made(np.zeros((2, made.outputs(labels)), np.float32), labels)
        assert answers.predictions.type == shape.prediction
        assert answers.scores.type == shape.scores
        assert tuple(answers.columns()) == shape.names
