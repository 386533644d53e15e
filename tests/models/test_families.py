"""Families of models: scores beside transformers' own, and checkpoints that are refused."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import pipeline

from tango_beam.answers import LabelDecoder
from tango_beam.config import TierConfig
from tango_beam.errors import RefusedError
from tango_beam.models import checkpoints, loading
from tango_beam.models.bilstm import BiLSTMNetwork
from tango_beam.models.bilstm_config import BiLSTMConfig
from tango_beam.models.checkpoints import stated_of
from tests import tiny
from tests.models.families import checkpoint

TEXTS = ["good", "a very bad film", "the plot is dull", "", "good " * 90, "not very funny"]


def answers(model, texts=TEXTS, pairs=None):
    tokens = model.tokenize(pa.array(texts), None if pairs is None else pa.array(pairs))
    outputs = np.zeros((len(texts), len(model.labels)), np.float32)
    for rows in model.plan(tokens.lengths):
        outputs[rows] = model.forward(tokens, rows)
    return LabelDecoder()(outputs, model.labels)


def test_the_papers_bilstm_has_its_684_922_parameters():
    network = BiLSTMNetwork(BiLSTMConfig(tiny.LABELS))
    assert sum(parameter.numel() for parameter in network.parameters()) == 684_922


@pytest.mark.parametrize("family", ["bert", "lstm", "static"])
def test_batch_mates_and_padding_do_not_move_a_score(family, request):
    model = tiny.load(str(request.getfixturevalue(family)))
    tokens = model.tokenize(pa.array(TEXTS))
    together = model.forward(tokens, np.arange(len(TEXTS)))
    alone = tiny.one_at_a_time(model, tokens)
    np.testing.assert_allclose(together, alone, atol=2e-5)


@pytest.mark.parametrize("pooling", ["last", "max"])
def test_a_bilstm_on_padded_rows_is_torchs_own_on_packed_ones(tmp_path, pooling):
    model = tiny.load(tiny.bilstm(tmp_path, pooling=pooling, spread=3.0))
    tokens = model.tokenize(pa.array(TEXTS))
    states = model.network.embedding(torch.from_numpy(tokens.padded(np.arange(len(TEXTS)), 0)))
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        states, torch.from_numpy(tokens.lengths), batch_first=True, enforce_sorted=False
    )
    outputs, (hidden, _) = model.network.lstm(packed)
    read = [hidden[-2], hidden[-1]]
    if pooling == "max":
        rows, _ = torch.nn.utils.rnn.pad_packed_sequence(
            outputs, batch_first=True, padding_value=-torch.inf
        )
        read.append(rows.amax(dim=1))
    expected = model.network.feed_forward(torch.cat(read, dim=1)).detach().numpy()
    found = model.forward(tokens, np.arange(len(TEXTS)))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(tiny.one_at_a_time(model, tokens), expected, atol=1e-5)


def test_a_transformer_answers_as_the_transformers_pipeline_does(bert):
    theirs = pipeline("text-classification", model=str(bert), device="cpu", truncation=True)
    ours = answers(tiny.load(bert))
    expected = [theirs(text)[0] for text in TEXTS]
    assert ours.predictions.to_pylist() == [answer["label"] for answer in expected]
    scores = [answer["score"] for answer in expected]
    np.testing.assert_allclose(ours.confidences, scores, atol=1e-5)


def test_pairs_are_answered_as_the_transformers_pipeline_does(bert):
    theirs = pipeline("text-classification", model=str(bert), device="cpu")
    pairs = [("good film", "bad"), ("the plot", "is very dull"), ("a", "an awful movie")]
    first, second = map(list, zip(*pairs, strict=True))
    ours = answers(tiny.load(bert), first, second)
    expected = [theirs({"text": a, "text_pair": b}) for a, b in pairs]
    assert ours.predictions.to_pylist() == [answer["label"] for answer in expected]
    scores = [answer["score"] for answer in expected]
    np.testing.assert_allclose(ours.confidences, scores, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "lstm", "static"])
def test_bf16_answers_are_close_to_fp32(family, request):
    folder = str(request.getfixturevalue(family))
    full = answers(tiny.load(folder))
    half = answers(tiny.load(folder, precision="bf16"))
    assert np.abs(half.confidences - full.confidences).mean() < 0.05


def test_a_model_is_loaded_once_a_process(bert):
    assert tiny.load(bert) is tiny.load(bert)
    assert tiny.load(bert, max_length=9) is not tiny.load(bert)


@pytest.mark.parametrize("family", ["lstm", "static"])
def test_a_saved_student_gives_the_same_scores(family, request, tmp_path):
    model = tiny.load(request.getfixturevalue(family))
    model.save(tmp_path / "again")
    again = tiny.load(tmp_path / "again")
    np.testing.assert_array_equal(answers(model).confidences, answers(again).confidences)


def test_max_length_cuts_and_never_stretches(bert):
    assert tiny.load(bert, max_length=9).tokenizer.max_length == 9
    assert tiny.load(bert, max_length=9999).tokenizer.max_length == 64


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "labels"),
        ({"problem_type": "single_label_classification"}, "labels"),
        ({"problem_type": "multi_label_classification"}, "multi_label"),
        ({"problem_type": "regression", "labels": ("quality",)}, "score"),
        ({"labels": ("quality",)}, None),
    ],
    ids=str,
)
def test_a_checkpoint_says_what_it_answers_with(tmp_path, change, kind):
    stated = stated_of(str(tiny.transformer(tmp_path / "one", **change)))
    assert (stated.kind, stated.labels) == (kind, change.get("labels", tiny.LABELS))


def test_a_score_has_one_output(tmp_path):
    folder = tiny.transformer(tmp_path / "two", problem_type="regression")
    with pytest.raises(RefusedError, match="one output for a score, found 2 in id2label"):
        stated_of(str(folder))


LABELS = {
    "from one": ({"1": "a", "2": "b"}, ("a", "b")),
    "a gap": ({"0": "a", "2": "b"}, ("a", "b")),
    "numbers": ({"0": 3, "1": 4.5}, ("3", "4.5")),
    "null": ({"0": None, "1": "b"}, ("LABEL_0", "b")),
    "none": (None, ("LABEL_0", "LABEL_1")),
}


def with_labels(folder, names):
    config = json.loads((tiny.transformer(folder) / "config.json").read_text())
    config.pop("label2id")
    (folder / "config.json").write_text(json.dumps({**config, "id2label": names}))
    return folder


@pytest.mark.parametrize("case", LABELS)
def test_labels_are_named_whatever_numbers_and_names_a_checkpoint_gives_them(tmp_path, case):
    given, expected = LABELS[case]
    folder = with_labels(tmp_path / "x", given)
    assert stated_of(str(folder)).labels == tiny.load(folder).labels == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"0": "a", "1": "a"}, r"a name for each label in id2label.*\['a'\] twice"),
        ({}, "found 0 in id2label"),
        ({"a": "a", "b": "b"}, "a config.json that transformers reads"),
        (["a", "b"], "a config.json that transformers reads"),
    ],
)
def test_labels_that_say_nothing_are_refused_in_one_line(tmp_path, given, message):
    with pytest.raises(RefusedError, match=f"^tier [^\n]*x: expected .*{message}[^\n]*$"):
        stated_of(str(with_labels(tmp_path / "x", given)))


def test_more_names_than_outputs_are_refused_in_one_line(tmp_path, capfd):
    folder = with_labels(tmp_path / "x", {"0": "a", "1": "b", "2": "c"})
    capfd.readouterr()
    with pytest.raises(ValueError, match=r"of shape \[3\].*names 3 labels.*found \[2\] among"):
        tiny.load(folder)
    assert not capfd.readouterr().err


@pytest.mark.parametrize("family", ["MPNet", "Longformer", "Roberta", "Data2VecText", "Bart"])
def test_a_text_is_cut_to_what_the_position_table_holds(tmp_path, family):
    """Whatever max_length a tokenizer states: 1e30 is what none looks like."""
    folder = unlimited(tmp_path, family)
    model = tiny.load(folder)
    tokens = model.tokenize(pa.array(["good " * 300]))
    # Positions begin behind the padding index, which is 1 in MPNet and 0 in the others.
    assert tokens.lengths.tolist() == [{"Bart": 64, "MPNet": 62}.get(family, 63)]
    assert np.isfinite(model.forward(tokens, np.arange(1))).all()
    assert loading.vocabulary(TierConfig(str(folder))) == model.vocabulary


def unlimited(folder, family):
    made = checkpoint(folder, family, model_max_length=int(1e30), positions=64)
    assert made
    return folder


def test_a_model_without_any_limit_reads_512_tokens_or_what_it_is_told(tmp_path, caplog):
    checkpoint(tmp_path, "XLNet", model_max_length=int(1e30))
    assert tiny.load(tmp_path).tokenizer.max_length == 512
    assert "no limit of a text's length is known; it reads 512 tokens" in caplog.text
    assert tiny.load(tmp_path, max_length=700).tokenizer.max_length == 700


def test_a_network_that_reads_less_than_it_says_is_refused_at_launch(tmp_path, monkeypatch):
    checkpoint(tmp_path, "Data2VecText", model_max_length=int(1e30), positions=64)
    monkeypatch.setattr(checkpoints, "_positions", lambda network: iter(()))
    with pytest.raises(ValueError, match=r"expected a network that reads 64 tokens.*--max_length"):
        tiny.load(tmp_path)


@pytest.mark.parametrize("family", ["ConvBert", "FNet"])
def test_a_network_that_reads_padding_gets_texts_of_one_length_at_a_time(tmp_path, family):
    checkpoint(tmp_path, family)
    model = tiny.load(tmp_path)
    tokens = model.tokenize(pa.array(["a " * count for count in (3, 9, 3, 30, 9)]))
    batches = model.plan(tokens.lengths)
    assert all(len({*tokens.lengths[rows].tolist()}) == 1 for rows in batches)
    assert len(batches) == 3


@pytest.mark.parametrize("family", ["GPT2", "Qwen2", "Llama"])
def test_a_decoder_without_a_padding_id_takes_more_than_one_row_at_a_time(tmp_path, family):
    checkpoint(tmp_path, family, pad=None, pad_token=None)
    model = tiny.load(tmp_path)
    tokens = model.tokenize(pa.array(["good film", "a", "a very dull plot"]))
    together = model.forward(tokens, np.arange(3))
    np.testing.assert_allclose(together, tiny.one_at_a_time(model, tokens), atol=1e-5)
    assert len(model.plan(tokens.lengths)) == 1


def test_pickled_weights_are_refused_by_name(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(RefusedError, match=r"safetensors, found pytorch_model\.bin"):
        stated_of(str(folder))


def test_an_encoder_without_a_trained_head_is_refused(bert, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(bert, tmp_path / "headless")
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "classifier" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"found no weights for classifier\.bias"):
        tiny.load(folder)


@pytest.mark.parametrize("family", ["lstm", "static"])
def test_weights_of_another_shape_name_the_folder(family, request, tmp_path):
    folder = shutil.copytree(request.getfixturevalue(family), tmp_path / "misfit")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "feed_forward_size": 20}))
    with pytest.raises(ValueError, match="misfit: weights do not fit"):
        tiny.load(folder)


def test_cuda_without_a_gpu_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="found none that torch can use"):
        loading.resolve_device("cuda")
