"""What leaves this machine with a job: the graph, and the template's parameters."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import classify
from tango_beam.cascade_directory import load_cascade
from tango_beam.checkpoint_files import EMBEDDED, local
from tango_beam.config import Compute, TierConfig
from tango_beam.job import prepare, runners
from tango_beam.job.options import ClassifyOptions
from tango_beam.resolve import load_tier
from tests import tiny
from tests.jobs import ROOT

DEPLOY = ROOT / "deploy" / "dataflow"


@pytest.fixture
def graph(tmp_path):
    """The main job in the embedded cascade, as it is sent to a runner."""
    return sent(tmp_path)


def sent(tmp_path, **options):
    pq.write_table(pa.table({"text": ["good"] * 20}), tmp_path / "in.parquet")
    options = ClassifyOptions(
        input=(str(tmp_path / "in.parquet"),),
        output=str(tmp_path / "out"),
        checkpoint_bytes=100,
        audit_rate=0.1,
        **options,
    )
    prepared = prepare.prepare(options, local=False)
    pipeline = runners.new_pipeline(PipelineOptions([]))
    prepared.build(pipeline, workers=4)
    return pipeline.to_runner_api()


def test_no_weight_travels_in_the_graph(graph):
    sent = graph.SerializeToString()
    assert len(sent) < 500_000
    weights = (EMBEDDED / "sst2" / "first_tier" / "model.safetensors").read_bytes()
    assert weights[100_000:100_064] not in sent


def test_the_graph_reads_as_the_picture(graph):
    names = [step.unique_name for step in graph.components.transforms.values()]
    for step in ("Input", "Cascade/Tier1", "Cascade/Tier2", "AnsweredByTier1", "Manifest"):
        assert step in names, step


def test_shares_are_spread_before_anything_is_read(graph):
    """The one fusion break ahead of the tiers; rows are not shuffled."""
    steps = graph.components.transforms.values()
    shuffles = {
        step.unique_name.split("/")[0]
        for step in steps
        if step.spec.urn == "beam:transform:group_by_key:v1"
    }
    assert shuffles == {"Input", "Manifest"}


def test_apart_the_complex_rows_are_shuffled_and_all_behind_bears_the_hints(tmp_path):
    accelerator = "type:nvidia-l4;count:1;install-nvidia-driver"
    graph = sent(
        tmp_path, placement="apart", second_tier_ram="16GB", second_tier_accelerator=accelerator
    )
    components = graph.components
    hints = {
        step.unique_name: components.environments[step.environment_id].resource_hints
        for step in components.transforms.values()
        if step.environment_id and not step.subtransforms
    }
    hinted = {name for name, found in hints.items() if found}
    assert {tuple(sorted(hints[name].values())) for name in hinted} == {
        (b"16000000000", accelerator.encode())
    }
    behind = (
        "Cascade/SendComplex/Deliver",
        "Cascade/BatchForTier2",
        "Cascade/Tier2",
        "AnsweredByTier2",
        "AuditedByTier2",
        "DeadInTier2",
    )
    assert hinted == {name for name in hints if name.startswith(behind)}
    assert all(any(name.startswith(part) for name in hinted) for part in behind)
    shuffles = [
        step.unique_name
        for step in components.transforms.values()
        if step.spec.urn == "beam:transform:group_by_key:v1"
    ]
    assert sum(name.startswith("Cascade/SendComplex/Shuffle") for name in shuffles) == 1


def test_an_embedded_cascade_is_found_in_another_installation():
    tier = load_cascade("sst2").tiers[0]
    elsewhere = "/opt/venv/lib/python3.11/site-packages/tango_beam/cascades/sst2"
    moved = TierConfig(f"{elsewhere}/first_tier", tokenizer=f"{elsewhere}/second_tier")
    assert local(moved.source) == tier.source
    assert (
        load_tier(moved, Compute("cpu", "fp32")).labels
        == tiny.load(tier.source, precision="fp32", tokenizer=tier.tokenizer).labels
    )
    assert local("/elsewhere/cascades/sst2/first_tier") == "/elsewhere/cascades/sst2/first_tier"
    assert local("a-hub/id") == "a-hub/id"


def test_every_parameter_of_the_template_is_an_option_of_the_job():
    parameters = json.loads((DEPLOY / "metadata.json").read_text())["parameters"]
    options = classify.parser()._option_string_actions
    for parameter in parameters:
        assert f"--{parameter['name']}" in options
        assert options[f"--{parameter['name']}"].required != parameter.get("isOptional", False)
        for pattern in parameter.get("regexes", []):
            re.compile(pattern)
