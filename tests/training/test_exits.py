"""Exits are trained on a second tier's own states, and leave its answers as they are."""

import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from pipelines import calibrate, classify, distill
from tango_beam.cascade_directory import save_cascade
from tango_beam.config import CascadeConfig, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.models import early_exit
from tango_beam.models.exits import FILE
from tango_beam.training import exit_training
from tango_beam.training.exit_training import left_at, lowest_exit_threshold
from tests import jobs, tiny
from tests.models.families import checkpoint
from tests.training.taught import teach

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return teach(tmp_path_factory.mktemp("corpus"), rows=400)


def arguments(corpus, output):
    return (
        f"--student exits --teacher {corpus}/teacher --train {corpus}/train.parquet "
        f"--output {output} --held_out 50 --augmented 200 --epochs 5 --max_length 32"
    ).split()


def test_exits_learn_what_the_whole_network_says(corpus, tmp_path):
    out = tmp_path / "out"
    assert distill.main(arguments(corpus, out)) == 0
    scores = json.loads((out / "training.json").read_text())["scores"]
    assert scores["agreement of exit 2, held-out"] > 0.9
    assert not [*out.glob("_*")]
    whole, left = (tiny.load(out, exit_thresholds=at) for at in ((), (0.0,)))
    same = tiny.load(corpus / "teacher")
    texts = pq.read_table(corpus / "train.parquet")["text"].combine_chunks()
    tokens, rows = same.tokenize(texts), np.arange(len(texts))
    np.testing.assert_array_equal(whole.forward(tokens, rows), same.forward(tokens, rows))
    assert left.encoder.answered(tokens, rows, left.tokenizer.pad_id)[1].max() == 1


def test_a_job_leaves_early_where_it_is_asked_to(corpus, tmp_path):
    out = tmp_path / "mine" / "second_tier"
    distill.main(arguments(corpus, out))
    tiny.bilstm(tmp_path / "first_tier", labels=["good", "other"])
    pair = ["--first_tier", str(tmp_path / "first_tier"), "--second_tier", str(out)]
    given = ["--input", f"{corpus}/train.parquet", *pair, "--threshold", "1"]
    found = []
    for number, more in enumerate(([], ["--exit_threshold", "0"])):
        to = tmp_path / f"out{number}"
        assert classify.main([*given, "--output", str(to), *more, "--precision", "fp32"]) == 0
        found.append(jobs.read_output(to))
    assert {row["cascade"] for row in found[0][0]} != {row["cascade"] for row in found[1][0]}
    confidences = [[row["confidence"] for row in rows] for rows, *_ in found]
    assert not np.allclose(*confidences)


def test_a_training_that_was_stopped_computes_no_state_twice(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(exit_training, "_PART", 64)
    first_states, seen = exit_training.first_states, []

    def counted(model, tokens):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(len(tokens))
        return first_states(model, tokens)

    monkeypatch.setattr(exit_training, "first_states", counted)
    with pytest.raises(KeyboardInterrupt):
        distill.main(arguments(corpus, tmp_path / "out"))
    before = sum(seen)
    seen[:] = [0] * 10  # stops nobody any more
    assert distill.main([*arguments(corpus, tmp_path / "out"), "--resume"]) == 0
    rows = json.loads((tmp_path / "out" / "training.json").read_text())["data"]
    assert before == 3 * 64
    assert before + sum(seen) - 50 <= sum(row["rows"] for row in rows if "held" not in row["use"])


def test_the_lowest_threshold_keeps_the_agreement_that_was_asked_for(rng):
    sure = rng.random((2000, 3)).astype(np.float32)
    whole = rng.integers(0, 2, 2000)
    wrong = rng.random((2000, 3)) > sure  # the less sure, the more often wrong
    answers = np.where(wrong, 1 - whole[:, None], whole[:, None])
    lowest, depth = lowest_exit_threshold(sure, answers, whole, 0.95)
    given, depths = left_at(sure, answers, whole, lowest)
    assert (given == whole).mean() >= 0.95
    assert depths.mean() == depth < 4
    assert (left_at(sure, answers, whole, lowest * 0.8)[0] == whole).mean() < 0.95
    assert lowest_exit_threshold(sure, answers, whole, 1.0)[1] > 3.9


@pytest.mark.parametrize("case", ["score", "family"])
def test_what_has_no_exits_is_refused(corpus, tmp_path, case, bert):
    given = arguments(corpus, tmp_path / "out")
    if case == "score":
        tiny.transformer(tmp_path / "t", labels=["x"], problem_type="regression")
        table = pq.read_table(corpus / "train.parquet")
        numbers = pa.array(np.linspace(0, 1, len(table)))
        pq.write_table(table.set_column(1, "label", numbers), tmp_path / "train.parquet")
        message = "--student exits: expected a teacher of labels, found"
    else:
        checkpoint(tmp_path / "t", "Electra")
        table = pq.read_table(corpus / "train.parquet")
        labels = pa.array([f"LABEL_{number % 3}" for number in range(len(table))])
        pq.write_table(table.set_column(1, "label", labels), tmp_path / "train.parquet")
        message = "expected a teacher like BERT"
    given[given.index("--train") + 1] = str(tmp_path / "train.parquet")
    given[given.index("--teacher") + 1] = str(tmp_path / "t")
    with pytest.raises(RefusedError, match=message):
        distill.main(given)


@pytest.fixture(scope="module")
def cascade(corpus, tmp_path_factory):
    """A first tier under a second one with exits, and a corpus that is large enough to sign for."""
    folder = tmp_path_factory.mktemp("cascade")
    distill.main(arguments(corpus, folder / "second_tier"))
    tiny.bilstm(folder / "first_tier", labels=["good", "other"], spread=3.0)
    tiers = (
        TierConfig(str(folder / "first_tier"), threshold=0.9),
        TierConfig(str(folder / "second_tier")),
    )
    save_cascade(CascadeConfig(tiers, ("good", "other"), "mine"), folder)
    rng = np.random.default_rng(1)
    texts = [f"{tiny.sentence(rng)} {number}" for number in range(6000)]
    pq.write_table(pa.table({"text": texts}), folder / "corpus.parquet")
    return folder


def signed(cascade, output, *more):
    given = ["--input", f"{cascade}/corpus.parquet", "--cascade", str(cascade)]
    how = ["--agreement", "0.9", "--sample_rows", "1000", "--precision", "fp32", *more]
    assert calibrate.main([*given, "--output", str(output), *how]) == 0
    return json.loads((output / "cascade.json").read_text())


def test_exits_are_signed_for_and_what_was_signed_covers_a_run(cascade, tmp_path, capsys):
    stored = signed(cascade, tmp_path / "mine", "--exits")
    assert re.search(r"^exits .* behind layer [12]", capsys.readouterr().out, re.M)
    thresholds = stored["tiers"][1]["exit_thresholds"]
    assert len(thresholds) == 2
    assert min(thresholds) < 1
    certificate = stored["certificate"]
    assert certificate["exit_thresholds"] == thresholds
    assert len(certificate["thresholds"]) == 1
    given = ["--input", f"{cascade}/corpus.parquet", "--cascade", str(tmp_path / "mine")]
    to = ["--output", str(tmp_path / "out"), "--precision", "fp32", "--audit_rows", "300"]
    assert classify.main([*given, *to]) == 0
    rows, _, manifest = jobs.read_output(tmp_path / "out")
    assert manifest["cascade"]["certificate"]["status"] == "covered"
    plain = ["--cascade", str(cascade), "--input", f"{cascade}/corpus.parquet", "--threshold", "1"]
    assert classify.main([*plain, "--output", str(tmp_path / "whole"), "--precision", "fp32"]) == 0
    whole = {row["text"]: row["prediction"] for row in jobs.read_output(tmp_path / "whole")[0]}
    assert np.mean([row["prediction"] == whole[row["text"]] for row in rows]) >= 0.9


def test_exits_are_signed_for_a_share_of_the_accuracy(cascade, tmp_path):
    texts = pq.read_table(cascade / "corpus.parquet")["text"].to_pylist()
    labels = ["good" if "good" in text else "other" for text in texts]
    labelled = tmp_path / "labelled.parquet"
    pq.write_table(pa.table({"text": texts, "label": labels}), labelled)
    given = f"--input {labelled} --label_column label --accuracy_retained 0.9 --sample_rows 2000"
    more = f"--cascade {cascade} --exits --precision fp32 --output {tmp_path}/mine"
    assert calibrate.main([*given.split(), *more.split()]) == 0
    stored = json.loads((tmp_path / "mine" / "cascade.json").read_text())
    assert min(stored["tiers"][1]["exit_thresholds"]) < 1
    (one,) = stored["certificate"]["signed"]
    assert (one["goal"], one["met"]) == ("accuracy_retained", True)


def test_an_audit_asks_the_whole_tier(cascade, tmp_path):
    """Where all exits are open and all are wrong, the last tier's answers are the whole's."""
    mine = shutil.copytree(cascade, tmp_path / "mine")
    wrong = load_file(mine / "second_tier" / FILE)
    for name in wrong:
        if name.split(".")[2] == "2":
            wrong[name] = -wrong[name]
    save_file(wrong, mine / "second_tier" / FILE)
    given = ["--input", f"{mine}/corpus.parquet", "--cascade", str(mine), "--threshold", "0"]
    how = ["--exit_threshold", "0", "--audit_rows", "500", "--precision", "fp32"]
    assert classify.main([*given, *how, "--output", str(tmp_path / "out")]) == 0
    audited = pq.read_table(tmp_path / "out" / "_audit").to_pylist()
    assert len(audited) > 100
    model = tiny.load(mine / "second_tier")
    tokens = model.tokenize(pa.array([row["text"] for row in audited]))
    said = model.forward(tokens, np.arange(len(audited))).argmax(axis=1)
    assert [row["last_tier_prediction"] for row in audited] == [model.labels[n] for n in said]


def test_an_audited_row_on_which_the_whole_fails_keeps_its_answer(cascade, tmp_path, monkeypatch):
    whole = early_exit.ExitingTransformer.whole

    def fails(self, tokens, rows):
        if (tokens.lengths[rows] > 8).any():
            raise ValueError("no room")
        return whole(self, tokens, rows)

    monkeypatch.setattr(early_exit.ExitingTransformer, "whole", fails)
    given = ["--input", f"{cascade}/corpus.parquet", "--cascade", str(cascade), "--threshold", "0"]
    how = ["--exit_threshold", "0", "--audit_rows", "500", "--precision", "fp32"]
    assert classify.main([*given, *how, "--output", str(tmp_path / "out")]) == 0
    rows, dead, manifest = jobs.read_output(tmp_path / "out")
    read = pq.read_metadata(cascade / "corpus.parquet").num_rows
    assert len(rows) == read and not dead
    audited = pq.read_table(tmp_path / "out" / "_audit").to_pylist()
    checked = [row for row in audited if row["last_tier_prediction"] is not None]
    assert len(audited) == manifest["rows"]["audited"] > len(checked) > 50
    short = [len(row["text"].split()) <= 6 for row in checked]
    assert all(short)


def test_exits_cannot_be_signed_for_where_there_are_none(cascade, corpus, tmp_path):
    for name, source in (("first", cascade / "first_tier"), ("last", corpus / "teacher")):
        shutil.copytree(source, tmp_path / name)
    tiers = (
        TierConfig(str(tmp_path / "first"), threshold=0.9),
        TierConfig(str(tmp_path / "last")),
    )
    save_cascade(CascadeConfig(tiers, ("good", "other"), "plain"), tmp_path)
    given = ["--input", f"{cascade}/corpus.parquet", "--cascade", str(tmp_path), "--exits"]
    with pytest.raises(RefusedError, match=r"expected exits\.safetensors"):
        calibrate.main([*given, "--output", str(tmp_path / "out")])
