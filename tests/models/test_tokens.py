"""Tokens of texts: truncation, pairs, padding, and their way as a column."""

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import normalizers, processors

from tango_beam.models.tokens import TextTokenizer, Tokens, read_backend
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


def segments(tokens):
    return rows(Tokens(tokens.types, tokens.offsets, tokens.truncated))


def test_pairs_have_segments_and_an_empty_second_text_is_none(tokenizer):
    texts, pairs = ["good", "a bad film", "good"], ["bad", "the", ""]
    tokens = tokenizer(pa.array(texts), pa.array(pairs))
    backend = tiny.tokenizer()
    encodings = [
        backend.encode(a, b) if b else backend.encode(a) for a, b in zip(texts, pairs, strict=True)
    ]
    assert rows(tokens) == [encoding.ids for encoding in encodings]
    assert segments(tokens) == [encoding.type_ids for encoding in encodings]
    assert tokens.padded_types(np.array([0, 1])).tolist() == [
        [0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 1],
    ]
    assert tokenizer(pa.array(texts)).types is None


def test_a_template_may_give_single_texts_segments_too():
    backend = tiny.tokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:2 $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokens = TextTokenizer(backend, 8, 0)(pa.array(["good", "a film"]))
    assert segments(tokens) == [[2, 0, 0], [2, 0, 0, 0]]
    batch = pa.record_batch({"t": tokens.to_arrow()}).slice(1)
    assert segments(Tokens.from_arrow(batch.column("t"))) == [[2, 0, 0, 0]]
    assert segments(tokens.take(np.array([1, 0]))) == [[2, 0, 0, 0], [2, 0, 0]]


def by_letters():
    """A tokenizer whose texts are not put together from words."""
    backend = tiny.tokenizer()
    backend.normalizer = normalizers.Sequence([normalizers.BertNormalizer()])
    return backend


BACKENDS = {"by words": tiny.tokenizer, "whole": by_letters}
LONG = [
    "good " * 30 + "bad film",
    "a good film",
    "x" * 1000,
    " good" * 30 + " " * 1000,
    "bad" + "y" * 400 + " good" * 9,
    "good " * 2000 + "bad film",
    "a,b" * 900,
]


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_long_texts_are_cut_on_the_tokenizers_side(backend, side):
    tokens = TextTokenizer(backend(), 8, 0, side)(pa.array(LONG))
    cut = backend()
    cut.enable_truncation(8, direction=side)
    assert rows(tokens) == [cut.encode(text).ids for text in LONG]
    whole = [len(backend().encode(text).ids) > 8 for text in LONG]
    assert tokens.truncated.tolist() == whole


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("length", [8, 9])
def test_long_pairs_are_cut_as_the_tokenizer_cuts_them_whole(side, length):
    # Many letters make few tokens, so that pieces of these texts are not as long as they are.
    texts = ["good " * 90, "bright " * 60 + "x" * 300, "x" * 101 + " a" * 60, "a", "the " * 5]
    both = [(a, b) for a in texts for b in texts]
    first, second = map(list, zip(*both, strict=True))
    tokens = TextTokenizer(tiny.tokenizer(), length, 0, side)(pa.array(first), pa.array(second))
    cut = tiny.tokenizer()
    cut.enable_truncation(length, direction=side)
    assert rows(tokens) == [cut.encode(a, b).ids for a, b in both]


@pytest.mark.parametrize("text", ["a [SEP] film", "[PAD][PAD]", "good[MASK]"])
def test_special_tokens_that_a_text_spells_are_text_where_the_tokenizer_says_so(text):
    backend = tiny.tokenizer()
    special = TextTokenizer(backend, 20, 0)
    backend.encode_special_tokens = True
    plain = TextTokenizer(backend, 20, 0)
    assert rows(plain(pa.array([text]))) == [backend.encode(text).ids]
    assert rows(special(pa.array([text]))) != [backend.encode(text).ids]
    assert plain.fingerprint != special.fingerprint


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("split", [False, True])
def test_a_saved_tokenizer_reads_texts_in_the_same_way(side, split, tmp_path):
    backend = tiny.tokenizer()
    backend.encode_special_tokens = split
    tokenizer = TextTokenizer(backend, 8, 0, side)
    tokenizer.save(tmp_path)
    again = TextTokenizer(read_backend(tmp_path), 8, 0)
    assert again.fingerprint == tokenizer.fingerprint
    texts = pa.array(["good [SEP] " * 30 + "bad", "a film"])
    assert rows(again(texts)) == rows(tokenizer(texts))
    with pytest.raises(FileNotFoundError, match="expected a tokenizer, found no such file"):
        read_backend(tmp_path / "elsewhere")


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
    for chosen in ([2, 0], [0, 1, 2], [1, 2], [2], [1, 1], []):
        taken = tokens.take(np.array(chosen, int))
        assert rows(taken) == [rows(tokens)[row] for row in chosen]
        assert taken.offsets[0] == 0 and len(taken.truncated) == len(chosen)


def test_a_length_without_room_for_text_is_refused():
    with pytest.raises(ValueError, match="at least 3 tokens, found 2"):
        TextTokenizer(tiny.tokenizer(), max_length=2, pad_id=0)
