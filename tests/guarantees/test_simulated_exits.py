"""What is signed for exits holds as often as it says; what only looks good does not."""

import pytest

from tests.guarantees import simulated_exits


@pytest.mark.parametrize("case", simulated_exits.cases(), ids=lambda case: case.name)
def test_signed_exits_are_broken_no_more_often_than_delta(case):
    seen = simulated_exits.simulate(case, 0.1, 60)
    assert seen["broken"] <= 0.1 + seen["noise"]
    assert seen["cost"] < 0.5


def test_exits_that_only_look_good_are_broken_often():
    case = simulated_exits.cases()[0]
    assert simulated_exits.simulate(case, 0.1, 40, plain=True)["broken"] > 0.2
