"""Where a teacher sees answers begin and end: packed, padded, and kept on disk."""

import numpy as np
import pytest

from tango_beam.config import Compute, TierConfig
from tango_beam.models import span_transformer
from tango_beam.training import kept_answers, span_teacher
from tango_beam.training.teacher_edges import LEAST, TeacherEdges
from tango_beam.training.texts import columns
from tests import tiny
from tests.training.test_teacher_logits import Counted

pytestmark = pytest.mark.usefixtures("one_thread")
READS = {"max_length": 32, "stride": 8}


@pytest.fixture
def rows(rng):
    return [(tiny.sentence(rng), f"{tiny.sentence(rng, 60)} {number}") for number in range(40)]


@pytest.fixture
def reader(tmp_path):
    return tiny.reader(tmp_path / "reader", initializer_range=0.4)


def test_a_packed_reader_says_the_same_as_a_padded_one(reader, rows):
    packed, padded = (
        tiny.load(reader, **READS),
        span_transformer.load(TierConfig(str(reader), **READS), Compute("cpu", "fp32")),
    )
    windows = packed.tokenize(*columns(rows))
    assert len(windows) > len(rows)
    one, other = (span_teacher.edges_of(model, windows) for model in (packed, padded))
    assert np.array_equal(one.keys, other.keys)
    np.testing.assert_allclose(one.chances, other.chances, atol=1e-5)


def test_what_is_kept_teaches_the_same_but_for_small_chances(tmp_path, reader, rows):
    model = tiny.load(reader, **READS)
    windows = model.tokenize(*columns(rows))
    found = TeacherEdges(tmp_path / "kept", "reader").of(model, rows).onto(windows)
    whole = span_teacher.edges_of(model, windows).onto(windows)
    lost = whole.max(axis=1) < LEAST
    assert 0 < lost.sum() < lost.size
    assert not found[lost].any()
    np.testing.assert_allclose(found[~lost], whole[~lost], atol=1e-5)


def test_a_reader_that_was_stopped_goes_on_and_is_asked_about_no_row_twice(
    tmp_path, reader, rows, monkeypatch
):
    monkeypatch.setattr(kept_answers, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(kept_answers, "CHARACTERS", 1000)
    model = tiny.load(reader, **READS)
    kept = TeacherEdges(tmp_path / "kept", "reader")
    first, second = Counted(model, stop=2), Counted(model)
    with pytest.raises(KeyboardInterrupt):
        kept.of(first, rows)
    found = kept.of(second, rows[::-1])
    assert 0 < first.texts < len(rows) == first.texts + second.texts
    whole = TeacherEdges(tmp_path / "other", "reader").of(model, rows[::-1])
    assert np.array_equal(found.keys, whole.keys)
    np.testing.assert_allclose(found.chances, whole.chances, atol=1e-5)


def test_rows_without_a_token_that_is_an_edge_are_kept_too(tmp_path, reader):
    model = tiny.load(reader, **READS)
    rows = [("the film", " "), ("the film", "a dull film"), ("good", " ")]
    found = TeacherEdges(tmp_path / "kept", "reader").of(model, rows)
    assert np.isin(found.keys[found.keys[:, 0] != 1, 2], span_teacher.NOWHERE).all()
    assert {*found.keys[:, 0].tolist()} == {0, 1, 2}
