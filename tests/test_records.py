"""Stored records: what a real run wrote is read back whole, and fits the shipped schemas."""

import json

import jsonschema
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import calibrate, classify, evaluate
from tango_beam.cascade_directory import load_cascade
from tango_beam.evaluation.report import Report
from tango_beam.guarantees.certificate import Certificate
from tango_beam.record_columns import Origin
from tango_beam.run import receipts
from tango_beam.run.manifest import Manifest
from tango_beam.run.store import Store
from tests import tiny
from tests.jobs import schema


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(3)
    texts = [tiny.sentence(rng) for _ in range(1200)]
    labels = ["positive" if "good" in text else "negative" for text in texts]
    path = tmp_path_factory.mktemp("corpus") / "texts.parquet"
    pq.write_table(pa.table({"text": texts, "label": labels}), path)
    return path


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    """Runs a command on the corpus; returns its output directory."""

    def given(command, cascade, *options):
        output = tmp_path_factory.mktemp("run") / "out"
        paths = {"--input": corpus, "--cascade": cascade, "--output": output}
        arguments = [str(part) for pair in paths.items() for part in pair]
        assert command.main([*arguments, *options]) == 0
        return output

    return given


@pytest.fixture(scope="module")
def signed(run, cascade):
    return run(calibrate, cascade, "--agreement", "0.6", "--sample_rows", "900")


def written(record):
    """What a record is once it was stored as JSON."""
    return json.loads(json.dumps(record.to_json()))


def test_a_certificate(signed):
    stored = json.loads((signed / "cascade.json").read_text())
    jsonschema.validate(stored, schema("cascade"))
    certificate = Certificate.from_json(stored["certificate"])
    assert written(certificate) == stored["certificate"]
    assert load_cascade(str(signed)).certificate == certificate


@pytest.mark.parametrize("options", [(), ("--audit_rate", "0.2")])
def test_a_manifest(run, signed, options):
    stored = json.loads((run(classify, signed, *options) / "_manifest.json").read_text())
    jsonschema.validate(stored, schema("manifest"))
    assert (stored["audit"] is None) == (not options)
    assert written(Manifest.from_json(stored)) == stored


def test_a_report(run, cascade):
    quick = ("--repeats", "1", "--splits", "3", "--single_rows", "4", "--precision", "fp32")
    stored = json.loads((run(evaluate, cascade, *quick) / "report.json").read_text())
    jsonschema.validate(stored, schema("report"))
    assert written(Report.from_json(stored)) == stored


def test_the_reports_schema_has_the_fields_of_the_report():
    shipped, own = schema("report")["$defs"], msgspec.json.schema(Report)["$defs"]
    assert shipped.keys() == own.keys()
    for name in own:
        assert shipped[name]["properties"] == own[name]["properties"], name
        assert shipped[name]["required"] == own[name]["required"], name


@pytest.mark.parametrize("parcel", [(0, 0, 0), (1 << 62, 3, 41)])
def test_a_receipt_and_its_name(tmp_path, parcel):
    store = Store(str(tmp_path))
    origin = Origin(7 << 32, (1 << 63) - 1, *parcel)
    receipt = receipts.Receipt(
        origin.checkpoint,
        origin.attempt,
        "audited",
        12,
        (receipts.StoredFile("part-0.parquet", 12, 345),),
        costs={"tier 1": receipts.TierCost(1.5, 1.0, 1e9, 400, 512)},
        errors={"read: no text": 2},
        audit=receipts.Checked(12, 1),
        parcel=origin.parcel,
        delivery=origin.delivery,
        parcel_rows=origin.parcel_rows,
    )
    name = receipts.publish(store, receipt)
    assert receipts.ReceiptName.parse(name) == receipts.ReceiptName(origin, "audited", 12)
    assert receipts.load(store, [name]) == [receipt]
