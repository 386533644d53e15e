"""`pipelines.tune` from the command line to a job that runs what it wrote."""

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines import calibrate, classify, tune
from tango_beam.cascade_directory import load_cascade
from tango_beam.config import CascadeConfig, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.models import thread_pool
from tango_beam.tuning import candidates, tables
from tango_beam.tuning import tune as tuning
from tango_beam.tuning.candidates import Agreement, Timing, TunedTier
from tests import jobs, tiny

SETTINGS = ("precision", "batch_tokens", "backend", "threads")
ANY = CascadeConfig((TierConfig("any"),), ())
OPTIONS = ("--rounds", "1", "--timed_seconds", "0.02", "--sample_rows", "900")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "texts.parquet"
    pq.write_table(pa.Table.from_pylist(jobs.corpus(np.random.default_rng(5), 1500)), path)
    return path


@pytest.fixture(scope="module")
def tuned(cascade, corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("tuned") / "out"
    arguments = ["--input", str(corpus), "--cascade", str(cascade), "--output", str(output)]
    assert tune.main([*arguments, *OPTIONS]) == 0
    return output


def test_every_way_is_measured_and_the_fastest_that_agrees_is_written(tuned):
    found = json.loads((tuned / "_tune.json").read_text())
    assert [set(tier["agreements"]) for tier in found["tiers"]] == [
        {"fp32", "bf16"},
        {"fp32", "bf16", "int8", "onnx fp32", "onnx int8"},
    ]
    cascade = load_cascade(str(tuned))
    for tier, measured in zip(cascade.tiers, found["tiers"], strict=True):
        allowed = [
            way
            for way in measured["measured"]
            if measured["agreements"][Timing(**way).name]["bound"] >= 0.995
            or Timing(**way).name == "fp32"
        ]
        fastest = max(allowed, key=lambda way: way["rate"])
        kind = ("precision", "backend", "threads")
        alike = [way for way in allowed if all(way[name] == fastest[name] for name in kind)]
        near = [way for way in alike if way["rate"] >= 0.97 * fastest["rate"]]
        expected = {name: fastest[name] for name in kind}
        expected["batch_tokens"] = min(way["batch_tokens"] for way in near)
        assert {name: getattr(tier, name) for name in SETTINGS} == expected
        assert measured["agreements"]["fp32"]["differ"] == 0
    assert (tuned / "throughput.png").stat().st_size > 1000
    assert found["pays"] == (
        found["rows_a_second"]["cascade"] > found["rows_a_second"]["last_tier_alone"]
    )


def test_worker_processes_stand_beside_one_process_on_all_cores(tuned):
    found = json.loads((tuned / "_tune.json").read_text())["workers"]
    cores = thread_pool.workers()
    expected = [(1, cores), (cores, 1)] if cores > 1 else []
    assert [(one["processes"], one["cores"]) for one in found] == expected
    assert all(one["rate"] > 0 for one in found)


def test_the_job_runs_what_was_tuned(tuned, corpus, tmp_path):
    output = tmp_path / "out"
    arguments = ["--input", str(corpus), "--cascade", str(tuned), "--output", str(output)]
    assert classify.main(arguments) == 0
    rows, letters, manifest = jobs.read_output(output)
    jobs.accounted(rows, letters, manifest)
    assert len(rows) == 1500


def test_a_certificate_of_other_precisions_does_not_cover(cascade, corpus, tmp_path):
    mine = tmp_path / "mine"
    arguments = ["--input", str(corpus), "--cascade", str(cascade), "--output", str(mine)]
    options = ["--sample_rows", "600", "--agreement", "0.5", "--precision", "fp32"]
    assert calibrate.main([*arguments, *options]) == 0
    config = json.loads((mine / "cascade.json").read_text())
    config["tiers"][1]["precision"] = "int8"
    (mine / "cascade.json").write_text(json.dumps(config))
    output = tmp_path / "out"
    arguments = ["--input", str(corpus), "--cascade", str(mine), "--output", str(output)]
    assert classify.main(arguments) == 0
    found = jobs.read_output(output)[2]["cascade"]["certificate"]
    assert found["status"] == "scores differ: not covered"
    assert any(line.startswith("precisions") for line in found["differs"])


def test_precisions_have_fingerprints_of_their_own(cascade):
    config = load_cascade(str(cascade))
    first, last = config.tiers
    found = {config.scoring_fingerprint(name) for name in ("fp32", "bf16", "int8")}
    for precision in ("fp32", "bf16", "int8"):
        changed = replace(config, tiers=(first, replace(last, precision=precision)))
        found.add(changed.scoring_fingerprint("fp32"))
        assert changed.without_precisions() == config
    assert len(found) == 6


def test_what_was_tuned_for_a_precision_goes_with_it(cascade):
    config = load_cascade(str(cascade))
    first, last = config.tiers
    tuned = replace(last, precision="int8", backend="onnx", batch_tokens=16384, threads=2)
    stated = replace(first, batch_tokens=77)
    found = replace(config, tiers=(stated, tuned)).without_precisions()
    assert found == replace(config, tiers=(stated, last))


def test_int8_is_loaded_as_such_and_answers_nearly_as_fp32(bert):
    whole = tiny.load(bert)
    small = tiny.load(bert, precision="int8")
    assert small.precision == "int8"
    rng = np.random.default_rng(3)
    tokens = whole.tokenize(pa.array([tiny.sentence(rng) for _ in range(300)]))
    rows = np.arange(300)
    ours, theirs = small.forward(tokens, rows), whole.forward(tokens, rows)
    assert not np.array_equal(ours, theirs)
    # Wild random weights, so only nearly; fine-tuned ones come much closer.
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9


def test_a_precision_on_the_command_line_overrides_the_tiers(tuned, corpus, tmp_path):
    output = tmp_path / "out"
    arguments = ["--input", str(corpus), "--cascade", str(tuned), "--output", str(output)]
    assert classify.main([*arguments, "--precision", "fp32", "--limit", "50"]) == 0
    stored = json.loads((output / "_run.json").read_text())
    assert [tier["precision"] for tier in stored["cascade"]["tiers"]] == [None, None]


def test_only_budgets_that_the_timed_rows_fill_are_tried():
    assert candidates.filled((512, 1024, 2048, 4096), 4200, 2) == [512, 1024, 2048]
    assert candidates.filled((512, 1024), 90, 2) == [512]


def test_the_fastest_wins_only_if_it_agrees():
    measured = [Timing("fp32", 8, 10.0, 1.0), Timing("bf16", 8, 20.0, 1.0)]
    sure, unsure = Agreement(2000, 0, 0.9985), Agreement(2000, 10, 0.9915)
    assert candidates.fastest(measured, {"fp32": sure, "bf16": unsure}, 0.995).precision == "fp32"
    assert candidates.fastest(measured, {"fp32": sure, "bf16": sure}, 0.995).precision == "bf16"


def test_of_batch_sizes_that_are_as_fast_the_smallest_wins():
    rates = {1024: 93.0, 2048: 98.0, 4096: 100.0, 8192: 99.0}
    measured = [Timing("fp32", size, rate, 1.0) for size, rate in rates.items()]
    assert candidates.fastest(measured, {}, 0.995).batch_tokens == 2048


def test_operations_of_a_known_network(bert):
    config, lengths = tiny.to_train(bert).network.config, np.array([3, 5])
    wide, inner = config.hidden_size, config.intermediate_size
    layer = 4 * wide * wide + 2 * wide * inner
    head = wide * wide + wide * config.num_labels
    tokens = 2 * (layer + 2 * wide * wide) * 8 + 4 * wide * (9 + 25)
    rows = 2 * (layer - 2 * wide * wide + head) * 2 + 4 * wide * (3 + 5)  # of the last layer
    expected = tokens + rows
    for model in (tiny.load(bert), tiny.to_train(bert)):
        assert model.operations(lengths).sum() == expected


@pytest.mark.parametrize(("processes", "said"), [(90.0, "no more options"), (110.0, "workers 4")])
def test_it_says_how_to_have_the_faster_workers(processes, said):
    workers = (tuning.Workers(1, 4, 100.0), tuning.Workers(4, 1, processes))
    outcome = tuning.Outcome(ANY, [], 9, 0.2, (2.0, 1.0), False, workers)
    console = Console(file=io.StringIO(), width=200)
    for table in tables.tables(outcome, "out"):
        console.print(table)
    (faster,) = [line for line in console.file.getvalue().splitlines() if "the faster" in line]
    assert f"{max(100.0, processes):.0f} rows a second" in faster
    assert said in faster


def test_as_many_rows_are_timed_as_take_long_enough(bert):
    model = tiny.load(bert)
    tokens = model.tokenize(pa.array(["good", "a bad film", "dull"] * 10))
    assert len(candidates.timed_rows(model, tokens, 0.0, 8192)) == 64  # the sample's thirty, again
    assert len(candidates.timed_rows(model, tokens, 1e9, 200)) == 200
    part = candidates.timed_rows(model, tokens, 1e9, 65)
    assert np.array_equal(part.lengths[30:60], tokens.lengths)


def test_where_more_rows_would_tell_it_says_so():
    fp32, int8 = (Timing(name, 8, 10.0, 1.0) for name in ("fp32", "int8"))
    for differ, tells in ((5, True), (40, False)):
        agreements = {"fp32": Agreement(2000, 0, 0.9985), "int8": Agreement(2000, differ, 0.99)}
        tier = TunedTier(fp32, [fp32, int8], agreements, np.zeros((1, 2)), 0.0, None, 0.995)
        outcome = tuning.Outcome(ANY, [tier], 9, 0.2, (2.0, 1.0), False)
        console = Console(file=io.StringIO(), width=200)
        for table in tables.tables(outcome, "out"):
            console.print(table)
        assert ("more --sample_rows would tell" in console.file.getvalue()) == tells


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--min_agreement", "1.5"], "--min_agreement: expected 0 to 1, found 1.5"),
        (["--sample_rows", "100"], "expected at least 598 rows"),
        (["--timed_seconds", "0"], "--timed_seconds: expected more than 0"),
        (["--rounds", "0"], "--rounds: expected at least 1"),
        (["--text_column", "body"], "body"),
    ],
)
def test_bad_options_are_refused(cascade, corpus, tmp_path, options, expected):
    arguments = ["--input", str(corpus), "--cascade", str(cascade), "--output", str(tmp_path / "o")]
    with pytest.raises(RefusedError, match=expected):
        tune.main([*arguments, *options])
