import pytest

from tango_beam import report


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(3, "3 s"), (119, "119 s"), (7000, "117 min"), (8e4, "22 h"), (9e5, "10 days")],
)
def test_durations_are_shown_in_the_unit_that_fits(seconds, shown):
    assert report._duration(seconds) == shown
