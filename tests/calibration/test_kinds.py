"""Calibration of several labels and of scores: fits, promises by label and by bucket, filters."""

import json

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import calibrate, classify
from tango_beam.answers import Task
from tango_beam.calibration.temperature import fit_margin
from tango_beam.command_line import DONE
from tango_beam.config import CascadeConfig, TierConfig
from tango_beam.routing import sigmoid
from tests import tiny
from tests.calibration.near import cascade_of
from tests.jobs import schema

TOPICS = ("art", "law", "sport")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("corpus") / "texts.parquet"
    texts = [tiny.sentence(rng) for _ in range(3000)]
    pq.write_table(pa.table({"id": range(3000), "text": texts}), path)
    return path


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    return cascade_of(
        tmp_path_factory.mktemp("topics"),
        0.02,
        labels=TOPICS,
        task=Task("multi_label"),
        problem_type="multi_label_classification",
    )


@pytest.fixture(scope="module")
def score(tmp_path_factory):
    return cascade_of(
        tmp_path_factory.mktemp("score"),
        0.02,
        labels=("score",),
        task=Task("score", (-1.0, 1.0)),
        problem_type="regression",
    )


def run(main, corpus, cascade, output, *options):
    paths = {"--input": corpus, "--cascade": cascade, "--output": output}
    assert main([*(str(part) for pair in paths.items() for part in pair), *options]) == DONE


def signed(output):
    stored = json.loads((output / "cascade.json").read_text())
    jsonschema.validate(stored, schema("cascade"))
    return stored, {(one["goal"], one["label"]) for one in stored["certificate"]["signed"]}


def columns(corpus, cascade, folder):
    """The answers of the cascade, and of its last tier alone."""
    run(classify.main, corpus, cascade, folder / "ours")
    run(classify.main, corpus, cascade, folder / "last", "--threshold", "1")
    return [pq.read_table(folder / name).sort_by("id") for name in ("ours", "last")]


def test_labels_are_promised_one_by_one(corpus, topics, tmp_path):
    options = ("--agreement", "0.7", "--class_agreement", "0.9", "--sample_rows", "2000")
    run(calibrate.main, corpus, topics, tmp_path / "mine", *options)
    stored, goals = signed(tmp_path / "mine")
    assert goals == {("agreement", None), *(("class_agreement", topic) for topic in TOPICS)}
    assert len(stored["tiers"][0]["fits"]) == 3
    assert {one["label"] for one in stored["certificate"]["by_class"]} <= {*TOPICS}
    ours, last = (
        table["prediction"].to_pylist() for table in columns(corpus, tmp_path / "mine", tmp_path)
    )
    assert np.mean([a == b for a, b in zip(ours, last, strict=True)]) >= 0.7
    for topic in TOPICS:
        same = [(topic in a) == (topic in b) for a, b in zip(ours, last, strict=True)]
        assert np.mean(same) >= 0.9
    assert 0 < stored["certificate"]["speed"]["escalated"] < 1


def test_buckets_are_promised_one_by_one(corpus, score, tmp_path):
    options = ("--class_agreement", "0.7", "--sample_rows", "2000")
    run(calibrate.main, corpus, score, tmp_path / "mine", *options)
    stored, goals = signed(tmp_path / "mine")
    assert goals == {("class_agreement", bucket) for bucket in ("0", "1", "2")}
    assert len(stored["tiers"][0]["fits"]) == 2
    ours, last = (
        np.array(table["bucket"]) for table in columns(corpus, tmp_path / "mine", tmp_path)
    )
    for bucket in range(3):
        assert (ours[last == bucket] == bucket).mean() >= 0.7


@pytest.mark.parametrize(("kind", "found"), [("topics", "law"), ("score", "1")])
def test_a_filter_finds_a_label_among_several_or_a_bucket(request, corpus, tmp_path, kind, found):
    cascade = request.getfixturevalue(kind)
    goals = ("--recall", f"{found}=0.95", "--precision", f"{found}=0.9", "--sample_rows", "2500")
    run(calibrate.main, corpus, cascade, tmp_path / "mine", *goals)
    assert signed(tmp_path / "mine")[1] == {("recall", found), ("precision", found)}
    called, wanted = (
        np.array([found in row for row in table["prediction"].to_pylist()])
        if kind == "topics"
        else np.array(table["bucket"]) >= int(found)
        for table in columns(corpus, tmp_path / "mine", tmp_path)
    )
    assert (called & wanted).sum() >= 0.95 * wanted.sum()
    assert (called & wanted).sum() >= 0.9 * called.sum()
    run(classify.main, corpus, tmp_path / "mine", tmp_path / "kept", "--keep", found)
    kept = pq.read_table(tmp_path / "kept")
    assert sorted(kept["id"].to_pylist()) == np.flatnonzero(called).tolist()


def test_scores_within_the_tolerance_agree_in_calibration_too():
    tiers = TierConfig("small", threshold=0.9), TierConfig("large")
    config = CascadeConfig(tiers, ("score",), task=Task("score", (2.5,), tolerance=0.5))
    outputs = [np.array(values, np.float32)[:, None] for values in ([2.4, 1, 9], [2.6, 2, 9])]
    first, last = config.answers(outputs).answers
    assert (first == last).tolist() == [True, False, True]


def test_a_shrunken_score_is_stretched_where_the_last_tier_decides(rng):
    score = rng.normal(0, 2, 20_000)
    seen = (0.5 * score + rng.normal(0, 0.3, 20_000)).astype(np.float32)
    decided = score >= 2
    slope, intercept = fit_margin(seen - 2, decided)
    assert (
        1 - (decided == (seen >= 2)).mean()
        > 2 * (decided != (slope * (seen - 2) + intercept >= 0)).mean()
    )
    chances = sigmoid(slope * (seen - 2) + intercept)
    assert np.mean(chances) == pytest.approx(decided.mean(), abs=0.005)
    assert fit_margin(seen[:0], decided[:0]) == (1.0, 0.0)


def test_margins_that_part_decisions_without_an_error_are_fitted_too():
    margins = np.linspace(-1, 1, 100, dtype=np.float32)
    slope, intercept = fit_margin(margins, margins > 0)
    assert 0 < slope < 1000
    assert abs(intercept) < 1
