import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from tango_beam.errors import RefusedError
from tango_beam.io.labelled import LabelledTexts
from tango_beam.training import augmentation, holdout, texts, vocabulary
from tango_beam.training import distill as distillation
from tango_beam.training.distill_options import DistillOptions
from tests import tiny

PHRASES = st.lists(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=6).map(" ".join), max_size=30
)


def inside(inner, outer):
    inner, outer = inner.split(), outer.split()
    spans = [outer[at : at + len(inner)] for at in range(len(outer) - len(inner) + 1)]
    return inner in spans


@given(PHRASES)
def test_whole_sentences_lie_in_no_other_row(texts):
    whole = set(holdout.whole_sentences(texts).tolist())
    for row, text in enumerate(texts):
        others = [other for other in texts if other.split() != text.split()]
        first = [other.split() for other in texts].index(text.split()) == row
        assert (row in whole) == (first and not any(inside(text, other) for other in others))


@given(PHRASES, st.integers(0, 3))
def test_no_training_row_lies_inside_a_held_out_sentence(texts, seed):
    count = len(holdout.whole_sentences(texts)) // 2
    split = holdout.hold_out(texts, count, seed)
    assert len(split.held_out) == count
    for row in split.train:
        assert not any(inside(texts[row], texts[held]) for held in split.held_out)
    lost = set(range(len(texts))) - set(split.train.tolist()) - set(split.held_out.tolist())
    for row in lost:
        assert any(inside(texts[row], texts[held]) for held in split.held_out)


def test_a_long_row_is_found_in_a_longer_one():
    words = [f"w{number}" for number in range(400)]
    texts = [" ".join(words), " ".join(words[150:390]), " ".join(words[1:4]), "w1 w3"]
    assert holdout.whole_sentences(texts).tolist() == [0, 3]


def test_more_sentences_than_there_are_is_refused():
    with pytest.raises(ValueError, match="at least 3 whole sentences, found 1"):
        holdout.hold_out(["a b c", "a b"], 3, 0)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(0, 40), st.integers(0, 3))
def test_a_value_is_held_out_whole_or_not_at_all(values, count, seed):
    groups = np.unique(values, return_inverse=True)[1].astype(np.int64)
    if count > len(values):
        with pytest.raises(RefusedError, match=f"at least {count} rows, found {len(values)}"):
            holdout.hold_out_groups(groups, count, seed)
        return
    split = holdout.hold_out_groups(groups, count, seed)
    assert sorted([*split.train, *split.held_out]) == [*range(len(values))]
    assert not {*groups[split.train]} & {*groups[split.held_out]}
    assert len(split.held_out) >= count
    most = np.bincount(groups).max()
    assert len(split.held_out) < max(count, 1) + most
    assert bool(len(split.held_out)) == bool(count)


@given(PHRASES, st.integers(0, 3))
def test_rows_are_held_out_with_their_equals(texts, seed):
    split = holdout.hold_out_rows(texts, len(texts) // 2, seed)
    assert len({*split.held_out}) == len(texts) // 2
    aside = {texts[row] for row in split.held_out}
    assert split.train.tolist() == [row for row, text in enumerate(texts) if text not in aside]
    with pytest.raises(RefusedError, match="expected at least 31 rows"):
        holdout.hold_out_rows(texts, 31, seed)


def test_sentences_are_cut_and_spelt_as_sst2_is():
    given = ["It's GOOD, isn't it?<br /><br />Yes. I think so!", "one\ntwo three four"]
    assert list(texts.sentences(given, 3, 40)) == [
        "it 's good , is n't it ?",
        "i think so !",
        "two three four",
    ]


@pytest.mark.parametrize("kind", augmentation.KINDS)
def test_augmented_texts_are_made_of_the_rows_words(kind):
    texts = ["a b c d e f", "g h i"]
    made = augmentation.augment(texts, [kind], 200, seed=1)
    assert len(made) == 200
    assert {word for text in made for word in text.split()} <= set("abcdefghi")
    assert made == augmentation.augment(texts, [kind], 200, seed=1)
    if kind == "ngram":
        assert all(any(inside(text, whole) for whole in texts) for text in made)
    if kind == "join":
        assert set(made) <= {f"{a} {b}" for a in texts for b in texts}
    if kind == "mask":
        assert {len(text.split()) for text in made} == {3, 6}
        assert 0 < sum(text in texts for text in made) < 200


@pytest.mark.parametrize("asked", [False, True])
def test_unlabelled_texts_are_augmented_only_where_asked_for(tmp_path, asked):
    files = tmp_path / "train.parquet", tmp_path / "domain.parquet"
    for file, text in zip(files, ("a b c d e", "v w x y z"), strict=True):
        pq.write_table(pa.table({"text": [text], "label": ["good"]}), file)
    train = LabelledTexts(pa.array(["a b c d e"]), None, np.zeros(1, np.int64), ("good",))
    given = {"train": str(files[0]), "unlabeled": (str(files[1]),), "augment_unlabeled": asked}
    given |= {"augment": "join", "augmented": 50}
    options = DistillOptions(teacher="", output="", **given)
    made, used = distillation.gather(train, options)
    mixed = {("a b c d e v w x y z",), ("v w x y z a b c d e",), ("v w x y z v w x y z",)}
    alone = {("a b c d e",), ("v w x y z",), ("a b c d e a b c d e",)}
    assert {*made} == (alone | mixed if asked else alone)
    assert [row["use"] for row in used] == [
        "train",
        "unlabelled",
        "augmented (join) of all texts" if asked else "augmented (join)",
    ]


def test_an_unknown_augmentation_is_refused():
    with pytest.raises(ValueError, match=r"found \['shuffle'\]"):
        augmentation.augment(["a"], ["shuffle"], 1, 0)


def test_without_unused_pieces_texts_have_the_same_pieces():
    backend = tiny.tokenizer()
    smaller, kept = vocabulary.without_unused(backend)
    assert smaller.get_vocab_size() == backend.get_vocab_size() - 1
    for text in ["a very good film", "zebra €", ""]:
        ids = smaller.encode(text, "bad").ids
        assert kept[ids].tolist() == backend.encode(text, "bad").ids
        assert smaller.encode(text).tokens == backend.encode(text).tokens


def test_word_vectors_go_to_their_words(tmp_path):
    tokenizer = vocabulary.word_tokenizer(["The film , the plot"], 10)
    table = pa.table({"word": ["the", "unseen", "film"], "vector": [[1.0, 2], [3, 4], [5, 6]]})
    pq.write_table(table, tmp_path / "v.parquet")
    ids, vectors = vocabulary.word_vectors(str(tmp_path / "v.parquet"), tokenizer, 2)
    assert [tokenizer.id_to_token(index) for index in ids] == ["the", "film"]
    assert vectors.tolist() == [[1, 2], [5, 6]]
    with pytest.raises(ValueError, match="vectors of 3 numbers"):
        vocabulary.word_vectors(str(tmp_path / "v.parquet"), tokenizer, 3)
