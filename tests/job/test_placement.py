"""Both tiers in every worker, or complex rows sent to where the second tier runs: equal rows."""

import json

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest

from pipelines import classify
from tango_beam import placement, record_columns
from tango_beam.command_line import DONE
from tango_beam.errors import RefusedError
from tango_beam.run import commit
from tests import forked, jobs, tiny

OPTIONS = ["--precision", "fp32", "--checkpoint_bytes", "15000", "--audit_rate", "0.2"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    rows = jobs.corpus(np.random.default_rng(0), 1500)
    rows += [b"{no json", {"id": 9000, "text": None, "tags": []}]
    return jobs.write_jsonl(tmp_path_factory.mktemp("texts") / "in.jsonl", rows)


def run(cascade, texts, output, *options):
    assert classify.main(jobs.arguments(cascade, texts, output, *OPTIONS, *options)) == DONE
    return jobs.read_output(output)


@pytest.fixture(scope="module")
def together(cascade, texts, tmp_path_factory):
    """A run in whose workers both tiers are."""
    return run(cascade, texts, tmp_path_factory.mktemp("together"), "--placement", "together")


def plain(row):
    """An audited row is an accepted one, in the sums."""
    return {**row, "route": "accepted" if row["route"] == "audited" else row["route"]}


def answers(found):
    rows, letters, manifest = found
    assert len({row["id"] for row in rows}) == len(rows)
    told = {row["id"]: (row["prediction"], row["route"], row["tier"]) for row in rows}
    return told, sorted(letter["error"] for letter in letters), manifest["rows"], manifest["audit"]


def same(found, expected):
    rows, *rest = found
    jobs.accounted([plain(row) for row in rows], *rest)
    told, letters, counts, audit = answers(found)
    assert (told, letters, counts) == answers(expected)[:3]
    assert audit["disagreements"] == answers(expected)[3]["disagreements"]


def test_apart_gives_the_rows_that_together_gives(cascade, texts, together, tmp_path, capfd):
    apart = run(cascade, texts, tmp_path / "out", "--placement", "apart")
    assert "are held in memory until all input is read" in capfd.readouterr().err
    same(apart, together)


class Twice(beam.PTransform):
    """A shuffle that delivers everything twice, as one does whose far side is run again."""

    def expand(self, rows):
        return rows | beam.FlatMap(lambda row: [row, row]).with_output_types(pa.RecordBatch)


def test_a_parcel_that_is_delivered_twice_counts_once(
    cascade, texts, together, tmp_path, monkeypatch
):
    monkeypatch.setattr(beam, "Reshuffle", Twice)
    same(run(cascade, texts, tmp_path / "out", "--placement", "apart"), together)


def test_what_was_left_behind_a_shuffle_is_counted_when_resumed(
    cascade, texts, together, tmp_path, monkeypatch
):
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(beam, "Reshuffle", Twice)
        patch.setattr(commit, "commit", lambda store: None)
        patch.setattr(classify, "_conclude", lambda *_: DONE)
        run(cascade, texts, output, "--placement", "apart")
    assert not (output / "_manifest.json").exists()
    before = set(output.glob("part-*"))
    same(run(cascade, texts, output, "--resume", "--placement", "together"), together)
    after = set(output.glob("part-*"))
    assert after < before  # nothing was scored again, and what came twice is gone


def test_a_run_killed_apart_goes_on_together(cascade, texts, together, tmp_path):
    output = tmp_path / "out"
    given = jobs.arguments(cascade, texts, output, *OPTIONS, "--placement", "apart")
    process = forked.classify(given)
    process.wait_for(lambda: list(output.glob("_receipts/*.accepted.*")))
    process.kill()
    same(run(cascade, texts, output, "--resume"), together)


def test_three_tiers_apart(rng, tmp_path):
    folder = tiny.cascade(tmp_path / "three", tiers=3)
    path = jobs.write_jsonl(tmp_path / "in.jsonl", jobs.corpus(rng, 600))
    found = {}
    for choice in ("together", "apart"):
        output = tmp_path / choice
        given = jobs.arguments(folder, path, output, "--precision", "fp32", "--placement", choice)
        assert classify.main(given) == DONE
        rows, letters, manifest = jobs.read_output(output)
        jobs.accounted(rows, letters, manifest)
        found[choice] = {row["id"]: (row["prediction"], row["tier"]) for row in rows}
    assert found["apart"] == found["together"]
    assert {tier for _, tier in found["apart"].values()} == {1, 2, 3}


def test_rows_without_positions_are_sent_as_they_are():
    batch = pa.record_batch({"text": ["a", "b"]})
    assert [part.to_pydict() for part in placement.pack(batch)] == [{"text": ["a", "b"]}]
    assert placement.deliver(batch).equals(batch)


def test_a_parcel_holds_rows_of_one_attempt_and_knows_how_many(rng):
    def part(first, attempt):
        position = record_columns.positions(4, attempt, 0, -1, rng.integers(9, size=3))
        return pa.record_batch({"n": range(first, first + 3), record_columns.POSITION: position})

    parts = [part(0, 11), part(3, 12), part(6, 11)]
    parcels = list(placement.pack(pa.concat_batches(parts)))
    held = {json.dumps(parcel.column("n").to_pylist()) for parcel in parcels}
    assert held == {"[0, 1, 2, 6, 7, 8]", "[3, 4, 5]"}
    first = placement.deliver(parcels[0])
    ((origin, rows),) = record_columns.by_origin(first)
    assert origin.checkpoint == 4
    assert origin.parcel_rows == rows.num_rows == first.num_rows
    again = placement.deliver(parcels[0]).column(record_columns.PARCEL)[0].as_py()
    assert again["parcel"] == origin.parcel and again["delivery"] != origin.delivery


def test_hints_want_apart(cascade, tmp_path):
    given = jobs.arguments(cascade, "none", tmp_path / "o", "--placement", "together")
    with pytest.raises(RefusedError, match="expected --placement apart, found together"):
        classify.main([*given, "--second_tier_ram", "8GB"])
