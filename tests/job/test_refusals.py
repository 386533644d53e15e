"""What `pipelines.classify` refuses at launch, before any row is scored."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import classify
from tango_beam.errors import RefusedError
from tests import tiny
from tests.jobs import corpus, write_jsonl


def refusals():
    text = {"text": "good"}
    return {
        "no match": ([], ["--input", "{tmp}/none*.jsonl"], "found no match"),
        "missing column": ([text], ["--text_column", "body"], r"no such column.*text \(string\)"),
        "other type": ([{"text": 5}], [], "expected a column of texts in .*found integer 5"),
        "missing pair": ([text], ["--text_pair_column", "b"], "--text_pair_column b: no such"),
        "no JSON": ([b"hello", b"world"], [], "expected lines that are JSON objects.*hello"),
        "nothing": ([b""], [], "found no line at all"),
        "typo": ([text], ["--treshold", "0.5"], "--treshold; did you mean --threshold"),
        "Beam typo": ([text], ["--runer", "x"], "--runer; did you mean --runner"),
        "stray word": ([text], ["stray"], "unknown option stray"),
        "threshold": ([text], ["--threshold", "1.5"], "expected 0 to 1, found 1.5"),
        "cascade": ([text], ["--cascade", "nope"], "cascade nope: expected a folder"),
        "one tier": ([text], ["--first_tier", "x"], "found no --second_tier and no --threshold"),
        "columns": ([text], ["--columns", "a"], "--columns a: no such column"),
        "limit": ([text], ["--limit", "0"], "expected at least 1, found 0"),
        "dead fraction": ([text], ["--max_dead_fraction", "2"], "expected 0 to 1, found 2"),
        "schema": ([text], ["--schema", "{tmp}/none.json"], "expected a JSON object of column"),
        "value": ([text], ["--limit", "many"], "invalid int value"),
        "array": ([b'["a", 1]'], [], "expected lines that are JSON objects.*found array"),
        "empty struct": (
            [{"text": "a", "m": {}}],
            ["--schema", "{tmp}/schema.json"],
            "column m: expected a type that Parquet",
        ),
        "protocol": ([text], ["--output", "foo://x"], "expected a directory to write in"),
        "output": ([text], ["--output", "/dev/null/x"], "expected a directory to write in"),
    }


@pytest.mark.parametrize("case", refusals())
def test_bad_input_is_refused_at_launch_with_what_was_found(job, tmp_path, case):
    rows, options, message = refusals()[case]
    path = write_jsonl(tmp_path / "in.jsonl", rows or [{"text": "good"}])
    (tmp_path / "schema.json").write_text('{"text": "string", "m": {}}')
    with pytest.raises(RefusedError, match=message):
        job(path, options=[option.format(tmp=tmp_path) for option in options])
    assert not list((tmp_path / "out").glob("part-*"))


def test_files_that_do_not_go_together_are_refused(job, rng, tmp_path):
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a"], "n": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(RefusedError, match=r"^column n: .* int64 in .*a\.parquet and string in "):
        job(tmp_path / "*.parquet")
    write_jsonl(tmp_path / "c.jsonl", [{"text": "a"}])
    with pytest.raises(RefusedError, match="files of one format"):
        job(tmp_path / "*")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(RefusedError, match=r"notes\.txt: expected a name that ends in"):
        job(tmp_path / "notes.txt")


def test_tiers_of_different_labels_are_refused(job, rng, tmp_path, lstm):
    other = tiny.transformer(tmp_path / "other", labels=("no", "yes"))
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 3))
    options = ["--first_tier", str(lstm), "--second_tier", str(other), "--threshold", "0.5"]
    with pytest.raises(RefusedError, match=r"\['negative', 'positive'\], found \['no', 'yes'\]"):
        classify.main(["--input", str(path), "--output", str(tmp_path / "o"), *options])


def cut_short(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def no_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def another_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    width = "hidden_size"
    (folder / "config.json").write_text(json.dumps({**config, width: config[width] * 2}))


def missing_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def no_json(folder):
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize("tier", ["tier_1", "last_tier"])
@pytest.mark.parametrize(
    "damage", [cut_short, no_weights, another_shape, missing_tokenizer, no_json]
)
def test_a_damaged_checkpoint_is_refused_by_name_before_any_work(
    cascade, rng, tmp_path, damage, tier
):
    broken = tmp_path / "broken"
    shutil.copytree(cascade, broken)
    damage(broken / tier)
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 3))
    given = ["--input", str(path), "--output", str(tmp_path / "o"), "--cascade", str(broken)]
    with pytest.raises(RefusedError, match=f"broken/{tier}.*expected"):
        classify.main(given)
    assert not (tmp_path / "o").exists()


def test_a_path_that_leaves_the_cascade_directory_is_refused(cascade, rng, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(cascade, broken)
    stored = json.loads((broken / "cascade.json").read_text())
    stored["tiers"][0]["path"] = "../elsewhere"
    (broken / "cascade.json").write_text(json.dumps(stored))
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 3))
    given = ["--input", str(path), "--output", str(tmp_path / "o"), "--cascade", str(broken)]
    with pytest.raises(RefusedError, match="paths inside the directory"):
        classify.main(given)


def test_output_is_never_mixed_with_an_old_run(job, rng, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 40))
    job(path, options=["--checkpoint_bytes", "500"])
    with pytest.raises(RefusedError, match=r"expected an empty directory, found _manifest\.json"):
        job(path)
    code, found, _, _ = job(path, options=["--overwrite"])
    assert code == 0
    assert sorted(row["id"] for row in found) == list(range(40))


def test_overwrite_touches_nothing_but_a_run(job, rng, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 4))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(RefusedError, match=r"nothing else, found thesis\.txt"):
        job(path, options=["--overwrite"])
    assert (tmp_path / "out" / "thesis.txt").read_text() == "precious"


def test_overwrite_takes_nobody_elses_parts_and_no_input(job, rng, tmp_path):
    table = pa.Table.from_pylist(corpus(rng, 5))
    (tmp_path / "corpus").mkdir()
    path = tmp_path / "corpus" / "part-0.parquet"
    pq.write_table(table, path)
    other = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 5))
    with pytest.raises(RefusedError, match=r"nothing else, found part-0\.parquet"):
        job(other, output=tmp_path / "corpus", options=["--overwrite"])
    with pytest.raises(RefusedError, match="expected no input in it"):
        job(path, output=tmp_path / "corpus", options=["--overwrite"])
    assert pq.read_table(path).equals(table)
