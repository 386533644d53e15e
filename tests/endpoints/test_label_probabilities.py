"""Labels' probabilities out of tokens' log probabilities."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tango_beam.endpoints.label_probabilities import label_probabilities
from tests import endpoint_server

LABELS = ("negative", "positive", "neutral")


def token(data, probability):
    data = data if isinstance(data, bytes) else data.encode()
    logprob = math.log(probability) if probability else -9999.0
    return {"token": data.decode(errors="replace"), "logprob": logprob, "bytes": [*data]}


def step(chosen, probability, others=()):
    top = [token(chosen, probability), *(token(*other) for other in dict(others).items())]
    return token(chosen, probability) | {"top_logprobs": top}


def probabilities(content, labels, label):
    found = label_probabilities(content, labels, label)
    assert found.dtype == np.float32
    assert found.sum() == pytest.approx(1, abs=1e-6)
    return dict(zip(labels, found.tolist(), strict=True))


def test_without_log_probabilities_the_answer_is_certain():
    for content in (
        None,
        [],
        "x",
        [{}],
        [{"token": "positive"}],
        [{"token": "a", "logprob": None}],
    ):
        found = probabilities(content, LABELS, "positive")
        assert found == {"negative": 0, "positive": 1, "neutral": 0}


def test_one_token_decides():
    content = [step("pos", 0.7, {"neg": 0.2, "neutral": 0.06, "The": 0.04}), step("itive", 1.0)]
    found = probabilities(content, LABELS, "positive")
    shares = {"negative": 0.2, "positive": 0.7, "neutral": 0.06}
    assert found == pytest.approx({name: share / 0.96 for name, share in shares.items()})


def test_what_several_labels_go_on_with_is_shared_evenly():
    content = [step("pos", 0.6, {"ne": 0.4}), step("itive", 1.0)]
    found = probabilities(content, LABELS, "positive")
    assert found == pytest.approx({"negative": 0.2, "positive": 0.6, "neutral": 0.2})


def test_the_walk_goes_on_along_the_answer():
    content = [step("ne", 0.8, {"pos": 0.2}), step("utral", 0.9, {"gative": 0.1})]
    found = probabilities(content, LABELS, "neutral")
    assert found == pytest.approx({"negative": 0.08, "positive": 0.2, "neutral": 0.72})


@pytest.mark.parametrize(
    "head", [['{"label": "'], ['{"', "label", '":', ' "'], ['{"label":', ' "']]
)
def test_in_json_only_the_labels_tokens_count(head):
    content = [
        *(step(part, 0.5, {"positive": 0.5}) for part in head[:-1]),
        step(head[-1], 0.5, {head[-1][:-1]: 0.5}),  # says nothing of the label
        step("negative", 0.7, {"pos": 0.3}),
        step('"}', 1.0),
    ]
    found = probabilities(content, LABELS, "negative")
    assert found == pytest.approx({"negative": 0.7, "positive": 0.3, "neutral": 0})


def test_a_token_may_hold_the_quote_and_the_labels_beginning():
    content = [step('{"label":', 1.0), step(' "neg', 0.6, {' "p': 0.3, '"neut': 0.1})]
    found = probabilities(content, LABELS, "negative")
    assert found == pytest.approx({"negative": 0.6, "positive": 0.3, "neutral": 0.1})


def test_a_label_that_another_one_begins_with_ends_with_its_quote():
    labels = ("pos", "positive")
    content = [step('{"label": "', 1.0), step("pos", 1.0), step('"}', 0.7, {"itive": 0.3})]
    assert probabilities(content, labels, "pos") == pytest.approx({"pos": 0.7, "positive": 0.3})
    plain = [step("pos", 0.9, {"positive": 0.1})]
    assert probabilities(plain, labels, "pos")["pos"] > 0.6
    ended = [step("pos", 1.0), step("itive", 0.6, {".": 0.3, "<|im_end|>": 0.1})]
    assert probabilities(ended, labels, "positive") == pytest.approx({"pos": 0.4, "positive": 0.6})
    # Some servers show the end of an answer as a token of no bytes.
    ended = [step("pos", 1.0), step("itive", 0.6, {"": 0.4})]
    assert probabilities(ended, labels, "positive") == pytest.approx({"pos": 0.4, "positive": 0.6})


def test_case_and_what_stands_before_a_plain_answer_do_not_matter():
    content = [step(" **", 0.5, {"positive": 0.5}), step("Negative", 0.6, {"POSITIVE": 0.4})]
    found = probabilities(content, LABELS, "negative")
    assert found == pytest.approx({"negative": 0.3, "positive": 0.7, "neutral": 0})


def test_labels_that_differ_by_case_only_are_told_apart():
    content = [step("US", 0.7, {"us": 0.2, "OTHER": 0.1})]
    found = probabilities(content, ("US", "us", "other"), "US")
    assert found == pytest.approx({"US": 0.7, "us": 0.2, "other": 0.1})


def test_a_character_may_be_split_between_tokens():
    labels = ("日本", "旧", "é")
    day, old = "日本".encode(), "旧".encode()
    assert day[:2] == old[:2]
    content = [step(day[:2], 0.9, {"é".encode()[:1]: 0.1}), step(day[2:], 0.5, {old[2:]: 0.5})]
    found = probabilities(content, labels, "日本")
    assert found == pytest.approx({"日本": 0.45, "旧": 0.45, "é": 0.1})


def test_json_may_write_a_label_in_two_ways():
    labels = ("né", "nö")
    content = [step('{"label": "n', 1.0), step("é", 0.6, {r"\u00f6": 0.4}), step('"}', 1.0)]
    assert probabilities(content, labels, "né") == pytest.approx({"né": 0.6, "nö": 0.4})


def test_tokens_without_bytes_are_read_as_text():
    content = [step("pos", 0.7, {"neg": 0.3})]
    for entry in (content[0], *content[0]["top_logprobs"]):
        entry["bytes"] = None
    assert probabilities(content, LABELS, "positive")["negative"] == pytest.approx(0.3)


@pytest.mark.parametrize("inside", [True, False])
def test_the_test_servers_labels_come_as_often_as_it_says(inside):
    labels = ("abé", "abö", "日本", "plain")  # the first two begin with a token that splits é
    for number in range(50):
        wanted = endpoint_server.distribution(f"text {number}", labels)
        label = endpoint_server.label_of(f"text {number}", labels)
        content = endpoint_server.logprobs(label, wanted, 20, inside)["content"]
        # Where the answer does not go, what two labels share is shared out evenly.
        if label not in labels[:2]:
            wanted["abé"] = wanted["abö"] = (wanted["abé"] + wanted["abö"]) / 2
        assert probabilities(content, labels, label) == pytest.approx(wanted, abs=1e-5)


@st.composite
def answers(draw):
    """An answer out of a made-up model, with the model's true probabilities of the labels.

    The model is a tree of tokens whose leaves are labels. Along the answer every branch is seen;
    where a branch that was not taken may end at several labels, it ends at each as often.
    """
    letters = st.text("abcé日旧", min_size=1, max_size=5)
    labels = tuple(draw(st.lists(letters, min_size=2, max_size=6, unique=True)))
    inside = draw(st.booleans())
    end = b'"' if inside else b"\n"
    whole = [label.encode() + end for label in labels]
    answered = draw(st.integers(0, len(labels) - 1))
    places = st.sets(st.integers(1, len(whole[answered]) - 1))
    cuts = [0, *sorted(draw(places)), len(whole[answered])]
    truth, path, content = np.zeros(len(labels)), 1.0, [step('{"label": "', 1.0)] if inside else []
    for at, until in itertools.pairwise(cuts):
        prefix, chosen = whole[answered][:at], whole[answered][at:until]
        left = [way[at:] for way in whole if way.startswith(prefix)]
        beginnings = {way[:size] for way in left for size in range(1, len(way) + 1)} - {chosen}
        seen = sorted(beginnings | ({b"zz"} if len(left) > 1 else set()))
        others = draw(st.lists(st.sampled_from(seen), unique=True, max_size=8)) if seen else []
        size = len(others) + 1
        weights = draw(st.lists(st.integers(1, 1000), min_size=size, max_size=size))
        shares = [weight / sum(weights) for weight in weights]
        for other, share in zip(others, shares[1:], strict=True):
            leaves = [number for number, way in enumerate(whole) if way.startswith(prefix + other)]
            for number in leaves:
                truth[number] += path * share / len(leaves)
        content.append(step(chosen, shares[0], zip(others, shares[1:], strict=True)))
        path *= shares[0]
    truth[answered] += path
    return labels, answered, content, truth / truth.sum()


@given(answers())
@settings(max_examples=300)
def test_where_all_branches_are_seen_the_probabilities_are_the_models(answer):
    labels, answered, content, truth = answer
    found = label_probabilities(json.loads(json.dumps(content)), labels, labels[answered])
    np.testing.assert_allclose(found, truth, atol=1e-5)
