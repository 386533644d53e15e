"""`--keep`: only rows of some predictions are written, and every row is still accounted for."""

import json

import pyarrow.parquet as pq
import pytest

from pipelines import classify
from tango_beam.command_line import DONE
from tango_beam.errors import RefusedError
from tests.job.test_resume import arguments, corpus, killed, manifest

AUDITED = ("--audit_rate", "0.2")


def rows_of(folder):
    names = ["id", "prediction", "tier", "route"]
    return pq.read_table(folder, columns=names).sort_by("id").to_pylist()


@pytest.fixture(scope="module")
def whole(cascade, tmp_path_factory):
    """A run that writes all rows, and its input."""
    folder = tmp_path_factory.mktemp("whole")
    path = corpus(folder, "jsonl")
    assert classify.main(arguments(path, cascade, folder / "out", *AUDITED)) == DONE
    return path, folder / "out"


def assert_kept(output, everything, *labels):
    expected = [row for row in rows_of(everything) if row["prediction"] in labels]
    assert rows_of(output) == expected
    before, after = manifest(everything)["rows"], manifest(output)["rows"]
    assert before["filtered"] == 0
    assert after == {**before, "filtered": 1999 - len(expected)}
    # Bins hold the filtered rows, too.
    assert manifest(output)["counts"] == manifest(everything)["counts"]
    assert after["read"] == after["accepted"] + after["escalated"] + after["dead"]
    assert sum(file["rows"] for file in manifest(output)["files"]) == len(expected)
    assert 0 < len(expected) < 1999


def audit_of(output):
    found = dict(manifest(output)["audit"])
    files = [output / file["name"] for file in found.pop("files")]
    assert sum(pq.read_metadata(file).num_rows for file in files) == found["checked"]
    return found


@pytest.mark.parametrize("placement", ["together", "apart"])
def test_only_the_label_is_written_and_the_sums_are_exact(
    whole, cascade, tmp_path, placement, capsys
):
    path, everything = whole
    output = tmp_path / "out"
    options = ("--keep", "positive", "--placement", placement, *AUDITED)
    assert classify.main(arguments(path, cascade, output, *options)) == DONE
    assert_kept(output, everything, "positive")
    assert audit_of(output) == audit_of(everything)
    assert "filtered" in capsys.readouterr().out
    (letters,) = (output / "_dead_letters").iterdir()
    assert len(letters.read_text().splitlines()) == 1


def test_it_may_be_given_more_than_once_and_the_column_may_have_a_prefix(whole, cascade, tmp_path):
    path, _ = whole
    output = tmp_path / "out"
    options = ("--keep", "positive", "--keep", "negative", "--answer_prefix", "a_")
    given = arguments(path, cascade, output, *options, "--output_format", "jsonl")
    assert classify.main(given) == DONE
    lines = [json.loads(line) for file in output.glob("part-*") for line in file.open()]
    assert len(lines) == 1999
    assert manifest(output)["rows"]["filtered"] == 0


def test_a_killed_run_that_keeps_a_label_goes_on(whole, cascade, tmp_path):
    path, everything = whole
    output = tmp_path / "out"
    given = arguments(path, cascade, output, "--keep", "negative", *AUDITED)
    killed(given, output)
    with pytest.raises(RefusedError, match="--keep: begun with"):
        classify.main([*arguments(path, cascade, output, *AUDITED), "--resume"])
    assert classify.main([*given, "--resume"]) == DONE
    assert_kept(output, everything, "negative")
    assert audit_of(output) == audit_of(everything)


def test_an_unknown_label_is_refused_with_those_there_are(whole, cascade, tmp_path):
    path, _ = whole
    with pytest.raises(RefusedError, match=r"--keep: .*negative, positive .*, found toxic"):
        classify.main(arguments(path, cascade, tmp_path / "out", "--keep", "toxic"))
    assert not (tmp_path / "out").exists()
