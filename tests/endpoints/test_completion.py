"""What a reply is taken for."""

import json

import pytest

from tango_beam.endpoints.completion import (
    FailedCallError,
    RowRefusedError,
    ServerRefusedError,
    read_reply,
)


def completion(content, **more):
    choice = {"message": {"content": content}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], **more}).encode()


def test_an_answer_has_its_text_and_its_tokens():
    body = completion("yes", usage={"prompt_tokens": 7, "completion_tokens": 2})
    found = read_reply(200, {}, body)
    assert (found.content, found.tokens_in, found.tokens_out) == ("yes", 7, 2)
    assert found.logprobs is None
    assert not found.cut


@pytest.mark.parametrize(
    "body", [completion(None), completion("", usage=None), completion([{"text": ""}], usage={})]
)
def test_an_answer_without_text_or_usage_is_one(body):
    found = read_reply(200, {}, body)
    assert (found.content, found.tokens_in) == ("", None)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"choices": []}', b'{"error": "no"}', b"\xff\x00"]
)
def test_a_body_that_is_no_completion_is_tried_again(body):
    with pytest.raises(FailedCallError, match="no chat completion but '"):
        read_reply(200, {}, body)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *[(status, RowRefusedError) for status in (400, 413, 422)],
        *[(status, FailedCallError) for status in (408, 409, 429, 500, 502, 503, 529)],
        *[(status, ServerRefusedError) for status in (201, 301, 401, 403, 404, 405)],
    ],
)
def test_the_status_says_what_can_be_done(status, kind):
    with pytest.raises(kind, match=f"^{status} 'no'$"):
        read_reply(status, {}, b'{"error": {"message": "no"}}')


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "too\\n long", "code": 7}}', "too long"),
        (b'{"error": "bad"}', "bad"),
        (b'{"message": "bad"}', "bad"),
        # FastAPI sends the request back, which names every part that there is.
        (
            b'{"detail": [{"loc": ["body", "seed"], "msg": "odd", "input": {"logprobs": 1}}]}',
            "body.seed: odd",
        ),
        (b"plain text", "plain text"),
        (b'{"unknown": 1}', '{"unknown": 1}'),
        (b"x" * 1000, "x" * 300),
    ],
)
def test_what_the_server_says_is_told_in_a_line(body, said):
    with pytest.raises(RowRefusedError) as raised:
        read_reply(400, {}, body)
    assert raised.value.found == f"400 '{said}'"


def test_a_row_has_no_part_in_being_turned_away():
    turned_away = [
        FailedCallError("", 429),
        FailedCallError("", 503, wait=2.0),
        FailedCallError("", reached=False),
    ]
    failed = [FailedCallError("", 503), FailedCallError("", 500), FailedCallError("")]
    assert [failure.is_turned_away for failure in turned_away + failed] == [True] * 3 + [False] * 3
