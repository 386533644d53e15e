"""Retries, lost pieces and second runs: what counts is what is in storage."""

import dataclasses
import json

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from tango_beam.errors import JobError
from tango_beam.io.planned import Slice
from tango_beam.io.slice_reader import Reading, SliceReader
from tango_beam.job import prepare, runners
from tango_beam.job.options import ClassifyOptions
from tango_beam.run import commit, join, receipts
from tango_beam.run.layout import RECEIPTS
from tango_beam.run.output import open_output
from tango_beam.run.receipts import Receipt, StoredFile
from tango_beam.run.store import Store
from tests.jobs import accounted, corpus, read_output, write_jsonl


@pytest.fixture
def prepared(cascade, rng, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", [*corpus(rng, 200), b"no", *corpus(rng, 50)])
    return prepare.prepare(
        ClassifyOptions(
            input=(str(path),),
            output=str(tmp_path / "out"),
            cascade=str(cascade),
            precision="fp32",
            checkpoint_bytes=3000,
        )
    )


def run(prepared):
    pipeline = runners.new_pipeline(PipelineOptions([]))
    prepared.build(pipeline)
    pipeline.run().wait_until_finish()


@pytest.fixture
def without_commit(monkeypatch):
    """A run whose last step never comes: what a killed job leaves behind."""

    def leave(prepared):
        with monkeypatch.context() as patch:
            patch.setattr(commit, "commit", lambda store: None)
            run(prepared)

    return leave


def parts(store):
    return {name for name in store.names() if name.startswith("part-")}


def test_committed_checkpoints_are_not_read_again(prepared, without_commit):
    store = open_output(prepared.options.output, prepared.run)
    without_commit(prepared)
    before = parts(store)
    assert len(before) > 6
    assert not store.exists("_manifest.json")
    run(prepared)
    assert parts(store) == before
    rows, letters, manifest = read_output(store.url)
    accounted(rows, letters, manifest)
    assert manifest["rows"]["read"] == 251


def test_a_checkpoint_whose_sink_is_missing_is_done_again_and_its_rest_deleted(
    prepared, without_commit
):
    store = open_output(prepared.options.output, prepared.run)
    without_commit(prepared)
    names = store.names(RECEIPTS)
    lost = next(name for name in names if ".accepted." in name)
    checkpoint = lost.split("/")[1].split(".")[0]
    store.delete([lost])
    before = parts(store)
    run(prepared)
    rows, letters, manifest = read_output(store.url)
    accounted(rows, letters, manifest)
    assert len(rows) == 250
    again = {name for name in before if name.startswith(f"part-{int(checkpoint, 16) >> 32:06d}-")}
    assert again
    assert before - parts(store) == again


def test_an_attempt_that_was_run_twice_counts_once(prepared, without_commit):
    store = open_output(prepared.options.output, prepared.run)
    without_commit(prepared)
    first = parts(store)
    held = {name: store.read_json(name) for name in store.names(RECEIPTS)}
    store.drop_folder(RECEIPTS)
    without_commit(prepared)
    for name, stored in held.items():
        store.write_json(name, stored)
    assert len(parts(store)) == 2 * len(first)
    run(prepared)
    rows, letters, manifest = read_output(store.url)
    accounted(rows, letters, manifest)
    assert len(rows) == 250
    assert len(parts(store)) == len(first)


def test_commit_may_run_twice(prepared):
    store = open_output(prepared.options.output, prepared.run)
    run(prepared)
    before = json.dumps(store.read_json("_manifest.json"))
    commit.commit(store)
    assert json.dumps(store.read_json("_manifest.json")) == before


def test_commit_may_run_twice_after_too_many_dead_rows(prepared, tmp_path):
    prepared = dataclasses.replace(
        prepared, run=dataclasses.replace(prepared.run, max_dead_fraction=0.0)
    )
    store = open_output(prepared.options.output, prepared.run)
    run(prepared)
    commit.commit(store)
    assert store.exists("_failure.json")
    assert not store.exists("_manifest.json")


def test_a_compressed_checkpoint_read_again_has_its_rows_again(cascade, rng, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl.gz", corpus(rng, 300))
    options = ClassifyOptions(
        input=(str(path),), output=str(tmp_path / "o"), cascade=str(cascade), checkpoint_bytes=3000
    )
    reader = SliceReader(prepare.prepare(options).run.input)
    whole = Slice(0, -1, 0, None)

    def rows(index):
        reading = Reading(index, 1)
        list(reader.read_stream(whole, index, reading))
        return reading.rows

    first, second = rows(0), rows(1)
    assert 0 < first < 300
    assert (rows(0), rows(0), rows(1)) == (first, first, second)


def test_a_checkpoint_that_nobody_read_fails_the_job(prepared, without_commit):
    store = open_output(prepared.options.output, prepared.run)
    without_commit(prepared)
    lost = [name for name in store.names(RECEIPTS) if name.split("/")[1].startswith("0" * 16)]
    store.delete(lost)
    with pytest.raises(JobError, match="found 1 that are not; the first is number 0 of item 0"):
        commit.commit(store)
    assert not store.exists("_manifest.json")


def test_sums_that_are_off_fail_the_job(prepared):
    found = [Receipt(0, 1, "read", 5), Receipt(0, 1, "accepted", 4)]
    with pytest.raises(JobError, match="expected rows read to be accepted, escalated or dead"):
        commit.summarize(prepared.run, found)


def test_filtered_rows_are_answered_ones_that_no_file_holds(prepared):
    part = StoredFile("part-1.parquet", 3, 9)
    audit = StoredFile("_audit/part-1.parquet", 1, 9)
    found = [
        Receipt(0, 1, "read", 9),
        Receipt(0, 1, "accepted", 5, (part,), filtered=2),
        Receipt(0, 1, "audited", 1, (audit,), filtered=1),
        Receipt(0, 1, "escalated", 2, filtered=2),
        Receipt(0, 1, "dead", 1),
    ]
    rows = commit.summarize(prepared.run, found).rows
    assert vars(rows) == {
        "read": 9,
        "accepted": 6,
        "escalated": 2,
        "audited": 1,
        "dead": 1,
        "filtered": 5,
    }
    # A file that holds a row less than was kept is not passed over.
    found[1] = dataclasses.replace(found[1], filtered=1)
    with pytest.raises(JobError, match="files of all rows accepted or escalated and not filtered"):
        commit.summarize(prepared.run, found)


@pytest.fixture
def joining(prepared):
    """The same job with parts of a chosen size."""
    options = {**prepared.run.options, "part_bytes": 20_000}
    return dataclasses.replace(prepared, run=dataclasses.replace(prepared.run, options=options))


def test_a_run_that_is_killed_among_its_joins_has_every_row_once(joining, without_commit):
    store = open_output(joining.options.output, joining.run)
    plain = dataclasses.replace(joining, run=dataclasses.replace(joining.run, options={}))
    without_commit(plain)  # killed before the first join
    joins = join.decide(store)
    assert len(joins) > 2
    join.execute(store, joins[0])
    store.create(joins[1].name).file.write(b"half")  # killed in the second
    # An attempt that is late does not count any more, though its number is lower.
    first = joins[-1].pieces[0]
    for name in store.names(RECEIPTS):
        receipt = Receipt.from_json(store.read_json(name))
        if receipt.step == "read":
            receipts.publish(store, dataclasses.replace(receipt, attempt=0))
            dead = dataclasses.replace(receipt, attempt=0, step="dead")
            receipts.publish(store, dead)
    assert store.exists(first)
    run(joining)
    rows, letters, manifest = read_output(store.url)
    accounted(rows, letters, manifest)
    assert sorted(row["id"] for row in rows) == sorted([*range(200), *range(50)])
    assert {file["name"] for file in manifest["files"]} == parts(store)
    assert {one.name for one in joins} & parts(store)
    assert not [name for name in store.names() if name.startswith("_joins")]
    before = json.dumps(manifest)
    run(joining)
    assert json.dumps(read_output(store.url)[2]) == before


def test_a_half_written_file_is_never_seen(tmp_path):
    store = Store(str(tmp_path / "out"))
    publication = store.create("part-1.parquet")
    publication.file.write(b"half")
    assert not [name for name in store.names() if not name.startswith("_tmp")]
    publication.publish()
    assert store.names()[-1] == "part-1.parquet"
    assert (tmp_path / "out" / "part-1.parquet").read_bytes() == b"half"
