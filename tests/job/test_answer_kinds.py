"""Every kind of answer end to end: tiers apart, both output formats, scores and an audit."""

import jsonschema
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from pipelines import classify
from tango_beam.answers import span_text
from tango_beam.cascade_directory import load_cascade
from tango_beam.command_line import DONE
from tango_beam.models.logits import logits_of
from tests import jobs, kinds, tiny

ROWS, DEAD, PREFIX = 200, 5, "t_"
OPTIONS = ["--precision", "fp32", "--placement", "apart", "--scores", "--source_columns"]
OPTIONS += ["--answer_prefix", PREFIX, "--checkpoint_bytes", "30000", "--max_dead_fraction", "0.1"]


# One label a row is what every other test of the job is about.
EACH = [
    pytest.param(kind, marks=pytest.mark.slow if kind == "labels" else ()) for kind in kinds.TASKS
]


@pytest.fixture(scope="module", params=EACH)
def kind(request):
    return request.param


@pytest.fixture
def run(kind, tmp_path):
    """Runs a cascade over good and broken rows; returns its rows by id, as they must be."""

    def ran(cascade, shape, *options):
        good = [kinds.line(number, kind) for number in range(ROWS)]
        bad = [kinds.broken(number, kind) for number in range(ROWS, ROWS + DEAD)]
        path, output = jobs.write_jsonl(tmp_path / "in.jsonl", [*good, *bad]), tmp_path / shape
        given = [*OPTIONS, "--output_format", shape, *kinds.options(kind), *options]
        assert classify.main(jobs.arguments(cascade, path, output, *given)) == DONE
        rows, letters, manifest = jobs.read_output(output)
        jsonschema.validate(manifest, jobs.schema("manifest"))
        for letter in letters:
            jsonschema.validate(letter, jobs.schema("dead_letter"))
        found = {row["id"]: row for row in rows}
        assert sorted(found) == [*range(ROWS)] and len(rows) == ROWS
        assert len(letters) == manifest["rows"]["dead"] == manifest["rows"]["read"] - ROWS == DEAD
        return [found[number] for number in range(ROWS)], letters

    return ran


def added(row):
    """What the job adds to a row, by its names without the prefix."""
    return {name[len(PREFIX) :]: given for name, given in row.items() if name.startswith(PREFIX)}


def alone(cascade, rows):
    """Of each tier, the answer's columns for all rows, by the model called plainly."""
    config = load_cascade(str(cascade))
    texts, contexts = (pa.array([row[name] for row in rows]) for name in ("text", "text_pair"))
    for tier in config.tiers:
        model = tiny.load(tier.source, max_length=tier.max_length, stride=tier.stride)
        outputs = logits_of(model, texts, contexts if config.task.kind == "span" else None)
        answers = config.decoder(tier)(outputs, model.labels, contexts)
        columns = {**answers.columns(), "scores": answers.scores}
        columns["confidence"] = pa.array(answers.confidences)
        yield {name: column.to_pylist() for name, column in columns.items()}


def close(one, other):
    if isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[name], other[name]) for name in other)
    return one == pytest.approx(other, abs=1e-5) if isinstance(other, float) else one == other


def test_three_tiers_apart(kind, run, tmp_path):
    cascade = kinds.cascade(tmp_path / "three", kind)
    rows, letters = run(cascade, "jsonl")
    expected = [*alone(cascade, rows)]
    for number, row in enumerate(rows):
        answer = added(row)
        jsonschema.validate(answer, jobs.schema("output"))
        for name, column in expected[answer["tier"] - 1].items():
            assert close(answer[name], column[number]), name
        for name in ("prediction", "confidence"):
            assert close(answer[f"first_tier_{name}"], expected[0][name][number])
        if kind == "span":
            start, stop = answer["answer_start"], answer["answer_end"]
            assert answer["prediction"] == row["text_pair"][start:stop]
    assert {added(row)["tier"] for row in rows} == {1, 2, 3}
    errors = [letter["error"] for letter in letters if letter["stage"] == "tier 1"]
    assert len(errors) == (kind == "span")
    assert all("expected a context with a word in it, found none" in error for error in errors)


def agree(kind, one, other):
    if kind == "span":
        one, other = span_text.normalised(one), span_text.normalised(other)
    elif kind == "score":
        one, other = (sum(side >= cut for cut in kinds.TASKS[kind].cuts) for side in (one, other))
    return one == other


def test_an_audit_compares_answers_as_their_kind_does(kind, run, tmp_path):
    cascade = kinds.cascade(tmp_path / "two", kind, tiers=2)
    rows, _ = run(cascade, "parquet", "--audit_rate", "0.5")
    audited = [added(row) for row in rows if added(row)["route"] == "audited"]
    checked = ds.dataset(tmp_path / "parquet" / "_audit", format="parquet").to_table().to_pylist()
    first, last = alone(cascade, rows)
    by_text = {row["text"]: number for number, row in enumerate(rows)}
    assert len(checked) == len(audited) > 50
    for row in checked:
        number = by_text[row["text"]]
        if rows[number].get("text_pair") == row.get("text_pair", rows[number]["text_pair"]):
            assert close(row["prediction"], first["prediction"][number])
            assert close(row["last_tier_prediction"], last["prediction"][number])
        assert row["agrees"] == agree(kind, row["prediction"], row["last_tier_prediction"])
    assert {row["agrees"] for row in checked} == {True, False}


def test_both_formats_hold_the_same_rows(kind, run, tmp_path):
    cascade = kinds.cascade(tmp_path / "two", kind, tiers=2)
    (parquet, _), (lines, _) = run(cascade, "parquet"), run(cascade, "jsonl")
    for one, other in zip(parquet, lines, strict=True):
        # Parquet has a column for what of a line has no other place.
        assert one.pop(f"{PREFIX}_extra") is None
        assert close(one, other)
