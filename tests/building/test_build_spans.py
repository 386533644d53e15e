"""A build from a slow reader and questions without answers to a certified cascade."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import build, classify
from tango_beam.answers import Task, span_text
from tango_beam.building import span_students
from tango_beam.building.begun import WORK
from tango_beam.building.options import BuildOptions
from tango_beam.building.parts import FEWEST_TRAIN
from tango_beam.building.passes import TRIALS, Passes, Plan, passes_within
from tango_beam.building.result import Built
from tango_beam.building.settings import Settings
from tango_beam.building.students import TRAINED
from tango_beam.building.teacher import Teacher
from tango_beam.cascade_directory import load_cascade
from tango_beam.command_line import DONE
from tango_beam.config import TierConfig
from tango_beam.errors import RefusedError
from tests import jobs, tiny

ROWS = 800
# So low that few rows go on: whether the cascade pays must not hang on how busy the machine is.
GOAL = "0.65"
COLUMNS = ("--text_column", "question", "--text_pair_column", "context")
GIVEN = ("--max_length", "32", "--stride", "8", "--agreement", GOAL, "--delta", "0.01")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("corpus") / "questions.parquet"
    contexts = [f"{tiny.sentence(rng, 24)} {number % 11}" for number in range(ROWS)]
    questions = [tiny.sentence(rng) for _ in range(ROWS)]
    pq.write_table(pa.table({"question": questions, "context": contexts}), path)
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """So deep that a quarter of it is faster; near to linear, so that a quarter answers alike."""
    sizes = {"hidden_size": 64, "num_hidden_layers": 8, "intermediate_size": 256}
    return tiny.reader(tmp_path_factory.mktemp("teacher"), initializer_range=0.02, **sizes)


def arguments(corpus, teacher, output, *options):
    given = ["--input", str(corpus), "--second_tier", str(teacher), "--output", str(output)]
    return [*given, *COLUMNS, *GIVEN, "--minutes", "0.6", *options]


@pytest.fixture(scope="module")
def built(corpus, teacher, tmp_path_factory):
    output = tmp_path_factory.mktemp("built") / "mine"
    assert build.main(arguments(corpus, teacher, output)) == DONE
    return output


def report_of(output):
    return Built.from_json(json.loads((output / "report.json").read_text()))


def test_what_it_promises_of_spans_holds_on_the_whole_corpus(built, corpus, tmp_path):
    report = report_of(built)
    assert report.pays and report.signed[0].met
    assert [tier.name[:6] for tier in report.tiers[:-1]] == ["layers"] * (len(report.tiers) - 1)
    said = []
    for name, more in (("a", ()), ("b", ("--threshold", "1"))):
        given = jobs.arguments(built, corpus, tmp_path / name, *COLUMNS, *more)
        assert classify.main(given) == DONE
        rows = pq.read_table(tmp_path / name).sort_by(
            [("question", "ascending"), ("context", "ascending")]
        )
        said.append([*map(span_text.normalised, rows["prediction"].to_pylist())])
    assert len(said[0]) == ROWS
    assert np.mean([first == second for first, second in zip(*said, strict=True)]) >= float(GOAL)
    manifest = json.loads((tmp_path / "a" / "_manifest.json").read_text())
    assert manifest["cascade"]["certificate"]["status"] == "covered"


def test_the_page_of_spans_has_no_classes_and_its_commands_name_the_columns(built):
    page = (built / "report.html").read_text()
    assert "By class" not in page
    assert "--text_column question --text_pair_column context" in page
    assert not report_of(built).classes
    for one in report_of(built).disagreements:
        assert len(one.texts) == 2
        answers = [span_text.normalised(answer) for _, answer, _ in one.said]
        assert len({*answers}) > 1


def test_a_student_that_was_not_done_is_trained_again_and_the_teacher_is_not_asked(
    built, corpus, teacher
):
    def stamps(pattern):
        return {path: path.stat().st_mtime_ns for path in (built / WORK).glob(pattern)}

    answers, done = stamps("answers/*/*.parquet"), stamps(f"students/*/{TRAINED}")
    assert len(answers) >= 2 and len(done) == 2
    passes = {path: path.read_text() for path in (built / WORK).glob("students/*.json")}
    # As a build leaves it that was killed during the training.
    shutil.rmtree(built / WORK / "students" / "layers_2")
    assert build.main(arguments(corpus, teacher, built)) == DONE
    again = stamps(f"students/*/{TRAINED}")
    assert stamps("answers/*/*.parquet") == answers
    assert [path.parent.name for path in done if again[path] != done[path]] == ["layers_2"]
    assert {path: path.read_text() for path in passes} == passes
    assert report_of(built).pays


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--text_pair_column", ""), "--text_pair_column: expected the column of contexts"),
        (("--recall", "film=0.9"), "expected a filter on one of nothing, found 'film'"),
        (("--students", "static,bilstm"), "--students static,bilstm: expected some of layers"),
    ],
)
def test_what_cannot_be_built_of_spans_is_refused(corpus, teacher, tmp_path, options, expected):
    output = tmp_path / "mine"
    given = arguments(corpus, teacher, output, *options)
    if options == ("--text_pair_column", ""):
        given = given[: given.index("--text_pair_column")] + list(GIVEN)
    with pytest.raises(RefusedError, match=expected):
        build.main(given)
    assert not output.exists()


def test_a_classifier_is_no_reader(corpus, tmp_path):
    classifier = tiny.transformer(tmp_path / "classifier")
    with pytest.raises(
        RefusedError, match=r"expected a checkpoint for spans .* found one for labels"
    ):
        build.main(arguments(corpus, classifier, tmp_path / "mine", "--task", "span"))


@pytest.mark.parametrize(("depth", "kept"), [(12, [3, 6]), (6, [2, 3]), (3, [1]), (2, [1])])
def test_students_have_a_quarter_and_a_half_of_the_layers(tmp_path, depth, kept):
    plans = span_students.wanted(*reader_of(tmp_path, depth))
    assert [plan.shape["layers"] for plan in plans] == kept


def test_one_layer_has_no_student_but_an_encoder_that_is_named(tmp_path):
    with pytest.raises(RefusedError, match=r"expected two layers or more.*found 1.*--encoder"):
        span_students.wanted(*reader_of(tmp_path, 1))
    plans = span_students.wanted(*reader_of(tmp_path, 1, encoder="small"))
    assert [plan.name for plan in plans] == ["encoder"]


def reader_of(folder, depth, **options):
    """A teacher of so many layers, and options of a build."""
    source = str(tiny.reader(folder / f"reader_{depth}", num_hidden_layers=depth))
    settings = Settings(TierConfig(source), 1.0, 0.0)
    taught = Teacher(settings, tiny.load(source), Task("span"), (), pair=True)
    return taught, BuildOptions(input=("q",), second_tier=source, output="mine", **options)


def test_a_time_too_short_for_one_pass_has_fewer_rows_and_is_told_once(tmp_path):
    plan, learnt = Plan("student", "layers", "pieces", {}, 60_000), []

    def learn(count):
        learnt.append(count)
        np.linalg.norm(np.ones((count, 2000)) @ np.ones((2000, 50)))

    found = passes_within(plan, learn, 5000, 1e-6, tmp_path / "student", (16, 256))
    assert found == Passes(1, FEWEST_TRAIN)
    assert learnt == [16, *[16, 256] * TRIALS]
    assert passes_within(plan, learn, 5000, 1e6, tmp_path / "student", (16, 256)) == found
    assert learnt == [16, *[16, 256] * TRIALS]
    other = passes_within(plan, learn, 5000, 1e6, tmp_path / "other", (16, 256))
    assert other == Passes(12, 5000)


@pytest.mark.nightly
def test_an_encoder_that_is_named_learns_spans_and_a_row_without_a_word_counts_for_nothing(
    teacher, tmp_path, rng
):
    encoder, output = tiny.reader(tmp_path / "small", 1, initializer_range=0.02), tmp_path / "mine"
    contexts = [" " if number % 10 == 0 else tiny.sentence(rng, 24) for number in range(ROWS)]
    path = tmp_path / "questions.parquet"
    questions = [f"{tiny.sentence(rng)} {number}" for number in range(ROWS)]
    pq.write_table(pa.table({"question": questions, "context": contexts}), path)
    options = ("--encoder", str(encoder), "--agreement", "0.3")
    assert build.main(arguments(path, teacher, output, *options)) == DONE
    trained = {path.parent.name for path in (output / WORK / "students").glob(f"*/{TRAINED}")}
    assert trained == {"layers_2", "layers_4", "encoder"}
    report = report_of(output)
    assert report.pays
    sample = load_cascade(str(output)).certificate.sample
    assert 0 < report.parts["sign"] - sample.tested < report.parts["sign"] / 4
