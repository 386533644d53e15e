"""Both tiers in every worker, or complex rows sent to where the second tier runs: equal rows."""

import json
import signal
import subprocess
import time

import apache_beam as beam
import pyarrow as pa
import pytest

from pipelines import classify
from tango_beam import placement, records
from tango_beam.command_line import DONE
from tango_beam.errors import RefusedError
from tango_beam.io import commit
from tests import jobs, tiny


@pytest.fixture
def texts(tmp_path, rng):
    rows = [*jobs.corpus(rng, 3000), b"{no json", {"id": 9000, "text": None, "tags": []}]
    return jobs.write_jsonl(tmp_path / "in.jsonl", rows)


@pytest.fixture
def run(job, texts, tmp_path):
    def given(name, *options):
        more = ["--checkpoint_bytes", "15000", "--audit_rate", "0.2", *options]
        code, *found = job(texts, output=tmp_path / name, options=more)
        assert code == DONE
        jobs.accounted(*[found[0] and [plain(row) for row in found[0]], *found[1:]])
        return found

    return given


def plain(row):
    """An audited row is an accepted one, in the sums."""
    return {**row, "route": "accepted" if row["route"] == "audited" else row["route"]}


def answers(found):
    rows, letters, manifest = found
    assert len({row["id"] for row in rows}) == len(rows)
    told = {row["id"]: (row["prediction"], row["route"], row["tier"]) for row in rows}
    return told, sorted(letter["error"] for letter in letters), manifest["rows"], manifest["audit"]


def same(found, expected):
    told, letters, counts, audit = answers(found)
    assert (told, letters, counts) == answers(expected)[:3]
    assert audit["disagreements"] == answers(expected)[3]["disagreements"]


def test_apart_gives_the_rows_that_together_gives(run, capfd):
    apart = run("apart", "--placement", "apart")
    assert "are held in memory until all input is read" in capfd.readouterr().err
    same(apart, run("together", "--placement", "together"))


class Twice(beam.PTransform):
    """A shuffle that delivers everything twice, as one does whose far side is run again."""

    def expand(self, rows):
        return rows | beam.FlatMap(lambda row: [row, row]).with_output_types(pa.RecordBatch)


def test_a_parcel_that_is_delivered_twice_counts_once(run, monkeypatch):
    expected = run("together")
    monkeypatch.setattr(beam, "Reshuffle", Twice)
    same(run("apart", "--placement", "apart"), expected)


def test_what_was_left_behind_a_shuffle_is_counted_when_resumed(run, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(beam, "Reshuffle", Twice)
        patch.setattr(commit, "commit", lambda store: None)
        patch.setattr(classify, "_conclude", lambda *_: DONE)
        patch.setattr(jobs, "accounted", lambda *_: None)
        run("out", "--placement", "apart")
    assert not (tmp_path / "out" / "_manifest.json").exists()
    before = set((tmp_path / "out").glob("part-*"))
    found = run("out", "--resume", "--placement", "together")
    same(found, run("whole"))
    after = set((tmp_path / "out").glob("part-*"))
    assert after < before  # nothing was scored again, and what came twice is gone


def test_a_run_killed_apart_goes_on_together(cascade, texts, run, tmp_path):
    output = tmp_path / "out"
    options = ["--precision", "fp32", "--checkpoint_bytes", "15000", "--audit_rate", "0.2"]
    command = jobs.command(cascade, texts, output, *options, "--placement", "apart")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not list(output.glob("_receipts/*.accepted.*")) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    same(run("out", "--resume"), run("whole"))


def test_three_tiers_apart(rng, tmp_path):
    folder = tiny.cascade(tmp_path / "three", tiers=3)
    path = jobs.write_jsonl(tmp_path / "in.jsonl", jobs.corpus(rng, 600))
    found = {}
    for choice in ("together", "apart"):
        output = tmp_path / choice
        given = jobs.command(folder, path, output, "--precision", "fp32", "--placement", choice)
        assert classify.main(given[3:]) == DONE
        rows, letters, manifest = jobs.read_output(output)
        jobs.accounted(rows, letters, manifest)
        found[choice] = {row["id"]: (row["prediction"], row["tier"]) for row in rows}
    assert found["apart"] == found["together"]
    assert {tier for _, tier in found["apart"].values()} == {1, 2, 3}


def test_rows_without_positions_are_sent_as_they_are():
    batch = pa.record_batch({"text": ["a", "b"]})
    assert [part.to_pydict() for part in placement.pack([batch])] == [{"text": ["a", "b"]}]
    assert placement.deliver(batch).equals(batch)
    assert list(placement.pack([])) == []


def test_a_parcel_holds_rows_of_one_attempt_and_knows_how_many(rng):
    def part(first, attempt):
        position = records.positions(4, attempt, 0, -1, rng.integers(9, size=3))
        return pa.record_batch({"n": range(first, first + 3), records.POSITION: position})

    parts = [part(0, 11), part(3, 12), part(6, 11)]
    parcels = list(placement.pack(parts))
    held = {json.dumps(parcel.column("n").to_pylist()) for parcel in parcels}
    assert held == {"[0, 1, 2, 6, 7, 8]", "[3, 4, 5]"}
    first = placement.deliver(parcels[0])
    ((origin, rows),) = records.by_origin(first)
    assert origin.checkpoint == 4
    assert origin.parcel_rows == rows.num_rows == first.num_rows
    again = placement.deliver(parcels[0]).column(records.PARCEL)[0].as_py()
    assert again["parcel"] == origin.parcel and again["delivery"] != origin.delivery


def test_hints_want_apart(cascade, tmp_path):
    given = jobs.command(cascade, "none", tmp_path / "o", "--placement", "together")[3:]
    with pytest.raises(RefusedError, match="expected --placement apart, found together"):
        classify.main([*given, "--second_tier_ram", "8GB"])
