"""Training on spans: where answers stand in windows, what teachers say, both commands."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import classify, distill, finetune
from tango_beam.answers import span_text
from tango_beam.cascade_directory import load_cascade
from tango_beam.config import Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.models import span_transformer
from tango_beam.training import span_teacher
from tango_beam.training.questions import positions, read_questions
from tests import tiny

COLUMNS = ("question", "context"), "answers", "answer_starts"
GIVEN = (
    *("--text_column", "question", "--text_pair_column", "context", "--label_column", "answers"),
    *("--max_length", "32", "--stride", "8", "--batch_size", "8", "--seed", "1"),
)


def rows(count, seed=0):
    """Contexts of one film each; whoever asks for it is right to be told the word behind `film`."""
    rng = np.random.default_rng(seed)
    others = [word for word in tiny.WORDS if word != "film"]
    for number in range(count):
        words = [*rng.choice(others, int(rng.integers(4, 24)))]
        place = int(rng.integers(0, len(words)))
        context = " ".join([*words[:place], "film", *words[place:]])
        start = len(" ".join([*words[:place], "film"])) + 1
        yield {
            "question": "the film",
            "context": context,
            "answers": [words[place]],
            "answer_starts": [start],
            "film": number // 3,
        }


def write(path, made):
    pq.write_table(pa.Table.from_pylist([*made]), path)
    return str(path)


@pytest.fixture
def reader(tmp_path):
    return tiny.reader(tmp_path / "encoder", initializer_range=0.1)


def test_a_windows_first_and_last_tokens_are_those_of_its_answer(tmp_path, reader):
    path = write(tmp_path / "q.parquet", rows(40))
    data = read_questions(path, *COLUMNS)
    tier = TierConfig(str(reader), max_length=20, stride=6)
    model = span_transformer.load(tier, Compute("cpu", "fp32"))
    windows = model.tokenize(data.questions, data.contexts)
    found, seen = positions(windows, data), set()
    assert len(windows) > 45
    for window, (first, last) in enumerate(found):
        if not first:
            continue
        row = int(windows.owners[window])
        start, stop = windows.characters[windows.offsets[window] + [first, last], [0, 1]]
        assert data.contexts[row].as_py()[start:stop] == data.answers[row][0]
        seen.add(row)
    assert seen == {*range(40)}


def test_a_teacher_that_cuts_other_windows_says_the_same_of_each_character(tmp_path, reader):
    data = read_questions(write(tmp_path / "q.parquet", rows(12)), *COLUMNS)
    wide, narrow = (
        span_transformer.load(
            TierConfig(str(reader), max_length=length, stride=6), Compute("cpu", "fp32")
        )
        for length in (64, 20)
    )
    own = wide.tokenize(data.questions, data.contexts)
    goal = span_teacher.taught([wide], data, own)
    np.testing.assert_allclose(np.add.reduceat(goal, own.offsets[:-1]), 1, atol=1e-5)
    windows = narrow.tokenize(data.questions, data.contexts)
    other = span_teacher.taught([wide], data, windows)
    place = {
        (int(row), *chars): chance
        for row, chars, chance in zip(
            np.repeat(own.owners, own.lengths), own.characters.tolist(), goal, strict=True
        )
        if chars[1]
    }
    inside = np.repeat(windows.owners, windows.lengths)
    for at in np.flatnonzero(other.any(axis=1) & (windows.characters[:, 1] > 0)):
        key = int(inside[at]), *windows.characters[at].tolist()
        if key in place:
            np.testing.assert_allclose(other[at], place[key], rtol=1e-5)


def test_a_tier_learns_spans_and_a_shallower_one_learns_them_from_it(tmp_path, reader):
    train, dev = (
        write(tmp_path / f"{name}.parquet", rows(count, seed))
        for name, count, seed in (("train", 400, 1), ("dev", 60, 2))
    )
    teacher, student = tmp_path / "cascade" / "teacher", tmp_path / "cascade" / "student"
    shared = (*GIVEN, "--train", train, "--dev", dev, "--held_out", "30", "--held_out_by", "film")
    finetune.main(
        [
            *("--task", "span", "--encoder", str(reader), "--output", str(teacher), *shared),
            *("--epochs", "8", "--learning_rate", "3e-3", "--precision", "fp32"),
        ]
    )
    learnt = json.loads((teacher / "training.json").read_text())["scores"]
    assert learnt["exact match, dev"] > 0.8
    distill.main(
        [
            *("--teacher", str(teacher), "--output", str(student), *shared, "--layers", "1"),
            *("--epochs", "3", "--learning_rate", "1e-3", "--cascade", "films"),
            *("--agreement", "0.9"),
        ]
    )
    cascade = load_cascade(str(student.parent))
    assert (cascade.task.kind, cascade.labels, cascade.pair) == ("span", (), True)
    out = tmp_path / "out"
    given = ["--input", dev, "--output", str(out), "--cascade", str(student.parent), *GIVEN[:4]]
    assert classify.main([*given, "--precision", "fp32"]) == 0
    table = pq.read_table(out)
    assert {*table["tier"].to_pylist()} <= {1, 2}
    pairs = zip(table["prediction"].to_pylist(), table["answers"].to_pylist(), strict=True)
    assert np.mean([span_text.is_match(*pair) for pair in pairs]) > 0.6
    for row in table.to_pylist():
        assert row["context"][row["answer_start"] : row["answer_end"]] == row["prediction"]


def test_an_answer_that_does_not_stand_where_it_is_said_to_is_refused(tmp_path):
    wrong = [{**row, "answer_starts": [0]} for row in rows(3)]
    path = write(tmp_path / "q.parquet", [*rows(2), *wrong])
    with pytest.raises(RefusedError, match=r"row 2: expected answers of 'answers' in the context"):
        read_questions(path, *COLUMNS)
    with pytest.raises(RefusedError, match="expected --text_pair_column for contexts, found none"):
        read_questions(path, ("question",), "answers", "answer_starts")
