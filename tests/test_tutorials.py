"""The README and the tutorials, run from beginning to end on tiny models."""

import pytest

from tests import pages
from tests.desk import TUTORIALS, desk  # noqa: F401 (fixture)


@pytest.mark.parametrize("page", TUTORIALS)
def test_a_tutorial_does_what_it_shows(page, desk, rng, capfd, monkeypatch):  # noqa: F811
    with TUTORIALS[page](desk, rng) as room:
        pages.walk(page, capfd, monkeypatch, room.change, room.before)
