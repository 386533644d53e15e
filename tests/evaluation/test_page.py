"""The report in a real browser: every figure is there, in both themes, on a phone too."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipelines import evaluate
from tango_beam.evaluation import figures
from tango_beam.evaluation.page import render
from tango_beam.evaluation.report import EarlyExit, Report
from tests.browser import DARK, brightness
from tests.evaluation.test_evaluate import QUICK, rows_of, write

FIGURES = ["speedup_own_batch", "speedup_batch_1", "escalation", "corrections", "costs"]


@pytest.fixture(scope="module")
def report(cascade, tmp_path_factory) -> Path:
    """The output directory of an evaluation."""
    folder = tmp_path_factory.mktemp("evaluation")
    rows = write(folder / "rows.jsonl", rows_of(np.random.default_rng(3), 80))
    output = folder / "out"
    options = ["--cascade", str(cascade), *QUICK]
    assert evaluate.main(["--input", str(rows), "--output", str(output), *options]) == 0
    return output


@pytest.mark.parametrize("width", [390, 1200])
def test_every_figure_is_there_and_nothing_overflows(report, probe, width):
    found = probe(report / "report.html", "--window-size=1400,3000", width=width)
    assert found["width"] == width
    assert found["page"] <= width
    assert list(found["figures"]) == [f"figure-{name}" for name in FIGURES]
    for figure in found["figures"].values():
        assert 300 < figure["width"] <= width
        assert figure["height"] > 200
        assert figure["drawn"] > 20
    assert found["requests"] == 0


def test_it_follows_the_readers_theme(report, probe):
    light = probe(report / "report.html")
    dark = probe(report / "report.html", DARK)

    assert brightness(light["background"]) > 600 > 300 > brightness(light["ink"])
    assert brightness(dark["background"]) < 150 < 500 < brightness(dark["ink"])
    for name, figure in light["figures"].items():
        drawn = set(figure["strokes"]) - {"none"}
        assert drawn
        assert not drawn & set(dark["figures"][name]["strokes"])


def test_a_page_that_complains_would_be_noticed(browse, tmp_path):
    page = tmp_path / "broken.html"
    page.write_text("<script>undefined.figure</script>")
    assert browse(page, "--dump-dom")[1]


@pytest.mark.parametrize(("width", "theme"), [(390, ()), (1200, ()), (1200, (DARK,))])
def test_a_screenshot_is_no_blank_page(report, browse, tmp_path, width, theme):
    from matplotlib import image

    shot = tmp_path / "shot.png"
    size = f"--window-size={width},2400"
    _, complaints = browse(report / "report.html", f"--screenshot={shot}", size, *theme)
    assert not complaints
    pixels = image.imread(shot)
    assert pixels.shape[:2] == (2400, width)
    # Something is drawn in every fifth of the page.
    assert all(part.std() > 0.02 for part in np.array_split(pixels[:, :, :3], 5))


def test_copy_puts_a_table_on_the_clipboard_as_tabs_and_lines(report, browse, tmp_path):
    page = tmp_path / "copied.html"
    script = """<script>
    navigator.clipboard.writeText = async text => { document.title = JSON.stringify(text); };
    document.querySelector('button[data-table="speedups"]').click();
    </script>"""
    page.write_text((report / "report.html").read_text().replace("</body>", f"{script}</body>"))
    dom, complaints = browse(page, "--dump-dom")
    assert not complaints
    copied = json.loads(re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1])
    lines = [line.split("\t") for line in copied.split("\n")]
    assert [line[0] for line in lines[1:]] == ["speedup@99"] * 2 + ["speedup@98"] * 2
    assert {len(line) for line in lines} == {9}


def test_nothing_in_the_page_is_fetched(report):
    page = (report / "report.html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", page)
    assert not re.search(r"url\((?!#)|@import|<link|<iframe|<metadata", page)


def test_ids_are_distinct_and_what_is_referred_to_is_there(report):
    page = (report / "report.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)


def test_labels_and_paths_cannot_break_the_page(report):
    found = json.loads((report / "report.json").read_text())
    found["cascade"]["name"] = found["metric"]["positive"] = "<script>alert(1)</script>"
    found["command"] = "$title </td>"
    html = render(Report.from_json(found), {})
    assert "<script>alert" not in html
    assert "$title &lt;/td&gt;" in html


def test_the_figures_are_files_too_and_their_numbers_are_in_the_json(report):
    for name in FIGURES:
        assert (report / "figures" / f"{name}.svg").read_text().startswith("<?xml")
        assert (report / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((report / "report.json").read_text())
    page = (report / "report.html").read_text()
    for row in found["scores"]:
        assert f"<td>{row['metrics']['accuracy']:.4f}</td>" in page
    for entry in found["speedup_at"]:
        assert f"<td>{entry['held_out']['speedup']['own_batch']:.2f} x</td>" in page


@pytest.mark.parametrize("fallen", [None, 0.0])
def test_levels_stand_apart_however_far_exits_fall(report, fallen):
    found = Report.from_json(json.loads((report / "report.json").read_text()))
    if fallen is not None:
        speedups = {size: [1.0, 9.0] for size in ("own_batch", "batch_1")}
        scores = [found.reference, fallen]
        left = EarlyExit(12, [1.0, 0.0], [12.0, 1.0], scores, speedups, ())
        found = replace(found, early_exit=left)
    for name in ("speedup_batch_1", "escalation"):
        figure = figures.draw(found)[name]
        figure.draw_without_rendering()
        places = [text.get_window_extent() for text in figure.axes[0].texts]
        assert len(places) == 3
        assert all(one.y0 >= below.y1 for one, below in pairwise(places))
