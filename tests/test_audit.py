"""Audits: which rows are drawn, what travels and what comes out, and what it is taken to mean."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from pipelines import calibrate, classify
from tango_beam import audit, record_columns, scoring
from tango_beam.command_line import ALARM, DONE
from tango_beam.errors import RefusedError
from tango_beam.guarantees import audit_verdict
from tango_beam.models.exits import Exits
from tango_beam.record_columns import OutputColumns
from tests import jobs, tiny
from tests.test_scoring import ROLE, Wrapped


def positioned(count, texts=None, file=0):
    rng = np.random.default_rng(1)
    texts = texts or [tiny.sentence(rng) for _ in range(count)]
    rows = np.arange(count, dtype=np.int64)
    position = record_columns.positions(7, 11, file, -1, rows)
    return pa.record_batch({"text": texts, record_columns.POSITION: position})


def test_rows_are_drawn_by_position_at_the_rate_asked_for():
    batch = positioned(20_000, texts=["x"] * 20_000)
    chosen = audit.is_drawn(batch, 0.1)
    assert abs(chosen.mean() - 0.1) < 0.01  # nearly five deviations
    assert (audit.is_drawn(batch, 0.1) == chosen).all()
    assert audit.is_drawn(batch.slice(500, 100), 0.1).tolist() == chosen[500:600].tolist()
    assert (audit.is_drawn(batch, 0.2)[chosen]).all()
    other = audit.is_drawn(positioned(20_000, texts=["x"] * 20_000, file=1), 0.1)
    assert abs((other & chosen).mean() - 0.01) < 0.004
    assert audit.is_drawn(batch, 1.0).all()
    assert not audit.is_drawn(batch, 0.0).any()


def tiers(lstm, bert, **changes):
    """Two tiers' models with their roles; every row is accepted, every row is audited."""
    role = replace(ROLE, threshold=0.0, first_threshold=0.0, audit_rate=1.0, **changes)
    first = tiny.load(lstm)
    last = tiny.load(bert)
    return first, last, role, replace(role, number=2, threshold=None)


def test_an_audited_row_keeps_its_answer_and_carries_the_last_tiers(lstm, bert):
    first, last, before, behind = tiers(lstm, bert, columns=OutputColumns(scores=True))
    batch = positioned(200)
    plain = scoring.score(first, batch, replace(before, audit_rate=0.0)).simple
    sent = scoring.score(first, batch, before)
    assert sent.simple.num_rows == 0
    assert sent.complex.num_rows == 200
    found = scoring.score(last, sent.complex, behind)
    assert found.simple.num_rows == found.failed.num_rows == 0
    shown = found.audited
    for name in ("prediction", "confidence", "first_tier_prediction", "truncated", "scores"):
        assert shown.column(name).equals(plain.column(name)), name
    assert set(shown.column("route").to_pylist()) == {"audited"}
    assert set(shown.column("tier").to_pylist()) == {1}
    asked = scoring.score(last, batch, replace(behind, number=1, first_threshold=1.0)).simple
    assert (
        shown.column(record_columns.LAST_ANSWER)
        .field("prediction")
        .equals(asked.column("prediction"))
    )


def test_an_audited_row_on_which_the_last_tier_fails_is_answered_unchecked(lstm, bert):
    first, last, before, behind = tiers(lstm, bert)
    sent = scoring.score(first, positioned(20), before).complex

    def forward(tokens, rows):
        if 3 in rows:
            raise RuntimeError("no")
        return last.forward(tokens, rows)

    found = scoring.score(Wrapped(last, forward=forward), sent, behind)
    assert found.failed.num_rows == 0
    assert found.audited.num_rows == 20
    missing = found.audited.column(record_columns.LAST_ANSWER).field("prediction").is_null()
    assert missing.to_pylist().count(True) == 1
    letters = audit.audit_rows(found.audited, pa.array(["f"] * 20), ["text"])
    assert letters.schema.equals(audit.audit_schema(["text"], pa.string()))
    assert letters.column("agrees").null_count == 1


def test_with_three_tiers_it_goes_past_the_middle_one(lstm, bert):
    first, middle, before, behind = tiers(lstm, bert)
    sent = scoring.score(first, positioned(50), before).complex
    passed = scoring.score(middle, sent, replace(before, number=2))
    assert (passed.simple.num_rows, passed.complex.num_rows) == (0, 50)
    assert passed.audited is None
    found = scoring.score(middle, passed.complex, replace(behind, number=3))
    assert found.audited.column("prediction").equals(sent.column("first_tier_prediction"))


@pytest.mark.parametrize(
    ("checked", "disagreements", "accepted", "goal", "verdict"),
    [
        (2000, 8, 900, 0.99, audit_verdict.NO_CONTRADICTION),
        (2000, 60, 900, 0.99, audit_verdict.ALARM),
        (50, 0, 900, 0.99, audit_verdict.TOO_FEW),
        (0, 0, 900, 0.99, audit_verdict.TOO_FEW),
        (2000, 25, 900, 0.99, audit_verdict.TOO_FEW),
        (2000, 60, 900, None, audit_verdict.NO_GOAL),
        # Few accepted rows cannot break a promise about all rows, however wrong they are.
        (100, 50, 10, 0.99, audit_verdict.NO_CONTRADICTION),
    ],
)
def test_the_verdict(checked, disagreements, accepted, goal, verdict):
    found = audit_verdict.conclude(checked, disagreements, accepted, 1000, goal)
    low, high = found.interval
    assert found.verdict == verdict
    assert 0 <= low <= high <= 1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(4)
    path = tmp_path_factory.mktemp("corpus") / "texts.parquet"
    table = pa.table({"id": range(3000), "text": [tiny.sentence(rng) for _ in range(3000)]})
    pq.write_table(table, path)
    return path


def run(corpus, cascade, output, *options):
    code = classify.main(jobs.arguments(cascade, corpus, output, *options))
    return code, json.loads((output / "_manifest.json").read_text())


def rows(folder):
    return pq.read_table(folder).sort_by("id")


def test_an_audit_changes_the_route_and_nothing_else(corpus, cascade, tmp_path):
    code, manifest = run(corpus, cascade, tmp_path / "a", "--audit_rate", "0.25")
    _, plain = run(corpus, cascade, tmp_path / "b")
    assert code == DONE
    assert manifest["rows"]["accepted"] == plain["rows"]["accepted"]
    audited = manifest["rows"]["audited"]
    assert 0.2 < audited / plain["rows"]["accepted"] < 0.3
    with_audit, without = rows(tmp_path / "a"), rows(tmp_path / "b")
    assert with_audit["prediction"].equals(without["prediction"])
    assert with_audit["tier"].equals(without["tier"])
    routes = with_audit["route"].to_pylist()
    assert routes.count("audited") == audited
    letters = pq.read_table(tmp_path / "a" / "_audit")
    assert letters.num_rows == audited == sum(file["rows"] for file in manifest["audit"]["files"])
    _, _ = run(corpus, cascade, tmp_path / "c", "--threshold", "1")
    last = dict(
        zip(
            *(rows(tmp_path / "c")[name].to_pylist() for name in ("text", "prediction")),
            strict=True,
        )
    )
    told = zip(
        letters["text"].to_pylist(), letters["last_tier_prediction"].to_pylist(), strict=True
    )
    assert all(last[text] == prediction for text, prediction in told)
    wrong = letters.num_rows - sum(letters["agrees"].to_pylist())
    assert manifest["audit"]["disagreements"] == wrong
    assert manifest["audit"]["verdict"] == "no agreement certified"


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_about_as_many_rows_are_audited_as_were_asked_for(corpus, cascade, tmp_path, suffix):
    if suffix == "jsonl":
        lines = "\n".join(json.dumps(row) for row in pq.read_table(corpus).to_pylist())
        corpus = tmp_path / "texts.jsonl"
        corpus.write_text(lines)
    _, manifest = run(corpus, cascade, tmp_path / "a", "--audit_rows", "600", "--threshold", "0")
    assert 500 < manifest["rows"]["audited"] < 700


def test_an_empty_first_file_and_a_limit_do_not_move_the_rate(corpus, cascade, tmp_path):
    texts = pq.read_table(corpus).to_pylist()
    lines = [json.dumps(row) for row in texts]
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "0.jsonl").write_text("")
    (folder / "1.jsonl").write_text("\n".join(lines[:1000]))
    (folder / "2.jsonl").write_text("\n".join(lines[1000:]))
    options = ("--audit_rows", "600", "--threshold", "0")
    _, manifest = run(folder, cascade, tmp_path / "a", *options)
    assert 500 < manifest["rows"]["audited"] < 700
    _, manifest = run(folder, cascade, tmp_path / "b", *options, "--limit", "2500")
    assert 500 < manifest["rows"]["audited"] < 700


def test_a_text_column_of_any_name_can_be_audited(corpus, cascade, tmp_path):
    renamed = tmp_path / "renamed.parquet"
    pq.write_table(pq.read_table(corpus).rename_columns(["id", "prediction"]), renamed)
    options = ("--text_column", "prediction", "--answer_prefix", "our_", "--audit_rate", "0.5")
    code, manifest = run(renamed, cascade, tmp_path / "a", *options)
    assert code == DONE
    letters = pq.read_table(tmp_path / "a" / "_audit")
    assert letters.num_rows == manifest["rows"]["audited"] > 0
    assert set(pq.read_table(renamed)["prediction"].to_pylist()) >= set(letters["text"].to_pylist())


def test_one_tier_without_exits_is_not_audited(corpus, tmp_path):
    made = tiny.cascade(tmp_path / "one", tiers=1)
    with pytest.raises(RefusedError, match="found one without"):
        run(corpus, made, tmp_path / "a", "--audit_rows", "10")


@pytest.mark.parametrize("count", [3, 4])
def test_every_tier_ahead_of_the_last_is_audited(count, corpus, tmp_path):
    made = tiny.cascade(tmp_path / "chain", tiers=count)
    code, manifest = run(corpus, made, tmp_path / "a", "--audit_rate", "0.3", "--report")
    _, plain = run(corpus, made, tmp_path / "b")
    found, expected = rows(tmp_path / "a"), rows(tmp_path / "b")
    assert code == DONE
    assert found["id"].to_pylist() == list(range(3000))
    for name in ("prediction", "tier", "confidence", "first_tier_prediction"):
        assert found[name].equals(expected[name]), name
    assert {**manifest["rows"], "audited": 0} == plain["rows"]
    assert manifest["counts"] == plain["counts"]

    letters = pq.read_table(tmp_path / "a" / "_audit")
    drawn = found.filter(pc.equal(found["route"], "audited"))
    assert sorted(letters["text"].to_pylist()) == sorted(drawn["text"].to_pylist())
    assert letters.num_rows == manifest["rows"]["audited"] == manifest["audit"]["checked"]
    for tier in range(1, count):
        answered = found["tier"].to_pylist().count(tier)
        share = letters["tier"].to_pylist().count(tier) / answered
        # Four standard deviations.
        assert abs(share - 0.3) < 4 * (0.3 * 0.7 / answered) ** 0.5, (tier, share)
    accepted = 1 - found["tier"].to_pylist().count(count) / 3000
    assert manifest["audit"]["accepted_share"] == pytest.approx(accepted)

    stored = json.loads((made / "cascade.json").read_text())
    (made / "cascade.json").write_text(json.dumps({**stored, "tiers": stored["tiers"][-1:]}))
    run(corpus, made, tmp_path / "c")  # the last tier alone
    names = ("text", "prediction")
    last = dict(zip(*(rows(tmp_path / "c")[name].to_pylist() for name in names), strict=True))
    told = letters.to_pylist()
    assert all(last[row["text"]] == row["last_tier_prediction"] for row in told)
    assert all(row["agrees"] == (row["prediction"] == last[row["text"]]) for row in told)
    disagreements = sum(not row["agrees"] for row in told)
    assert manifest["audit"]["disagreements"] == disagreements > 0
    assert {row["tier"] for row in told if not row["agrees"]} == {*range(1, count)}


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "second tier"])
def exiting(request, tmp_path_factory):
    """A cascade whose last tier answers about half of its rows from an exit of random weights."""
    made = tiny.cascade(tmp_path_factory.mktemp("exiting") / "mine")
    stored = json.loads((made / "cascade.json").read_text())
    last = stored["tiers"][-1]
    network = tiny.to_train(made / last["path"]).network.config
    torch.manual_seed(0)
    behind = Exits(network.num_hidden_layers - 1, network.hidden_size, network.num_labels)
    behind.save(made / last["path"])
    stored["tiers"] = [*stored["tiers"][:-1], {**last, "exit_thresholds": [0.0]}][-request.param :]
    (made / "cascade.json").write_text(json.dumps(stored))
    return made


def test_an_exits_answer_is_checked_by_all_layers(exiting, corpus, tmp_path):
    code, manifest = run(corpus, exiting, tmp_path / "a", "--audit_rate", "0.5")
    assert code == DONE
    run(corpus, exiting, tmp_path / "b")
    found, plain = rows(tmp_path / "a"), rows(tmp_path / "b")
    assert found["prediction"].equals(plain["prediction"])
    assert found["tier"].equals(plain["tier"])
    letters = pq.read_table(tmp_path / "a" / "_audit")
    checked = manifest["audit"]["checked"]
    assert letters.num_rows == checked
    assert 0.45 < checked / 3000 < 0.55
    last = max(found["tier"].to_pylist())
    own = letters.filter(pc.equal(letters["tier"], last))
    assert own.num_rows == checked - manifest["rows"]["audited"] * (last > 1)
    assert 0.45 < own.num_rows / found["tier"].to_pylist().count(last) < 0.55
    disagree = letters.num_rows - letters["agrees"].to_pylist().count(True)
    assert manifest["audit"]["disagreements"] == disagree > 0
    assert manifest["audit"]["accepted_share"] == 1.0

    stored = json.loads((exiting / "cascade.json").read_text())
    stored["tiers"] = [{**stored["tiers"][-1], "exit_thresholds": []}]
    (exiting / "cascade.json").rename(exiting / "kept.json")
    (exiting / "cascade.json").write_text(json.dumps(stored))
    run(corpus, exiting, tmp_path / "c")
    (exiting / "kept.json").rename(exiting / "cascade.json")
    whole = rows(tmp_path / "c")
    said = dict(zip(*(whole[name].to_pylist() for name in ("text", "prediction")), strict=True))
    told = letters["last_tier_prediction"].to_pylist()
    assert [said[text] for text in letters["text"].to_pylist()] == told


@pytest.fixture(scope="module")
def signed(corpus, cascade, tmp_path_factory):
    output = tmp_path_factory.mktemp("signed") / "mine"
    options = ["--agreement", "0.8", "--sample_rows", "1000", "--delta", "0.001"]
    assert calibrate.main(jobs.arguments(cascade, corpus, output, *options)) == DONE
    return output


def test_a_promise_that_is_kept_is_not_contradicted(signed, corpus, tmp_path):
    code, manifest = run(corpus, signed, tmp_path / "a", "--audit_rows", "1000")
    assert code == DONE
    assert manifest["audit"]["verdict"] == "no contradiction"
    assert manifest["audit"]["goal"] == 0.8


def test_a_promise_that_is_broken_raises_the_alarm_and_the_output_stands(
    signed, corpus, tmp_path, capsys
):
    other = tmp_path / "other"
    shutil.copytree(signed, other)
    stored = json.loads((other / "cascade.json").read_text())
    stored["certificate"]["signed"][0]["value"] = 0.99  # far more than was found
    (other / "cascade.json").write_text(json.dumps(stored))
    code, manifest = run(corpus, other, tmp_path / "a", "--audit_rows", "1000")
    assert code == ALARM
    assert manifest["audit"]["verdict"] == "alarm"
    assert rows(tmp_path / "a").num_rows == 3000
    assert "alarm" in capsys.readouterr().err


def test_a_chains_promise_that_is_broken_raises_the_alarm(corpus, tmp_path):
    made, output = tiny.cascade(tmp_path / "chain", tiers=3), tmp_path / "mine"
    options = ["--agreement", "0.6", "--sample_rows", "1500", "--overwrite"]
    assert calibrate.main(jobs.arguments(made, corpus, output, *options)) == DONE
    stored = json.loads((output / "cascade.json").read_text())
    stored["certificate"]["signed"][0]["value"] = 0.99  # far more than was found
    (output / "cascade.json").write_text(json.dumps(stored))
    code, manifest = run(corpus, output, tmp_path / "a", "--audit_rows", "600")
    assert (code, manifest["audit"]["verdict"]) == (ALARM, "alarm")
    # As many as were asked for: the certificate says how few reach the last tier.
    assert 500 < manifest["rows"]["audited"] < 700
    assert {row["tier"] for row in pq.read_table(tmp_path / "a" / "_audit").to_pylist()} == {1, 2}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--audit_rows", "5", "--audit_rate", "0.1"), "found both"),
        (("--audit_rate", "2"), "--audit_rate"),
        (("--audit_rows", "0"), "--audit_rows"),
    ],
)
def test_what_cannot_be_is_refused(corpus, cascade, tmp_path, options, expected):
    with pytest.raises(RefusedError, match=expected):
        run(corpus, cascade, tmp_path / "a", *options)
