"""From names and options to a checked cascade and a settled device."""

import json
import shutil

import pytest

from tango_beam.config import Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.options import CascadeOptions, TierOptions
from tango_beam.resolve import load_tier, resolve_cascade, settle
from tests import tiny


def test_two_checkpoints_are_a_cascade(lstm, bert):
    given = TierOptions(first_tier=str(lstm), second_tier=str(bert), threshold=0.7, max_length=9)
    found = resolve_cascade(given, pair=False, least_tiers=2)
    assert [tier.source for tier in found.tiers] == [str(lstm), str(bert)]
    assert found.labels == tiny.LABELS and found.threshold == 0.7
    assert [tier.max_length for tier in found.tiers] == [9, 9]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_tier": "x"}, "found no --second_tier and no --threshold"),
        ({"second_tier": "x", "threshold": 0.5}, "found no --first_tier"),
        (
            {"first_tier": "x", "second_tier": "y", "threshold": 0.5, "cascade": "z"},
            "found --cascade z too",
        ),
    ],
)
def test_a_part_of_a_cascade_is_refused(options, message):
    with pytest.raises(RefusedError, match=message):
        resolve_cascade(TierOptions(**options), pair=False)


@pytest.fixture
def changed(cascade, tmp_path):
    """Copies the tiny cascade and changes its description; returns the folder's name."""

    def change(**changes):
        folder = shutil.copytree(cascade, tmp_path / "mine", dirs_exist_ok=True)
        stored = json.loads((cascade / "cascade.json").read_text())
        (folder / "cascade.json").write_text(json.dumps({**stored, **changes}))
        return str(folder)

    return change


def test_options_win_over_what_the_cascade_states(changed):
    first = {"path": "tier_1", "threshold": 0.75}
    last = {"path": "last_tier", "precision": "bf16", "batch_tokens": 99, "max_length": 20}
    folder = changed(tiers=[first, last])

    def resolved(**options):
        tiers = resolve_cascade(TierOptions(cascade=folder, **options), pair=False).tiers
        return [(t.threshold, t.precision, t.batch_tokens, t.max_length) for t in tiers]

    assert resolved() == [(0.75, None, None, None), (None, "bf16", 99, 20)]
    given = {"threshold": 0.25, "precision": "fp32", "max_length": 30}
    assert resolved(**given) == [(0.25, None, None, 30), (None, None, None, 20)]


@pytest.mark.parametrize("pair", [True, False, None])
def test_a_cascade_for_pairs_wants_two_texts_a_row(pair, changed):
    given = CascadeOptions(cascade=changed(name="mine", pair=pair))
    if pair:
        with pytest.raises(RefusedError, match="mine: expected two texts a row"):
            resolve_cascade(given, pair=False)
    else:
        assert resolve_cascade(given, pair=False)
    assert resolve_cascade(given, pair=True).pair == pair


def test_one_tier_is_too_few_where_two_are_asked_for(changed):
    folder = changed(name="alone", tiers=[{"path": "last_tier"}])
    given = TierOptions(cascade=folder)
    assert len(resolve_cascade(given, pair=False).tiers) == 1
    with pytest.raises(RefusedError, match="alone: expected two tiers or more, found one"):
        resolve_cascade(given, pair=False, least_tiers=2)
    with pytest.raises(RefusedError, match="--threshold: cascade alone has one tier only"):
        resolve_cascade(TierOptions(cascade=folder, threshold=0.5), pair=False)


def test_other_labels_than_the_cascades_are_refused(changed):
    given = CascadeOptions(cascade=changed(labels=["no", "yes"]))
    with pytest.raises(RefusedError, match=r"labels \['no', 'yes'\], found \['negative'"):
        resolve_cascade(given, pair=False)


def test_what_is_no_cascade_is_told(tmp_path):
    last = tiny.transformer(tmp_path / "last")
    with pytest.raises(RefusedError, match=r"found a checkpoint; pipelines\.build --second"):
        resolve_cascade(CascadeOptions(cascade=str(last)), pair=False)
    with pytest.raises(RefusedError, match="one of sst2, found no such folder"):
        resolve_cascade(CascadeOptions(cascade="sst3"), pair=False)


def test_a_name_without_a_folder_is_said_to_be_taken_for_a_hubs(caplog):
    given = {"second_tier": "good", "threshold": 0.5}
    with pytest.raises(RefusedError, match=r"tier no_such_model: expected a config\.json"):
        resolve_cascade(TierOptions(first_tier="no_such_model", **given), pair=False)
    (said,) = caplog.messages
    assert said.startswith("no such folder 'no_such_model'; taken for a hub id")
    for path in ("./good", "/no/good", "models/mine/good"):
        caplog.clear()
        with pytest.raises(RefusedError, match=f"tier {path}: .* found no such folder"):
            resolve_cascade(TierOptions(first_tier=path, **given), pair=False)
        assert not caplog.messages


def test_auto_is_settled_here_and_elsewhere_the_device_is_left_open():
    here = settle(CascadeOptions())
    assert here.device in ("cpu", "cuda") and here.precision in ("fp32", "bf16")
    assert settle(CascadeOptions(precision="fp32"), local=False) == Compute("auto", "fp32")
    with pytest.raises(RefusedError, match="precision"):
        settle(CascadeOptions(device="cpu", precision="fp7"))


def test_a_tier_that_does_not_load_is_refused_by_name(tmp_path):
    folder = tiny.transformer(tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(RefusedError, match=r"tier .*cut: expected a checkpoint that loads, found"):
        load_tier(TierConfig(str(folder)), Compute("cpu", "fp32"))
