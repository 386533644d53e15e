"""Families of models give the scores that `transformers.pipeline` gives, each text on its own."""

from functools import cache

import numpy as np
import pytest
from transformers import pipeline

from tango_beam.answers import Task
from tango_beam.models.checkpoints import stated_of
from tango_beam.models.logits import logits_of
from tests import tiny
from tests.models.families import OTHERS, PACKED, checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = 200
SPELT = (
    "padding uses {pad}{pad} tokens",
    "{cls}one{sep}",
    "{pad}",
    "a {sep} b {unk}",
    "{pad} end {pad}",
)


def words(rng, count):
    return " ".join(rng.choice(tiny.WORDS, count))


@cache
def texts(special):
    """Texts of 1 to 600 tokens, an empty one, and some that spell special tokens."""
    rng = np.random.default_rng(5)
    lengths = np.concatenate([[0, 1, 600], rng.integers(1, 40, 129), rng.integers(40, 600, 62)])
    made = [words(rng, count) for count in lengths]
    for number in range(0, len(made), 4):
        spelt = [
            *made[number].split(),
            *rng.choice([token for _, token in special], 1 + number % 3),
        ]
        made[number] = " ".join(rng.permutation(spelt))
    return ["", *made, *(text.format(**dict(special)) for text in SPELT)][-TEXTS:]


def answered(theirs, row):
    """What the pipeline says of one row, None where it fails."""
    if hasattr(theirs.model.base_model, "set_attention_type"):
        # BigBird leaves sparse attention for good at the first short text.
        theirs.model.base_model.set_attention_type("block_sparse")
    try:
        found = {one["label"]: one["score"] for one in theirs([row], truncation=True)[0]}
        return dict(sorted(found.items()))
    except RuntimeError:
        return None


def worst(folder, first, second=None, task=Task()):  # noqa: B008 - frozen
    """The largest difference of a score from that of the pipeline, text by text."""
    theirs = pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
    rows = [{"text": a} for a in first]
    if second is not None:
        rows = [{"text": a, "text_pair": b} for a, b in zip(first, second, strict=True)]
    expected = [answered(theirs, row) for row in rows]
    # To some networks a text without a token, or of two, is an error in transformers as well.
    kept = [number for number, row in enumerate(expected) if row is not None]
    assert len(kept) >= len(rows) - 3
    first, second = (side and [side[number] for number in kept] for side in (first, second))
    wanted = np.array([[*expected[number].values()] for number in kept])
    model = tiny.load(folder)
    answers = task.decoder(model.labels)(logits_of(model, first, second), model.labels)
    names = [*expected[kept[0]]]
    scores = np.stack([answers.scores.field(name).to_numpy() for name in names], axis=1)
    assert np.ptp(wanted, axis=0).max() > 0.05, "the scores say nothing"
    return np.abs(scores - wanted).max()


CASES = [
    *PACKED,
    *(pytest.param(family, marks=pytest.mark.slow) for family in OTHERS),
]


@pytest.mark.parametrize("family", CASES)
def test_single_texts(tmp_path, family):
    special = checkpoint(tmp_path, family)
    assert worst(tmp_path, texts(special)) < 1e-4


@pytest.mark.parametrize("family", CASES)
def test_pairs(tmp_path, family):
    special = checkpoint(tmp_path, family)
    first = texts(special)
    assert worst(tmp_path, first, first[::-1]) < 1e-4


@pytest.mark.parametrize("family", CASES)
def test_texts_that_lose_their_beginning(tmp_path, family):
    special = checkpoint(tmp_path, family, truncation_side="left", model_max_length=40)
    first = texts(special)[::3]
    assert worst(tmp_path, first) < 1e-4
    assert worst(tmp_path, first, first[::-1]) < 1e-4


KINDS = {
    "multi_label": (Task("multi_label"), {"problem_type": "multi_label_classification"}),
    "score": (Task("score", (0.0,)), {"problem_type": "regression", "num_labels": 1}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", CASES)
def test_several_labels_and_scores(tmp_path, family, kind):
    task, stated = KINDS[kind]
    first = texts(checkpoint(tmp_path, family, stated=stated))[::4]
    assert stated_of(str(tmp_path)).kind == kind
    assert worst(tmp_path, first, task=task) < 1e-4
    assert worst(tmp_path, first, first[::-1], task) < 1e-4


# Networks that look for padding by its id cannot be made without one.
NEED_PADDING = {"Roberta", "Camembert", "XLMRoberta", "MPNet", "Longformer", "Bart", "T5", "XLM"}


@pytest.mark.parametrize("family", CASES)
def test_without_a_padding_id(tmp_path, family):
    pad = 0 if family in NEED_PADDING else None
    special = checkpoint(tmp_path, family, pad=pad, pad_token=None)
    assert worst(tmp_path, texts(special)[::3]) < 1e-4


@pytest.mark.parametrize("family", CASES)
def test_with_a_padding_id_that_is_not_the_tokenizers(tmp_path, family):
    """A word's own: it stands in most texts, behind some of them."""
    special = checkpoint(tmp_path, family, pad=9)
    first = texts(special)[::3]
    assert worst(tmp_path, first) < 1e-4
    assert worst(tmp_path, first, first[::-1]) < 1e-4
