"""Runs that were cut short go on where they stopped; one writer at a time."""

import gzip
import json
import os
import socket
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines import classify
from tango_beam.command_line import DONE, TOO_MANY_DEAD
from tango_beam.errors import RefusedError
from tests import forked, jobs, tiny
from tests.job import by_hand


def corpus(folder, kind, rows=2000):
    rng = np.random.default_rng(2)
    sentences = [tiny.sentence(rng) for _ in range(500)]
    lines = [json.dumps({"id": number, "text": sentences[number % 500]}) for number in range(rows)]
    lines[77] = "{broken"
    text = "\n".join(lines) + "\n"
    path = folder / f"in.{kind}"
    path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    return path


def arguments(path, cascade, output, *options):
    return jobs.arguments(cascade, path, output, "--checkpoint_bytes", "12000", *options)


def killed(given, output, parts=4):
    """Kills a run once some of its checkpoints are stored; their files."""
    process = forked.classify(given)
    process.wait_for(lambda: len(list(output.glob("part-*"))) >= parts)
    process.kill()
    assert not (output / "_manifest.json").exists()
    return {path.name for path in output.glob("part-*")}


def figures(output):
    """What the run's page says, seconds apart; and that it is what the part files say."""
    html = (output / "_report.html").read_text()
    tables = by_hand.tables_of(html)
    del tables["tiers"]
    counts = by_hand.counts(pq.read_table(output).to_pylist(), lambda row: [row["prediction"]])
    assert manifest(output)["counts"] == counts
    drawn = by_hand.drawn(html)
    assert drawn == [counts[fate]["confidences"] for fate in ("accepted", "escalated")]
    audited = {name: found for name, found in tables["audit"]}["checked by the last tier"]
    assert by_hand.number(audited) == manifest(output)["rows"]["audited"] > 100
    assert [row[3] for row in tables["examples"]] == ["record", "{broken"]
    return tables, drawn


def manifest(output):
    return json.loads((output / "_manifest.json").read_text())


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz"])
def test_a_killed_run_goes_on_and_gives_what_an_undisturbed_one_gives(cascade, tmp_path, kind):
    path, output = corpus(tmp_path, kind), tmp_path / "out"
    given = arguments(path, cascade, output, "--audit_rate", "0.1", "--columns", "id")
    before = killed(given, output)
    assert classify.main([*given, "--resume", "--report"]) == DONE
    whole = tmp_path / "whole"
    assert classify.main(arguments(path, cascade, whole, "--audit_rate", "0.1", "--report")) == DONE
    assert manifest(output)["rows"] == manifest(whole)["rows"]
    assert manifest(output)["audit"]["disagreements"] == manifest(whole)["audit"]["disagreements"]
    columns = ["id", "prediction", "tier", "route"]
    tables = [pq.read_table(folder, columns=columns).sort_by("id") for folder in (output, whole)]
    assert tables[0].equals(tables[1])
    assert tables[0].num_rows == 1999
    assert figures(output) == figures(whole)
    # What was committed is not done again: one checkpoint at most was under way.
    kept = before & {path.name for path in output.glob("part-*")}
    assert len(kept) >= len(before) - 3
    assert not (output / "_tmp").exists()
    assert not (output / "_lease.json").exists()


def test_resuming_twice_and_resuming_what_is_complete(cascade, tmp_path, capsys):
    path, output = corpus(tmp_path, "jsonl", 1000), tmp_path / "out"
    given = arguments(path, cascade, output, "--resume")
    assert classify.main(given) == DONE  # there is none yet: it begins one
    stored = (output / "_manifest.json").read_bytes()
    assert classify.main(given) == DONE
    assert "ended already" in capsys.readouterr().out
    assert (output / "_manifest.json").read_bytes() == stored


def test_a_run_that_failed_by_its_dead_rows_fails_again(cascade, tmp_path):
    path, output = corpus(tmp_path, "jsonl", 100), tmp_path / "out"
    given = arguments(path, cascade, output, "--max_dead_fraction", "0")
    assert classify.main(given) == TOO_MANY_DEAD
    before = sorted(path.name for path in output.rglob("*"))
    assert classify.main([*given, "--resume"]) == TOO_MANY_DEAD
    assert sorted(path.name for path in output.rglob("*")) == before


@pytest.fixture(scope="module")
def begun(cascade, tmp_path_factory):
    """A run that was killed; nobody may change it."""
    folder = tmp_path_factory.mktemp("begun")
    path = corpus(folder, "jsonl")
    killed(arguments(path, cascade, folder / "out"), folder / "out", parts=1)
    return folder


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--threshold", "0.9"), "thresholds"),
        (("--max_length", "8"), "scoring_fingerprint"),
        (("--checkpoint_bytes", "40000"), "checkpoint_bytes"),
        (("--scores",), "--scores|schema"),
        (("--limit", "10"), "in.jsonl has changed"),
        (("--overwrite",), "expected --resume or --overwrite"),
    ],
)
def test_another_run_is_refused_with_what_differs(begun, cascade, options, expected):
    given = arguments(begun / "in.jsonl", cascade, begun / "out", "--resume", *options)
    before = sorted(path.name for path in (begun / "out").rglob("*"))
    with pytest.raises(RefusedError, match=expected):
        classify.main(given)
    assert sorted(path.name for path in (begun / "out").rglob("*")) == before


def test_a_changed_input_is_refused(begun, cascade):
    path = begun / "in.jsonl"
    os.utime(path, (1, 1))
    with pytest.raises(RefusedError, match=r"in\.jsonl has changed \(modified\)"):
        classify.main(arguments(path, cascade, begun / "out", "--resume"))


def lease(output, **changes):
    output.mkdir(exist_ok=True)
    held = {"owner": "x", "host": "elsewhere", "process": 1, "renewed": time.time()} | changes
    (output / "_lease.json").write_text(json.dumps(held))


def test_a_second_live_writer_is_locked_out(cascade, tmp_path):
    path, output = corpus(tmp_path, "jsonl", 100), tmp_path / "out"
    lease(output)
    with pytest.raises(RefusedError, match="process 1 on elsewhere"):
        classify.main(arguments(path, cascade, output))
    assert (output / "_lease.json").exists()
    assert not (output / "_run.json").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"renewed": 1.0},
        {"host": socket.gethostname(), "process": 2**22 + 1},
        {"host": socket.gethostname(), "process": os.getpid(), "started": "0"},
    ],
    ids=["silent", "dead", "its number is another process's"],
)
def test_a_writer_that_has_ended_is_not(cascade, tmp_path, changes):
    path, output = corpus(tmp_path, "jsonl", 100), tmp_path / "out"
    lease(output, **changes)
    assert classify.main(arguments(path, cascade, output)) == DONE
    assert not (output / "_lease.json").exists()
