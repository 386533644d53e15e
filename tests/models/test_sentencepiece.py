"""Checkpoints whose tokenizer is a SentencePiece model alone, as older ones are."""

import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import (
    T5Config,
    T5ForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    pipeline,
)

from tests import tiny

spm = pytest.importorskip("sentencepiece")

SMALL = {
    **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"intermediate_size": 48, "max_position_embeddings": 70},
}
T5 = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48, "d_kv": 8}
FAMILIES = {
    "XLMRobertaTokenizer": (
        XLMRobertaForSequenceClassification,
        XLMRobertaConfig(vocab_size=60, initializer_range=0.5, **SMALL),
        "sentencepiece.bpe.model",
    ),
    "T5Tokenizer": (
        T5ForSequenceClassification,
        T5Config(
            vocab_size=160, decoder_start_token_id=0, eos_token_id=2, initializer_factor=2.0, **T5
        ),
        "spiece.model",
    ),
}


@pytest.fixture(params=FAMILIES)
def checkpoint(request, tmp_path, rng):
    network, config, name = FAMILIES[request.param]
    texts = [tiny.sentence(rng, 30) for _ in range(300)]
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(tmp_path / "made"),
        vocab_size=36,
        hard_vocab_limit=False,
        minloglevel=3,
    )
    (tmp_path / "made.model").rename(tmp_path / name)
    stated = f'{{"tokenizer_class": "{request.param}", "model_max_length": 60}}'
    (tmp_path / "tokenizer_config.json").write_text(stated)
    torch.manual_seed(0)
    network(config).save_pretrained(tmp_path)
    return tmp_path


def test_it_answers_as_the_transformers_pipeline_does(checkpoint, rng):
    theirs = pipeline("text-classification", model=str(checkpoint), device="cpu", top_k=None)
    texts = [tiny.sentence(rng, 30) for _ in range(30)]
    model = tiny.load(checkpoint)
    tokens = model.tokenize(pa.array(texts))
    logits = torch.from_numpy(model.forward(tokens, np.arange(30)))
    for row, text in zip(logits.softmax(1).tolist(), texts, strict=True):
        scores = {one["label"]: one["score"] for one in theirs([text], truncation=True)[0]}
        assert row == pytest.approx([scores[label] for label in model.labels], abs=1e-4)


def test_without_the_package_it_is_named_with_the_extra_that_brings_it(checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ValueError, match=r"expected the package sentencepiece.*\[sentencepiece\]"):
        tiny.load(checkpoint)
