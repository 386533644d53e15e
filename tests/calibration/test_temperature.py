import numpy as np
import pytest

from tango_beam import routing
from tango_beam.calibration.temperature import expected_calibration_error, fit_temperature


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_answers_is_found(rng, true):
    logits = rng.normal(0, 3, (20_000, 4)).astype(np.float32)
    chances = routing.softmax(logits, true)
    answers = (chances.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert fit_temperature(logits, answers) == pytest.approx(true, rel=0.05)


def test_fitting_lowers_the_calibration_error_of_an_over_confident_model(rng):
    logits = rng.normal(0, 2, (5000, 3)).astype(np.float32)
    answers = (routing.softmax(logits).cumsum(axis=1) > rng.random((5000, 1))).argmax(axis=1)
    loud = logits * 4

    def error(temperature):
        chances = routing.softmax(loud, temperature)
        return expected_calibration_error(chances.max(axis=1), chances.argmax(axis=1) == answers)

    fitted = fit_temperature(loud, answers)
    assert fitted == pytest.approx(4, rel=0.1)
    assert error(fitted) < 0.03 < error(1.0)


def test_the_calibration_error_is_the_gap_weighted_by_rows():
    confidences = np.array([0.9, 0.9, 0.9, 0.9, 0.6], np.float32)
    right = np.array([True, True, True, False, True])
    expected = 4 / 5 * abs(0.75 - 0.9) + 1 / 5 * abs(1 - 0.6)
    assert expected_calibration_error(confidences, right) == pytest.approx(expected, abs=1e-6)
    assert expected_calibration_error(confidences[:0], right[:0]) == 0
