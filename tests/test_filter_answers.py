"""What a filter asks of each kind of answer: what a row is called, and how sure a tier is of it."""

import numpy as np
import pyarrow as pa
import pytest

from tango_beam import routing
from tango_beam.answers import Task
from tango_beam.config import CascadeConfig, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.run.keep import Keep

LABELS = ("a", "b", "c")
LOGITS = np.array([[2, -1, -3], [-1, -2, -3], [0.5, 0, -0.5], [-2, 3, 4]], np.float32)
MULTI = Task("multi_label", (0.5,))
SCORE = Task("score", (1.5, 2.5, 3.5))
SCORES = np.array([[0.5], [1.5], [2.6], [9.0]], np.float32)


def names(task):
    return ("score",) if task is SCORE else LABELS


def cascade(task, found, labels=None):
    labels = names(task) if labels is None else labels
    tiers = TierConfig("small", threshold=0.9, label_threshold=0.8), TierConfig("large")
    return CascadeConfig(tiers, labels, task=task, filter=found)


@pytest.mark.parametrize(
    ("task", "outputs", "found", "called", "margins"),
    [
        (MULTI, LOGITS, "b", [False, False, True, True], [1, 2, 0, 3]),
        (MULTI, LOGITS, "a", [True, False, True, False], [2, 1, 0.5, 2]),
        (SCORE, SCORES, "1", [False, True, True, True], [1, 0, 1.1, 7.5]),
        (SCORE, SCORES, "3", [False, False, False, True], [3, 2, 0.9, 5.5]),
    ],
)
def test_a_tier_goes_by_one_decision_and_gives_its_usual_answer(
    task, outputs, found, called, margins
):
    config = cascade(task, found)
    first, last = map(config.decoder, config.tiers)
    answers, usual = first(outputs, names(task)), last(outputs, names(task))
    assert answers.columns() == usual.columns()
    assert first.calls(answers.columns(), found).to_pylist() == called
    expected = routing.sigmoid(np.array(margins, np.float32))
    np.testing.assert_allclose(answers.confidences, expected, rtol=1e-6)
    np.testing.assert_allclose(first.confidences(outputs), expected, rtol=1e-6)


def test_a_model_that_gives_its_labels_in_another_order_calls_alike():
    first = cascade(MULTI, "b").decoder(cascade(MULTI, "b").tiers[0])
    turned = first(LOGITS[:, ::-1], LABELS[::-1])
    assert turned.predictions == first(LOGITS, LABELS).predictions
    np.testing.assert_array_equal(turned.confidences, first(LOGITS, LABELS).confidences)


@pytest.mark.parametrize(
    ("task", "outputs", "found"),
    [(MULTI, LOGITS, "b"), (SCORE, SCORES, "2"), (Task(), LOGITS, "a")],
)
def test_tiers_are_compared_by_code_and_by_what_they_call(task, outputs, found):
    config = cascade(task, found)
    answers = config.answers([outputs, outputs[::-1]])
    decoders = map(config.decoder, config.tiers)
    both = [
        decoder(rows, names(task)).columns()
        for decoder, rows in zip(decoders, (outputs, outputs[::-1]), strict=True)
    ]
    last = config.decoder(config.tiers[1])
    same = last.agrees(*both).to_pylist()
    assert (answers.answers[0] == answers.answers[1]).tolist() == same
    assert [one.tolist() for one in answers.called] == [
        last.calls(columns, found).to_pylist() for columns in both
    ]


@pytest.mark.parametrize(
    ("task", "outputs", "labels", "kept"),
    [
        (MULTI, LOGITS, ("b",), [2, 3]),
        (MULTI, LOGITS, ("a", "c"), [0, 2, 3]),
        (SCORE, SCORES, ("2",), [2, 3]),
        (Task(), LOGITS, ("a", "c"), [0, 1, 2, 3]),
        (Task(), LOGITS, ("b",), []),
    ],
)
def test_rows_are_kept_by_what_they_are_called(task, outputs, labels, kept):
    decoder = task.decoder(names(task))
    said = decoder(outputs, names(task)).columns()
    columns = {f"x_{name}": one for name, one in said.items()}
    batch = pa.RecordBatch.from_pydict({"id": pa.array(range(4)), "prediction": [0] * 4, **columns})
    found = Keep(decoder, "x_", labels).rows(batch)
    assert found.column("id").to_pylist() == kept
    # A batch that is a part of another one has its lists at an offset.
    assert Keep(decoder, "x_", labels).rows(batch.slice(2)).column("id").to_pylist() == [
        row for row in kept if row >= 2
    ]


@pytest.mark.parametrize(("task", "found"), [(SCORE, "4"), (SCORE, "0"), (MULTI, "d")])
def test_nothing_else_can_be_found(task, found):
    with pytest.raises(RefusedError, match=f"filter on one of .*, found '{found}'"):
        cascade(task, found)


def test_nothing_is_found_among_spans():
    with pytest.raises(RefusedError, match="filter on one of nothing, found 'a'"):
        cascade(Task("span"), "a", ())
