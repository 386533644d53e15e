import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from tango_beam import routing
from tango_beam.guarantees.thresholds import threshold_for_agreement


@given(st.data(), st.integers(0, 60), st.floats(0.5, 1))
def test_it_keeps_the_goal_and_no_lower_confidence_would(data, count, goal):
    grid = st.sampled_from(np.linspace(0.5, 1, 7, dtype=np.float32).tolist())
    confidences = data.draw(hnp.arrays(np.float32, count, elements=grid))
    agrees = data.draw(hnp.arrays(bool, count))

    def disagreements(threshold):
        return int((~agrees & ~routing.is_complex(confidences, threshold)).sum())

    threshold = threshold_for_agreement(confidences, agrees, goal)
    allowed = np.floor((1 - goal) * count + 1e-9)
    assert disagreements(threshold) <= allowed
    for lower in np.unique(confidences[confidences < np.float32(threshold)]):
        assert disagreements(float(lower)) > allowed


def test_equal_confidences_are_accepted_or_escalated_together():
    confidences = np.array([0.9, 0.8, 0.8], np.float32)
    threshold = threshold_for_agreement(confidences, np.array([True, True, False]), 1.0)
    assert np.float32(threshold) == np.float32(0.9)
