"""Training on several labels and on scores: what is saved, what transformers reads of it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import pipeline

from pipelines import distill, finetune
from tango_beam.errors import RefusedError
from tango_beam.training import objectives
from tests import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

WORTH = {"good": 1.0, "great": 2.0, "bad": -1.0, "awful": -2.0}
TOPICS = {"funny": "comedy", "sad": "drama", "dull": "drama"}
LEARN = ["--epochs", "10", "--learning_rate", "3e-3", "--precision", "fp32", "--held_out", "60"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Texts whose words say which labels they bear (a third bear none), and their score."""
    folder = tmp_path_factory.mktemp("kinds")
    rng = np.random.default_rng(5)
    rows = []
    for number in range(700):
        words = rng.choice(tiny.WORDS, int(rng.integers(3, 8))).tolist()
        rows.append(
            {
                "text": " ".join(words),
                "topics": sorted({TOPICS[word] for word in words if word in TOPICS}),
                "score": 1e4 + 2e3 * sum(WORTH.get(word, 0.0) for word in words),
                "label": ["no", "yes"][not TOPICS.keys().isdisjoint(words)],
                "author": number % 90,
            }
        )
    pq.write_table(pa.Table.from_pylist(rows[:600]), folder / "train.parquet")
    pq.write_table(pa.Table.from_pylist(rows[600:]), folder / "dev.parquet")
    tiny.transformer(folder / "encoder", initializer_range=0.1)
    return folder


KINDS = {
    "labels": ("label", "single_label_classification", ["no", "yes"]),
    "multi_label": ("topics", "multi_label_classification", ["comedy", "drama"]),
    "score": ("score", "regression", ["score"]),
}


@pytest.fixture(scope="module")
def checkpoints(folder):
    """A checkpoint of each kind, made by the command."""
    data = ["--train", f"{folder}/train.parquet", "--dev", f"{folder}/dev.parquet"]
    for kind, (column, *_) in KINDS.items():
        given = [*data, "--label_column", column, "--encoder", f"{folder}/encoder", *LEARN]
        task = ["--task", kind] if kind == "score" else []  # the column's type says the others
        assert finetune.main([*given, "--output", f"{folder}/{kind}", *task]) == 0
    return {kind: folder / kind for kind in KINDS}


@pytest.fixture(params=KINDS)
def trained(request, checkpoints):
    return request.param, checkpoints[request.param]


def log(folder):
    return json.loads((folder / "training.json").read_text())


def test_what_is_saved_says_its_kind(trained):
    kind, to = trained
    _, problem_type, labels = KINDS[kind]
    config = json.loads((to / "config.json").read_text())
    assert config["problem_type"] == problem_type
    assert config.get("id2label", {"0": "LABEL_0"}) == {str(n): v for n, v in enumerate(labels)}
    assert config.get("label2id") == {label: number for number, label in enumerate(labels)}


def check(kind, scores, where):
    if kind == "score":
        assert scores[f"mean absolute error{where}"] < 1000
        assert scores[f"Spearman{where}"] > 0.9
    elif kind == "multi_label":
        assert scores[f"micro F1{where}"] > 0.95 and scores[f"macro F1{where}"] > 0.95
        assert scores[f"exact sets{where}"] > 0.9
    else:
        assert scores[f"accuracy{where}"] > 0.9


def test_every_kind_is_learnt_and_reported(trained, folder):
    kind, to = trained
    found = log(to)
    check(kind, found["scores"], ", dev")
    rows = "sentences" if kind == "labels" else "rows"
    check(kind, found["epochs"][-1], f", held-out {rows}")
    assert f"| held-out {rows}, to choose on |" in (to / "README.md").read_text()
    assert found["epochs"][0]["loss"] < (1.5 if kind == "score" else 1)
    # A constant: the most frequent answer, none of the labels, the median.
    dev = pq.read_table(folder / "dev.parquet").to_pydict()
    if kind == "score":
        apart = np.abs(np.array(dev["score"]) - np.median(dev["score"])).mean()
        assert found["scores"]["mean absolute error, dev"] < apart / 2
    elif kind == "multi_label":
        assert np.mean([not topics for topics in dev["topics"]]) < 0.6


def test_transformers_reads_it_as_it_is(trained, folder):
    kind, to = trained
    dev = pq.read_table(folder / "dev.parquet").to_pydict()
    given = pipeline("text-classification", str(to), top_k=None)(dev["text"])
    found = [{entry["label"]: entry["score"] for entry in row} for row in given]
    right = dev[KINDS[kind][0]]
    if kind == "score":
        apart = np.array([row["score"] for row in found]) - right
        assert np.abs(apart).mean() == pytest.approx(
            log(to)["scores"]["mean absolute error, dev"], rel=0.05
        )
    elif kind == "multi_label":
        sets = [sorted(label for label, p in row.items() if p >= 0.5) for row in found]
        exact = np.mean([a == b for a, b in zip(sets, right, strict=True)])
        assert exact == pytest.approx(log(to)["scores"]["exact sets, dev"], abs=0.011)
    else:
        assert all(sum(row.values()) == pytest.approx(1, abs=1e-4) for row in found)


@pytest.mark.parametrize("student", ["pieces", "static"])
def test_a_student_learns_every_kind(trained, folder, student):
    kind, teacher = trained
    to = folder / f"{student}_{kind}"
    data = ["--train", f"{folder}/train.parquet", "--dev", f"{folder}/dev.parquet"]
    more = "--augmented 0 --epochs 12 --learning_rate 1e-2 --batch_size 16 --held_out 60"
    size = ["--embedding_size", "16", "--hidden_size", "16", "--student", student]
    given = [*data, "--label_column", KINDS[kind][0], "--teacher", str(teacher)]
    assert distill.main([*given, "--output", str(to), *more.split(), *size]) == 0
    config = json.loads((to / "config.json").read_text())
    assert config["problem_type"] == KINDS[kind][1] and config["labels"] == KINDS[kind][2]
    scores = log(to)["scores"]
    if kind == "score":
        assert scores["Spearman between both, dev"] > 0.8
        assert scores["mean absolute error of the first tier, dev"] < 1500
    else:
        assert scores["agreement of both, dev"] > 0.85
    model, twin = tiny.load(to), tiny.load(teacher)
    texts = pa.array(pq.read_table(folder / "dev.parquet")["text"].to_pylist())
    one, two = (
        m.forward(m.tokenize(texts), np.arange(len(texts))).astype(float) for m in (model, twin)
    )
    assert np.corrcoef(one[:, 0], two[:, 0])[0, 1] > 0.8


@pytest.mark.parametrize("kind", ["multi_label", "score"])
def test_teachers_of_every_kind_teach_a_second_tier(folder, checkpoints, kind, tmp_path):
    given = ["--train", f"{folder}/train.parquet", "--dev", f"{folder}/dev.parquet"]
    given += ["--label_column", KINDS[kind][0], "--encoder", f"{folder}/encoder", "--task", kind]
    given += ["--teacher", str(checkpoints[kind]), "--average", "0.9", *LEARN]
    finetune.main([*given, "--output", str(tmp_path / "again")])
    check(kind, log(tmp_path / "again")["scores"], ", dev")
    other = tiny.transformer(tmp_path / "other")
    with pytest.raises(RefusedError, match=f"--teacher .*other: expected one of {kind}, found lab"):
        finetune.main([*given, "--teacher", str(other), "--output", str(tmp_path / "none")])


def test_scores_are_trained_further_from_where_they_were(folder, checkpoints, tmp_path):
    given = ["--train", f"{folder}/train.parquet", "--label_column", "score", "--task", "score"]
    given += ["--encoder", str(checkpoints["score"]), "--epochs", "1", "--learning_rate", "1e-9"]
    given += ["--held_out", "60", "--precision", "fp32", "--output", str(tmp_path / "more")]
    finetune.main(given)
    before = log(checkpoints["score"])["scores"]["mean absolute error, held-out rows"]
    after = log(tmp_path / "more")["scores"]["mean absolute error, held-out rows"]
    assert after == pytest.approx(before, rel=1e-3)


@pytest.mark.parametrize("bias", [True, False])
def test_a_head_is_scaled_and_back_without_a_trace(bias):
    head = torch.nn.Linear(3, 1, bias=bias)
    inputs, before = torch.randn(8, 3), [p.detach().clone() for p in head.parameters()]
    scores = np.array([[1.0], [4], [7]], np.float32)
    scale = objectives.Scale.of(scores, head)
    outputs = head(inputs)
    scale.to_scores(head)
    assert torch.allclose(head(inputs), outputs * scale.spread + scale.mean, atol=1e-5)
    scale.to_standardised(head)
    for parameter, kept in zip(head.parameters(), before, strict=True):
        assert torch.allclose(parameter, kept, atol=1e-6)
    assert np.square(scale.standardised(scores)).mean() == pytest.approx(1)


def test_rare_labels_weigh_more_up_to_a_cap():
    targets = np.zeros((100, 4), np.float32)
    for label, count in enumerate((0, 1, 20, 60)):
        targets[:count, label] = 1
    assert objectives.weights_of(targets, 3).tolist() == [3, 3, 2, 1]
    assert objectives.weights_of(targets, 1).tolist() == [1, 1, 1, 1]
    assert objectives.weights_of(targets, 50) == pytest.approx([10, 99**0.5, 2, 1])
