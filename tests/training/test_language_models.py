"""Augmented texts out of language models: tiny ones that are trained here, in seconds."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from pipelines import distill
from tango_beam.errors import RefusedError
from tango_beam.training import language_models
from tango_beam.training.language_models import Generator, Nearest, Replacer
from tests import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

ADJECTIVES, NOUNS = ("good", "bad", "dull"), ("film", "plot", "scene")
SINGLE = [(f"a {one} {two}",) for one in ADJECTIVES for two in NOUNS]
PAIRS = [(first, f"{second} too") for (first,) in SINGLE[:4] for (second,) in SINGLE[:4]]


def by_letters():
    """Tokens are characters: a line break and a tab among them."""
    letters = sorted({*"abcdefghijklmnopqrstuvwxyz \n\t"})
    names = {letter: number for number, letter in enumerate(["<|end|>", *letters])}
    backend = Tokenizer(models.BPE(names, [], unk_token="<|end|>"))
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")


@pytest.fixture(scope="module", params=[1, 2])
def generator(request, tmp_path_factory):
    """A causal model that has learnt to write lines, with the rows that it has seen."""
    rows = SINGLE if request.param == 1 else PAIRS
    folder = tmp_path_factory.mktemp("generator")
    tokenizer = by_letters()
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=256,
            n_embd=64,
            n_layer=2,
            n_head=4,
            bos_token_id=0,
            eos_token_id=0,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )
    rng, adam = np.random.default_rng(0), torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(250):
        shown = rng.integers(len(rows), size=(8, 5))
        lines = ["".join(language_models._line(rows[row]) for row in some) for some in shown]
        ids = tokenizer(lines)["input_ids"]
        ids = torch.tensor([some[:160] + [0] * (160 - len(some)) for some in ids])
        loss = model(input_ids=ids, labels=ids.masked_fill(ids == 0, -100)).loss
        loss.backward()
        adam.step()
        adam.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, rows


def test_a_causal_model_writes_texts_and_pairs_like_those_it_is_shown(generator):
    folder, rows = generator
    maker = Generator.load(str(folder), rows, 64)
    made = maker(rows, 60, np.random.default_rng(1))
    assert len(made) > 30
    assert {len(row) for row in made} == {len(rows[0])}
    seen = Counter(word for row in made for text in row for word in text.split())
    known = {word for row in rows for text in row for word in text.split()}
    assert sum(seen[word] for word in known) > 0.8 * seen.total()
    assert len({*made}) > 5
    assert made == maker(rows, 60, np.random.default_rng(1))
    assert made != maker(rows, 60, np.random.default_rng(2))


@pytest.mark.parametrize(
    ("line", "sides", "expected"),
    [
        ("a good film \nmore", 1, ("a good film",)),
        ("a\tb\n", 2, ("a", "b")),
        ("a\tb\n", 1, None),
        ("a\n", 2, None),
        ("a\t \n", 2, None),
        (" \n", 1, None),
        ("", 1, None),
    ],
)
def test_lines_of_another_form_are_dropped(line, sides, expected):
    assert language_models._row(line, sides) == expected


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """A masked model that has learnt which words stand in which place."""
    folder = tmp_path_factory.mktemp("masked")
    words = ["[PAD]", "[UNK]", "[MASK]", "a", *ADJECTIVES, *NOUNS, "##s"]
    backend = Tokenizer(
        models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"
    )
    torch.manual_seed(0)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=32,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    ids = torch.tensor(tokenizer([text for (text,) in SINGLE])["input_ids"])
    adam = torch.optim.AdamW(model.parameters(), 5e-3)
    for step in range(120):
        given = ids.clone()
        given[:, step % 3] = tokenizer.mask_token_id
        loss = model(input_ids=given, labels=ids.masked_fill(given == ids, -100)).loss
        loss.backward()
        adam.step()
        adam.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "v.parquet"
    near = {"films": [1.0, 0.0], "movies": [0.9, 0.1], "shows": [0.8, 0.3], "war": [0.0, 1.0]}
    pq.write_table(pa.table({"word": [*near], "vector": [*near.values()]}), path)
    return str(path)


def test_a_masked_model_replaces_words_by_those_that_fit_their_place(masked):
    maker = Replacer.load(str(masked), None)
    maker = Replacer(maker.model, maker.tokenizer, candidates=3)
    rng = np.random.default_rng(0)
    made = maker(SINGLE, 300, rng)
    assert 100 < len(made) < 300  # some texts stay as they are
    for (text,) in made:
        _, adjective, noun = text.split()
        assert adjective in ADJECTIVES
        assert noun in NOUNS
    assert len({*made}) > 5


def test_words_in_pieces_are_replaced_by_their_neighbours(masked, vectors):
    nearest = Nearest.read(vectors)
    assert nearest("films", 2) == ["movies", "shows"]
    assert nearest("unheard", 2) == []
    maker = Replacer.load(str(masked), vectors)
    maker = Replacer(maker.model, maker.tokenizer, maker.nearest, share=1.0, candidates=2)
    for text in ("films", "movies"):  # in two pieces; not known at all
        made = maker([(text,)], 40, np.random.default_rng(0))
        assert {*made} == {(other,) for other in nearest(text, 2)}
    alone = Replacer(maker.model, maker.tokenizer, None, share=1.0)
    assert alone([("films",)], 5, np.random.default_rng(0)) == []


def test_both_texts_of_a_pair_are_replaced(masked):
    maker = Replacer.load(str(masked), None)
    rows = [("a good film", "a bad plot")]
    made = Replacer(maker.model, maker.tokenizer, share=1.0)(rows, 40, np.random.default_rng(0))
    assert all(len(row) == 2 for row in made)
    assert all(len({*side}) > 1 for side in zip(*made, strict=True))


def test_texts_that_were_made_are_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(language_models, "PART", 4)
    parts = []

    def maker(rows, count, rng):
        if len(parts) == 2:
            raise KeyboardInterrupt
        parts.append(count)
        return [(str(rng.integers(1000)),) for _ in range(count - 1)]

    with pytest.raises(KeyboardInterrupt):
        language_models.made(maker, SINGLE, 10, 0, tmp_path)
    kept = sorted(tmp_path.glob("*.json"))
    assert len(kept) == 2
    parts.clear()
    found = language_models.made(maker, SINGLE, 8, 0, tmp_path)
    assert len(parts) == 1
    assert len(found) == 8
    assert found[:3] == [tuple(row) for row in json.loads(kept[0].read_text())]


def test_a_model_that_makes_nothing_of_use_is_given_up(tmp_path):
    with pytest.raises(RefusedError, match="found 0 of 256 of use"):
        language_models.made(lambda *_: [], SINGLE, 10, 0, tmp_path)


@pytest.fixture
def given(tmp_path):
    tiny.transformer(tmp_path / "teacher")
    rows = {"text": [text for (text,) in SINGLE] * 2, "label": [*tiny.LABELS] * 9}
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    shape = "--embedding_size 8 --hidden_size 8 --epochs 1 --augmented 40"
    paths = f"--teacher {tmp_path}/teacher --train {tmp_path}/train.parquet --output {tmp_path}/out"
    return f"{paths} {shape}".split()


@pytest.mark.parametrize("generator", [1], indirect=True)
def test_a_student_learns_from_texts_that_both_models_made(given, generator, masked, tmp_path):
    folder, _ = generator
    more = ["--generator", str(folder), "--masked_lm", str(masked)]
    assert distill.main([*given, *more]) == 0
    data = json.loads((tmp_path / "out" / "training.json").read_text())["data"]
    assert [row["rows"] for row in data if row["use"] == "augmented (generated, replaced)"] == [40]
    assert not [*(tmp_path / "out").glob("_*")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--augment", "generated"], "expected generated and --generator together"),
        (["--augment", "mask", "--masked_lm", "x"], "expected replaced and --masked_lm together"),
        (["--text_pair_column", "text", "--augment", "mask"], "for pairs of texts, found .*mask"),
        (["--text_pair_column", "text"], "--augmented: expected a kind in --augment, found none"),
        (["--generator", "{tmp}/teacher"], "--generator .*teacher: expected"),
        (["--masked_lm", "{tmp}/teacher"], "--masked_lm .*: expected .* found no weights for cls"),
    ],
)
def test_what_makes_no_texts_is_refused(given, tmp_path, options, message):
    with pytest.raises(RefusedError, match=message):
        distill.main([*given, *(option.format(tmp=tmp_path) for option in options)])
