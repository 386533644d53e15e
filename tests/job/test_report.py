"""The page of a run, and the same on a terminal: its figures are those of the part files."""

import json
import os
import re
import signal
from dataclasses import replace

import jsonschema
import pytest
from rich.console import Console

from pipelines import classify, show
from tango_beam.command_line import ALARM, DONE, TOO_MANY_DEAD
from tango_beam.errors import RefusedError
from tango_beam.guarantees.certificate import COVERED, Coverage, Guarantee
from tango_beam.job import page, tables
from tango_beam.run.manifest import Audit, Manifest
from tango_beam.run.receipts import Example
from tango_beam.run.standing import COMPLETE, Standing
from tests import forked, jobs, kinds
from tests.browser import DARK, brightness
from tests.job import by_hand
from tests.job.test_resume import arguments, corpus

HOSTILE = "<script>document.title = 'broken'</script> $title [bold]x[/] \x1b[31m & " + "x" * 300
NAMES = {
    "labels": lambda row: [row["prediction"]],
    "multi_label": lambda row: row["prediction"] or ["(none)"],
    "score": lambda row: [("under -0.5", "-0.5 to 0.5", "0.5 or more")[row["bucket"]]],
    "span": lambda row: ["an answer"],
}


def length_begins(group):
    return re.split(" to | or more", group)[0].replace(",", "")


def assert_shown(html, counts):
    """The page's tables and its drawing say what was counted."""
    shown = by_hand.tables_of(html)
    fates = {row[0]: by_hand.number(row[1]) for row in shown["fates"][1:]}
    for fate, rows in counts["rows"].items():
        assert fates.get(fate, 0) == rows
    groups = [counts["counts"][fate] for fate in ("accepted", "escalated")]
    assert by_hand.drawn(html) == [bins["confidences"] for bins in groups]
    for name in ("answers", "lengths"):
        both = [{**bins[name]} for bins in groups]
        table = [(row[0], *map(by_hand.number, row[1:3])) for row in shown[name][1:]]
        begins = length_begins if name == "lengths" else str
        found = {begins(group): rest for group, *rest in table}
        expected = {
            group: [both[0].get(group, 0) + both[1].get(group, 0), both[1].get(group, 0)]
            for group in both[0].keys() | both[1].keys()
        }
        assert found == expected
    for row in shown["tiers"][1:]:
        seconds = counts["seconds"][row[0]]
        assert row[3] == f"{seconds:,.1f}"
        tier = row[0].removeprefix("tier ")
        answers = sum(bins["tiers"].get(tier, 0) for bins in groups)
        assert row[0] == "read" or by_hand.number(row[1]) == answers


@pytest.mark.parametrize("kind", kinds.TASKS)
def test_figures_are_those_of_the_part_files_with_three_tiers(kind, tmp_path):
    cascade = kinds.cascade(tmp_path / "three", kind)
    good = [kinds.line(number, kind) for number in range(120)]
    bad = [kinds.broken(number, kind) for number in range(120, 125)]
    path, output = jobs.write_jsonl(tmp_path / "in.jsonl", [*good, *bad]), tmp_path / "out"
    options = ["--report", "--answer_prefix", "t_", "--max_dead_fraction", "0.1"]
    options += ["--placement", "apart", "--output_format", "jsonl", "--checkpoint_bytes", "9000"]
    given = jobs.arguments(cascade, path, output, *options, *kinds.options(kind))
    assert classify.main(given) == DONE
    rows, letters, manifest = jobs.read_output(output)
    jsonschema.validate(manifest, jobs.schema("manifest"))
    texts = ("text", "text_pair") if kind == "span" else ("text",)
    counts = by_hand.counts(rows, NAMES[kind], texts, "t_")
    assert manifest["counts"] == counts
    assert len(counts["escalated"]["tiers"]) == 2
    html = (output / "_report.html").read_text()
    assert_shown(html, manifest)
    reasons = {row[0]: by_hand.number(row[1]) for row in by_hand.tables_of(html)["dead"][1:]}
    assert reasons == manifest["dead_letters"]["reasons"]
    assert sum(reasons.values()) == len(letters) == 5
    by_place = {(one["file"], one["offset"]): one for one in letters}
    for examples in manifest["dead_letters"]["examples"].values():
        for one in examples:
            letter = by_place[one["file"], one["offset"]]
            assert one["error"] == letter["error"][:200]
            assert one["raw"] == letter["raw"][:200]


def shown(capsys, output):
    assert show.main([str(output), "--json"]) == DONE
    return json.loads(capsys.readouterr().out)


def test_a_run_under_way_and_one_that_was_killed_show_what_is_committed(cascade, tmp_path, capsys):
    path, output = corpus(tmp_path, "jsonl"), tmp_path / "out"
    process = forked.classify(arguments(path, cascade, output, "--audit_rate", "0.1"))
    process.wait_for(lambda: len(list(output.glob("part-*"))) >= 4)
    os.killpg(process.process.pid, signal.SIGSTOP)  # so that it stays as it is seen
    found = shown(capsys, output)
    assert found["state"] == "under way"
    assert found["checkpoints"] >= 1 and 0 < found["input_done"] < 1
    so_far, files = found["manifest"], tmp_path / "committed"
    files.mkdir()
    for file in so_far["files"]:  # what was written and not committed does not count
        (files / file["name"]).symlink_to(output / file["name"])
    rows, _, _ = jobs.read_output(files)
    assert so_far["counts"] == by_hand.counts(rows, NAMES["labels"])
    assert so_far["rows"]["accepted"] + so_far["rows"]["escalated"] == len(rows)
    assert 0 < so_far["rows"]["read"] < 2000
    process.kill()
    assert show.main([str(output)]) == DONE
    said = capsys.readouterr().out
    assert "cut short" in said and "--resume goes on" in said
    assert re.search(rf"^read +{so_far['rows']['read']:,} ", said, re.MULTILINE)


def test_it_lies_where_the_output_does_and_is_replaced_with_it(cascade, tmp_path, capsys):
    jobs.write_jsonl(tmp_path / "in.jsonl", [{"text": "a good film"}, {"text": 5}])
    (tmp_path / "notes.txt").write_text("passed over")
    output = "memory://test_report/out"
    given = jobs.arguments(cascade, tmp_path, output, "--report")
    assert classify.main(given) == TOO_MANY_DEAD
    assert f"{output}/_report.html" in capsys.readouterr().out
    assert show.main([output]) == DONE
    said = capsys.readouterr().out
    assert "failed: too many dead rows" in said and "notes.txt" in said
    with pytest.raises(RefusedError, match="--overwrite replaces"):
        classify.main(given)
    assert classify.main([*given, "--overwrite", "--max_dead_fraction", "0.5"]) == DONE
    capsys.readouterr()
    assert shown(capsys, output)["state"] == "complete"


def test_an_output_without_a_run_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RefusedError, match="expected the output directory of"):
            show.main([str(folder)])


@pytest.fixture(scope="module")
def manifest(cascade, tmp_path_factory):
    """Of a run, with all that a run may have to say put in."""
    folder = tmp_path_factory.mktemp("page")
    path = corpus(folder, "jsonl", rows=300)
    given = arguments(path, cascade, folder / "out", "--audit_rate", "0.2")
    assert classify.main(given) in (DONE, ALARM)
    made = Manifest.from_json(json.loads((folder / "out" / "_manifest.json").read_text()))
    signed = (Guarantee("recall", 0.95, 0.05, (0.9,), 1000, 36, 0.953, True, "binomial", HOSTILE),)
    letters = replace(
        made.dead_letters,
        reasons={HOSTILE: 1},
        examples={HOSTILE: (Example(HOSTILE, None, 5, HOSTILE, HOSTILE),)},
    )
    accepted = replace(made.counts.accepted, answers={HOSTILE: 7, "positive": 3})
    return replace(
        made,
        cascade=replace(made.cascade, certificate=Coverage(COVERED, signed=signed)),
        counts=replace(made.counts, accepted=accepted),
        dead_letters=letters,
        notes=(HOSTILE,),
        broken_files=({"path": HOSTILE, "error": HOSTILE},),
        inputs=(*made.inputs, {"path": HOSTILE, "format": "jsonl", "size": 3}),
    )


@pytest.fixture
def written(manifest, tmp_path):
    path = tmp_path / "_report.html"
    path.write_text(page.render(manifest, "out"), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_in_a_browser(written, probe, width):
    found = probe(written, "--window-size=1400,3000", width=width)
    assert found["width"] == width
    assert found["page"] <= width
    assert found["requests"] == 0
    (drawing,) = found["figures"].values()
    assert 300 < drawing["width"] <= width
    assert drawing["drawn"] > 5


def test_it_follows_the_readers_theme(written, probe):
    light, dark = (probe(written, *options) for options in ((), (DARK,)))
    assert brightness(light["background"]) > 600 > 300 > brightness(light["ink"])
    assert brightness(dark["background"]) < 150 < 500 < brightness(dark["ink"])


def test_texts_can_break_neither_the_page_nor_the_terminal(written, manifest, browse):
    dom, complaints = browse(written, "--dump-dom")
    assert not complaints
    assert "<script>document" not in dom and "$title [bold]x[/]" in dom
    console = Console(width=4000, force_terminal=True, color_system="truecolor")
    with console.capture() as said:
        for table in tables.tables(Standing(COMPLETE, manifest), "out"):
            console.print(table)
    assert "$title [bold]x[/] �[31m" in said.get()


def test_a_page_does_not_grow_with_its_run(manifest):
    long = "x" * 200
    answers = {f"{number} {long}": 10**9 for number in range(201)}
    bins = {f"{number / 100:.2f}": 10**9 for number in range(100)}
    counts = replace(manifest.counts.accepted, answers=answers, confidences=bins)
    examples = {
        f"{number} {long}": (Example(long, 1, None, long, long),) * 3 for number in range(50)
    }
    huge = replace(
        manifest,
        counts=replace(manifest.counts, accepted=counts, escalated=counts),
        inputs=({"path": long, "format": "jsonl", "size": 3},) * 10_000,
        notes=(long,) * 10_000,
        dead_letters=replace(
            manifest.dead_letters, reasons=dict.fromkeys(examples, 9), examples=examples
        ),
    )
    html = page.render(huge, "out")
    assert len(html.encode()) < 500_000
    assert html.count("And 9,800 more, in _manifest.json.") == 2


@pytest.fixture
def three(manifest, tmp_path):
    """Of a run of three tiers, as a build leaves them, with an audit and a promise."""
    for number in (1, 2, 3):
        (tmp_path / f"tier_{number}").mkdir()
    built = [{"name": name} for name in ("static", "bilstm", "second tier")]
    made = {"made": "2020-01-01T00:00:00+00:00", "tiers": built}
    (tmp_path / "report.json").write_text(json.dumps(made))
    signed = (Guarantee("agreement", 0.95, 0.05, (0.9, 0.8), 1000, 36, 0.953, True, "binomial"),)
    cascade = replace(
        manifest.cascade,
        thresholds=(0.9126, 0.7595),
        tiers=tuple({"source": str(tmp_path / f"tier_{number}")} for number in (1, 2, 3)),
        certificate=Coverage(COVERED, signed=signed),
    )
    accepted = replace(manifest.counts.accepted, tiers={"1": 800})
    escalated = replace(manifest.counts.escalated, tiers={"2": 150, "3": 50})
    return replace(
        manifest,
        rows=replace(manifest.rows, read=1000, accepted=800, escalated=200, dead=0, audited=7),
        cascade=cascade,
        counts=replace(manifest.counts, accepted=accepted, escalated=escalated),
        seconds={"read": 1.0, "tier 1": 1.0, "tier 2": 2.0, "tier 3": 5.7},
    )


def test_every_tier_of_three_is_shown_by_its_name(three, tmp_path):
    html = page.render(three, "out")
    shown = (
        "<b>80.0%</b><span>answered by tier 1, static: 800 rows",
        "<b>15.0%</b><span>answered by tier 2, bilstm: 150 rows",
        "<b>5.0%</b><span>went on to tier 3, second tier, the last: 50 rows",
        "rows under 0.9126 go on to a later tier.",
        "counts the 7 audited rows, too",
        "Certificate: covered. We are 95 % sure that on at least 95 % of all rows",
        "we are 98% sure that it is",
    )
    assert [one for one in shown if one not in html] == []
    assert "0.7595" not in html
    tables = by_hand.tables_of(html)
    assert [row[:2] for row in tables["fates"] if "tier" in row[0]] == [
        ["tier 2, bilstm", "150"],
        ["tier 3, second tier", "50"],
    ]
    assert tables["tiers"][-1][0] == "tier 3, second tier"
    assert tables["tiers"][-1][5] == "100"  # ms a row, over 50 rows and 7 audited ones


def test_a_later_build_does_not_name_the_tiers_of_an_earlier_run(three, tmp_path):
    path = tmp_path / "report.json"
    later = json.loads(path.read_text()) | {"made": "2999-01-01T00:00:00+00:00"}
    for report in (json.dumps(later), "{}", "[]", "no JSON"):
        path.write_text(report)
        html = page.render(three, "out")
        assert "answered by tier 2: 150 rows" in html and "bilstm" not in html


def test_a_failed_run_and_an_alarm_are_said_first(manifest):
    audit = replace(manifest.audit, verdict="alarm")
    assert isinstance(audit, Audit)
    html = page.render(replace(manifest, audit=audit), "out", failed=True)
    head = html[: html.index("<h2")]
    assert head.count('class="promise no"') == 2
    assert "more rows are dead than --max_dead_fraction 0.01 allows" in head
    assert "accepted rows: alarm" in head
    assert 'class="promise no"' not in page.render(manifest, "out").split("<h2")[0]
