"""The command line end to end, on a tiny cascade, and what it refuses."""

import gzip
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipelines import evaluate
from tango_beam import routing
from tango_beam.cascade_directory import load_cascade, save_cascade
from tango_beam.config import Compute
from tango_beam.errors import RefusedError
from tango_beam.evaluation import figures
from tango_beam.io.labelled import read_labelled
from tango_beam.models.exits import Exits
from tango_beam.models.logits import logits_of
from tango_beam.resolve import load_tier
from tests import tiny
from tests.jobs import schema

QUICK = ("--repeats", "1", "--splits", "3", "--single_rows", "4", "--precision", "fp32")


def rows_of(rng, count, labels=tiny.LABELS):
    return [
        {"id": n, "text": tiny.sentence(rng), "label": str(rng.choice(labels))}
        for n in range(count)
    ]


def write(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def run(cascade, tmp_path):
    """Evaluates the tiny cascade; returns the report."""

    def evaluated(path, *options, cascade=cascade):
        output = tmp_path / "out"
        arguments = ["--input", str(path), "--output", str(output), *QUICK, *options]
        if "--first_tier" not in options:
            arguments += ["--cascade", str(cascade)]
        assert evaluate.main(arguments) == 0
        return json.loads((output / "report.json").read_text())

    return evaluated


def scores_by_hand(folder, rows, pairs=None):
    """Each tier's answers and the first one's confidences, without the code under test."""
    config = load_cascade(str(folder))
    texts = [row["text"] for row in rows]
    logits = [
        logits_of(load_tier(tier, Compute("cpu", "fp32")), texts, pairs, labels=config.labels)
        for tier in config.tiers
    ]
    answers = [np.array(config.labels)[each.argmax(axis=1)] for each in logits]
    return config, answers, routing.softmax(logits[0]).max(axis=1)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl", "rows.jsonl.gz"])
def test_the_report_says_what_the_tiers_answer(run, cascade, rng, tmp_path, name, capsys):
    rows = rows_of(rng, 60)
    found = run(write(tmp_path / name, rows))
    config, (first, last), confidences = scores_by_hand(cascade, rows)
    targets = np.array([row["label"] for row in rows])
    escalate = routing.is_complex(confidences, config.threshold)
    routed = np.where(escalate, last, first)
    expected = [(answers == targets).mean() for answers in (first, last, routed)]
    assert [row["metrics"]["accuracy"] for row in found["scores"]] == pytest.approx(expected)
    assert found["scores"][-1]["escalated"] == pytest.approx(escalate.mean())
    curve = found["curve"]
    assert (curve["thresholds"][0], curve["thresholds"][-1]) == (0, 1)
    assert (curve["cascade"][0], curve["cascade"][-1]) == pytest.approx(expected[:2])
    assert found["reference"] == pytest.approx(expected[1])
    assert found["cascade"]["tiers"][1]["takes_tokens"]
    printed = capsys.readouterr().out
    assert "speedup@99" in printed and str(tmp_path / "out" / "report.html") in printed


def test_every_number_of_the_costs_is_a_time_that_passed(run, rng, tmp_path):
    found = run(write(tmp_path / "rows.jsonl", rows_of(rng, 40)), "--repeats", "2")
    for cost in found["costs"].values():
        assert len(cost["first"]["repeats"]) == len(cost["alone"]["repeats"]) == 2
        assert min(cost["first"]["repeats"] + cost["alone"]["repeats"]) > 0
        for later in cost["later"].values():
            assert later["shares"][0] == later["seconds"][0] == 0
            assert later["shares"][-1] == 1
            assert (np.diff(later["seconds"]) >= 0).all()
    assert found["costs"]["batch_1"]["rows_timed"] == 4
    assert found["costs"]["own_batch"]["rows_timed"] == 40
    for size, by_routing in found["curve"]["speedups"].items():
        cost = found["costs"][size]
        fastest = cost["alone"]["seconds_per_row"] / cost["first"]["seconds_per_row"]
        for speedups in by_routing.values():
            assert speedups[0] == pytest.approx(fastest)
            assert (np.diff(speedups) <= 1e-9).all()


def test_three_tiers_sweep_the_first_threshold_and_hold_the_second(run, rng, tmp_path):
    folder = tiny.cascade(tmp_path / "three", labels=("a", "b", "c"), tiers=3)
    rows = rows_of(rng, 50, labels=("a", "b", "c"))
    found = run(write(tmp_path / "rows.jsonl", rows), "--metric", "mcc", cascade=folder)
    config, (_, second, third), _ = scores_by_hand(folder, rows)
    model = load_tier(config.tiers[1], Compute("cpu", "fp32"))
    logits = logits_of(model, [row["text"] for row in rows], labels=config.labels)
    confidences = routing.softmax(logits).max(axis=1)
    onwards = routing.is_complex(confidences, config.tiers[1].threshold)
    assert 0 < onwards.sum() < 50
    targets = np.array([row["label"] for row in rows])
    later = np.where(onwards, third, second)
    assert found["curve"]["cascade"][-1] == pytest.approx(correlation(targets, later))
    assert found["reference"] == pytest.approx(correlation(targets, third))
    assert [row["what"] for row in found["scores"][:3]] == [f"tier {n} alone" for n in (1, 2, 3)]
    assert "f1" not in found["scores"][0]["metrics"]
    jsonschema.validate(found, schema("report"))


def correlation(targets, answers):
    """Gorodkin's R_K as the correlation of one-hot matrices."""
    one, other = (
        (values[:, None] == np.array(["a", "b", "c"])).astype(float)
        for values in (targets, answers)
    )
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    return (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())


def test_pairs_and_columns_by_other_names(run, cascade, rng, tmp_path):
    rows = rows_of(rng, 30)
    renamed = [
        {"one": row["text"], "two": tiny.sentence(rng), "gold": row["label"]} for row in rows
    ]
    found = run(
        write(tmp_path / "rows.parquet", renamed),
        "--text_column",
        "one",
        "--text_pair_column",
        "two",
        "--label_column",
        "gold",
        "--metric",
        "f1",
        "--positive",
        "negative",
    )
    _, (first, _), _ = scores_by_hand(cascade, rows, [row["two"] for row in renamed])
    gold = np.array([row["label"] for row in rows])
    hits = ((first == gold) & (gold == "negative")).sum()
    f1 = 2 * hits / ((first == "negative").sum() + (gold == "negative").sum())
    assert found["curve"]["cascade"][0] == pytest.approx(f1)
    assert found["metric"] == {"name": "f1", "shown": "F1", "positive": "negative"}


def test_two_checkpoints_need_no_threshold(run, cascade, rng, tmp_path):
    tiers = load_cascade(str(cascade)).tiers
    options = ["--first_tier", tiers[0].source, "--second_tier", tiers[1].source]
    found = run(write(tmp_path / "rows.jsonl", rows_of(rng, 20)), *options)
    assert [row["what"] for row in found["scores"]] == ["tier 1 alone", "tier 2 alone"]


def test_temperature_and_kind_of_confidence_are_the_tiers_own(run, rng, tmp_path):
    folder = tiny.cascade(tmp_path / "margin")
    config = load_cascade(str(folder))
    first = replace(config.tiers[0], confidence="margin", temperature=2.0)
    save_cascade(replace(config, tiers=(first, *config.tiers[1:])), folder)
    rows = rows_of(rng, 30)
    found = run(write(tmp_path / "rows.jsonl", rows), cascade=folder)
    logits = logits_of(
        load_tier(first, Compute("cpu", "fp32")),
        [row["text"] for row in rows],
        labels=config.labels,
    )
    margins = routing.margin(routing.softmax(logits, 2.0))
    thresholds = np.array(found["curve"]["thresholds"][1:-1], np.float32)
    assert len(thresholds) > 5
    assert np.isin(thresholds, margins).all()


def test_integer_labels_are_compared_as_they_are_written(tmp_path):
    for name in ("rows.parquet", "rows.jsonl"):
        path = write(tmp_path / name, [{"text": "good", "label": 1}, {"text": "bad", "label": 0}])
        found = read_labelled([str(path)], ["text"], "label", ("0", "1"))
        assert found.targets.tolist() == [1, 0]
        assert found.texts.to_pylist() == ["good", "bad"]


def test_several_files_are_read_as_one(rng, tmp_path):
    rows = rows_of(rng, 9)
    write(tmp_path / "a.parquet", rows[:4])
    write(tmp_path / "b.parquet", rows[4:])
    found = read_labelled([str(tmp_path)], ["text"], "label", tiny.LABELS)
    assert found.texts.to_pylist() == [row["text"] for row in rows]


GOOD = {"text": "good film", "label": "positive"}
BAD_ROWS = {
    "missing column": ({"text": "good"}, ["--label_column label", "found", "text"]),
    "unknown label": ({**GOOD, "label": "great"}, ["negative, positive", "found great"]),
    "null label": ({**GOOD, "label": None}, ["--label_column label", "no nulls", "row 2"]),
    "null text": ({**GOOD, "text": None}, ["column 'text'", "expected a text", "found null"]),
}


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows_are_refused_with_file_column_and_what_was_found(tmp_path, name, kind):
    bad, expected = BAD_ROWS[kind]
    # Parquet's columns are those of the first row, or none lacks one.
    rows = [bad, bad] if kind == "missing column" else [GOOD, bad]
    path = write(tmp_path / name, rows)
    with pytest.raises(RefusedError) as refused:
        read_labelled([str(path)], ["text"], "label", tiny.LABELS)
    for words in [str(path), *expected]:
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{", "rows.jsonl, byte 43: expected a JSON object"),
        (b"[1]", "found array"),
        (b'{"text": 3, "label": "positive"}', "expected a text, found integer 3"),
    ],
)
def test_lines_that_are_no_labelled_texts_are_refused(tmp_path, line, expected):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + line + b"\n")
    with pytest.raises(RefusedError, match=expected):
        read_labelled([str(path)], ["text"], "label", tiny.LABELS)


def test_a_column_that_holds_no_texts_and_a_broken_file_are_refused(tmp_path):
    path = write(tmp_path / "rows.parquet", [{"text": 1, "label": "positive"}])
    with pytest.raises(RefusedError, match=r"column of texts.*found int64"):
        read_labelled([str(path)], ["text"], "label", tiny.LABELS)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(RefusedError, match="readable Parquet file"):
        read_labelled([str(path)], ["text"], "label", tiny.LABELS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--positive", "great"], "--positive: expected one of negative, positive, found great"),
        (["--repeats", "0"], "--repeats: expected at least 1, found 0"),
        (["--threshold", "2"], "--threshold: expected 0 to 1, found 2"),
        (["--label_column", "gold"], "--label_column gold"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_any_work(
    cascade, rng, tmp_path, options, expected
):
    path = write(tmp_path / "rows.jsonl", rows_of(rng, 4))
    arguments = ["--input", str(path), "--output", str(tmp_path / "out")]
    with pytest.raises(RefusedError, match=expected):
        evaluate.main([*arguments, "--cascade", str(cascade), *options])
    assert not (tmp_path / "out").exists()


def test_one_row_or_one_tier_cannot_be_evaluated(cascade, tmp_path):
    path = write(tmp_path / "rows.jsonl", [GOOD])
    arguments = ["--input", str(path), "--output", str(tmp_path / "out"), "--cascade"]
    with pytest.raises(RefusedError, match="at least 2 rows"):
        evaluate.main([*arguments, str(cascade)])
    single = tmp_path / "single"
    single.mkdir()
    tier = load_cascade(str(cascade)).tiers[-1].source
    content = {"labels": tiny.LABELS, "tiers": [{"hub": tier}]}
    (single / "cascade.json").write_text(json.dumps(content))
    with pytest.raises(RefusedError, match="two tiers or more, found one"):
        evaluate.main([*arguments, str(single)])


def test_a_directory_that_holds_something_is_left_alone(run, rng, tmp_path):
    path = write(tmp_path / "rows.jsonl", rows_of(rng, 12))
    run(path)
    with pytest.raises(RefusedError, match="--overwrite replaces an earlier report"):
        run(path)
    run(path, "--overwrite", "--seed", "5")
    (tmp_path / "out" / "thesis.doc").write_text("mine")
    with pytest.raises(RefusedError, match=r"nothing else, found thesis\.doc"):
        run(path, "--overwrite")
    assert (tmp_path / "out" / "thesis.doc").read_text() == "mine"


def test_an_output_that_is_no_local_directory_is_refused(tmp_path):
    path = write(tmp_path / "rows.jsonl", [GOOD])
    for output, expected in (("memory://out", "found a URL"), (str(path), "found the file")):
        with pytest.raises(RefusedError, match=expected):
            evaluate.main(["--input", str(path), "--output", output])


def test_ticks_are_round_few_and_hold_one():
    for low, high in ((0.9, 12.0), (0.55, 1.4), (0.98, 1.1), (0.01, 3000.0), (0.9, 1.5)):
        ticks = figures._ticks(low, high)
        assert 2 <= len(ticks) <= 8
        assert low <= ticks[0] and ticks[-1] <= high
        assert np.isclose(ticks, 1).any()


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RefusedError, match=r"pip install 'tango-beam\[evaluate\]'"):
        figures.require_matplotlib()


def test_a_refusal_exits_with_two(tmp_path):
    command = [sys.executable, "-m", "pipelines.evaluate", "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--input", str(tmp_path / "none.jsonl")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "refused:" in done.stderr and "none.jsonl" in done.stderr


@pytest.fixture
def with_exits(tmp_path, cascade):
    """The tiny cascade, its second tier with exits that are right about some rows."""
    folder = shutil.copytree(cascade, tmp_path / "with_exits")
    last = load_cascade(str(folder)).tiers[-1].source
    config = json.loads((Path(last) / "config.json").read_text())
    torch.manual_seed(0)
    behind = Exits(config["num_hidden_layers"] - 1, config["hidden_size"], len(tiny.LABELS))
    with torch.no_grad():
        for parameter in behind.parameters():
            parameter.mul_(4.0)
    behind.save(Path(last))
    return folder


def test_a_last_tier_with_exits_is_left_early_beside_the_cascade(
    run, with_exits, rng, tmp_path, capsys
):
    rows = rows_of(rng, 80)
    found = run(write(tmp_path / "rows.parquet", rows), cascade=with_exits)
    jsonschema.validate(found, schema("report"))
    left = found["early_exit"]
    count = len(left["thresholds"])
    assert left["thresholds"][0] == 1
    assert left["layers"][0] == left["layers_of"] == 2
    assert left["layers"] == sorted(left["layers"], reverse=True)
    assert left["layers"][-1] < left["layers_of"]
    assert {len(left[name]) for name in ("layers", "scores")} == {count}
    assert {len(each) for each in left["speedups"].values()} == {count}
    config = load_cascade(str(with_exits))
    for step in (0, count // 2, count - 1):
        last = replace(config.tiers[-1], exit_thresholds=(left["thresholds"][step],))
        said = logits_of(
            load_tier(last, Compute("cpu", "fp32")),
            [row["text"] for row in rows],
            labels=config.labels,
        )
        right = np.array(config.labels)[said.argmax(axis=1)] == [row["label"] for row in rows]
        assert left["scores"][step] == pytest.approx(right.mean())
    assert "Tier 2 left early" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "early exit" in page
    assert "DeeBERT" in page


def test_a_last_tier_without_exits_has_no_such_line(run, rng, tmp_path):
    found = run(write(tmp_path / "rows.parquet", rows_of(rng, 20)))
    assert found.get("early_exit") is None
    assert "DeeBERT" not in (tmp_path / "out" / "report.html").read_text()
