"""Training on pairs of texts, read from whatever a job reads, with what transformers would pass."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pytest

from pipelines import classify, distill, finetune
from tango_beam.errors import RefusedError
from tango_beam.models.bilstm_config import BiLSTMConfig
from tango_beam.training import finetune as finetuning
from tango_beam.training import networks, students
from tango_beam.training.distill_options import DistillOptions
from tests import jobs, tiny
from tests.models.families import checkpoint

ROWS = [
    {"id": n, "pair": {"one": one, "two": two}, "label": ["other", "same"][one == two]}
    for n, (one, two) in enumerate(
        (a, b) for a in ("good film", "bad plot", "a sad movie") for b in ("good film", "bad plot")
    )
] * 4


@pytest.mark.parametrize("family", ["Bert", "Roberta", "Deberta", "XLNet"])
def test_a_network_is_trained_on_what_transformers_passes_it(tmp_path, family):
    """Segments, masks, padding and its side: the same names and numbers, pairs and single texts."""
    checkpoint(tmp_path, family)
    model = tiny.to_train(tmp_path)
    theirs = model.backend
    theirs.padding_side = "left" if family == "XLNet" else "right"
    texts, pairs = ["good film", "a", "sad"], ["bad", "the plot was dull", "not very funny"]
    for given in ((texts,), (texts, pairs)):
        tokens = model.tokenize(*map(pa.array, given))
        ours = model.inputs(tokens, np.arange(3))
        expected = theirs(*given, padding=True, return_tensors="pt")
        assert {*ours} == {*expected}
        for name in ours:
            padding = expected["attention_mask"] == 0
            same = (ours[name] == expected[name]) | padding
            assert same.all(), name


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "in" / "rows.jsonl.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(b"\n".join(json.dumps(row).encode() for row in ROWS)))
    return path


@pytest.mark.parametrize("family", ["pieces", "static"])
def test_pairs_are_learnt_distilled_and_classified(tmp_path, rows, bert, family):
    columns = ("--text_column", "pair.one", "--text_pair_column", "pair.two")
    teacher, student, mine = (tmp_path / "mine" / n for n in ("teacher", "student", ""))
    mine.mkdir()
    data = ("--train", str(rows.parent), *columns, "--held_out", "2")
    short = ("--epochs", "2", "--max_length", "32")
    tune = ("--encoder", str(bert), "--output", str(teacher), "--learning_rate", "1e-3")
    assert finetune.main([*tune, *data, *short]) == 0
    more = ("--unlabeled", str(rows), "--embedding_size", "8", "--cascade", "mine")
    to = ("--teacher", str(teacher), "--output", str(student), "--student", family)
    assert distill.main([*to, *data, *more, "--epochs", "2", "--max_length", "32"]) == 0
    log = json.loads((student / "training.json").read_text())
    assert log["settings"]["text_pair_column"] == "pair.two"
    assert json.loads((mine / "cascade.json").read_text())["pair"] is True
    given = jobs.arguments(mine, rows, tmp_path / "out", *columns, "--precision", "fp32")
    assert classify.main(given) == 0
    found, _, manifest = jobs.read_output(tmp_path / "out")
    assert manifest["rows"]["dead"] == 0
    assert {row["prediction"] for row in found} <= {"same", "other"}


@pytest.mark.parametrize("family", ["Bert", "Roberta", "XLNet", "T5", "GPT2"])
def test_a_static_student_tells_the_two_texts_of_a_pair_apart(tmp_path, family):
    checkpoint(tmp_path, family)
    model = tiny.to_train(tmp_path)
    given = {"train": "", "output": "", "teacher": "", "student": "static", "embedding_size": 8}
    options = DistillOptions(text_pair_column="b", bigrams=0, **given)
    if family == "GPT2":
        with pytest.raises(RefusedError, match=r"--student static: .*between the texts of a pair"):
            students.make(options, model, "regression", [])
        return
    student = students.make(options, model, "regression", [])
    good, bad = ["good", "very good film"], ["bad plot", "a very dull movie"]
    sides = [model.tokenize(pa.array(texts)) for texts in (good, bad)]
    one, two = (student.tokenize(pa.array(a), pa.array(b)) for a, b in ((good, bad), (bad, good)))
    logits = [student.forward(tokens, np.arange(2)) for tokens in (one, two, *sides)]
    assert all(np.abs(a - b).max() > 1e-4 for n, a in enumerate(logits) for b in logits[:n])


@pytest.mark.parametrize("settings", [{"truncation_side": "left"}, {"split_special_tokens": True}])
@pytest.mark.parametrize("own", [True, False])
def test_a_student_reads_texts_as_its_teacher_does(settings, own, tmp_path):
    teacher = tmp_path / "teacher"
    checkpoint(teacher, "Bert", **settings)
    model = tiny.to_train(teacher, max_length=12)
    shape = BiLSTMConfig(model.labels, embedding_size=8, hidden_size=8, max_length=12)
    student = students.pieces_student(model, shape, 0)
    student.save(tmp_path / "student", tokenizer=own)
    shared = {} if own else {"tokenizer": str(teacher)}
    again = tiny.load(tmp_path / "student", max_length=12, **shared)
    texts = pa.array(["good [SEP] film " * 30, "a [PAD]"])
    expected = model.tokenize(texts)
    for one in (student, again):
        assert one.vocabulary == model.vocabulary
        assert one.tokenize(texts).ids.tolist() == expected.ids.tolist()
    plain = tmp_path / "plain"
    checkpoint(plain, "Bert")
    before = tiny.load(plain, max_length=12).tokenize(texts)
    assert before.ids.tolist() != expected.ids.tolist()
    tuned = finetuning._without_unused(model.network, model.backend)
    assert tuned.truncation_side == model.backend.truncation_side
    assert tuned.split_special_tokens == model.backend.split_special_tokens


def test_a_network_that_reads_padding_is_trained_on_what_it_is_scored_on(tmp_path):
    checkpoint(tmp_path, "ConvBert")
    model = tiny.to_train(tmp_path)
    tokens = model.tokenize(pa.array(["good film", "a", "a very dull plot " * 5]))
    alone = tiny.one_at_a_time(model, tokens)
    logits = networks.of(model, "fp32").logits(tokens, np.arange(3))
    np.testing.assert_allclose(logits.detach().numpy(), alone, atol=3e-4)
