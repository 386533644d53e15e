"""Bins of answered rows: where they begin, that they add up, and what kinds of answer count."""

import numpy as np
import pyarrow as pa
import pytest

from tango_beam.answers import LabelDecoder
from tango_beam.answers.margins import MultiLabelDecoder, ScoreDecoder
from tango_beam.answers.span import SpanDecoder
from tango_beam.run.answer_counts import MOST_NAMES, OTHERS, AnswerCounts, AnswerTally, total


def answered(predictions, confidences=None, texts=None, tiers=None, **more):
    count = len(predictions)
    return pa.RecordBatch.from_pydict(
        {
            "text": texts or ["a"] * count,
            "p_prediction": predictions,
            "p_first_tier_confidence": pa.array(confidences or [0.5] * count, pa.float32()),
            "p_tier": pa.array(tiers or [1] * count, pa.int8()),
            **{f"p_{name}": column for name, column in more.items()},
        }
    )


def counted(*batches, decoder=LabelDecoder(), labels=(), texts=("text",)):  # noqa: B008 - frozen
    tally = AnswerTally(decoder, labels, "p_", texts)
    for batch in batches:
        tally.add(batch)
    return tally.counts()


def test_a_confidence_is_in_the_bin_of_a_threshold_that_it_reaches():
    under = float(np.nextafter(np.float32(0.95), np.float32(0)))
    edges = [n / 100 for n in range(100)]
    found = counted(answered(["x"] * 4, [0.95, under, 1.0, 0.0]), answered(["x"] * 100, edges))
    assert found.confidences == {f"{edge:.2f}": 1 for edge in edges} | {
        "0.00": 2,
        "0.94": 2,
        "0.95": 2,
        "0.99": 2,
    }


def test_lengths_are_in_characters_of_all_texts():
    texts = ["", "ü" * 15, "🎬" * 16, "x" * 31, "x" * 32, "x" * 65_535, "x" * 65_536, "x" * 200_000]
    rows = answered(["x"] * 8, texts=texts)
    lengths = {"0": 2, "16": 2, "32": 1, "32768": 1, "65536": 2}
    assert counted(rows).lengths == lengths
    # A text may be bytes, or come from a dictionary.
    for kind in (pa.binary(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        column = pa.array(texts).cast(kind)
        assert counted(rows.set_column(0, "text", column)).lengths == lengths
    both = counted(rows.append_column("other", pa.array(["x"] * 8)), texts=("text", "other"))
    assert both.lengths == {"0": 1, "16": 2, "32": 2, "65536": 3}


def test_labels_beyond_the_first_are_counted_together():
    labels = [f"label {number}" for number in range(MOST_NAMES + 50)]
    found = counted(answered(labels), answered(labels[:1] + labels[-2:]), labels=labels)
    assert len(found.answers) == MOST_NAMES + 1
    assert found.answers[OTHERS] == 52
    assert (found.answers["label 0"], found.answers["label 1"]) == (2, 1)


@pytest.mark.parametrize(
    ("decoder", "batch", "expected"),
    [
        (
            MultiLabelDecoder(labels=("a", "b")),
            answered(pa.array([["a", "b"], [], ["b"], []])),
            {"a": 1, "b": 2, "(none)": 2},
        ),
        (
            ScoreDecoder((-0.5, 2.0)),
            answered([9.0, -1.0, 0.0], bucket=pa.array([2, 0, 1], pa.int8())),
            {"under -0.5": 1, "-0.5 to 2.0": 1, "2.0 or more": 1},
        ),
        (SpanDecoder(True), answered(["a film", "", "x"]), {"an answer": 2, "no answer": 1}),
    ],
    ids=["multi_label", "score", "span"],
)
def test_each_kind_of_answer_is_counted_by_what_it_calls_a_row(decoder, batch, expected):
    assert counted(batch, decoder=decoder).answers == expected


def test_counts_add_up_in_order():
    first = AnswerCounts({"0.90": 1, "0.50": 2}, {"1": 3}, {"a": 1, "b": 2}, {"128": 2, "16": 1})
    second = AnswerCounts({"0.50": 4}, {"2": 4}, {"a": 4}, {"32": 4})
    both = total([first, second])
    assert [*both.confidences.items()] == [("0.50", 6), ("0.90", 1)]
    assert [*both.lengths.items()] == [("16", 1), ("32", 4), ("128", 2)]
    assert [*both.answers.items()] == [("a", 5), ("b", 2)]
    assert both.tiers == {"1": 3, "2": 4}
    assert total([]) == AnswerCounts()
