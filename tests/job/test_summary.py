"""What a run says at its end: what it did, what it cost, what a larger corpus would take."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from pipelines import classify
from tango_beam import terminal
from tango_beam.job import summary
from tango_beam.job.summary import Spent
from tango_beam.models import peak_flops
from tango_beam.run.manifest import Manifest
from tests import jobs


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(3, "3 s"), (119, "119 s"), (7000, "117 min"), (8e4, "22 h"), (9e5, "10 days")],
)
def test_durations_are_shown_in_the_unit_that_fits(seconds, shown):
    assert terminal.duration(seconds) == shown


def shown(manifest, spent):
    page = io.StringIO()
    Console(file=page, width=200).print(summary.summary(Manifest.from_json(manifest), "out", spent))
    return page.getvalue()


@pytest.fixture(scope="module")
def manifest(cascade, tmp_path_factory):
    folder = tmp_path_factory.mktemp("summary")
    jobs.write_jsonl(folder / "in.jsonl", [{"text": "a good film"}, {"text": "bad"}] * 6000)
    arguments = ["--input", str(folder / "in.jsonl"), "--output", str(folder / "out")]
    assert classify.main([*arguments, "--cascade", str(cascade)]) == 0
    return json.loads((folder / "out" / "_manifest.json").read_text())


def test_the_manifest_says_what_the_models_computed(manifest):
    tokens, models = manifest["tokens"], manifest["models"]
    assert models.keys() == tokens.keys()
    for tier, cost in models.items():
        assert 0 < cost["seconds"] <= manifest["seconds"][tier]
        assert cost["operations"] > 2 * tokens[tier]["real"]


def test_the_cost_of_a_run_is_projected_from_what_it_scored(manifest):
    spent = Spent(seconds=15.0, working=10.0, cores=2, peaks={"tier 1": 1e12})
    page = shown(manifest, spent)
    assert "800 rows/s" in page  # 12,000 rows in 15 seconds
    assert "2,160,000  rows a core-hour, on 2 cores" in page  # in the 10 without start-up
    assert "14 min on 1, 83 s on 10, 8 s on 100 such machines" in page
    rate = manifest["models"]["tier 1"]["operations"] / manifest["models"]["tier 1"]["seconds"]
    assert f"{rate / 1e12:.0%} of the machine's" in page


def test_rows_of_earlier_runs_are_not_counted_as_speed(manifest):
    page = shown(manifest, Spent(seconds=10.0, working=8.0, before=11_000, cores=2))
    assert "100 rows/s, 11,000 of them by earlier runs" in page
    assert "core-hour" not in page
    assert "rows/s" not in shown(manifest, Spent(seconds=3.0, before=12_000))


def test_elsewhere_the_cores_are_not_known(manifest):
    page = shown(manifest, Spent(seconds=12.0, working=10.0))
    assert "rows an hour, on this cluster" in page and "such clusters" in page
    assert "% of the time" not in page


def test_of_three_tiers_each_has_its_share(manifest):
    manifest = Manifest.from_json(manifest)
    escalated = replace(manifest.counts.escalated, tiers={"2": 2000, "3": 1000})
    three = replace(
        manifest,
        rows=replace(manifest.rows, accepted=9000, escalated=3000),
        counts=replace(manifest.counts, escalated=escalated),
        cascade=replace(manifest.cascade, thresholds=(0.9, 0.8)),
    )
    page = shown(three.to_json(), Spent(seconds=3.0))
    assert "2,000  16.7% answered by tier 2" in page
    assert "1,000  8.3% went on to tier 3, the last" in page


def test_a_manifest_without_these_costs_is_shown_too(manifest):
    old = {key: value for key, value in manifest.items() if key != "models"}
    assert "models" not in shown(old, replace(Spent(12.0), working=10.0, cores=2))


def test_short_runs_do_not_measure_the_machine(monkeypatch):
    monkeypatch.setattr(peak_flops, "PRODUCTS", ((256, 256, 256), (64, 128, 32)))
    assert summary.peaks({"tier 1": "fp32"}, "cpu", 5.0) == {}
    found = summary.peaks({"tier 1": "fp32", "tier 2": "int8"}, "cpu", 1e3)
    assert found.keys() == {"tier 1"} and found["tier 1"] > 1e8
