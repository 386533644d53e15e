"""A second tier that is an endpoint: what the job asks, what it writes, and how it ends."""

import json

import numpy as np
import pytest

from pipelines import classify
from tango_beam import command_line
from tests import endpoint_server, forked, jobs, tiny

KEY = "sk-a-secret-that-nobody-writes-down"


@pytest.fixture
def prompt(tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text(endpoint_server.PROMPT)
    return path


@pytest.fixture
def corpus(tmp_path, rng):
    rows = [{"id": n, "text": f"{tiny.sentence(rng)} {n}"} for n in range(400)]
    return jobs.write_jsonl(tmp_path / "in.jsonl", rows)


@pytest.fixture
def arguments(lstm, prompt, corpus, tmp_path):
    """The job's, over an endpoint at a port."""

    def given(url, *options):
        tiers = {"--first_tier": lstm, "--second_tier": f"openai:{url}", "--threshold": "1"}
        asked = {"--model": "judge", "--prompt": prompt, "--requests": "8"}
        places = {"--input": corpus, "--output": tmp_path / "out"}
        pairs = (tiers | asked | places).items()
        return [*(str(part) for pair in pairs for part in pair), *options]

    return given


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with endpoint_server.Server(labels=tiny.LABELS, key=KEY) as running:
        yield running


def right(row):
    return endpoint_server.label_of(row["text"], tiny.LABELS)


def test_escalated_rows_get_the_endpoints_answers(server, arguments, tmp_path):
    code = classify.main(arguments(server.url, "--price_in", "2", "--price_out", "10"))
    rows, letters, manifest = jobs.read_output(tmp_path / "out")
    assert code == command_line.DONE
    assert not letters
    assert [row["prediction"] for row in rows] == [right(row) for row in rows]
    sure = [endpoint_server.distribution(row["text"], tiny.LABELS)[right(row)] for row in rows]
    np.testing.assert_allclose([row["confidence"] for row in rows], sure, atol=1e-4)
    asked, stats = manifest["asked"]["tier 2"], server.stats()
    assert asked["calls"] == stats["calls"] == 400
    assert asked["tokens_in"] + asked["tokens_out"] == stats["tokens"]
    spent = (2 * asked["tokens_in"] + 10 * asked["tokens_out"]) / 1e6
    assert asked["price"] == pytest.approx(spent)
    assert stats["most_at_once"] <= 8


def test_rows_that_the_first_tier_answers_are_not_asked_about(server, arguments, tmp_path):
    given = arguments(server.url)
    given[given.index("--threshold") + 1] = "0"
    assert classify.main(given) == command_line.DONE
    assert server.stats()["calls"] == 0


def test_what_fails_is_tried_again_and_a_row_without_an_answer_is_dead(server, arguments, tmp_path):
    ways = ("busy", "error", "cut", "nonsense", "words", "no_json")
    server.behaviour.shares = dict.fromkeys(ways, 0.1)
    hasty = ("--requests", "64", "--patience", "12")  # waits are a share of the patience
    code = classify.main(arguments(server.url, "--max_dead_fraction", "0.3", *hasty))
    rows, letters, manifest = jobs.read_output(tmp_path / "out")
    assert code == command_line.DONE
    assert all(row["prediction"] == right(row) for row in rows)
    assert len(rows) + len(letters) == 400
    assert manifest["rows"]["dead"] == len(letters) > 0
    assert all("expected one of the labels" in letter["error"] for letter in letters)
    assert {row["id"] for row in rows}.isdisjoint(json.loads(one["raw"])["id"] for one in letters)
    assert server.stats()["violations"] == 0
    # Dead rows were paid for, too.
    asked = manifest["asked"]["tier 2"]
    assert asked["tokens_in"] + asked["tokens_out"] == pytest.approx(
        server.stats()["tokens"], rel=0.2
    )


def test_an_audit_counts_what_it_paid_and_the_rows_on_which_the_endpoint_fails(
    server, arguments, tmp_path
):
    server.behaviour.shares = {"nonsense": 0.4}
    given = arguments(server.url, "--audit_rate", "0.5")
    given[given.index("--threshold") + 1] = "0"
    assert classify.main(given) == command_line.DONE
    rows, letters, manifest = jobs.read_output(tmp_path / "out")
    assert len(rows) == 400 and not letters
    audit, audited = manifest["audit"], manifest["rows"]["audited"]
    assert audited == audit["checked"] + audit["failed"]
    twice = [text for text, calls in server.stats()["by_text"].items() if calls == 2]
    assert 0 < audit["failed"] < len(twice)
    asked, stats = manifest["asked"]["tier 2"], server.stats()
    assert asked["calls"] == stats["calls"] == audited + len(twice)
    assert asked["tokens_in"] + asked["tokens_out"] == stats["tokens"]


def test_a_dead_server_ends_in_one_line_and_the_run_goes_on_later(arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with endpoint_server.Server(labels=tiny.LABELS) as server:
        url = server.url
    process = forked.classify(arguments(url, "--patience", "1"), OPENAI_API_KEY=KEY)
    assert process.ended(60) == command_line.FAILED
    said = [line for line in process.err.splitlines() if line.strip()]
    assert len(said) == 1
    assert url in said[0] and "--resume" in said[0]
    assert not (tmp_path / "out" / "_manifest.json").exists()
    with endpoint_server.Server(port=int(url.split(":")[2].split("/")[0]), labels=tiny.LABELS):
        assert classify.main(arguments(url, "--resume")) == command_line.DONE
    rows, _, _ = jobs.read_output(tmp_path / "out")
    assert [row["prediction"] for row in rows] == [right(row) for row in rows]


def test_what_is_in_the_cache_is_not_asked_for_again(server, arguments, tmp_path):
    cache = ("--answers_cache", str(tmp_path / "answers"))
    assert classify.main(arguments(server.url, *cache)) == command_line.DONE
    first, _, _ = jobs.read_output(tmp_path / "out")
    assert classify.main(arguments(server.url, *cache, "--overwrite")) == command_line.DONE
    second, _, manifest = jobs.read_output(tmp_path / "out")
    assert server.stats()["calls"] == 400
    assert second == first
    assert manifest["asked"] == {}


def test_no_key_is_written_anywhere(server, arguments, tmp_path, capfd):
    server.behaviour.shares = {"error": 0.2, "nonsense": 0.1}
    given = arguments(server.url, "--answers_cache", str(tmp_path / "answers"), "--verbose")
    classify.main([*given, "--max_dead_fraction", "1"])
    server.behaviour.key = "another"  # the server says what it was given when it refuses
    with pytest.raises(Exception) as refused:
        classify.main([*given[:-3], "--overwrite"])
    said = capfd.readouterr()
    assert "401" in str(refused.value)
    assert KEY not in str(refused.value) + repr(refused.value) + said.out + said.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"--model": None}, "--model"),
        ({"--prompt": "nowhere.txt"}, "nowhere.txt"),
        ({"--second_tier": "openai:http://user:word@127.0.0.1/v1"}, "without user, password"),
        ({"--second_tier": "openai:ftp://127.0.0.1/v1"}, "http"),
        ({"--labels": "good,bad"}, "labels"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments, changed, expected):
    given = arguments("http://127.0.0.1:9/v1")
    for name, value in changed.items():
        if name in given:
            at = given.index(name)
            del given[at : at + 2]
        given += [] if value is None else [name, value]
    with pytest.raises(ValueError, match=expected) as refused:
        classify.main(given)
    assert "word" not in str(refused.value).replace("password", "")
