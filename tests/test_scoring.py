"""What becomes of a batch in one tier: answers, rows to pass on, rows that failed."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tango_beam import record_columns, scoring
from tango_beam.answers import Task
from tango_beam.branches import TierRole
from tango_beam.record_columns import OutputColumns
from tango_beam.scoring import bisect
from tests import tiny

ROLE = TierRole(number=1, threshold=0.5, first_threshold=0.5, cascade="0" * 16)


class Wrapped:
    """A real model with one method replaced."""

    def __init__(self, model, **methods):
        self._model = model
        self.__dict__.update(methods)

    def __getattr__(self, name):
        return getattr(self._model, name)


@pytest.fixture
def model(bert):
    return tiny.load(bert)


def test_short_model_output_is_refused_not_zipped(model):
    short = Wrapped(model, forward=lambda tokens, rows: model.forward(tokens, rows)[:-1])
    routed = scoring.score(short, pa.record_batch({"text": ["good", "bad"]}), ROLE)
    assert routed.simple.num_rows == routed.complex.num_rows == 0
    assert "expected outputs of shape" in routed.failed.column(record_columns.ERROR)[0].as_py()


def test_a_batch_too_large_for_memory_passes_in_halves(model):
    sizes = []

    def forward(tokens, rows):
        if len(rows) > 3:
            raise MemoryError("out of memory")
        sizes.append(len(rows))
        return model.forward(tokens, rows)

    batch = pa.record_batch({"text": ["good film"] * 20})
    routed = scoring.score(Wrapped(model, forward=forward), batch, ROLE)
    assert routed.simple.num_rows + routed.complex.num_rows == 20
    assert sum(sizes) == 20


def test_a_text_on_which_the_tokenizer_fails_is_found(model):
    def tokenize(texts, pairs=None):
        if "dull" in texts.to_pylist():
            raise RuntimeError("no")
        return model.tokenize(texts, pairs)

    batch = pa.record_batch({"text": ["good", "dull", "bad"], "id": [1, 2, 3]})
    routed = scoring.score(Wrapped(model, tokenize=tokenize), batch, ROLE)
    assert routed.failed.column("id").to_pylist() == [2]
    assert routed.simple.num_rows + routed.complex.num_rows == 2


CONTEXTS = ["good film " * 30, "dull", "a bad plot " * 40]
READER = Task("span").decoder(())
READS = TierRole(
    number=1,
    threshold=0.0,
    first_threshold=0.0,
    cascade="0" * 16,
    columns=OutputColumns(text_columns=("text", "text_pair"), answer=READER.shape(())),
    decoder=READER,
)


def asked(contexts):
    return pa.record_batch({"text": ["what"] * len(contexts), "text_pair": contexts})


@pytest.fixture
def reader(tmp_path):
    return tiny.load(tiny.reader(tmp_path), max_length=40, stride=8)


def test_a_row_of_which_one_window_fails_has_no_answer_and_costs_no_other(reader):
    before = scoring.score(reader, asked(CONTEXTS), READS).simple
    assert before.num_rows == 3

    def forward(tokens, rows):
        at = [tokens.of_row[row] == 2 and row == len(tokens) - 1 for row in rows]
        if any(at):
            raise RuntimeError("no")
        return reader.forward(tokens, rows)

    routed = scoring.score(Wrapped(reader, forward=forward), asked(CONTEXTS), READS)
    assert routed.failed.column("text_pair").to_pylist() == CONTEXTS[2:]
    assert routed.failed.column(record_columns.ERROR).to_pylist() == ["RuntimeError: no"]
    assert routed.simple.column("prediction").equals(before.column("prediction")[:2])


@pytest.mark.parametrize("empty", ["", " ", "\u200b"])
def test_a_context_without_a_word_is_dead_or_has_no_answer(reader, empty):
    routed = scoring.score(reader, asked([CONTEXTS[0], empty]), READS)
    (error,) = routed.failed.column(record_columns.ERROR).to_pylist()
    assert "expected a context with a word in it, found none; --no_answer" in error
    allowed = replace(READS, decoder=Task("span", no_answer=True).decoder(()))
    routed = scoring.score(reader, asked([CONTEXTS[0], empty]), allowed)
    assert routed.failed.num_rows == 0
    last = routed.simple.to_pylist()[-1]
    assert (last["prediction"], last["answer_start"], last["answer_end"]) == ("", 0, 0)
    assert last["confidence"] == 1


def test_bisect_finds_exactly_the_bad_rows():
    bad, failed = {3, 4, 17}, []

    def action(part):
        if bad & set(part.tolist()):
            raise ValueError("bad")

    good = bisect(np.arange(20), action, lambda row, error: failed.append(row))
    assert set(failed) == bad
    assert set(good.tolist()) == set(range(20)) - bad


def test_large_strings_are_read(model):
    texts = ["good", "bad", None]
    batch = pa.record_batch({"text": pa.array(texts, pa.string()).cast(pa.large_string())})
    routed = scoring.score(model, batch, ROLE)
    assert routed.simple.num_rows + routed.complex.num_rows == 2
    assert routed.failed.num_rows == 1


def test_dictionary_texts_are_read(model):
    batch = pa.record_batch({"text": pa.array(["good", "bad", "good"]).dictionary_encode()})
    routed = scoring.score(model, batch, ROLE)
    assert routed.simple.num_rows + routed.complex.num_rows == 3


def test_an_empty_batch_gives_three_empty_branches(model):
    routed = scoring.score(model, pa.record_batch({"text": pa.array([], pa.string())}), ROLE)
    assert (routed.simple.num_rows, routed.complex.num_rows, routed.failed.num_rows) == (0, 0, 0)


def test_costs_add_up_to_the_tokens(model):
    batch = pa.record_batch({"text": ["good", "a good film", "bad"]})
    routed = scoring.score(
        model, batch, replace(ROLE, columns=OutputColumns(costs=True), threshold=0.0)
    )
    cost = routed.simple.column(record_columns.COST + "1")
    assert cost.field("tokens").to_pylist() == [3, 5, 3]
    assert all(padded >= 3 for padded in cost.field("padded").to_pylist())
    assert sum(cost.field("seconds").to_pylist()) > 0
