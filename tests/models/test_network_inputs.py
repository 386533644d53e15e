"""What networks of transformers are called with; batch mates and earlier texts move no score."""

import json
import threading

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers

from tango_beam.models.packed import PackedTransformer
from tango_beam.models.tokens import Tokens
from tango_beam.training import networks
from tests import tiny
from tests.models.test_packed import SMALL

pytestmark = pytest.mark.slow

ENDS = {"bos_token_id": None, "eos_token_id": None, "decoder_start_token_id": 0}


def checkpoint(folder, name, padding=0, **changes):
    """Of any family, with a BERT's tokenizer."""
    backend = tiny.tokenizer()
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        vocab_size=backend.get_vocab_size(), pad_token_id=padding, **SMALL | ENDS | changes
    )
    getattr(transformers, f"{name}ForSequenceClassification")(config).save_pretrained(folder)
    tiny.fast(backend, 80).save_pretrained(folder)
    return folder


def texts(rng, count=60):
    """Texts of one word to forty, some of which spell padding, in front and behind."""
    made = [tiny.sentence(rng, 40) for _ in range(count)]
    made[:4] = ["[PAD]", "good [PAD] [PAD]", "[PAD][PAD] film", "a [SEP] [SEP] plot"]
    return made


@torch.inference_mode()
def alone(folder, *rows):
    """Logits of transformers' own network for one text, or one pair of them, at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    given = [
        tokenizer(*row, truncation=True, return_tensors="pt") for row in zip(*rows, strict=True)
    ]
    return torch.cat([network(**one).logits for one in given]).numpy()


@pytest.mark.parametrize("padding", [0, 9, None, -1], ids=["own", "another", "none", "minus one"])
@pytest.mark.parametrize("name", ["GPT2", "Qwen2", "Llama"])
def test_decoders_score_many_rows_at_once_as_one_at_a_time(name, padding, tmp_path, rng):
    more = {} if name == "GPT2" else {"num_key_value_heads": 2}
    folder = checkpoint(tmp_path / "decoder", name, padding, **more)
    model = tiny.load(folder)
    given, calls = texts(rng), []
    tokens = model.tokenize(pa.array(given))
    model.network.base_model.register_forward_hook(lambda *_: calls.append(1))
    parts = model.plan(tokens.lengths)
    assert len(parts) < 5
    found = np.zeros((len(tokens), 2), np.float32)
    for rows in parts:
        found[rows] = model.forward(tokens, rows)
    assert len(calls) == len(parts)
    expected = alone(folder, given)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert expected.std() > 0.01
    model.save(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "config.json").read_text())
    assert saved.get("pad_token_id") == padding


OTHERS = {
    "convolves": ("ConvBert", {"embedding_size": 16}),
    "looks at neighbours": (
        "MobileBert",
        {"embedding_size": 16, "intra_bottleneck_size": 32, "num_feedforward_networks": 1},
    ),
    "mixes all tokens": ("FNet", {}),
    "counts tokens that are no padding": (
        "XLM",
        {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "pad_index": 0},
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_rows_are_not_padded_where_a_family_sees_padding(kind, tmp_path, rng):
    name, changes = OTHERS[kind]
    folder = checkpoint(tmp_path / name, name, **changes)
    model = tiny.load(folder)
    tokens = model.tokenize(pa.array(texts(rng)))
    assert all(len({*tokens.lengths[rows]}) == 1 for rows in model.plan(tokens.lengths))
    rows = rng.permutation(len(tokens))
    one = np.concatenate([model.forward(tokens, rows[at : at + 1]) for at in range(len(rows))])
    np.testing.assert_allclose(model.forward(tokens, rows), one, rtol=1e-5, atol=2e-5)


def test_rows_with_unlike_numbers_of_ends_are_scored_apart(tmp_path, rng):
    parts = {"layers": 1, "attention_heads": 4, "ffn_dim": 48}
    shape = {f"{side}_{k}": v for side in ("encoder", "decoder") for k, v in parts.items()}
    end = tiny.tokenizer().token_to_id("[SEP]")
    shape |= {"eos_token_id": end, "d_model": 32, "init_std": 0.5}
    folder = checkpoint(tmp_path / "bart", "Bart", **shape)
    given = texts(rng)
    tokens = tiny.load(folder).tokenize(pa.array(given))
    found = tiny.load(folder).forward(tokens, np.arange(len(tokens)))
    np.testing.assert_allclose(found, alone(folder, given), rtol=1e-5, atol=2e-5)


STATEFUL = {
    "sparse attention": ("BigBird", {"block_size": 4, "num_random_blocks": 1}),
    "rotations that stretch": (
        "Llama",
        {
            "num_key_value_heads": 2,
            "max_position_embeddings": 80,
            "rope_parameters": {
                "rope_type": "dynamic",
                "rope_theta": 100.0,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
    ),
}


@pytest.mark.parametrize("kind", STATEFUL)
def test_a_score_does_not_hang_on_the_texts_before(kind, tmp_path, rng):
    name, changes = STATEFUL[kind]
    folder = checkpoint(tmp_path / name, name, **changes)
    model = tiny.load(folder)
    tokens = model.tokenize(pa.array(["good film " * n for n in (35, 1, 15, 30, 2, 12)]))
    order = [np.array([row]) for row in range(len(tokens))]
    first = [model.forward(tokens, row) for row in order]
    again = [model.forward(tokens, row) for row in reversed(order)][::-1]
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    found = [None] * len(order)

    def score(number):
        for _ in range(10):
            found[number] = model.forward(tokens, order[number])

    threads = [threading.Thread(target=score, args=(number,)) for number in range(len(order))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(first), rtol=1e-4, atol=1e-5)


INPUTS = {
    "segments": ["input_ids", "token_type_ids", "attention_mask"],
    "no segments": ["input_ids", "attention_mask"],
    "no mask": ["input_ids", "token_type_ids"],
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", ["Bert", "Electra", "Roberta"])
def test_pairs_are_scored_and_trained_with_what_the_tokenizer_passes(name, kind, tmp_path, rng):
    folder = checkpoint(tmp_path / name, name, type_vocab_size=2)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_input_names": INPUTS[kind]}))
    first, second = ([tiny.sentence(rng, 20) for _ in range(20)] for _ in range(2))
    expected = alone(folder, first, second)
    trained, scored = tiny.to_train(folder), tiny.load(folder)
    assert isinstance(scored, PackedTransformer) == (name != "Electra")
    rows = np.arange(len(first))
    for model in (trained, scored):
        tokens = model.tokenize(pa.array(first), pa.array(second))
        np.testing.assert_allclose(model.forward(tokens, rows), expected, atol=2e-4)
    logits = networks.of(trained, "fp32").logits(tokens, rows)
    assert logits.requires_grad
    np.testing.assert_allclose(logits.detach(), expected, atol=2e-4)


def test_a_network_that_knows_no_segments_is_given_none(tmp_path):
    shape = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "activation": "silu"}
    folder = checkpoint(tmp_path / "distil", "DistilBert", **shape)
    model = tiny.load(folder)
    assert "token_type_ids" in model.backend.model_input_names
    tokens = model.tokenize(pa.array(["good"]), pa.array(["bad film"]))
    assert np.isfinite(model.forward(tokens, np.arange(1))).all()


@pytest.mark.parametrize("text", ["[PAD] a", "good [PAD][PAD] film", "[PAD]"])
@pytest.mark.parametrize("backend", ["torch", "onnx"])
@pytest.mark.parametrize("name", ["Roberta", "XLMRoberta", "Camembert", "MPNet"])
def test_padding_that_a_text_spells_counts_no_position(name, backend, text, tmp_path):
    if backend == "onnx":
        pytest.importorskip("onnxruntime")
    folder = checkpoint(tmp_path / name, name)
    model = tiny.load(folder, backend=backend)
    given = [text, "a longer text " * 3]
    found = model.forward(model.tokenize(pa.array(given)), np.arange(2))
    np.testing.assert_allclose(found, alone(folder, given), atol=2e-4)


@pytest.mark.parametrize("padding", [0, None, -1])
@pytest.mark.parametrize("name", ["GPT2", "Bert", "Electra", "FNet"])
def test_a_text_without_tokens_is_one_of_padding(name, padding, tmp_path):
    if name != "GPT2" and padding == -1:
        pytest.skip("no token")
    folder = checkpoint(tmp_path / "gpt", name, padding)
    model = tiny.load(folder)
    tokens = Tokens(np.array([7, 8], np.int32), np.array([0, 0, 2]), np.zeros(2, bool))
    one = Tokens(np.zeros(1, np.int32), np.array([0, 1]), np.zeros(1, bool))
    together = model.forward(tokens, np.arange(2))
    np.testing.assert_allclose(together[:1], model.forward(one, np.arange(1)), atol=2e-5)
