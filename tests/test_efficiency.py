"""docs/efficiency.md and its chart say what benchmarks/README.md says."""

import re
import subprocess
import sys

import pytest

from tests.jobs import ROOT

PAGE = (ROOT / "docs" / "efficiency.md").read_text()
MEASURED = (ROOT / "benchmarks" / "README.md").read_text()
# Arithmetic of the page's own, on figures beside it.
WORKED_OUT = {
    "1.7": 2.4 / 1.4,
    "3.3": 9.2 / 2.8,
}


def numbers(text):
    return set(re.findall(r"\d[\d,]*\.\d+|\d[\d,]*(?= (?:%|rows|times|calls))", text))


def test_every_figure_of_the_page_was_measured():
    prose = re.sub(r"<picture>.*</picture>", "", PAGE, flags=re.DOTALL)
    missing = numbers(prose) - set(re.findall(r"\d[\d,]*(?:\.\d+)?", MEASURED))
    assert missing <= WORKED_OUT.keys()
    for said, found in WORKED_OUT.items():
        assert said == f"{found:.1f}"


def words(path):
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())


def test_the_chart_is_drawn_from_the_figures_that_stand_there(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    command = [sys.executable, "-m", "benchmarks.efficiency_chart", "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    for theme in ("light", "dark"):
        name = f"efficiency-{theme}.svg"
        drawn = words(tmp_path / name)
        assert drawn == words(ROOT / "docs" / "images" / name)
        assert {"32.7", "20.3", "15.8", "9.2", "6.1"} <= {*drawn}
