"""An endpoint as a value: what is refused, and what its fingerprint covers."""

from dataclasses import replace

import pytest

from tango_beam.endpoints.settings import Endpoint, Limits
from tango_beam.errors import RefusedError

GOOD = Endpoint("http://127.0.0.1:8000/v1", "judge", "Is it {labels}? {text}", ("a", "b"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"url": "ftp://127.0.0.1"}, "http or https"),
        ({"url": "http://me:word@127.0.0.1"}, "without user, password"),
        ({"url": "http://127.0.0.1/v1?key=word"}, "without user, password"),
        ({"model": ""}, "--model"),
        ({"labels": ("a",)}, "at least two labels"),
        ({"labels": ("a", "a")}, "each once"),
        ({"prompt": "Is it?"}, "with {text} in it"),
        ({"prompt": "{text} {title}"}, "title"),
        ({"prompt": "{text} {"}, "braces close"),
        ({"prompt": "{text:>9}"}, "form of its own"),
        ({"max_answer_tokens": 0}, "max_answer_tokens"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_no_secret_is_shown(changes, expected):
    with pytest.raises(RefusedError, match=expected) as refused:
        replace(GOOD, **changes)
    assert "word" not in str(refused.value).replace("password", "")


def test_a_fingerprint_covers_all_that_moves_an_answer_and_no_more():
    for changes in ({"model": "x"}, {"prompt": "{text}"}, {"labels": ("b", "a")}):
        assert replace(GOOD, **changes).fingerprint != GOOD.fingerprint
    assert replace(GOOD, url=GOOD.url + "/").fingerprint == GOOD.fingerprint
    assert not GOOD.pair
    assert replace(GOOD, prompt="{text} {text_pair}").pair


@pytest.mark.parametrize("name", ["requests", "tries", "timeout", "patience", "tokens_a_minute"])
def test_limits_are_above_zero(name):
    with pytest.raises(RefusedError, match=name):
        Limits(**{name: 0})
