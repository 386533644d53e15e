"""The vocabulary's fingerprint, read without weights, is that of the loaded model."""

import shutil

import pytest

from tango_beam import models, scoring, tier
from tango_beam.config import load_cascade
from tango_beam.tier import Compute, ScoreTier, load_tier, vocabulary_of
from tests import tiny


@pytest.mark.parametrize("max_length", [None, 9, 9999])
@pytest.mark.parametrize("family", ["bert", "lstm"])
def test_it_is_that_of_the_loaded_model(family, max_length, request):
    folder = str(request.getfixturevalue(family))
    loaded = models.load(folder, device="cpu", max_length=max_length)
    assert models.vocabulary(folder, max_length=max_length) == loaded.vocabulary


def test_a_student_has_its_teachers(lstm, bert):
    given = {"max_length": 32, "tokenizer": str(bert)}
    found = models.vocabulary(str(lstm), **given)
    assert found == models.load(str(lstm), device="cpu", **given).vocabulary
    assert found == models.vocabulary(str(bert), max_length=32)
    assert found != models.vocabulary(str(bert), max_length=31)


@pytest.mark.parametrize("number", [0, 1])
def test_it_is_that_of_the_embedded_tiers(number):
    config = load_cascade("sst2").tiers[number]
    assert vocabulary_of(config) == load_tier(config, Compute("cpu")).vocabulary


@pytest.mark.parametrize("family", ["bert", "lstm"])
def test_no_weights_are_read(family, request, tmp_path):
    folder = request.getfixturevalue(family)
    copy = shutil.copytree(folder, tmp_path / "weightless")
    (copy / "model.safetensors").unlink()
    assert models.vocabulary(str(copy)) == models.vocabulary(str(folder))


def test_a_tier_loads_no_model_but_its_own(tmp_path, monkeypatch):
    config = load_cascade(str(tiny.cascade(tmp_path / "fresh")))
    first, second = config.tiers
    loaded = []
    load = models.load
    monkeypatch.setattr(
        tier.models, "load", lambda source, **given: loaded.append(source) or load(source, **given)
    )
    role = scoring.TierRole(1, first.threshold, first.threshold, "")
    stage = ScoreTier(first, role, Compute("cpu"), second)
    stage.setup()
    assert loaded == [first.source]
    assert stage._role.next_vocabulary == load_tier(second, Compute("cpu")).vocabulary
