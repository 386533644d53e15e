"""Spans of contexts: which text, where it stands, how likely it is, and which answers agree."""

import numpy as np
import pyarrow as pa
import pytest

from tango_beam.answers import Task, span_text
from tango_beam.answers.span import WIDTH

CONTEXT = "café 😀 e\u0301tude, the end"


def decoder(**task):
    return Task("span", **task).decoder(())


def known(score, start, stop, total, none=-20.0):
    return np.array([[score, start, stop, total, none]], np.float32)


def answer(made, outputs, context=CONTEXT):
    answers = made(outputs, (), pa.array([context]))
    (start,), (stop,) = (answers.more[f"answer_{side}"].to_pylist() for side in ("start", "end"))
    (text,) = answers.predictions.to_pylist()
    assert text == context[start:stop]
    return text, start, stop, float(answers.confidences[0])


def test_a_span_is_counted_in_characters():
    text, start, stop, sure = answer(decoder(), known(1.0, 5, 9, 2.0))
    assert (text, start, stop) == ("😀 e\u0301", 5, 9)
    assert sure == pytest.approx(np.exp(-1.0))


def test_no_answer_is_one_of_the_answers_where_a_model_may_say_so():
    made, outputs = decoder(no_answer=True), known(1.0, 5, 9, 2.0, none=0.5)
    whole = np.exp(2.0) + np.exp(0.5)
    text, *_, sure = answer(made, outputs)
    assert text == "😀 e\u0301"
    assert sure == pytest.approx(np.exp(1.0) / whole)
    scores = made(outputs, (), pa.array([CONTEXT])).scores[0].as_py()
    assert scores == pytest.approx(
        {"answer": np.exp(1.0) / whole, "no answer": np.exp(0.5) / whole}
    )
    assert answer(decoder(), outputs)[3] == pytest.approx(np.exp(-1.0))


@pytest.mark.parametrize("none", [1.0, 3.0])  # a tie is no answer: transformers' rule
def test_an_empty_text_is_the_answer_that_there_is_none(none):
    text, start, stop, sure = answer(decoder(no_answer=True), known(1.0, 5, 9, 2.0, none))
    assert (text, start, stop) == ("", 0, 0)
    assert sure == pytest.approx(np.exp(none) / (np.exp(2.0) + np.exp(none)))


def test_a_context_without_a_word_is_a_failure_or_has_no_answer():
    outputs = known(-np.inf, 0, 0, -np.inf, 1.0)
    assert "a context with a word in it" in decoder().complaints(outputs)[0]
    assert not decoder(no_answer=True).complaints(outputs)
    assert answer(decoder(no_answer=True), outputs, "") == ("", 0, 0, 1.0)


@pytest.mark.parametrize("place", range(WIDTH))
def test_what_is_not_a_number_gets_no_answer(place):
    outputs = known(1.0, 5, 9, 2.0)
    outputs[0, place] = np.nan
    for no_answer in (False, True):
        assert "expected finite scores" in decoder(no_answer=no_answer).complaints(outputs)[0]


def test_texts_agree_that_squad_compares_as_equal():
    pairs = [
        ("The end.", "end", True),
        ("an  apple", "Apple!", True),
        ("another", "other", False),
        ("the", "", True),
        ("3.5", "35", True),
        ("", "end", False),
    ]
    first, second, expected = zip(*pairs, strict=True)
    made = decoder()
    one, other = {"prediction": pa.array(first)}, {"prediction": pa.array(second)}
    assert made.agrees(one, other).to_pylist() == [*expected]
    assert made.agrees(one, {"prediction": pa.nulls(6, pa.string())}).null_count == 6
    assert [span_text.is_match(*pair[:1], [pair[1]]) for pair in pairs] == [*expected]


def test_f1_is_that_of_the_words():
    assert span_text.f1("the big red dog", "a red dog barks") == pytest.approx(2 * 2 / (3 + 3))
    assert span_text.f1("red red", "red") == pytest.approx(2 / 3)
    assert span_text.best_f1("x", ["y", "x y"]) == pytest.approx(2 / 3)
    assert span_text.best_f1("", []) == 1
    assert span_text.best_f1("x", []) == 0
