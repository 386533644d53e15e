"""Tokens of texts: truncation, pairs, padding, and their way as a column."""

import numpy as np
import pyarrow as pa
import pytest

from tango_beam.models.tokens import TextTokenizer, Tokens
from tests import tiny


@pytest.fixture(scope="module")
def tokenizer():
    return TextTokenizer(tiny.tokenizer(), max_length=8, pad_id=0)


def rows(tokens):
    return [
        tokens.ids[a:b].tolist() for a, b in zip(tokens.offsets, tokens.offsets[1:], strict=False)
    ]


def test_ids_are_those_of_the_tokenizer_alone(tokenizer):
    texts = ["a good film", "", "bad"]
    backend = tiny.tokenizer()
    assert rows(tokenizer(pa.array(texts))) == [backend.encode(text).ids for text in texts]


def test_truncation_is_marked_and_keeps_the_closing_token(tokenizer):
    tokens = tokenizer(pa.array(["good " * 30, "good " * 6, "good " * 7]))
    assert tokens.lengths.tolist() == [8, 8, 8]
    assert tokens.truncated.tolist() == [True, False, True]
    assert tokens.ids[tokens.offsets[1] - 1] == tiny.tokenizer().token_to_id("[SEP]")


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1000,  # one unknown word: three tokens, however long
        " " * 1000 + "good",  # nothing in the piece that is looked at first
        "good" * 500,
        "é" * 700 + " good bad",
        "good " * 1000,
        "bad\n" + "y" * 400 + " good" * 9,
    ],
)
def test_cutting_by_characters_first_changes_nothing(tokenizer, text):
    backend = tiny.tokenizer()
    whole = backend.encode(text)
    backend.enable_truncation(8)
    tokens = tokenizer(pa.array([text]))
    assert rows(tokens) == [backend.encode(text).ids]
    assert tokens.truncated.tolist() == [len(whole.ids) > 8]


def test_pairs_know_where_the_second_text_starts(tokenizer):
    tokens = tokenizer(pa.array(["good", "a bad film"]), pa.array(["bad", "the"]))
    separator = tiny.tokenizer().token_to_id("[SEP]")
    types = tokens.padded_types(np.arange(2))
    for row, kinds in zip(rows(tokens), types.tolist(), strict=True):
        second = row.index(separator) + 1
        assert kinds[: len(row)] == [0] * second + [1] * (len(row) - second)


def test_padded_fills_up_on_the_right(tokenizer):
    tokens = tokenizer(pa.array(["good", "a good film"]))
    matrix = tokens.padded(np.array([1, 0]), pad_id=99)
    assert matrix.shape == (2, 5)
    assert matrix[1].tolist() == [*rows(tokens)[0], 99, 99]


def test_tokens_survive_slicing_filtering_and_joining_as_a_column(tokenizer):
    texts = ["good", "a good film", "", "bad bad bad bad bad bad bad bad bad"]
    batch = pa.record_batch({"t": tokenizer(pa.array(texts)).to_arrow()})
    again = pa.concat_batches([batch.slice(3, 1), batch.take(pa.array([2, 0])), batch.slice(1, 1)])
    tokens = Tokens.from_arrow(again.column("t"))
    expected = tokenizer(pa.array([texts[3], texts[2], texts[0], texts[1]]))
    assert rows(tokens) == rows(expected)
    assert tokens.truncated.tolist() == expected.truncated.tolist()


def test_take_is_the_rows_in_that_order(tokenizer):
    tokens = tokenizer(pa.array(["good", "a good film", "bad"]))
    assert rows(tokens.take(np.array([2, 0]))) == [rows(tokens)[2], rows(tokens)[0]]


def test_a_length_without_room_for_text_is_refused():
    with pytest.raises(ValueError, match="at least 3 tokens, found 2"):
        TextTokenizer(tiny.tokenizer(), max_length=2, pad_id=0)
