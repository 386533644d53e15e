"""BERT read without transformers: the same model to the bit, or left to transformers."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from safetensors.torch import load_file, save_file

from tango_beam.cascade_directory import load_cascade
from tango_beam.config import Compute, TierConfig
from tango_beam.models import bert as family
from tango_beam.models import transformer
from tests import tiny
from tests.jobs import ROOT


def both(folder, precision="fp32", **tier):
    """A checkpoint as it is read here, and as transformers reads it."""
    given = TierConfig(str(folder), **tier), Compute("cpu", precision)
    return family.load(*given), transformer.to_answer(transformer.load(*given))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("which", ["tiny", "embedded"])
def test_it_is_transformers_own_to_the_bit(which, precision, tmp_path, rng):
    folder = load_cascade("sst2").tiers[1].source
    if which == "tiny":
        folder = tiny.transformer(tmp_path / "bert", labels=("a", "b", "c"))
    ours, theirs = both(folder, precision, max_length=20)
    assert ours is not None and type(ours) is type(theirs)
    for name in ("labels", "vocabulary", "parameters", "operations", "device", "precision"):
        assert getattr(ours, name) == getattr(theirs, name), name
    texts = pa.array(["", *(tiny.sentence(rng, 40) for _ in range(15))])
    tokens, again = ours.tokenize(texts), theirs.tokenize(texts)
    assert (tokens.ids == again.ids).all() and (tokens.truncated == again.truncated).all()
    rows = np.arange(len(tokens))
    assert (ours.forward(tokens, rows) == theirs.forward(tokens, rows)).all()
    pairs = ours.tokenize(texts, texts[::-1])
    assert (ours.forward(pairs, rows) == theirs.forward(pairs, rows)).all()


def changed(folder, name, **changes):
    path = folder / name
    stored = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in stored.items() if value != "gone"}))


SETTINGS = {
    "cut on the left": ({"truncation_side": "left"}, {}),
    "cut on the left, says tokenizer.json": (
        {"truncation_side": "gone"},
        {
            "truncation": {
                "direction": "Left",
                "max_length": 9,
                "strategy": "LongestFirst",
                "stride": 0,
            }
        },
    ),
    "no segments": ({"model_input_names": ["input_ids", "attention_mask"]}, {}),
    "no word on segments": ({"model_input_names": "gone"}, {}),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_texts_are_read_as_the_tokenizer_is_set(kind, bert, tmp_path, rng):
    folder = shutil.copytree(bert, tmp_path / "other")
    for name, changes in zip(
        ("tokenizer_config.json", "tokenizer.json"), SETTINGS[kind], strict=True
    ):
        changed(folder, name, **changes)
    ours, theirs = both(folder, max_length=20)
    assert ours is not None
    assert ours.vocabulary == theirs.vocabulary
    texts = pa.array([tiny.sentence(rng, 40) for _ in range(30)])
    rows = np.arange(len(texts))
    before = family.load(TierConfig(str(bert), max_length=20), Compute("cpu", "fp32"))
    moved = []
    for pairs in (None, texts[::-1]):
        tokens, again = ours.tokenize(texts, pairs), theirs.tokenize(texts, pairs)
        found = ours.forward(tokens, rows)
        assert (found == theirs.forward(again, rows)).all()
        moved.append(np.abs(found - before.forward(before.tokenize(texts, pairs), rows)).max())
    assert moved[1] > 1e-3
    assert (moved[0] > 1e-3) == ("left" in kind)


def test_special_tokens_that_a_text_spells_are_read_as_it_is_set(bert, tmp_path):
    texts, found = pa.array(["good [SEP] film", "a film"]), []
    for split in (False, True):
        folder = shutil.copytree(bert, tmp_path / str(split))
        changed(folder, "tokenizer_config.json", split_special_tokens=split)
        ours, theirs = both(folder, max_length=20)
        assert ours is not None
        assert ours.vocabulary == theirs.vocabulary
        tokens = ours.tokenize(texts)
        assert tokens.ids.tolist() == theirs.tokenize(texts).ids.tolist()
        found.append(tokens.ids.tolist())
    assert found[0] != found[1]


OTHERS = {
    "activation": ("config.json", {"hidden_act": "silu"}),
    "a key that is not known": ("config.json", {"quantization_config": {}}),
    "code of its own": ("config.json", {"auto_map": {}}),
    "positions": ("config.json", {"position_embedding_type": "relative_key"}),
    "a decoder": ("config.json", {"is_decoder": True}),
    "several labels": ("config.json", {"problem_type": "multi_label_classification"}),
    "no names": ("config.json", {"id2label": "gone"}),
    "names that start at 1": ("config.json", {"id2label": {"1": "a", "2": "b"}}),
    "another shape": ("config.json", {"intermediate_size": 48}),
    "another class": ("tokenizer_config.json", {"tokenizer_class": "BertTokenizer"}),
    "a special token that is not there": ("tokenizer_config.json", {"mask_token": "<mask>"}),
    "more special tokens": ("tokenizer_config.json", {"extra_special_tokens": ["<x>"]}),
    "no limit": ("tokenizer_config.json", {"model_max_length": "gone"}),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_may_differ_is_left_to_transformers(kind, bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "other")
    name, changes = OTHERS[kind]
    changed(folder, name, **changes)
    assert _load(folder) is None


def _load(folder):
    return family.load(TierConfig(str(folder)), Compute("cpu", "fp32"))


def test_a_checkpoint_without_its_tokenizer_or_with_other_weights_is_left_to_transformers(tmp_path):
    folder = tiny.transformer(tmp_path / "bert")
    assert _load(folder) is not None
    (folder / "tokenizer.json").rename(folder / "elsewhere")
    assert _load(folder) is None
    (folder / "elsewhere").rename(folder / "tokenizer.json")
    weights = load_file(folder / "model.safetensors")
    weights["more"] = weights["classifier.bias"].clone()
    save_file(weights, folder / "model.safetensors")
    assert _load(folder) is None


WITHOUT = """
import sys
from pipelines import classify
assert classify.main(sys.argv[1:]) == 0
slow = {"transformers", "scipy.stats", "torch._dynamo", "matplotlib"} & set(sys.modules)
assert not slow, slow
"""


def test_the_embedded_cascade_imports_nothing_slow_that_it_does_not_need(tmp_path):
    path = ROOT / "examples" / "reviews.jsonl"
    arguments = ["--input", str(path), "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
