"""Cascades as values and as directories; fingerprints."""

import json

import jsonschema
import pytest

from tango_beam.cascade_directory import load_cascade, save_cascade
from tango_beam.config import CascadeConfig, TierConfig
from tango_beam.errors import RefusedError
from tests import tiny
from tests.jobs import schema


def test_a_cascade_directory_is_read_as_it_was_written(cascade):
    stored = json.loads((cascade / "cascade.json").read_text())
    jsonschema.validate(stored, schema("cascade"))
    loaded = load_cascade(str(cascade))
    assert loaded.labels == tiny.LABELS
    assert loaded.tiers[1].threshold is None
    assert 0.5 < loaded.threshold < 1
    save_cascade(loaded, cascade)
    assert json.loads((cascade / "cascade.json").read_text()) == stored


def test_a_directory_can_be_moved(cascade, tmp_path):
    import shutil

    moved = load_cascade(str(shutil.copytree(cascade, tmp_path / "moved")))
    assert all(str(tmp_path) in tier.source for tier in moved.tiers)
    assert moved.fingerprint("fp32") == load_cascade(str(cascade)).fingerprint("fp32")


def test_the_scoring_fingerprint_moves_with_scores_and_not_with_the_threshold(cascade):
    config = load_cascade(str(cascade))
    other = config.with_first_threshold(0.55)
    assert config.scoring_fingerprint("fp32") == other.scoring_fingerprint("fp32")
    assert config.fingerprint("fp32") != other.fingerprint("fp32")
    assert config.scoring_fingerprint("fp32") != config.scoring_fingerprint("bf16")
    shorter = config.with_max_length(9)
    assert config.scoring_fingerprint("fp32") != shorter.scoring_fingerprint("fp32")


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "a/../../b"])
def test_paths_cannot_leave_the_directory(tmp_path, path):
    stored = {"labels": ["a", "b"], "tiers": [{"path": path}]}
    (tmp_path / "cascade.json").write_text(json.dumps(stored))
    with pytest.raises(RefusedError, match="expected paths inside the directory"):
        load_cascade(str(tmp_path))


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ("{", "schemas/cascade.schema.json"),
        ('{"labels": ["a", "b"]}', "schemas/cascade.schema.json"),
        ('{"labels": ["a"], "tiers": [{"path": "x", "colour": "red"}]}', "colour"),
        (
            '{"labels": ["a"], "tiers": [{"path": "x", "hub": "y"}]}',
            "one of path, hub, endpoint, handler",
        ),
        ('{"labels": ["a"], "tiers": [{"path": "x"}, {"path": "y"}]}', "expected a threshold"),
        ('{"labels": ["a"], "tiers": []}', "at least one tier"),
        ('{"labels": ["a"], "tiers": [{"path": "x", "temperature": 0}]}', "temperature above 0"),
    ],
)
def test_a_cascade_that_does_not_fit_is_refused(tmp_path, stored, message):
    (tmp_path / "cascade.json").write_text(stored)
    with pytest.raises(RefusedError, match=message):
        load_cascade(str(tmp_path))


def test_the_last_tier_has_no_threshold():
    with pytest.raises(RefusedError, match="no threshold on the last tier"):
        CascadeConfig((TierConfig("x", threshold=0.5),), ("a", "b"))
