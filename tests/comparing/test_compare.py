"""Two runs side by side: matched rows, what changed, and what is refused."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from pipelines import classify, compare
from tango_beam.command_line import DONE
from tango_beam.comparing import buckets, differences, outputs
from tango_beam.comparing import compare as comparing
from tango_beam.comparing.differences import Differences
from tango_beam.errors import RefusedError
from tests import jobs, kinds

ROWS = 120


@pytest.fixture(scope="module")
def runs(cascade, tmp_path_factory):
    """The first tier alone, as Parquet with a prefix, and the second tier alone, as lines."""
    folder = tmp_path_factory.mktemp("runs")
    rows = jobs.corpus(np.random.default_rng(5), ROWS)
    path = jobs.write_jsonl(folder / "in.jsonl", [*rows, b'{"id": 999, "text": 5}'])
    more = {
        "a": ("--threshold", "0", "--answer_prefix", "x_"),
        "b": ("--threshold", "1", "--output_format", "jsonl", "--checkpoint_bytes", "6000"),
    }
    for name, options in more.items():
        given = jobs.arguments(cascade, path, folder / name, "--source_columns", *options)
        assert classify.main(given) == DONE
    return folder


def answers(folder):
    a, _, _ = jobs.read_output(folder / "a")
    b, _, _ = jobs.read_output(folder / "b")
    return {row["id"]: row for row in a}, {row["id"]: row for row in b}


def compared(capsys, *arguments):
    assert compare.main([*map(str, arguments), "--json"]) == DONE
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("key", [(), ("--key", "id")], ids=["by position", "by key"])
def test_changed_rows_are_those_whose_prediction_differs(runs, capsys, key, monkeypatch):
    monkeypatch.setattr(comparing, "_BUCKET_ROWS", 30)  # several buckets
    found = compared(capsys, runs / "a", runs / "b", *key, "--examples", 3)
    a, b = answers(runs)
    pairs = Counter((a[n]["x_prediction"], b[n]["prediction"]) for n in a)
    changed = {pair: rows for pair, rows in pairs.items() if len({*pair}) > 1}
    assert (found["both"], found["only_a"], found["only_b"]) == (ROWS, 0, 0)
    assert found["changed"] == sum(changed.values()) > 0
    assert {(pair["a"], pair["b"]): pair["rows"] for pair in found["pairs"]} == changed
    assert found["moves"] == [{"a": 1, "b": 2, "rows": ROWS, "changed": found["changed"]}]
    assert (found["a"]["escalated"], found["b"]["escalated"]) == (0.0, 1.0)
    mean = np.mean([row["x_confidence"] for row in a.values()])
    assert found["a"]["confidence"] == pytest.approx(mean, abs=1e-6)
    assert found["a"]["dead"] == found["b"]["dead"] == 1
    sure = sorted(
        (a[n]["x_confidence"] + b[n]["confidence"], a[n]["text"])
        for n in a
        if a[n]["x_prediction"] != b[n]["prediction"]
    )
    assert [one["texts"] for one in found["examples"]] == [[text] for _, text in sure[:-4:-1]]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize("key", [(), ("--key", "id")], ids=["by position", "by key"])
def test_changed_rows_are_written_with_both_answers(runs, tmp_path, capsys, suffix, key):
    path = tmp_path / "new" / f"changed.{suffix}"
    found = compared(capsys, runs / "a", runs / "b", "--output", path, *key)
    lines = path.read_bytes().splitlines() if suffix == "jsonl" else []
    rows = [*map(json.loads, lines)] if lines else pq.read_table(path).to_pylist()
    a, b = answers(runs)
    expected = {
        (one["x_source_file"], one["x_source_row"]) if not key else str(n): (
            one["text"],
            one["x_prediction"],
            b[n]["prediction"],
        )
        for n, one in a.items()
        if one["x_prediction"] != b[n]["prediction"]
    }
    shown = {
        row["id"] if key else (row["source_file"], row["source_row"]): (
            row["text"],
            row["prediction_a"],
            row["prediction_b"],
        )
        for row in rows
    }
    assert shown == expected and len(rows) == found["changed"]
    with pytest.raises(RefusedError, match="--overwrite replaces it"):
        compare.main([str(runs / "a"), str(runs / "b"), "--output", str(path)])


def test_people_read_a_table(runs, capsys):
    assert compare.main([str(runs / "a"), str(runs / "b"), "--examples", "1"]) == DONE
    said = capsys.readouterr().out
    assert "matched by source file and position" in said
    assert "rows of tier 1 in A and tier 2 in B" in said
    assert "negative > positive" in said or "positive > negative" in said
    assert "escalated" in said and "example" in said


def test_what_cannot_be_compared_is_refused(runs, tmp_path):
    a, b = str(runs / "a"), str(runs / "b")

    def refused(*arguments, match):
        with pytest.raises(RefusedError, match=match):
            compare.main([*arguments])

    refused(a, a, match="expected two runs, found .* twice")
    refused(a, str(tmp_path), match=r"complete output of a run, found no _manifest\.json")
    refused(a, b, "--key", "no", match="--key no: no such column in .*a; found id, text")
    refused(a, b, "--key", "x_confidence", match="text or whole numbers, found float")
    twin = str(shutil.copytree(runs / "a", tmp_path / "twin"))
    refused(a, twin, "--key", "x_tier", match=f"x_tier in every row, found '1' in {ROWS} rows")
    refused(a, b, "--key", "x_tier", match="b: expected a key in every row, found .*None")
    lacking = tmp_path / "lacking"
    shutil.copytree(runs / "b", lacking)
    manifest = json.loads((lacking / "_manifest.json").read_text())
    schema = [one for one in manifest["schema"] if not one["name"].startswith("source")]
    (lacking / "_manifest.json").write_text(json.dumps({**manifest, "schema": schema}))
    refused(a, str(lacking), match="expected the source columns.*--key.*--source_columns")


def test_rows_of_one_run_alone_are_counted_and_other_inputs_are_told(runs, tmp_path, capsys):
    less = tmp_path / "less"
    shutil.copytree(runs / "b", less)
    manifest = json.loads((less / "_manifest.json").read_text())
    lost, *kept = manifest["files"]
    changed = [{**one, "modified": "1"} for one in manifest["inputs"]]
    (less / "_manifest.json").write_text(json.dumps({**manifest, "files": kept, "inputs": changed}))
    found = compared(capsys, runs / "a", less)
    assert (found["both"], found["only_a"], found["only_b"]) == (
        ROWS - lost["rows"],
        lost["rows"],
        0,
    )
    assert "1 input files changed between both runs" in found["notes"][0]


def rows(given, side):
    columns = {
        "key": pa.array([key.encode() for key in given], pa.large_binary()),
        "answer": pa.array(list(given.values()), pa.string()),
        "shown": pa.array(list(given.values()), pa.string()),
        "confidence": pa.array([0.5 + side / 4] * len(given), pa.float32()),
        "tier": pa.array([side + 1] * len(given), pa.int8()),
    }
    return pa.RecordBatch.from_pydict(columns)


KEYED = st.dictionaries(st.text(max_size=5), st.sampled_from("abc"), max_size=40)


@hypothesis.given(a=KEYED, b=KEYED, count=st.integers(1, 5))
@hypothesis.settings(max_examples=10)
def test_buckets_give_what_a_join_in_memory_gives(tmp_path_factory, a, b, count):
    work = tmp_path_factory.mktemp("work")
    for side, (name, given) in enumerate({"a": a, "b": b}.items()):
        batch = rows(given, side)
        # As they come: several batches, the second of them with an offset.
        buckets.part([batch.slice(0, len(a) // 2), batch.slice(len(a) // 2)], work / name, count)
    found, changed = Differences(), []
    for number in range(count):
        tables = [buckets.read(work / name, number) for name in "ab"]
        first, second = (pa.table(rows({}, 0)) if one is None else one for one in tables)
        changed += differences.compare(first, second, found, 2)["key"].to_pylist()
    both = a.keys() & b.keys()
    assert sorted(changed) == sorted(key.encode() for key in both if a[key] != b[key])
    assert (found.both, found.only) == (len(both), [len(a) - len(both), len(b) - len(both)])
    assert found.pairs == Counter((a[key], b[key]) for key in both if a[key] != b[key])
    assert len(found.examples) == min(2, len(changed))


@pytest.mark.parametrize("kind", kinds.TASKS)
def test_each_kind_of_answer_is_read_off_its_columns(kind, runs):
    task, labels = kinds.TASKS[kind], kinds.LABELS[kind]
    decoder = task.decoder(labels)
    shape = decoder.shape(labels)
    output = outputs.open_output(str(runs / "b"))
    manifest = replace(
        output.manifest,
        cascade=replace(output.manifest.cascade, task={}),
        schema=tuple({"name": one.name, "type": str(one.type)} for one in shape.fields()),
    )
    assert outputs._task(manifest).kind == kind
    batch = pa.RecordBatch.from_pylist(
        [
            {"prediction": one, "bucket": number}
            for number, one in enumerate(_predictions(shape.prediction))
        ],
        pa.schema([("prediction", shape.prediction), ("bucket", pa.int8())]),
    )
    found = outputs._answers(replace(output, task=task), batch)["answer"].to_pylist()
    assert found[0] == found[1] if kind in ("multi_label", "span") else found[0] != found[1]
    assert found[2] != found[0]


def _predictions(kind):
    """Two answers that are alike where order, case and articles do not count, and another one."""
    if pa.types.is_list(kind):
        return [["x", "y"], ["y", "x"], []]
    return [0.5, 0.25, 1.0] if pa.types.is_floating(kind) else ["the Cat", "cat", "dog"]
