"""Answers of logits: the best label, how sure the tier is of it, and every label's probability."""

import numpy as np
import pytest

from tango_beam import routing
from tango_beam.answers import LabelDecoder

LOGITS = np.array([[2, 0, -1], [0, 3, 3.5], [np.nan, 1, 2]], np.float32)
LABELS = ("a", "b", "c")


@pytest.mark.parametrize("kind", routing.CONFIDENCES)
def test_an_answer_is_the_best_label_with_the_tiers_kind_of_confidence(kind):
    decoder = LabelDecoder(2.0, kind)
    answers = decoder(LOGITS, LABELS)
    probabilities = routing.softmax(LOGITS, 2.0)
    assert len(answers) == 3
    assert answers.predictions.to_pylist()[:2] == ["a", "c"]
    expected = routing.confidence(probabilities, kind)
    np.testing.assert_array_equal(answers.confidences, expected)
    np.testing.assert_array_equal(decoder.confidences(LOGITS), expected)
    assert np.isnan(answers.confidences[2])
    assert answers.scores[0].as_py() == dict(zip(LABELS, probabilities[0].tolist(), strict=True))


def test_a_higher_temperature_makes_a_tier_less_sure_and_moves_no_answer():
    cool, warm = (LabelDecoder(temperature)(LOGITS[:2], LABELS) for temperature in (1.0, 4.0))
    assert cool.predictions.equals(warm.predictions)
    assert (warm.confidences < cool.confidences).all()
