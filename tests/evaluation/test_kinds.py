"""`pipelines.evaluate` on cascades that give several labels, a score or a span."""

import json

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipelines import evaluate
from tango_beam import routing
from tango_beam.answers import span_text
from tango_beam.answers.span import SpanDecoder
from tango_beam.errors import RefusedError
from tango_beam.evaluation import cuts
from tango_beam.io.labelled import read_labelled
from tango_beam.models.logits import logits_of
from tests import tiny
from tests.evaluation.test_evaluate import QUICK, write
from tests.jobs import schema

LABELS = ("a", "b", "c")
MADE = {
    "multi_label": {"labels": LABELS, "problem_type": "multi_label_classification"},
    "score": {"labels": ("LABEL_0",), "problem_type": "regression"},
    "span": {},
}
OPTIONS = {
    "multi_label": ("--threshold", "0.6"),
    "score": ("--threshold", "0.7", "--cuts=-0.5,0.5"),
    "span": ("--threshold", "0.2", "--max_length", "40", "--stride", "8"),
}
WINDOWS = {"max_length": 40, "stride": 8}


@pytest.fixture(scope="module")
def tiers(tmp_path_factory):
    """Two checkpoints of a kind."""

    def made(kind):
        folder = tmp_path_factory.mktemp(kind)
        make = tiny.reader if kind == "span" else tiny.transformer
        return [make(folder / str(seed), seed=seed, **MADE[kind]) for seed in (1, 2)]

    return made


@pytest.fixture
def run(tmp_path):
    def evaluated(kind, tiers, rows, *options):
        output = tmp_path / "out"
        pair = ("--text_pair_column", "context") if kind == "span" else ()
        source = write(tmp_path / "rows.jsonl", rows)
        arguments = ["--input", str(source), "--output", str(output), *QUICK, *pair]
        arguments += ["--first_tier", str(tiers[0]), "--second_tier", str(tiers[1])]
        assert evaluate.main([*arguments, *OPTIONS[kind], *options]) == 0
        found = json.loads((output / "report.json").read_text())
        jsonschema.validate(found, schema("report"))
        return found, (output / "report.html").read_text()

    return evaluated


def holds(found, metric, first, last, routed):
    """What every report says: both tiers and the cascade, the curve's ends, and its bounds."""
    assert found["metric"]["name"] == metric
    assert [row["metrics"] for row in found["scores"]] == [
        pytest.approx(one) for one in (first, last, routed)
    ]
    curve = found["curve"]
    for name in ("cascade", "oracle", "random", "random_low", "random_high"):
        assert [curve[name][0], curve[name][-1]] == pytest.approx([first[metric], last[metric]])
    assert max(curve["oracle"]) >= max(curve["cascade"]) - 1e-12
    assert found["reference"] == pytest.approx(last[metric])
    assert 0 < found["scores"][-1]["escalated"] < 1
    for entry in found["speedup_at"]:
        same = entry["same_rows"]
        assert same["score"] >= entry["share"] * last[metric] - 1e-12
        assert entry["held_out"]["splits"] == 3
        assert all(speedup > 0 for speedup in same["speedup"].values())


def errors(found):
    """Rows on which both tiers are wrong, the first only, the second only, neither."""
    kinds = ("both_wrong", "corrected", "introduced", "both_right")
    return [sum(found["corrections"][kind]) for kind in kinds]


def quadrants(first, last):
    return [
        (~first & ~last).sum(),
        (~first & last).sum(),
        (first & ~last).sum(),
        (first & last).sum(),
    ]


def test_several_labels(run, tiers, rng):
    models = tiers("multi_label")
    texts = [tiny.sentence(rng) for _ in range(60)]
    truth = rng.random((60, 3)) < [0.5, 0.3, 0.1]
    rows = [
        {"text": text, "label": [name for name, yes in zip(LABELS, borne, strict=True) if yes]}
        for text, borne in zip(texts, truth, strict=True)
    ]
    found, page = run("multi_label", models, rows)
    logits = [logits_of(tiny.load(one), texts, labels=LABELS) for one in models]
    first, last = (one >= 0 for one in logits)
    sure = routing.sigmoid(np.abs(logits[0]).min(axis=1)) >= np.float32(0.6)
    routed = np.where(sure[:, None], first, last)

    def scores(answers):
        def f1(given, borne):
            return 2 * (given & borne).sum() / max(1, given.sum() + borne.sum())

        by_label = [f1(answers[:, n], truth[:, n]) for n in range(3)]
        exact = np.mean([(one == other).all() for one, other in zip(answers, truth, strict=True)])
        return by_label, {
            "micro_f1": f1(answers, truth),
            "macro_f1": np.mean(by_label),
            "exact_sets": exact,
        }

    expected = [scores(answers) for answers in (first, last, routed)]
    holds(found, "micro_f1", *(metrics for _, metrics in expected))
    for row, (by_label, _) in zip(found["scores"], expected, strict=True):
        assert list(row["by_label"].values()) == pytest.approx(by_label)
    assert errors(found) == quadrants(*((one == truth).all(axis=1) for one in (first, last)))
    assert found["input"]["labels"] == dict(zip(LABELS, truth.sum(axis=0), strict=True))
    assert "F1 by label" in page and "any other set" in page


def test_a_score(run, tiers, rng):
    models = tiers("score")
    texts = [tiny.sentence(rng) for _ in range(60)]
    values = [logits_of(tiny.load(one), texts)[:, 0].astype(float) for one in models]
    truth = np.round(values[1] + rng.normal(0, 0.5, 60), 1).astype(np.float32)
    rows = [
        {"text": text, "label": float(str(one))} for text, one in zip(texts, truth, strict=True)
    ]
    found, page = run("score", models, rows)

    def buckets(scores):
        return np.digitize(scores, np.array([-0.5, 0.5]).astype(scores.dtype))

    nearest = np.abs(values[0][:, None] - [-0.5, 0.5]).min(axis=1)
    sure = routing.sigmoid(nearest.astype(np.float32)) >= np.float32(0.7)
    routed = np.where(sure, *values)
    expected = [
        {
            "bucket_accuracy": np.mean(buckets(one) == buckets(truth)),
            "mean_absolute_error": np.mean(np.abs(one - truth)),
            "spearman": stats.spearmanr(one, truth).statistic,
        }
        for one in (*values, routed)
    ]
    holds(found, "bucket_accuracy", *expected)
    right = [buckets(one) == buckets(truth) for one in values]
    assert errors(found) == quadrants(*right)
    assert sum(found["input"]["labels"].values()) == 60
    assert "lower is better" in page and "scores in 3 buckets" in page


def test_a_span_of_a_context(run, tiers, rng):
    models = tiers("span")
    questions = [tiny.sentence(rng, 6) for _ in range(40)]
    contexts = [tiny.sentence(rng, 90) + " film" for _ in range(40)]
    loaded = [tiny.load(one, **WINDOWS) for one in models]
    outputs = [logits_of(model, questions, contexts) for model in loaded]
    first, last = (SpanDecoder().texts(one, pa.array(contexts)) for one in outputs)
    # Right is what either tier says, in turns, or something else beside.
    answers = [[[last[n]], [first[n], "x"], ["x", "the film"]][n % 3] for n in range(40)]
    columns = zip(questions, contexts, answers, strict=True)
    rows = [{"text": q, "context": c, "answers": list(a)} for q, c, a in columns]
    found, page = run("span", models, rows, "--label_column", "answers")
    sure = SpanDecoder().confidences(outputs[0]) >= np.float32(0.2)
    routed = np.where(sure, first, last)

    def match(texts):
        return np.array([span_text.is_match(*pair) for pair in zip(texts, answers, strict=True)])

    expected = [
        {
            "f1": np.mean([span_text.best_f1(*pair) for pair in zip(texts, answers, strict=True)]),
            "exact_match": match(texts).mean(),
        }
        for texts in (first, last, routed)
    ]
    holds(found, "f1", *expected)
    assert errors(found) == quadrants(match(first), match(last))
    assert found["input"]["labels"] == {"with an answer": 40, "without": 0}
    assert "no exact match" in page


def test_cuts_are_chosen_on_one_half_and_scored_on_the_other(run, tiers, rng, capsys):
    models = tiers("multi_label")
    texts = [tiny.sentence(rng) for _ in range(80)]
    logits = logits_of(tiny.load(models[1]), texts, labels=LABELS)
    # The last tier knows the labels, but for where it is to cut.
    at = [np.quantile(logits[:, 0], 0.7), np.quantile(logits[:, 1], 0.4), 99]
    truth = logits > at
    names = [[LABELS[n] for n in np.flatnonzero(borne)] for borne in truth]
    rows = [
        {"text": text, "label": json.dumps(name)} for text, name in zip(texts, names, strict=True)
    ]
    found, page = run("multi_label", models, rows, "--choose_cuts")
    chosen = found["cuts"]
    assert chosen["rows"] == found["input"]["rows"] == 40
    assert found["cascade"]["cuts"] == [one["cut"] for one in chosen["labels"].values()]
    *shifted, never = chosen["labels"].values()
    for one, where in zip(shifted, at, strict=False):
        assert abs(np.log(one["cut"] / (1 - one["cut"])) - where) < 0.5
        assert one["f1"] > one["f1_before"]
    assert never["cut"] == never["before"] == 0.5
    assert chosen["after"] == found["scores"][1]["metrics"]
    assert [one["f1"] for one in chosen["labels"].values()] == list(
        found["scores"][1]["by_label"].values()
    )
    assert chosen["after"]["macro_f1"] > chosen["before"]["macro_f1"]
    assert chosen["option"] in page
    assert f"to use the cuts: {chosen['option']}\n" in capsys.readouterr().out
    # Given as an option, they are the same cuts.
    again, _ = run("multi_label", models, rows, *chosen["option"].split(), "--overwrite")
    assert again["cascade"]["cuts"] == found["cascade"]["cuts"]


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=30))
def test_no_other_cut_has_a_higher_f1(rows):
    eighths, truth = np.array(rows, int).T
    chances, truth = (eighths / 8).astype(np.float32), truth.astype(bool)

    def f1(cut):
        return 2 * truth[chances >= cut].sum() / max(1, (chances >= cut).sum() + truth.sum())

    cut = cuts.best_cut(chances, truth, 0.5)
    assert 0 < cut < 1
    # A row of probability 0 or 1 is on one side of every cut.
    assert f1(cut) == max(f1(n / 16) for n in range(1, 16))
    if f1(0.5) == f1(cut):
        assert cut == 0.5


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("score", ("--metric", "mcc"), "--metric: expected bucket_accuracy for score, found mcc"),
        ("span", ("--metric", "accuracy"), "expected f1 or exact_match for span, found accuracy"),
        ("score", ("--positive", "a"), "--positive: expected none for score, found a"),
        ("multi_label", ("--metric", "f1"), "--positive to name one of 3 labels"),
        ("span", ("--choose_cuts",), "--choose_cuts: expected it for multi_label, found span"),
        ("span", (), "answers .a column of texts, or of lists of texts.*found int64"),
        ("multi_label", ("--label_column", "other"), "the labels a, b, c.*found z in row 2"),
    ],
)
def test_what_does_not_fit_the_kind_is_refused(run, tiers, kind, options, expected):
    label = {"score": 1.5, "span": 3, "multi_label": ["a"]}[kind]
    row = {"text": "good", "context": "the film", "label": label}
    rows = [{**row, "other": ["b"]}, {**row, "other": ["b", "z"]}]
    with pytest.raises(RefusedError, match=expected):
        run(kind, tiers(kind), rows, *options)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_answers_that_count_as_right_are_texts_or_lists_of_them(tmp_path, name):
    nested = {"answers": {"answer_start": [3, 0], "text": ["yes", "a"]}}
    rows = [{"text": "q", "one": "yes", "none": ["no"], **nested} for _ in range(2)]
    rows[1]["none"] = []
    path = str(write(tmp_path / name, rows))
    for column, expected in {
        "one": [("yes",), ("yes",)],
        "none": [("no",), ()],
        "answers": [("yes", "a")] * 2,
    }.items():
        found = read_labelled([path], ["text"], column, kind="span")
        assert found.targets.tolist() == expected
        assert found.take(np.array([1])).targets.tolist() == expected[1:]
