"""How long a text may be: what the network has positions for, whatever is stated elsewhere."""

import logging

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from tokenizers import processors

from tango_beam.config import Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.models import loading
from tango_beam.resolve import load_tier
from tests import tiny
from tests.models.test_packed import SMALL

BART = {"d_model": 32, "decoder_start_token_id": 0, "eos_token_id": 3} | {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in (("layers", 1), ("attention_heads", 4), ("ffn_dim", 48))
}
XMOD = {"languages": ["en_XX"], "default_language": "en_XX"}
# By family: how many tokens it has positions for, with padding at index 1, and what it needs.
FAMILIES = {
    "Bert": (80, {}),
    "Electra": (80, {}),
    "GPT2": (80, {"eos_token_id": None}),
    "Roberta": (78, {}),
    "XLMRoberta": (78, {}),
    "Camembert": (78, {}),
    "MPNet": (78, {}),
    "Longformer": (78, {"attention_window": [8, 8]}),
    "XLMRobertaXL": (78, {}),
    "RobertaPreLayerNorm": (78, {}),
    "Data2VecText": (78, {}),
    "IBert": (78, {}),
    "Luke": (78, {"entity_vocab_size": 8}),
    "Lilt": (78, {"hidden_size": 48}),
    "Xmod": (78, XMOD),
    "Esm": (78, {"mask_token_id": 4, "position_embedding_type": "absolute"}),
    "Bart": (80, BART),
    "OPT": (80, {"word_embed_proj_dim": 32, "ffn_dim": 48}),
    "XLM": (80, {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "pad_index": 1}),
    "RoFormer": (80, {"embedding_size": 32}),
}


def checkpoint(folder, name, stated=int(1e30), single=None, shape=SMALL, **changes):
    backend = tiny.tokenizer()
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        vocab_size=backend.get_vocab_size(), pad_token_id=1, **shape | changes
    )
    getattr(transformers, f"{name}ForSequenceClassification")(config).save_pretrained(folder)
    if single:
        ids = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
        backend.post_processor = processors.TemplateProcessing(single, special_tokens=ids)
    tokenizer = tiny.fast(backend, stated)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_a_text_is_read_as_far_as_there_are_positions(name, tmp_path):
    length, changes = FAMILIES[name]
    folder = checkpoint(tmp_path / name, name, **changes)
    model = tiny.load(folder)
    assert model.tokenizer.max_length == length
    tokens = model.tokenize(pa.array(["good film " * 60, "good"]))
    assert tokens.lengths[0] == length
    assert np.isfinite(model.forward(tokens, np.arange(2))).all()
    assert loading.vocabulary(TierConfig(str(folder))) == model.vocabulary
    assert tiny.load(folder, max_length=20).tokenizer.max_length == 20
    assert tiny.load(folder, max_length=2000).tokenizer.max_length == length


def test_a_network_without_a_table_reads_what_is_stated(tmp_path):
    shape = {"num_key_value_heads": 2, "eos_token_id": None}
    folder = checkpoint(tmp_path / "llama", "Llama", stated=60, **shape)
    model = tiny.load(folder)
    assert model.tokenizer.max_length == 60
    assert tiny.load(folder, max_length=2000).tokenizer.max_length == 60


T5 = {"d_model": 32, "d_ff": 48, "num_layers": 2, "num_heads": 4, "d_kv": 8} | {
    "decoder_start_token_id": 1,
    "eos_token_id": 3,
}
UNLIMITED = {
    "XLNet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
    "T5": T5,
    "Funnel": {"block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48},
}


@pytest.mark.parametrize("name", UNLIMITED)
def test_without_any_limit_512_tokens_are_read_and_it_is_said(name, tmp_path, caplog):
    folder = checkpoint(tmp_path / name, name, shape={}, **UNLIMITED[name])
    with caplog.at_level(logging.WARNING):
        assert tiny.load(folder).tokenizer.max_length == 512
    assert f"{folder}: no limit of a text's length is known; it reads 512" in caplog.text
    caplog.clear()
    model = tiny.load(folder, max_length=700)
    assert model.tokenizer.max_length == 700 and not caplog.text
    tokens = model.tokenize(pa.array(["good film " * 400]))
    assert np.isfinite(model.forward(tokens, np.arange(1))).all()


BROKEN = {
    "a head that finds no end": ("Bart", SMALL | BART, "[CLS] $A", "reads 80", "one <eos>"),
    "blocks of one length only": (
        "Nystromformer",
        SMALL | {"num_landmarks": 8, "segment_means_seq_len": 64},
        "[CLS] $A [SEP]",
        "reads 80",
        "invalid for input of size",
    ),
    "no start": (
        "T5",
        T5 | {"decoder_start_token_id": None},
        "[CLS] $A [SEP]",
        "reads 512",
        "decoder_start_token_id",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_network_that_fails_on_the_longest_text_is_refused_when_it_is_loaded(kind, tmp_path):
    name, shape, single, length, reason = BROKEN[kind]
    folder = checkpoint(tmp_path / name, name, single=single, shape=shape)
    with pytest.raises(RefusedError) as found:
        load_tier(TierConfig(str(folder)), Compute("cpu", "fp32"))
    message = str(found.value)
    assert message.startswith(f"tier {folder}: expected") and "\n" not in message
    assert f"expected a network that {length} tokens" in message and "--max_length" in message
    assert reason in message
