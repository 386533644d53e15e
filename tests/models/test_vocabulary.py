"""The vocabulary's fingerprint, read without weights, is that of the loaded model."""

import shutil

import pytest

from tango_beam.branches import TierRole
from tango_beam.cascade_directory import load_cascade
from tango_beam.config import Compute, TierConfig
from tango_beam.models import loading
from tango_beam.resolve import load_tier
from tango_beam.tier import ScoreTier
from tests import tiny


@pytest.mark.parametrize("max_length", [None, 9, 9999])
@pytest.mark.parametrize("family", ["bert", "lstm"])
def test_it_is_that_of_the_loaded_model(family, max_length, request):
    folder = str(request.getfixturevalue(family))
    loaded = tiny.load(folder, max_length=max_length)
    assert loading.vocabulary(TierConfig(folder, max_length=max_length)) == loaded.vocabulary


def test_a_student_has_its_teachers(lstm, bert):
    given = {"max_length": 32, "tokenizer": str(bert)}
    found = loading.vocabulary(TierConfig(str(lstm), **given))
    assert found == tiny.load(lstm, **given).vocabulary
    assert found == loading.vocabulary(TierConfig(str(bert), max_length=32))
    assert found != loading.vocabulary(TierConfig(str(bert), max_length=31))


@pytest.mark.parametrize("number", [0, 1])
def test_it_is_that_of_the_embedded_tiers(number):
    config = load_cascade("sst2").tiers[number]
    assert loading.vocabulary(config) == load_tier(config, Compute("cpu")).vocabulary


@pytest.mark.parametrize("family", ["bert", "lstm"])
def test_no_weights_are_read(family, request, tmp_path):
    folder = request.getfixturevalue(family)
    copy = shutil.copytree(folder, tmp_path / "weightless")
    (copy / "model.safetensors").unlink()
    assert loading.vocabulary(TierConfig(str(copy))) == loading.vocabulary(TierConfig(str(folder)))


def test_a_tier_loads_no_model_but_its_own(tmp_path, monkeypatch):
    config = load_cascade(str(tiny.cascade(tmp_path / "fresh")))
    first, second = config.tiers
    loaded = []
    load = loading.load
    monkeypatch.setattr(
        loading, "load", lambda tier, compute: loaded.append(tier.source) or load(tier, compute)
    )
    role = TierRole(1, first.threshold, first.threshold, "")
    stage = ScoreTier(first, role, Compute("cpu"), second)
    stage.setup()
    assert loaded == [first.source]
    assert stage._role.next_vocabulary == load(second, Compute("cpu")).vocabulary
