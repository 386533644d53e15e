"""What a request says, what of it a server may leave out, and the label in an answer."""

import json

import pytest

from tango_beam.endpoints.settings import Endpoint
from tango_beam.endpoints.wording import (
    Features,
    Negotiation,
    no_label,
    prompt_of,
    request_body,
    said_label,
)

LABELS = ("negative", "positive", "so-so")


def endpoint(prompt="Which of {labels}? {text}", labels=LABELS):
    return Endpoint("http://localhost:1/v1", "m", prompt, labels, 12)


def test_a_row_stands_in_the_prompts_places():
    asked = endpoint("{{x}} {labels}: {text} / {text_pair}")
    assert prompt_of(asked, ("a", "b")) == "{x} negative, positive, so-so: a / b"


@pytest.mark.parametrize(
    "text", ["{labels}", "{}", "{0.__class__}", "}{", "{{text}}", "%s {text!r}"]
)
def test_braces_in_a_text_mean_nothing(text):
    assert prompt_of(endpoint("{text}|{text}"), (text,)) == f"{text}|{text}"


def test_the_request_asks_for_one_of_the_labels_and_its_log_probabilities():
    body = request_body(endpoint(), ("fine",), Features())
    assert body["messages"] == [
        {"role": "user", "content": "Which of negative, positive, so-so? fine"}
    ]
    stated = {name: body[name] for name in ("model", "temperature", "max_tokens")}
    assert stated == {"model": "m", "temperature": 0, "max_tokens": 12}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    answer = body["response_format"]["json_schema"]
    assert answer["strict"]
    assert answer["schema"]["properties"]["label"]["enum"] == [*LABELS]
    assert answer["schema"]["required"] == ["label"]
    assert answer["schema"]["additionalProperties"] is False


def test_the_second_request_shows_the_answer_and_names_the_labels():
    messages = request_body(endpoint(), ("fine",), Features(), said="rather good")["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == "rather good"
    assert "negative, positive, so-so" in messages[2]["content"]


def test_an_empty_answer_is_no_empty_message():
    assert request_body(endpoint(), ("a",), Features(), said=" ")["messages"][1]["content"]


def test_the_plainest_request_has_nothing_that_is_optional():
    plainest = [*Features().plainer()][-1]
    body = request_body(endpoint(), ("fine",), plainest)
    assert {*body} == {"model", "messages", "temperature", "max_tokens"}


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("response_format is not supported", Features(structured=None)),
        ("top_logprobs must be at most 5", Features(logprobs=5)),
        ("no logprobs here", Features(logprobs=5)),
        ("body.temperature: only 1", Features(temperature=False)),
        ("Use 'max_completion_tokens' instead.", Features(completion_tokens=True)),
        ("'max_completion_tokens' is too large for the context", Features()),
        ("first logprobs, then response_format", Features(logprobs=5)),
        ("too long", Features()),
    ],
)
def test_a_refusal_that_names_a_part_is_believed(said, left):
    assert Features().without_named(said) == left


def test_a_refusal_without_a_name_has_a_row_try_plainer_requests():
    negotiation, tried = Negotiation("m"), [Features()]
    while (following := negotiation.refused("no", tried)) is not None:
        tried.append(following)
    assert tried[-1] == Features(structured=None, logprobs=0)
    assert len(tried) == len({*tried}) == 9
    assert negotiation.features == Features()  # it may have been the row


def test_what_was_answered_once_is_asked_from_then_on():
    negotiation = Negotiation("m")
    negotiation.works(Features(structured=None))
    assert negotiation.features == Features(structured=None)
    assert negotiation.refused("response_format, logprobs", [negotiation.features]) is None


def test_a_request_under_way_while_it_was_found_out_is_sent_again():
    negotiation = Negotiation("m")
    assert negotiation.refused("response_format", [Features()]) == Features(structured=None)
    assert negotiation.refused("response_format", [Features()]) == Features(structured=None)


@pytest.mark.parametrize(
    "content",
    [
        "positive",
        " Positive.\n",
        "**positive**",
        '"POSITIVE".',
        "\u201cpositive\u201d",
        '{"label": "positive"}',
        '\n{"label":\n "Positive", "why": "so"}',
        '```json\n{"label": "positive"}\n```',
        "`positive`",
    ],
)
def test_an_answer_is_a_label_whatever_it_is_wrapped_in(content):
    assert said_label(content, LABELS) == "positive"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "good",
        "positive!",
        "positive or negative",
        '{"label": "good"}',
        '{"label": ["positive"]}',
        '{"answer": "positive"}',
        '{"label": null}',
        "null",
        "[" * 100_000,
    ],
)
def test_anything_else_is_no_label(content):
    assert said_label(content, LABELS) is None


def test_labels_that_differ_by_case_only_are_told_apart():
    labels = ("US", "us", "Other")
    assert [said_label(said, labels) for said in ("US", '"us".', "other")] == ["US", "us", "Other"]
    assert said_label("Us", labels) is None


def test_labels_may_be_numbers_truths_or_end_with_a_stop():
    assert said_label('{"label": 2}', ("1", "2")) == "2"
    assert said_label('{"label": true}', ("true", "false")) == "true"
    assert said_label("U.S.", ("U.S.", "U.K.")) == "U.S."
    assert said_label("u.s", ("U.S.", "U.K.")) == "U.S."


def test_what_was_said_instead_is_told_cut_to_one_line():
    error = no_label("oh\nwell " * 100, ("a", "b", "c"))
    assert error.startswith("expected one of the labels a, b, c, found 'oh well oh")
    assert len(error) < 260
    assert "\n" not in error
    assert "max_answer_tokens" in no_label("", ("a", "b"), cut=True)


def test_a_body_is_json_whatever_is_in_a_text():
    text = 'a "\\ \0 \ud800 日本'
    body = json.dumps(request_body(endpoint(), (text,), Features())).encode()
    assert json.loads(body)["messages"][0]["content"].endswith(text)
