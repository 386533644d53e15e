"""Tokens put together from words are those of the tokenizer on whole texts."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tango_beam.models import word_cache
from tango_beam.models.tokens import TextTokenizer
from tests import tiny

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "film", "##s", "un", "##good", ".", "é"]


def bert(lowercase=True, **added):
    backend = Tokenizer(models.WordPiece({p: n for n, p in enumerate(PIECES)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    backend.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return backend


def words(parting):
    backend = Tokenizer(models.WordLevel({p: n for n, p in enumerate(PIECES)}, unk_token="[UNK]"))
    backend.pre_tokenizer = parting
    backend.add_special_tokens(["[UNK]"])
    return backend


KINDS = {
    "lower case": bert(),
    "as written": bert(lowercase=False),
    "tiny": tiny.tokenizer(),
    "words": words(pre_tokenizers.Whitespace()),
    "between spaces": words(pre_tokenizers.WhitespaceSplit()),
}


def rows(ids, offsets):
    return [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def check(backend, texts, max_length=9):
    ids, offsets, truncated = word_cache.Words(backend, max_length)(pa.array(texts, pa.string()))
    cut = Tokenizer.from_str(backend.to_str())
    cut.enable_truncation(max_length)
    assert rows(ids, offsets) == [cut.encode(text).ids for text in texts]
    assert truncated.tolist() == [len(backend.encode(text).ids) > max_length for text in texts]


ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SOME = st.lists(
    st.sampled_from(
        [
            *(*PIECES, "films", "GOOD", " ", "  ", "\t", "\n", "\r\n", "É", "\u0301", "\x00", "中"),
            *(".", "..", "[", "]", "_", "'s", ";", "\u037e", "\u00a0", "\u2014"),
        ]
    )
).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(ANY | SOME, max_size=8))
def test_any_texts(kind, texts):
    check(KINDS[kind], texts)


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_remembered_and_forgotten(kind, monkeypatch):
    found = word_cache.Words(KINDS[kind], 9)
    texts = pa.array(["a good film", "un film", "", "good " * 20])
    first = rows(*found(texts)[:2])
    monkeypatch.setattr(found, "_backend", None)  # asked for nothing that it has seen
    assert rows(*found(texts)[:2]) == first
    monkeypatch.setattr(found, "_backend", KINDS[kind])
    before = found._seen.bytes
    assert rows(*found(pa.array(["film un x good"]))[:2]) != first
    assert found._seen.bytes > before
    monkeypatch.setattr(word_cache, "_MOST_BYTES", 10)
    assert rows(*found(pa.array([*texts.to_pylist(), "y"]))[:2])[: len(texts)] == first
    assert found._seen.find(["x", "y"]).tolist()[0] == -1


def test_slices_are_read_from_where_they_start():
    texts = pa.array(["film", "a good film", "good", "un"]).slice(1, 2)
    ids, offsets, _ = word_cache.Words(bert(), 9)(texts)
    assert rows(ids, offsets) == [bert().encode(text).ids for text in texts.to_pylist()]


def test_threads_share_the_words(rng):
    found = word_cache.Words(tiny.tokenizer(), 12)
    texts = [[tiny.sentence(rng) + f" {n % 7}x{k}" for n in range(50)] for k in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda some: rows(*found(pa.array(some))[:2]), texts))
    backend = tiny.tokenizer()
    backend.enable_truncation(12)
    assert answers == [[backend.encode(text).ids for text in some] for some in texts]


@pytest.mark.parametrize("side", ["left", "right"])
def test_parts_are_tokenized_side_by_side(side, rng, monkeypatch):
    texts = [tiny.sentence(rng) * int(rng.integers(0, 4)) for _ in range(50)] + ["", "x" * 300, ""]
    whole = word_cache.Words(tiny.tokenizer(), 12, side)(pa.array(texts))
    monkeypatch.setattr(word_cache, "_PART_BYTES", 64)
    monkeypatch.setattr(word_cache, "_LEAST_BYTES", 16)
    assert len(word_cache._edges(pa.array(texts))) > 20
    parts = word_cache.Words(tiny.tokenizer(), 12, side)(pa.array(["", *texts]).slice(1))
    for one, other in zip(whole, parts, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def changed(**parts):
    stated = json.loads(bert().to_str())
    return Tokenizer.from_str(json.dumps(stated | parts))


def spaced():
    backend = bert()
    backend.add_tokens(["good film"])
    return backend


OTHERS = {
    "byte pairs": changed(
        pre_tokenizer={
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        }
    ),
    "compositions": changed(normalizer={"type": "NFKC"}),
    "no parting": changed(pre_tokenizer=None),
    "an added token with a space": spaced(),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_tokenizers_that_look_past_a_space_are_left_to_themselves(kind):
    assert not word_cache.fits(OTHERS[kind])
    with pytest.raises(ValueError, match="parts texts at spaces"):
        word_cache.Words(OTHERS[kind], 9)
    tokens = TextTokenizer(OTHERS[kind], 9, 0)(pa.array(["a good film", "good"]))
    assert rows(tokens.ids, tokens.offsets) == [
        OTHERS[kind].encode(text).ids for text in ("a good film", "good")
    ]


@pytest.mark.parametrize("type_", [pa.large_string(), pa.string()])
def test_long_texts_are_cut_first_and_read_again_where_that_was_too_short(type_):
    tokenizer = TextTokenizer(bert(), 8, 0)
    texts = ["x" * 1000, " " * 1000 + "good", "good " * 400, "a good film"]
    tokens = tokenizer(pa.array(texts, type_))
    cut = bert()
    cut.enable_truncation(8)
    assert rows(tokens.ids, tokens.offsets) == [cut.encode(text).ids for text in texts]
    assert tokens.truncated.tolist() == [False, False, True, False]
    assert np.array_equal(tokens.lengths, [3, 3, 8, 5])
