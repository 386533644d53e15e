"""A build from a slow model and a corpus without labels to a certified cascade."""

import json
import shutil
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import build, classify
from tango_beam.building.begun import WORK
from tango_beam.building.result import Built
from tango_beam.cascade_directory import load_cascade
from tango_beam.command_line import DONE
from tango_beam.errors import RefusedError
from tests import endpoint_server, forked, jobs, tiny

ROWS = 3000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(4)
    path = tmp_path_factory.mktemp("corpus") / "texts.parquet"
    texts = [f"{tiny.sentence(rng)} {number % 7}" for number in range(ROWS)]
    pq.write_table(pa.table({"text": texts}), path)
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Large enough that a student is faster."""
    folder = tmp_path_factory.mktemp("teacher")
    sizes = {"hidden_size": 64, "num_hidden_layers": 6, "intermediate_size": 256}
    return tiny.transformer(folder, **sizes)


def arguments(corpus, teacher, output, *options):
    given = ["--input", str(corpus), "--second_tier", str(teacher), "--output", str(output)]
    return [*given, "--minutes", "0.5", "--students", "static,bilstm", *options]


def report_of(output):
    return Built.from_json(json.loads((output / "report.json").read_text()))


@pytest.fixture(scope="module")
def built(corpus, teacher, tmp_path_factory):
    output = tmp_path_factory.mktemp("built") / "mine"
    goal = ("--agreement", "0.85", "--delta", "0.001")
    assert build.main(arguments(corpus, teacher, output, *goal)) == DONE
    return output


def test_what_it_promises_holds_on_the_whole_corpus(built, corpus, teacher, tmp_path):
    report = report_of(built)
    assert report.pays and report.signed[0].met
    assert classify.main(jobs.arguments(built, corpus, tmp_path / "a")) == DONE
    alone = jobs.arguments(built, corpus, tmp_path / "b", "--threshold", "1")
    assert classify.main(alone) == DONE
    said = [
        pq.read_table(tmp_path / name).sort_by("text")["prediction"].to_pylist() for name in "ab"
    ]
    agree = np.mean([first == second for first, second in zip(*said, strict=True)])
    assert agree >= 0.85
    manifest = json.loads((tmp_path / "a" / "_manifest.json").read_text())
    assert manifest["cascade"]["certificate"]["status"] == "covered"


def test_no_row_has_two_uses(built):
    parts = json.loads((built / WORK / "parts.json").read_text())
    report = report_of(built)
    assert parts == report.parts
    assert sum(parts.values()) <= ROWS
    certificate = load_cascade(str(built)).certificate
    assert certificate.sample.tested == parts["sign"]
    assert certificate.sample.fitted == parts["choose"]
    assert certificate.corpus.rows == ROWS


@pytest.mark.parametrize("width", [390, 1280])
def test_its_page_opens_in_a_browser(built, probe, width):
    found = probe(built / "report.html", "--window-size=1400,3000", width=width)
    assert found["page"] <= width == found["width"]
    assert found["figures"]["drawing"]["drawn"] >= 3


def test_it_goes_on_where_it_was_and_does_not_train_again(built, corpus, teacher, capfd):
    before = {path: path.stat().st_mtime_ns for path in (built / WORK).rglob("*.safetensors")}
    goal = ("--agreement", "0.85", "--delta", "0.001")
    started = time.monotonic()
    assert build.main(arguments(corpus, teacher, built, *goal)) == DONE
    again = {path: path.stat().st_mtime_ns for path in (built / WORK).rglob("*.safetensors")}
    assert again == before
    assert report_of(built).pays
    assert time.monotonic() - started < 60
    said = capfd.readouterr().err
    assert "rows a second, agrees on" in said
    assert "minutes left" not in said  # nothing is to be trained


def test_other_options_do_not_go_on_with_it(built, corpus, teacher):
    goal = ("--agreement", "0.85", "--delta", "0.001")
    with pytest.raises(RefusedError, match=r"--seed: expected 0.*found 3.*--overwrite"):
        build.main(arguments(corpus, teacher, built, *goal, "--seed", "3"))
    with pytest.raises(RefusedError, match=r"expected .* rows to sign .* found a build with"):
        build.main(arguments(corpus, teacher, built, "--agreement", "0.999", "--delta", "0.001"))
    with pytest.raises(RefusedError, match="found a budget where there was none"):
        build.main(arguments(corpus, teacher, built, "--max_escalation", "0.5"))


def test_another_goal_trains_nothing_and_stays_on_record(built, corpus, teacher, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(built, mine)
    before = {path: path.stat().st_mtime_ns for path in (mine / WORK).rglob("*.safetensors")}
    for _ in range(2):  # the same once more is no other attempt
        goal = ("--agreement", "0.75", "--delta", "0.001")
        assert build.main(arguments(corpus, teacher, mine, *goal)) == DONE
        again = {path: path.stat().st_mtime_ns for path in (mine / WORK).rglob("*.safetensors")}
        assert again == before
        certificate = load_cascade(str(mine)).certificate
        assert [one.goals[0].value for one in certificate.attempts] == [0.85, 0.75]
        assert certificate.signed[0].value == 0.75
        page = (mine / "report.html").read_text()
        assert "2 promises were tried on these rows" in page and "0.002 at most" in page
    assert report_of(mine).speedup >= report_of(built).speedup


def test_a_teacher_as_fast_as_its_students_is_written_alone(corpus, tmp_path):
    small = tiny.static(tmp_path / "static")
    output = tmp_path / "mine"
    options = ("--agreement", "0.95", "--students", "bilstm")
    assert build.main(arguments(corpus, small, output, *options)) == DONE
    report = report_of(output)
    assert not report.pays and not report.signed
    assert "too slow" in report.why
    assert build.main(arguments(corpus, small, output, *options)) == DONE  # once more, over it
    assert len(load_cascade(str(output)).tiers) == 1
    assert "No cascade pays" in (output / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--students", "lstm"), "--students: expected some of static"),
        (("--tiers", "1"), "--tiers"),
        (("--minutes", "0"), "--minutes"),
        (("--agreement", "0.9999"), "expected rows to sign"),
        (("--teacher_rows", "50"), "expected rows to sign"),
    ],
)
def test_what_cannot_be_built_is_refused(corpus, teacher, tmp_path, options, expected):
    with pytest.raises(RefusedError, match=expected):
        build.main(arguments(corpus, teacher, tmp_path / "mine", *options))


@pytest.fixture
def endpoint(tmp_path):
    """Options of a second tier that is an endpoint, at a server's place."""
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(endpoint_server.PROMPT)

    def options(server):
        model = ("--model", "judge", "--prompt", str(prompt), "--labels", ",".join(tiny.LABELS))
        return (f"openai:{server.url}", *model, "--requests", "16")

    return options


def _build(arguments):
    return build.main(arguments)


@pytest.mark.slow
def test_an_endpoint_is_never_asked_twice_and_shares_its_answers_with_the_job(
    corpus, endpoint, tmp_path
):
    output = tmp_path / "mine"
    with endpoint_server.Server(labels=tiny.LABELS, delay=0.02) as server:
        source, *more = endpoint(server)
        goal = ("--agreement", "0.6", "--delta", "0.01", "--students", "static", "--minutes", "12")
        goal = (*goal, "--teacher_rows", "1700")
        given = arguments(corpus, source, output, *more, *goal)
        process = forked.Forked(_build, given)
        process.wait_for(lambda: server.stats()["calls"] > 700)
        process.kill()
        assert build.main(given) == DONE
        stats = server.stats()
        assert (output / WORK / "learnt.json").is_file()
        parts = json.loads((output / WORK / "parts.json").read_text())
        texts = set(pq.read_table(corpus)["text"].to_pylist())
        steady = report_of(output).steadiness
        assert steady.same == steady.rows > 100
        # Those that were under way when it was killed, and those that are asked twice on purpose.
        assert stats["calls"] <= min(len(texts), sum(parts.values())) + 16 + steady.rows
        cache = ("--answers_cache", str(output / WORK / "answers_cache"))
        before = stats["calls"]
        job = jobs.arguments(output, corpus, tmp_path / "out", *cache)
        assert classify.main(job) == DONE
        manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
        asked = server.stats()["calls"] - before
        assert asked < manifest["rows"]["escalated"] or manifest["rows"]["escalated"] == 0
        assert manifest["cascade"]["certificate"]["status"] == "covered"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changes", "options"),
    [
        ("multi_label", {"problem_type": "multi_label_classification"}, ()),
        pytest.param(
            "score",
            {"problem_type": "regression", "labels": ("score",)},
            ("--cuts", "0"),
            marks=pytest.mark.nightly,
        ),
        ("filter", {}, ("--recall", "positive=0.7", "--students", "static")),
        pytest.param(
            "budget",
            {},
            ("--max_escalation", "0.5", "--students", "static"),
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_every_kind_of_goal_and_answer_can_be_built(corpus, tmp_path, kind, changes, options):
    labels = changes.pop("labels", tiny.LABELS)
    teacher = tiny.transformer(tmp_path / "teacher", labels, num_hidden_layers=6, **changes)
    goal = () if kind in ("filter", "budget") else ("--agreement", "0.5")
    output = tmp_path / "mine"
    given = arguments(corpus, teacher, output, *goal, "--delta", "0.01", *options)
    assert build.main(given) == DONE
    report = report_of(output)
    assert (output / "report.html").stat().st_size > 4000
    assert classify.main(jobs.arguments(output, corpus, tmp_path / "out")) == DONE
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    status = "covered" if report.pays else "none"
    assert manifest["cascade"]["certificate"]["status"] == status


@pytest.mark.slow
def test_pairs_can_be_built(teacher, tmp_path, rng):
    path, output = tmp_path / "pairs.parquet", tmp_path / "mine"
    sides = [[tiny.sentence(rng) for _ in range(2000)] for _ in range(2)]
    pq.write_table(pa.table({"first": sides[0], "second": sides[1]}), path)
    columns = ("--text_column", "first", "--text_pair_column", "second")
    goal = ("--agreement", "0.5", "--delta", "0.01")
    assert build.main(arguments(path, teacher, output, *columns, *goal)) == DONE
    assert load_cascade(str(output)).pair


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tinybert", pytest.param("encoder", marks=pytest.mark.nightly)])
def test_a_small_encoder_may_stand_in_the_middle(corpus, tmp_path, kind):
    large = {"hidden_size": 64, "num_hidden_layers": 12, "intermediate_size": 128}
    teacher, output = tiny.transformer(tmp_path / "teacher", **large), tmp_path / "mine"
    options = ["--agreement", "0.6", "--delta", "0.01", "--students", "static,tinybert"]
    if kind == "encoder":
        options = [*options[:-1], "static", "--encoder", str(tiny.transformer(tmp_path / "small"))]
    assert build.main(arguments(corpus, teacher, output, *options)) == DONE
    trained = {path.parent.name for path in (output / WORK / "students").glob("*/_trained")}
    wanted = {"static", "encoder"} if kind == "encoder" else {"static", "tinybert_2x256"}
    assert wanted <= trained
    assert report_of(output).offers
