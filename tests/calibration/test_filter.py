"""Filters end to end: calibrated on one label, run, kept, and refused where rows are too few."""

import json
import shutil

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from pipelines import calibrate, classify, evaluate
from tango_beam.answers import LabelDecoder
from tango_beam.answers.labels import FilterDecoder
from tango_beam.calibration.options import goals_apart
from tango_beam.cascade_directory import load_cascade
from tango_beam.command_line import DONE, NOT_SIGNED
from tango_beam.config import CascadeConfig, TierConfig
from tango_beam.errors import RefusedError
from tests import tiny
from tests.calibration.near import cascade_of
from tests.jobs import schema

BOTH = ("--recall", "positive=0.95", "--precision", "positive=0.9", "--sample_rows", "900")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("corpus") / "texts.parquet"
    texts = [tiny.sentence(rng) for _ in range(1500)]
    table = {"id": range(1500), "text": texts, "label": ["positive"] * 1500}
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture(scope="module")
def cascade(tmp_path_factory):
    return cascade_of(tmp_path_factory.mktemp("near"), 0.05)


def arguments(corpus, cascade, output, *options):
    paths = {"--input": corpus, "--cascade": cascade, "--output": output}
    return [*(str(part) for pair in paths.items() for part in pair), *options]


def stored(folder, name="cascade.json"):
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def signed(corpus, cascade, tmp_path_factory):
    output = tmp_path_factory.mktemp("signed") / "mine"
    assert calibrate.main(arguments(corpus, cascade, output, *BOTH)) == DONE
    return output


def classified(corpus, cascade, output, *options):
    assert classify.main(arguments(corpus, cascade, output, *options)) == DONE
    return pq.read_table(output).sort_by("id")


def test_both_promises_hold_on_the_corpus_and_each_side_has_its_threshold(signed, corpus, tmp_path):
    found = stored(signed)
    jsonschema.validate(found, schema("cascade"))
    certificate = found["certificate"]
    assert [(one["goal"], one["label"], one["delta"]) for one in certificate["signed"]] == [
        ("recall", "positive", 0.025),
        ("precision", "positive", 0.025),
    ]
    first = found["tiers"][0]
    sides = first["threshold"], first["label_threshold"]
    assert sides == (*certificate["thresholds"], certificate["label_threshold"])
    rows = classified(corpus, signed, tmp_path / "filter")
    last = classified(corpus, signed, tmp_path / "last", "--threshold", "1")
    called, wanted = (np.array(table["prediction"]) == "positive" for table in (rows, last))
    assert (called & wanted).sum() >= 0.95 * wanted.sum()
    assert (called & wanted).sum() >= 0.9 * called.sum()
    for folder in ("filter", "last"):
        manifest = stored(tmp_path / folder, "_manifest.json")
        jsonschema.validate(manifest, schema("manifest"))
        assert manifest["cascade"]["certificate"]["status"] == "covered"
        assert manifest["cascade"]["filter"] == "positive"
    # A row goes by the threshold of its side.
    of_label = np.array(rows["first_tier_prediction"]) == "positive"
    limits = np.where(of_label, sides[1], sides[0]).astype(np.float32)
    assert np.array_equal(np.array(rows["threshold"]), limits)
    accepted = np.array(rows["first_tier_confidence"]) >= limits
    assert np.array_equal(accepted, np.array(rows["tier"]) == 1)
    assert {(True, True), (False, True), (True, False)} <= {*zip(of_label, accepted, strict=True)}


def test_a_run_with_another_threshold_of_a_side_is_not_resumed(signed, corpus, tmp_path):
    run = classified(corpus, signed, tmp_path / "out")
    assert run.num_rows == 1500
    (tmp_path / "out" / "_manifest.json").unlink()
    mine = shutil.copytree(signed, tmp_path / "mine")
    found = stored(mine)
    found["tiers"][0]["label_threshold"] = 0.7
    (mine / "cascade.json").write_text(json.dumps(found))
    with pytest.raises(RefusedError, match="cascade, label_thresholds: begun with"):
        classified(corpus, mine, tmp_path / "out", "--resume")


def test_only_the_filters_label_is_kept(signed, corpus, tmp_path):
    rows = classified(corpus, signed, tmp_path / "all")
    kept = classified(corpus, signed, tmp_path / "kept", "--keep", "positive")
    assert kept.equals(rows.filter(pa.compute.equal(rows["prediction"], "positive")))
    counted = stored(tmp_path / "kept", "_manifest.json")["rows"]
    assert counted["filtered"] == 1500 - kept.num_rows > 0
    assert counted["accepted"] + counted["escalated"] == counted["read"] == 1500


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"threshold": 0.5}, "scores differ: not covered"),
        ({"label_threshold": 0.5}, "scores differ: not covered"),
        ({"label_threshold": 0.9999, "threshold": 0.9999}, "covered"),
    ],
)
def test_lower_thresholds_of_a_side_are_not_covered_and_higher_ones_are(
    signed, corpus, tmp_path, changes, status
):
    mine = shutil.copytree(signed, tmp_path / "mine")
    found = stored(mine)
    assert {**found["tiers"][0], **changes} != found["tiers"][0]
    found["tiers"][0].update(changes)
    (mine / "cascade.json").write_text(json.dumps(found))
    classified(corpus, mine, tmp_path / "out")
    assert stored(tmp_path / "out", "_manifest.json")["cascade"]["certificate"]["status"] == status


def test_one_goal_shares_its_threshold_and_agreement_beside_it_shares_delta(
    corpus, cascade, tmp_path
):
    options = ("--precision=positive=0.9", "--sample_rows", "900")
    assert calibrate.main(arguments(corpus, cascade, tmp_path / "one", *options)) == DONE
    one = stored(tmp_path / "one")
    assert "label_threshold" not in one["tiers"][0]
    assert [one["certificate"]["signed"][0][name] for name in ("goal", "delta")] == [
        "precision",
        0.05,
    ]
    given = (*BOTH, "--agreement", "0.6")
    assert calibrate.main(arguments(corpus, cascade, tmp_path / "all", *given)) == DONE
    certificate = stored(tmp_path / "all")["certificate"]
    assert [signed["goal"] for signed in certificate["signed"]] == [
        "agreement",
        "recall",
        "precision",
    ]
    assert {round(signed["delta"], 9) for signed in certificate["signed"]} == {0.016666667}


def test_three_tiers_sign_along_one_path(corpus, tmp_path):
    three = cascade_of(tmp_path / "three", 0.05, 0.03)
    options = ("--recall", "positive=0.9", "--sample_rows", "900")
    assert calibrate.main(arguments(corpus, three, tmp_path / "mine", *options)) == DONE
    found = stored(tmp_path / "mine")
    (promise,) = found["certificate"]["signed"]
    assert (promise["goal"], len(promise["thresholds"])) == ("recall", 2)
    rows = classified(corpus, tmp_path / "mine", tmp_path / "out")
    found["tiers"][1]["threshold"] = 1
    (tmp_path / "mine" / "cascade.json").write_text(json.dumps(found))
    last = classified(corpus, tmp_path / "mine", tmp_path / "last", "--threshold", "1")
    called, wanted = (np.array(table["prediction"]) == "positive" for table in (rows, last))
    assert (called & wanted).sum() >= 0.9 * wanted.sum()
    assert set(rows["tier"].to_pylist()) > {3}


def test_a_goal_that_no_row_can_be_accepted_under_is_not_signed(corpus, tmp_path, capsys):
    wrong = cascade_of(tmp_path / "wrong", 0.0)
    path = wrong / "tier_1" / "model.safetensors"
    weights = load_file(path)
    # This first tier always says the opposite.
    turned = {name: -value for name, value in weights.items() if name.startswith("classifier")}
    save_file({**weights, **turned}, path, metadata={"format": "pt"})
    options = ("--recall", "positive=0.995", "--sample_rows", "900")
    assert calibrate.main(arguments(corpus, wrong, tmp_path / "mine", *options)) == NOT_SIGNED
    assert "recall of positive 0.995  NOT SIGNED" in capsys.readouterr().out
    assert not (tmp_path / "mine" / "cascade.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--recall", "negative=0.999"),
            r"--recall negative=0.999: expected at least [\d,]+ rows",
        ),
        (
            ("--precision", "positive=0.999"),
            r"--precision positive.*, of which a tenth may be drawn$",
        ),
        (("--recall", "toxic=0.9"), "one of negative, positive that .* found toxic"),
        (("--recall", "0.9"), r"--recall: expected LABEL=SHARE"),
        (("--precision", "positive=x"), r"--precision: expected LABEL=SHARE"),
        (("--recall", "positive=1.5"), r"--recall: expected a share between 0 and 1"),
        (("--recall", "positive=0.9", "--precision", "negative=0.9"), "expected one label"),
        (("--recall", "positive=0.9", "--label_column", "label"), "--label_column: expected none"),
        (("--recall", "positive=0.9", "--confidence", "margin"), "--confidence: expected none"),
        (("--recall", "positive=0.9", "--max_escalation", "0.5"), "--recall: expected beside"),
    ],
)
def test_what_cannot_be_signed_is_refused(corpus, cascade, tmp_path, options, message):
    with pytest.raises(RefusedError, match=message):
        calibrate.main(arguments(corpus, cascade, tmp_path / "mine", *options))
    assert not (tmp_path / "mine").exists()


def test_precision_is_still_what_models_compute_in():
    assert goals_apart(["--precision", "fp32", "--precision", "a=b=0.9", "--precision=bf16"]) == [
        "--precision",
        "fp32",
        "--precision_of",
        "a=b=0.9",
        "--precision=bf16",
    ]


def test_a_filter_is_not_evaluated_as_if_it_were_none(signed, corpus, tmp_path):
    options = ("--label_column", "label")
    with pytest.raises(RefusedError, match="found a filter on positive"):
        evaluate.main(arguments(corpus, signed, tmp_path / "report", *options))


def test_a_filter_calls_its_label_from_a_half_on_and_else_the_best_other():
    logits = np.log(np.array([[0.4, 0.35, 0.25], [0.5, 0.2, 0.3], [0.1, 0.1, 0.8]], np.float32))
    decoder = FilterDecoder(label="a", labels=("c", "b", "a"))
    answers = decoder(logits, ("a", "b", "c"))
    assert answers.predictions.to_pylist() == ["b", "a", "c"]
    np.testing.assert_allclose(answers.confidences, [0.6, 0.5, 0.9], rtol=1e-6)
    assert answers.scores.equals(LabelDecoder()(logits, ("a", "b", "c")).scores)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filter": "c"}, "filter on one of a, b, found 'c'"),
        ({}, "label_threshold in a filter alone"),
    ],
)
def test_a_filter_that_is_none_is_refused(changes, message):
    tiers = TierConfig("small", threshold=0.5, label_threshold=0.6), TierConfig("large")
    with pytest.raises(RefusedError, match=message):
        CascadeConfig(tiers, ("a", "b"), **changes)
    with pytest.raises(RefusedError, match="label_threshold of 0 to 1, found 2"):
        TierConfig("small", label_threshold=2)


def test_thresholds_of_both_sides_are_part_of_the_fingerprint(signed):
    config = load_cascade(str(signed))
    plain = config.with_first_threshold(config.threshold)
    assert plain.tiers[0].label_threshold is None
    assert plain.fingerprint("fp32") != config.fingerprint("fp32")
    assert plain.scoring_fingerprint("fp32") == config.scoring_fingerprint("fp32")
    assert config.scoring("fp32")["filter"] == "positive"
