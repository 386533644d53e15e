"""Rows leave an encoder at its exits: what they are answered, and what they do to their mates."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from tango_beam import routing
from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.models import exits, loading
from tango_beam.models.exits import Exits
from tests import tiny
from tests.models import families

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [
    "a good film",
    "",
    "sad",
    "the plot was dull and the end bad",
    "not very funny",
    "a",
    "good",
]


@pytest.fixture(params=families.PACKED)
def folder(tmp_path, request, monkeypatch):
    for name in ("num_hidden_layers", "n_layers"):
        monkeypatch.setitem(families.NAMES, name, 4)
    families.checkpoint(tmp_path, request.param)
    config = tiny.to_train(tmp_path).network.config
    torch.manual_seed(1)
    behind = Exits(config.num_hidden_layers - 1, config.hidden_size, config.num_labels)
    with torch.no_grad():
        for parameter in behind.parameters():
            parameter.mul_(6.0)  # so that some rows are sure and others are not
    behind.save(tmp_path)
    return tmp_path


def answered(folder, most, texts=TEXTS, rows=None):
    model = tiny.load(folder, exit_thresholds=(most,))
    tokens = model.tokenize(pa.array(texts))
    rows = np.arange(len(texts)) if rows is None else rows
    return model.encoder.answered(tokens, rows, model.tokenizer.pad_id)


def by_hand(folder, texts=TEXTS):
    """What transformers' layers and the exits say of each text: logits, shape [texts, exits]."""
    model = tiny.to_train(folder)
    behind = exits.load(folder, torch.float32)
    found = []
    for row in range(len(texts)):
        tokens = model.tokenize(pa.array(texts))
        given = model.inputs(tokens, np.array([row]))
        with torch.no_grad():
            states = model.network.base_model(**given, output_hidden_states=True).hidden_states
            said = [behind.logits(n, states[n + 1][:, 0]) for n in range(len(behind))]
            found.append(torch.stack([*said, model.network(**given).logits])[:, 0])
    return torch.stack(found)


def confidences(said):
    """How sure each exit is of each text, and the whole network, shape [texts, exits]."""
    each = (one.numpy() for one in said.unbind(1))
    return np.stack([routing.confidence(routing.softmax(one), "entropy") for one in each], axis=1)


@pytest.mark.parametrize("most", [1.0, 0.7, 0.5, 0.0])
def test_a_row_leaves_at_the_first_exit_that_is_sure(folder, most):
    said = by_hand(folder)
    sure = torch.from_numpy(confidences(said) >= most) & (most < 1)
    sure[:, -1] = True
    at = sure.int().argmax(dim=1)
    expected = said[torch.arange(len(TEXTS)), at].numpy()
    logits, depths = answered(folder, most)
    assert depths.tolist() == (at + 1).tolist()
    np.testing.assert_allclose(logits, expected, atol=2e-4)


def test_some_leave_and_some_stay(folder):
    sure = confidences(by_hand(folder))[:, 0]
    depths = answered(folder, float(np.median(sure)))[1]
    assert len({*depths}) > 1


def test_who_else_is_in_a_batch_moves_no_answer(folder):
    some = np.sort(confidences(by_hand(folder))[:, :-1], axis=None)
    middle = some[len(some) // 3 : -len(some) // 3]
    at = int(np.diff(middle).argmax())  # rounding decides about nobody there
    most = float(middle[at : at + 2].mean())
    logits, depths = answered(folder, most)
    for row in range(len(TEXTS)):
        alone, depth = answered(folder, most, rows=np.array([row]))
        np.testing.assert_allclose(alone[0], logits[row], atol=2e-5)
        assert depth[0] == depths[row]
    order = np.array([4, 2, 6, 0])
    np.testing.assert_allclose(answered(folder, most, rows=order)[0], logits[order], atol=2e-5)


def test_no_exit_is_taken_where_none_is_asked_for(folder):
    model = tiny.load(folder)
    tokens = model.tokenize(pa.array(TEXTS))
    whole = model.forward(tokens, np.arange(len(TEXTS)))
    np.testing.assert_allclose(answered(folder, 1.0)[0], whole, atol=2e-5)


def test_what_every_exit_says_is_told(folder):
    model = tiny.load(folder, exit_thresholds=(0.5,))
    tokens = model.tokenize(pa.array(TEXTS))
    rows = np.array([3, 0, 1])
    found = model.encoder.everywhere(tokens, rows, model.tokenizer.pad_id)
    np.testing.assert_allclose(found, by_hand(folder)[rows].numpy(), atol=2e-4)


def test_each_exit_may_have_a_threshold_of_its_own(folder):
    model = tiny.load(folder, exit_thresholds=(1.0, 0.0, 1.0))
    tokens = model.tokenize(pa.array(TEXTS))
    depths = model.encoder.answered(tokens, np.arange(len(TEXTS)), model.tokenizer.pad_id)[1]
    assert {*depths} == {2}
    with pytest.raises(ValueError, match="expected 1 or 3 exit_thresholds, found 2"):
        tiny.load(folder, exit_thresholds=(1.0, 0.0))


def test_an_exit_that_is_shut_is_not_asked(folder, monkeypatch):
    said = by_hand(folder)
    sure = confidences(said)[:, 1]
    middle = np.sort(sure)[1:-1]
    most = float(middle[(at := int(np.diff(middle).argmax())) : at + 2].mean())  # between two rows
    model = tiny.load(folder, exit_thresholds=(1.0, most, 1.0))
    tokens = model.tokenize(pa.array(TEXTS))
    asked, logits = [], Exits.logits

    def counted(self, number, first):
        asked.append(number)
        return logits(self, number, first)

    monkeypatch.setattr(Exits, "logits", counted)
    found, depths = model.encoder.answered(tokens, np.arange(len(TEXTS)), model.tokenizer.pad_id)
    at = np.where(sure >= most, 1, 3)
    assert {*depths} == {2, 4}
    assert depths.tolist() == (at + 1).tolist()
    np.testing.assert_allclose(found, said[np.arange(len(TEXTS)), at].numpy(), atol=2e-4)
    assert asked == [1]


def test_an_exit_is_part_of_what_a_certificate_is_of(folder):
    tiers = [TierConfig(str(folder), exit_thresholds=at) for at in ((), (0.2,), (0.3,))]
    prints = {CascadeConfig((tier,), ("a", "b")).scoring_fingerprint("fp32") for tier in tiers}
    assert len(prints) == 3


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_other_precisions_leave_too(folder, precision):
    model = tiny.load(folder, precision=precision, exit_thresholds=(0.0,))
    tokens = model.tokenize(pa.array(TEXTS))
    assert model.encoder.answered(tokens, np.arange(3), model.tokenizer.pad_id)[1].max() == 1


def test_a_checkpoint_without_exits_is_refused(bert):
    with pytest.raises(ValueError, match=r"expected exits\..* for exit_thresholds, found none"):
        loading.load(TierConfig(str(bert), exit_thresholds=(0.5,)), Compute("cpu", "fp32"))


def test_a_network_that_has_no_known_layers_is_refused(tmp_path):
    families.checkpoint(tmp_path, "XLNet")
    with pytest.raises(ValueError, match="expected an encoder like BERT on a processor"):
        loading.load(TierConfig(str(tmp_path), exit_thresholds=(0.5,)), Compute("cpu", "fp32"))
