"""Both entry points end to end, on a task that a tiny model can learn."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from pipelines import calibrate, classify, distill, evaluate, finetune, tune
from tango_beam.cascade_directory import load_cascade
from tango_beam.errors import RefusedError
from tests import tiny

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Texts with one word that gives the label, and texts without labels."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    neutral = [word for word in tiny.WORDS if word not in ("good", "bad")]
    rows = []
    for _ in range(600):
        label, word = [("positive", "good"), ("negative", "bad")][int(rng.integers(2))]
        words = [*rng.choice(neutral, int(rng.integers(3, 9))), word]
        rows.append({"text": " ".join(rng.permutation(words)), "label": label})
    pq.write_table(pa.Table.from_pylist(rows[:500]), folder / "train.parquet")
    pq.write_table(pa.Table.from_pylist(rows[500:]), folder / "dev.parquet")
    texts = [" ".join(rng.choice(tiny.WORDS, 6)) + ". " for _ in range(300)]
    pq.write_table(pa.table({"text": ["".join(texts)]}), folder / "domain.parquet")
    return folder


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
    """A cascade directory made by the two commands, one after the other."""
    folder = tmp_path_factory.mktemp("trained")
    tiny.transformer(folder / "encoder", initializer_range=0.1)
    data = f"--train {files}/train.parquet --dev {files}/dev.parquet --held_out 60"
    finetune.main(
        f"{data} --encoder {folder}/encoder --output {folder}/second_tier --epochs 8 "
        "--learning_rate 3e-3 --drop_unused --precision fp32".split()
    )
    distill.main(
        f"{data} --teacher {folder}/second_tier --output {folder}/first_tier --cascade learnt "
        f"--unlabeled {files}/domain.parquet --augmented 300 --epochs 8 --learning_rate 1e-2 "
        "--batch_size 16 --embedding_size 16 --hidden_size 16".split()
    )
    return folder


def scores(folder):
    return json.loads((folder / "training.json").read_text())["scores"]


def test_the_second_tier_learns_and_its_card_says_how(trained):
    found = scores(trained / "second_tier")
    assert found["accuracy, dev"] > 0.9
    card = (trained / "second_tier" / "README.md").read_text()
    assert "python -m pipelines.finetune --train" in card
    assert "held-out sentences, to choose on" in card
    vocabulary = json.loads((trained / "second_tier" / "tokenizer.json").read_text())
    assert "[unused0]" not in vocabulary["model"]["vocab"]


def test_the_first_tier_agrees_with_its_teacher_and_shares_its_tokens(trained):
    found = scores(trained / "first_tier")
    assert found["agreement of both, dev"] > 0.9
    assert found["agreement of cascade and second tier, held-out"] >= 0.99
    config = load_cascade(str(trained))
    first, second = (
        tiny.load(
            tier.source, precision="auto", max_length=tier.max_length, tokenizer=tier.tokenizer
        )
        for tier in config.tiers
    )
    assert first.tokenizer.pad_id == second.tokenizer.pad_id
    assert not (trained / "first_tier" / "tokenizer.json").exists()


def test_what_they_made_classifies(trained, files, tmp_path):
    given = f"--input {files}/dev.parquet --output {tmp_path}/out --cascade {trained}"
    assert classify.main(given.split()) == 0
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert np.mean([row["prediction"] == row["label"] for row in rows]) > 0.9


def test_a_static_first_tier_is_tuned_signed_for_run_and_reported_on(files, trained, tmp_path):
    shutil.copytree(trained / "second_tier", tmp_path / "mine" / "second_tier")
    mine, dev = tmp_path / "mine", f"{files}/dev.parquet"
    distill.main(
        f"--train {files}/train.parquet --dev {dev} --teacher {mine}/second_tier --held_out 60 "
        f"--student static --output {mine}/first_tier --cascade mine --unlabeled "
        f"{files}/domain.parquet --epochs 8 --learning_rate 2e-2 --batch_size 16 "
        "--embedding_size 16 --bigrams 1024 --augmented 300".split()
    )
    assert scores(mine / "first_tier")["agreement of both, dev"] > 0.9
    given = f"--input {files}/train.parquet --cascade {mine}".split()
    quick = ["--rounds", "1", "--timed_seconds", "0.02", "--sample_rows", "400"]
    quick += ["--min_agreement", "0.9"]
    assert tune.main([*given, *quick, "--output", str(tmp_path / "tuned")]) == 0
    given[-1] = str(tmp_path / "tuned")
    goal = ["--agreement", "0.8", "--sample_rows", "450"]
    assert calibrate.main([*given, *goal, "--output", str(tmp_path / "signed")]) == 0
    given = ["--input", dev, "--cascade", str(tmp_path / "signed")]
    for precision in ("fp32", "bf16"):
        to = ["--output", str(tmp_path / precision), "--precision", precision]
        assert classify.main([*given, *to]) == 0
    manifest = json.loads((tmp_path / "fp32" / "_manifest.json").read_text())
    first, *_ = manifest["tokens"].values()
    assert first["padded"] == first["real"] > 0
    quick = ["--repeats", "1", "--splits", "3", "--single_rows", "4"]
    assert evaluate.main([*given, *quick, "--output", str(tmp_path / "report")]) == 0


def test_the_papers_student_reads_words(files, trained, tmp_path):
    vectors = pa.table({"word": ["good", "bad"], "vector": [[0.1] * 16, [-0.1] * 16]})
    pq.write_table(vectors, tmp_path / "vectors.parquet")
    distill.main(
        f"--train {files}/train.parquet --dev {files}/dev.parquet --teacher {trained}/second_tier "
        f"--output {tmp_path}/words --student words --vectors {tmp_path}/vectors.parquet "
        "--vocabulary_size 30 --augmented 0 --epochs 8 --learning_rate 1e-2 --batch_size 16 "
        "--embedding_size 16 --hidden_size 16".split()
    )
    assert scores(tmp_path / "words")["accuracy of the first tier, dev"] > 0.9
    assert (tmp_path / "words" / "tokenizer.json").exists()


def test_a_second_tier_can_learn_from_others(files, trained, tmp_path):
    finetune.main(
        f"--train {files}/train.parquet --dev {files}/dev.parquet --encoder {trained}/encoder "
        f"--teacher {trained}/second_tier --unlabeled {files}/domain.parquet --unlabeled_rows 100 "
        f"--output {tmp_path}/again --epochs 8 --learning_rate 3e-3 --average 0.9".split()
    )
    assert scores(tmp_path / "again")["accuracy, dev"] > 0.9


def test_frozen_layers_stay_as_they_were(files, trained, tmp_path):
    finetune.main(
        f"--train {files}/train.parquet --held_out 60 --encoder {trained}/second_tier --epochs 2 "
        f"--learning_rate 3e-3 --freeze_layers 1 --output {tmp_path}/upper".split()
    )
    before, after = (
        load_file(folder / "model.safetensors")
        for folder in (trained / "second_tier", tmp_path / "upper")
    )
    moved = {name for name, weights in after.items() if not weights.equal(before[name])}
    assert any("layer.1." in name for name in moved)
    assert any("classifier" in name for name in moved)
    assert not any("embeddings" in name or "layer.0." in name for name in moved)
    assert scores(tmp_path / "upper")["accuracy, held-out sentences"] > 0.9


def test_a_cascade_needs_rows_to_choose_a_threshold_on(files, tmp_path):
    given = f"--train {files}/train.parquet --teacher {tmp_path}/t --output {tmp_path}/f"
    with pytest.raises(RefusedError, match="expected --held_out rows"):
        distill.main([*given.split(), "--cascade", "x"])
