"""A corpus that grows: runs that come after others read what is new, and parts of a chosen size."""

import json
import os
import re
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from pipelines import classify
from tango_beam.command_line import DONE, TOO_MANY_DEAD
from tango_beam.errors import RefusedError
from tests import jobs, tiny

DOCS = jobs.ROOT / "docs" / "growing_corpora.md"
pytestmark = pytest.mark.usefixtures("one_thread")


def write(folder, name, seed, rows=30):
    rng = np.random.default_rng(seed)
    made = [{"id": f"{name}-{seed}-{n}", "text": tiny.sentence(rng)} for n in range(rows)]
    folder.mkdir(exist_ok=True)
    return jobs.write_jsonl(folder / f"{name}.jsonl", made)


@pytest.fixture
def classified(cascade, tmp_path):
    """Classifies the corpus; the manifest."""

    def run(output, *options, source=True, path=tmp_path / "corpus"):
        more = ("--source_columns",) if source else ()
        given = jobs.arguments(cascade, path, tmp_path / output, "--precision", "fp32")
        assert classify.main([*given, *more, *options]) == DONE
        manifest = json.loads((tmp_path / output / "_manifest.json").read_text())
        jsonschema.validate(manifest, jobs.schema("manifest"))
        return manifest

    return run


def read_corpus():
    """The function that docs/growing_corpora.md gives to readers."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    return names["read_corpus"]


def answers(rows):
    return sorted((row["id"], row["prediction"], row["tier"], row["source_row"]) for row in rows)


def test_a_corpus_that_grew_three_times_has_the_rows_of_one_run_over_all(
    classified, tmp_path, caplog
):
    corpus = tmp_path / "corpus"
    write(corpus, "a", 1)
    write(corpus, "b", 2)
    first = classified("out1")
    write(corpus, "c", 3)
    second = classified("out2", "--after", str(tmp_path / "out1"))
    write(corpus, "b", 4, rows=20)  # another file under the old name
    write(corpus, "d", 5)
    third = classified("out3", "--after", str(tmp_path / "out2"))
    (warning,) = [record.getMessage() for record in caplog.records if "earlier" in record.name]
    assert warning.startswith(f"{corpus / 'b.jsonl'}: its size, time or etag differs")
    assert warning.endswith(f"its rows in {tmp_path / 'out1'} are superseded")
    read = [[Path(entry["path"]).stem for entry in one["inputs"]] for one in (first, second, third)]
    assert read == [["a", "b"], ["c"], ["b", "d"]]
    assert [one["rows"]["read"] for one in (first, second, third)] == [60, 30, 50]
    assert third["after"]["superseded"] == [
        {"path": str(corpus / "b.jsonl"), "output": str(tmp_path / "out1")}
    ]
    passed = {Path(one["output"]).name: one["files"] for one in third["after"]["outputs"]}
    assert passed == {"out1": 1, "out2": 1}
    assert third["notes"][0].startswith("passed over 2 of 4 input files")
    classified("whole")
    whole, _, _ = jobs.read_output(tmp_path / "whole")
    union = read_corpus()(str(tmp_path / "out3")).to_pylist()
    assert answers(union) == answers(whole)
    assert len(union) == 110


def test_a_file_that_is_as_it_was_in_an_older_output_counts_there(classified, tmp_path):
    path = write(tmp_path / "corpus", "a", 1)
    write(tmp_path / "corpus", "b", 2)
    old, when = path.read_bytes(), path.stat().st_mtime_ns
    classified("out1")
    write(tmp_path / "corpus", "a", 3, rows=7)
    classified("out2", "--after", str(tmp_path / "out1"))
    path.write_bytes(old)
    os.utime(path, ns=(when, when))
    (tmp_path / "corpus" / "b.jsonl").unlink()
    write(tmp_path / "corpus", "c", 4)
    third = classified("out3", "--after", str(tmp_path / "out2"))
    assert third["rows"]["read"] == 30
    # Of a, the first output's rows count again; b has gone, and its rows stay; out2 has none left.
    assert [one["output"] for one in third["after"]["outputs"]] == [str(tmp_path / "out1")]
    assert third["after"]["superseded"] == []
    assert any("not in the input any more, and their rows stay" in note for note in third["notes"])
    ids = {row["id"] for row in read_corpus()(str(tmp_path / "out3")).to_pylist()}
    assert len(ids) == 90


def test_nothing_new_gives_a_complete_empty_output_that_says_so(classified, tmp_path, capsys):
    write(tmp_path / "corpus", "a", 1)
    classified("out1")
    (tmp_path / "corpus" / "empty.jsonl").write_bytes(b"")
    capsys.readouterr()
    second = classified("out2", "--after", str(tmp_path / "out1"))
    assert "nothing new" in capsys.readouterr().out
    assert (second["rows"]["read"], second["files"], second["inputs"]) == (0, [], [])
    write(tmp_path / "corpus", "b", 2)
    third = classified("out3", "--after", str(tmp_path / "out2"))
    assert third["rows"]["read"] == 30
    assert [one["output"] for one in third["after"]["outputs"]] == [str(tmp_path / "out1")]


def test_a_file_that_a_limit_cut_is_read_anew(classified, tmp_path):
    for number, name in enumerate("abc"):
        write(tmp_path / "corpus", name, number)
    classified("out1", "--limit", "40")
    second = classified("out2", "--after", str(tmp_path / "out1"))
    assert [Path(entry["path"]).stem for entry in second["inputs"]] == ["b", "c"]
    assert [Path(one["path"]).stem for one in second["after"]["superseded"]] == ["b"]


def test_an_output_that_moved_is_named_where_it_lies_now(classified, cascade, tmp_path):
    write(tmp_path / "corpus", "a", 1)
    classified("out1")
    write(tmp_path / "corpus", "b", 2)
    classified("out2", "--after", str(tmp_path / "out1"))
    shutil.move(tmp_path / "out1", tmp_path / "moved")
    with pytest.raises(RefusedError, match=r"out1 .*out2 came after it.*name the place"):
        classified("out3", "--after", str(tmp_path / "out2"))
    both = ("--after", str(tmp_path / "out2"), "--after", str(tmp_path / "moved"))
    assert classified("out3", *both)["rows"]["read"] == 0


def test_earlier_outputs_that_do_not_fit_are_refused(classified, cascade, tmp_path):
    write(tmp_path / "corpus", "a", 1)
    classified("out1", "--threshold", "0.5")
    after = ("--after", str(tmp_path / "out1"))
    with pytest.raises(RefusedError, match=r"found .*threshold \[0.5\] there.*--force"):
        classified("out2", *after, "--threshold", "0.9")
    with pytest.raises(RefusedError, match=r"--keep none there, .*'positive'.* here"):
        classified("out2", *after, "--threshold", "0.5", "--keep", "positive")
    assert not (tmp_path / "out2").exists()
    forced = classified("out2", *after, "--threshold", "0.9", "--force")
    assert forced["rows"]["read"] == 0
    with pytest.raises(RefusedError, match="expected another directory than the earlier outputs'"):
        classified("out1", *after, "--threshold", "0.5", "--overwrite")
    with pytest.raises(RefusedError, match=r"--after .*nowhere: .*found no _manifest\.json"):
        classified("out3", "--after", str(tmp_path / "nowhere"))
    (tmp_path / "out1" / "_manifest.json").rename(tmp_path / "kept")
    with pytest.raises(RefusedError, match=r"found one without _manifest\.json; finish it first"):
        classified("out3", *after)
    write(tmp_path / "corpus", "b", 2)
    (tmp_path / "corpus" / "b.jsonl").write_text('{"text": "a"}\n{"text": 5}\n')
    given = jobs.arguments(cascade, tmp_path / "corpus", tmp_path / "dead", "--precision", "fp32")
    assert classify.main(given) == TOO_MANY_DEAD
    with pytest.raises(RefusedError, match="too many dead rows"):
        classified("out3", "--after", str(tmp_path / "dead"))


def test_a_run_after_another_can_be_resumed(classified, tmp_path):
    write(tmp_path / "corpus", "a", 1)
    classified("out1")
    write(tmp_path / "corpus", "b", 2)
    after = ("--after", str(tmp_path / "out1"), "--resume")
    before = classified("out2", *after)
    assert classified("out2", *after) == before
    write(tmp_path / "corpus", "c", 3)
    with pytest.raises(RefusedError, match=r"c\.jsonl is new"):
        classified("out2", *after)


def test_parts_have_the_size_that_is_asked_for_and_the_same_rows(classified, tmp_path):
    path = write(tmp_path / "corpus", "a", 1, rows=160)
    path.write_bytes(path.read_bytes() + b'{"text": 3}\n')
    small = ("--checkpoint_bytes", "1.5KB", "--output_format", "jsonl", "--audit_rate", "0.5")
    pieces = classified("pieces", *small)
    joined = classified("joined", *small, "--part_bytes", "12KB")
    assert len(joined["files"]) * 3 < len(pieces["files"])
    sizes = [file["bytes"] for file in joined["files"]]
    assert max(sizes) <= 18_000 and all(size >= 6_000 for size in sizes[:-1])
    # Which rows are audited is drawn anew in each run.
    assert len(pieces["audit"]["files"]) > len(joined["audit"]["files"])
    for file in (*joined["files"], *joined["dead_letters"]["files"], *joined["audit"]["files"]):
        assert (tmp_path / "joined" / file["name"]).stat().st_size == file["bytes"]
    one, other = (jobs.read_output(tmp_path / name) for name in ("pieces", "joined"))
    assert answers(one[0]) == answers(other[0])
    assert len(one[0]) == 160 and len(one[1]) == len(other[1]) == 1
    assert pieces["rows"] == joined["rows"]
    listed = {file["name"] for file in joined["files"]}
    assert {path.name for path in (tmp_path / "joined").glob("part-*")} == listed
    assert not (tmp_path / "joined" / "_joins.json").exists()
