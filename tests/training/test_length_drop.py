"""LengthDrop: what is learnt at full and at shorter lengths, what is written, and who picks it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipelines import classify, finetune, tune
from tango_beam.cascade_directory import load_cascade, save_cascade
from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.models import kept_tokens, span_transformer
from tango_beam.models.kept_tokens import Point
from tango_beam.training import length_drop, networks
from tests import jobs, tiny
from tests.models.families import checkpoint
from tests.training.taught import teach
from tests.training.test_spans import GIVEN, rows, write

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = ["a good film", "", "the plot was dull and the end was not very good", "sad", "bad plot"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return teach(tmp_path_factory.mktemp("corpus"), rows=400)


def arguments(corpus, output):
    return (
        f"--encoder {corpus}/teacher --train {corpus}/train.parquet --output {output} "
        "--held_out 80 --held_out_by row --length_drop 0.6 --length_settings 12 "
        "--epochs 4 --learning_rate 1e-3 --precision fp32"
    ).split()


@pytest.fixture(scope="module")
def shortened(corpus):
    assert finetune.main(arguments(corpus, corpus / "shortened")) == 0
    return corpus / "shortened"


@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForQuestionAnswering"])
@pytest.mark.parametrize("kept", [(0.6,), (1.0,), (0.0,)])
def test_a_network_in_training_drops_what_it_will_drop(tmp_path, head, kept):
    checkpoint(tmp_path, "Bert", head=head)
    answering, pairs = tiny.load(tmp_path, kept_tokens=kept), None
    reads = head == "ForQuestionAnswering"
    if reads:
        pairs = pa.array(TEXTS)
        model = span_transformer.load(TierConfig(str(tmp_path)), Compute("cpu", "fp32"))
    else:
        model = tiny.to_train(tmp_path)
    tokens, picked = model.tokenize(pa.array(TEXTS), pairs), np.arange(len(TEXTS))
    network = networks.shortening(model, "fp32")
    call = network.edges if reads else network.logits
    with network.keeping(kept):
        found = call(tokens, picked)
    found.square().sum().backward()
    weight = model.network.get_input_embeddings().weight
    assert weight.grad is not None and weight.grad.abs().sum() > 0
    found = found.detach().numpy()
    if not reads:
        np.testing.assert_allclose(found, answering.forward(tokens, picked), atol=1e-4)
        return
    for group, starts, ends in answering.encoder.edges(tokens, picked, 0):
        theirs = np.stack([starts, ends], axis=2)
        np.testing.assert_allclose(found[group][:, : theirs.shape[1]], theirs, atol=1e-4)


def test_the_settings_that_are_worth_having_lie_beside_the_weights(shortened):
    points = kept_tokens.load(shortened)
    assert points[0].kept_tokens == (1.0, 1.0) and points[0].operations == 1
    costs, kept = zip(*((p.operations, p.kept_tokens) for p in points), strict=True)
    assert [*costs] == sorted(costs, reverse=True) and len(points) > 2
    assert kept[-1] == pytest.approx((0.4, 0.16)) and costs[-1] < 0.8
    assert all({*point.scores} == {"accuracy"} for point in points)
    # What learnt to do with fewer tokens is better at it than what did not.
    assert points[-1].scores["accuracy"] > 0.9
    card = json.loads((shortened / "training.json").read_text())["scores"]
    least = card["share of operations that keeps 99 % of accuracy, held-out"]
    enough = [p for p in points if p.scores["accuracy"] >= 0.99 * points[0].scores["accuracy"]]
    assert least == min(point.operations for point in enough)


def test_tuning_picks_a_setting_and_the_job_runs_it(corpus, shortened, tmp_path):
    save_cascade(
        CascadeConfig((TierConfig(str(shortened)),), ("good", "other")), (folder := corpus)
    )
    options = "--rounds 1 --timed_seconds 0.02 --sample_rows 300 --no_processes"
    given = f"--input {corpus}/train.parquet --cascade {folder} --output {tmp_path}/tuned"
    code = tune.main([*given.split(), *options.split(), "--min_agreement", "0.8"])
    assert code == 0
    found = json.loads((tmp_path / "tuned" / "_tune.json").read_text())["tiers"][0]
    tried = [one for one in found["measured"] if one["kept_tokens"]]
    assert len(tried) == 1
    tier = load_cascade(str(tmp_path / "tuned")).tiers[0]
    assert list(tier.kept_tokens) == found["chosen"]["kept_tokens"]
    # Whatever is faster on this machine: the job runs what the cascade says.
    tier = TierConfig(str(shortened), kept_tokens=tuple(tried[0]["kept_tokens"]))
    save_cascade(CascadeConfig((tier,), ("good", "other")), folder)
    job = ["--input", f"{corpus}/train.parquet", "--cascade", str(folder), "--precision", "fp32"]
    assert classify.main([*job, "--output", str(tmp_path / "out")]) == 0
    rows_out = jobs.read_output(tmp_path / "out")[0]
    model = tiny.load(shortened, kept_tokens=tier.kept_tokens)
    texts = pq.read_table(corpus / "train.parquet")["text"].to_pylist()
    tokens = model.tokenize(pa.array(texts))
    logits = model.forward(tokens, np.arange(len(texts)))
    said = dict(zip(texts, logits.argmax(axis=1), strict=True))
    assert all(row["prediction"] == model.labels[said[row["text"]]] for row in rows_out)


def test_readers_learn_it_too(tmp_path):
    tiny.reader(tmp_path / "encoder", initializer_range=0.1, num_hidden_layers=3)
    train = write(tmp_path / "train.parquet", rows(200))
    given = f"--encoder {tmp_path}/encoder --train {train} --output {tmp_path}/out --task span "
    drop = "--length_drop 0.4 --length_settings 5 --held_out 40 --held_out_by film"
    more = f"{drop} --epochs 1 --learning_rate 1e-3"
    assert finetune.main([*given.split(), *more.split(), *GIVEN]) == 0
    points = kept_tokens.load(tmp_path / "out")
    assert points[0].distance == 0 and {*points[0].scores} == {"F1"}
    assert 0 < points[-1].operations < 1


def test_the_sandwich_goes_by_the_full_length_and_learns_it(tmp_path):
    checkpoint(tmp_path, "Bert")
    model = tiny.to_train(tmp_path)
    network, tokens = networks.shortening(model, "fp32"), model.tokenize(pa.array(TEXTS))
    seen, picked = [], np.arange(len(TEXTS))

    def alike(shorter, whole):
        assert not whole.requires_grad and shorter.requires_grad
        seen.append(float((shorter - whole).abs().max().detach()))
        return (shorter - whole).square().mean()

    total = length_drop.sandwich(
        network,
        lambda: network.logits(tokens, picked),
        lambda whole: whole.square().mean(),
        alike,
        0.9,
    )
    assert len(seen) == 3 and max(seen) > 0.01 and torch.isfinite(total)
    assert length_drop.shortest(2, 0.5) == (0.5, 0.25)
    for _ in range(50):
        first, second = length_drop.drawn(2, 0.5)
        assert 0.5 <= first <= 1 and 0.5 * first <= second <= first


def test_a_bred_setting_is_of_its_parents_where_it_is_not_drawn_anew():
    torch.manual_seed(0)
    parents = [Point(kept, 1.0, 0.0, {}) for kept in ((1.0, 1.0, 1.0), (0.5, 0.3, 0.15))]
    ratios = np.array([length_drop.bred(parents, 0.5) for _ in range(400)])
    ratios = ratios / np.concatenate([np.ones((400, 1)), ratios[:, :-1]], axis=1)
    assert ((ratios >= 0.5) & (ratios <= 1 + 1e-12)).all()
    for layer, ratio in enumerate((0.5, 0.6, 0.5)):
        first, second = (np.isclose(ratios[:, layer], kept).mean() for kept in (1, ratio))
        assert 0.2 < first < 0.5 and 0.2 < second < 0.5 and 0.6 < first + second < 0.8


def test_what_cannot_learn_it_is_refused_before_any_training(corpus, tmp_path):
    given = arguments(corpus, tmp_path / "out")
    without = [word for word in given if word not in ("--held_out", "80")]
    with pytest.raises(RefusedError, match="--length_drop: expected --held_out rows"):
        finetune.main([word for word in without if word not in ("--held_out_by", "row")])
    checkpoint(tmp_path / "mpnet", "MPNet")
    given[1] = str(tmp_path / "mpnet")
    with pytest.raises(RefusedError, match=r"--encoder .*without relative positions"):
        finetune.main(given)
    assert not [*(tmp_path / "out").glob("*.safetensors")]
