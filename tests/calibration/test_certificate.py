"""A certificate covers no run whose scores may differ: each key of the scoring, changed in turn."""

import functools
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import calibrate
from tango_beam import config, machine
from tango_beam.cascade_directory import CASCADE_FILE
from tango_beam.command_line import DONE
from tango_beam.job.options import ClassifyOptions
from tango_beam.job.prepare import prepare
from tests import tiny

TORCH, ONNX, INT8 = (), (("backend", "onnx"),), (("precision", "int8"),)
DIFFER = "scores differ: not covered"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("corpus") / "texts.parquet"
    pq.write_table(pa.table({"text": [tiny.sentence(rng) for _ in range(500)]}), path)
    return path


def edit(folder, change):
    path = folder / CASCADE_FILE
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))


@pytest.fixture(scope="module")
def certify(corpus, cascade, tmp_path_factory):
    """Certifies the tiny cascade, its last tier with some settings; one for each settings."""

    @functools.cache
    def certify(settings):
        folder = tmp_path_factory.mktemp("certified")
        shutil.copytree(cascade, folder / "before")
        edit(folder / "before", lambda stored: stored["tiers"][1].update(settings))
        paths = {"--input": corpus, "--cascade": folder / "before", "--output": folder / "mine"}
        options = [str(part) for pair in paths.items() for part in pair]
        options += ["--agreement", "0.6", "--sample_rows", "400"]
        assert calibrate.main(options) == DONE
        return folder / "mine"

    return certify


@pytest.fixture
def covers(corpus, tmp_path):
    """What a run makes of the certificate of a cascade that was changed."""

    def covers(certified, change=lambda folder: None, **options):
        folder = tmp_path / "changed"
        shutil.copytree(certified, folder, dirs_exist_ok=True)
        change(folder)
        given = {"input": (str(corpus),), "cascade": str(folder), "output": str(tmp_path / "out")}
        return prepare(ClassifyOptions(**given, **options), local=False).run.cascade["certificate"]

    return covers


def with_tier(number, **settings):
    return lambda folder: edit(folder, lambda stored: stored["tiers"][number].update(settings))


def with_labels_reversed(folder):
    edit(folder, lambda stored: stored["labels"].reverse())


def with_other_weights(folder):
    tiny.transformer(folder / "tier_2", seed=5)


CHANGES = {
    "precisions": with_tier(1, precision="fp32"),
    "backends": with_tier(1, backend="onnx"),
    "labels": with_labels_reversed,
    "weights": with_other_weights,
    "temperature": with_tier(0, temperature=7.0),
    "max_length": with_tier(1, max_length=16),
    "confidence": with_tier(0, confidence="margin"),
}


def named(coverage):
    return [line.split(":")[0] for line in coverage["differs"]]


def scoring(folder):
    return json.loads((folder / CASCADE_FILE).read_text())["certificate"]["scoring"]


def other_precision(certified):
    return {"fp32": "bf16", "bf16": "fp32"}[scoring(certified)["precision"]]


def test_what_was_certified_is_covered(certify, covers):
    assert covers(certify(TORCH))["status"] == "covered"


@pytest.mark.parametrize("key", CHANGES)
def test_another_configuration_is_not_covered_and_named(certify, covers, key):
    found = covers(certify(TORCH), CHANGES[key])
    assert (found["status"], named(found)) == (DIFFER, [key])


def test_another_precision_of_the_run_is_not_covered_and_named(certify, covers):
    certified = certify(TORCH)
    found = covers(certified, precision=other_precision(certified))
    assert (found["status"], named(found)) == (DIFFER, ["precision"])


def test_another_computation_is_not_covered_and_named(certify, covers, monkeypatch):
    monkeypatch.setattr(config, "COMPUTATION", config.COMPUTATION + 1)
    found = covers(certify(TORCH))
    assert (found["status"], named(found)) == (DIFFER, ["computation"])


def test_another_processor_for_int8_is_not_covered_and_named(certify, covers, monkeypatch):
    assert covers(certify(INT8))["status"] == "covered"
    monkeypatch.setattr(machine, "int8_features", lambda: ["another"])
    found = covers(certify(INT8))
    assert (found["status"], named(found)) == (DIFFER, ["int8"])


def test_from_onnx_to_torch_is_not_covered_either(certify, covers):
    assert covers(certify(ONNX))["status"] == "covered"
    found = covers(certify(ONNX), with_tier(1, backend="torch"))
    assert (found["status"], named(found)) == (DIFFER, ["backends"])


def test_no_other_key_moves_a_score(certify):
    keys = {key for settings in (TORCH, ONNX, INT8) for key in scoring(certify(settings))}
    assert keys == {*CHANGES, "precision", "computation", "int8"}


def test_a_certificate_from_before_computations_had_numbers_is_not_covered(certify, covers):
    def as_before(folder):
        edit(folder, lambda stored: stored["certificate"]["scoring"].pop("computation"))
        edit(folder, lambda stored: stored["certificate"].update(scoring_fingerprint="0" * 16))

    found = covers(certify(TORCH), as_before)
    assert (found["status"], named(found)) == (DIFFER, ["computation"])
