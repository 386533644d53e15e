"""Which rows train, choose and sign, and which are picked to learn from."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tango_beam.building import clock, parts, unsure
from tango_beam.calibration.goals import Goals
from tango_beam.errors import RefusedError
from tango_beam.guarantees import bounds
from tango_beam.io.sample import Sample


@given(st.integers(1500, 10**7), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_parts_fit_into_the_rows_and_can_sign(rows, goal):
    made = parts.parts_of(rows, Goals(agreement=goal))
    assert made.total <= rows
    assert made.sign >= bounds.fewest_rows(goal, 0.05)
    assert made.train >= parts.FEWEST_TRAIN


@pytest.mark.parametrize("rows", [0, 100, 400])
def test_too_few_rows_are_refused_with_what_there_is(rows):
    with pytest.raises(RefusedError, match=f"found {rows} rows"):
        parts.parts_of(rows, Goals(agreement=0.99))


@given(st.integers(1500, 12_000))
def test_no_row_is_in_two_parts(count):
    drawn = Sample(pa.table({"text": [str(n) for n in range(count)]}), count, count)
    sizes = parts.parts_of(min(count, 4000), Goals(agreement=0.9))
    rows = parts.parted(drawn, sizes, ["text"])
    names = ("sign", "choose", "train", "pool", "budget")
    each = [getattr(rows, name)[0].to_pylist() for name in names]
    together = [text for part in each for text in part]
    assert len(together) == len({*together}) <= count
    assert [len(part) for part in each[:3]] == [sizes.sign, sizes.choose, sizes.train]


def test_drawn_rows_are_kept_as_they_are(tmp_path):
    drawn = Sample(pa.table({"text": ["b", "a", None]}), 5, 9)
    parts.keep(drawn, tmp_path / "rows.parquet")
    again = parts.kept(tmp_path / "rows.parquet")
    assert (again.drawn, again.corpus) == (5, 9)
    assert again.rows.equals(drawn.rows.cast(again.rows.schema))
    assert parts.kept(tmp_path / "none.parquet") is None


def test_what_is_picked_is_mostly_what_a_student_is_unsure_of():
    sure = np.random.default_rng(0).random(1000).astype(np.float32)
    picked = unsure.least_sure(sure, 200, 0.7, 0)
    assert len(picked) == len({*picked.tolist()}) == 200
    lowest = set(np.argsort(sure)[:140].tolist())
    assert lowest <= {*picked.tolist()}
    assert sure[picked].max() > 0.9  # easy rows do not go missing
    assert len(unsure.least_sure(sure[:50], 200, 0.7, 0)) == 50


def test_few_rows_take_more_passes_as_far_as_there_is_time():
    assert clock.epochs_within(1000, 1, rows=1000, steps_of=30_000) == 30
    assert clock.epochs_within(1000, 1, rows=10**6, steps_of=30_000) == 3
    assert clock.epochs_within(10, 4, rows=1000, steps_of=30_000) == 2
    assert clock.epochs_within(0, 4, rows=1000, steps_of=30_000) == 1
