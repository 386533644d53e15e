"""What a teacher said of a text is kept, and it is asked again by nobody."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import finetune
from tango_beam.models.logits import logits_of
from tango_beam.training import kept_answers, resume
from tango_beam.training.teacher_logits import TeacherLogits
from tango_beam.training.texts import columns
from tests import tiny

pytestmark = pytest.mark.usefixtures("one_thread")


class Counted:
    """A teacher that counts the texts that it reads, and may stop before one of its turns."""

    def __init__(self, model, stop=None):
        self.model, self.stop, self.texts, self.turns = model, stop, 0, 0

    def tokenize(self, *sides):
        if self.turns == self.stop:
            raise KeyboardInterrupt
        self.turns += 1
        self.texts += len(sides[0])
        return self.model.tokenize(*sides)

    def __getattr__(self, name):
        return getattr(self.model, name)


def texts(count):
    rng = np.random.default_rng(0)
    return [
        (f"{row} " + " ".join(rng.choice(tiny.WORDS, rng.integers(1, 9))),) for row in range(count)
    ]


def test_a_teacher_that_was_stopped_goes_on_and_labels_no_text_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_answers, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(kept_answers, "CHARACTERS", 200)
    tiny.transformer(tmp_path / "teacher", initializer_range=0.5)
    model, rows = tiny.load(tmp_path / "teacher"), texts(60)
    kept = TeacherLogits.of_checkpoint(tmp_path / "kept", str(tmp_path / "teacher"), "8 fp32")
    first = Counted(model, stop=3)
    with pytest.raises(KeyboardInterrupt):
        kept.of(first, rows)
    second = Counted(model)
    found = kept.of(second, rows[::-1])
    assert 0 < first.texts < 60
    assert first.texts + second.texts == 60
    assert np.allclose(found, logits_of(model, *columns(rows[::-1])), atol=1e-5)
    third = Counted(model)
    assert np.array_equal(kept.of(third, rows[5:9]), found[::-1][5:9])
    assert third.texts == 0


def test_other_weights_readings_and_pairs_are_kept_apart(tmp_path):
    tiny.transformer(tmp_path / "a", initializer_range=0.5)
    tiny.transformer(tmp_path / "b", initializer_range=0.4)
    pairs = [("good", "bad film"), ("good bad", "film"), ("good bad film", "")]
    for name, reading, asked in [("a", "8", 3), ("a", "8", 0), ("b", "8", 3), ("a", "9", 3)]:
        model = Counted(tiny.load(tmp_path / name))
        found = TeacherLogits.of_checkpoint(tmp_path / "kept", str(tmp_path / name), reading).of(
            model, pairs
        )
        assert model.texts == asked
        assert np.allclose(found, logits_of(model.model, *columns(pairs)), atol=1e-5)


def test_a_second_training_asks_no_teacher(tmp_path, capfd):
    tiny.transformer(tmp_path / "encoder", initializer_range=0.1)
    rows = [{"text": text, "label": "ab"[row % 2]} for row, (text,) in enumerate(texts(40))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    start = f"--train {tmp_path}/train.parquet --encoder {tmp_path}/encoder --epochs 1"
    finetune.main(f"{start} --output {tmp_path}/teacher".split())
    taught = f"{start} --teacher {tmp_path}/teacher --output {tmp_path}/student"
    for said in (
        [],
        ["--teacher_logits", f"{tmp_path}/kept"],
        ["--teacher_logits", f"{tmp_path}/kept"],
    ):
        capfd.readouterr()
        finetune.main([*taught.split(), *said])
        assert not (tmp_path / "student" / resume.LOGITS_FOLDER).exists()
        shutil.rmtree(tmp_path / "student")
        logged = capfd.readouterr().err
        again = "40 of 40 texts were labelled by this teacher before" in logged
        assert again == ("the teacher labelled 40 of 40 texts" not in logged)
    assert again
