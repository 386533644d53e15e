"""The directory of a report: report.html, report.json and the figures."""

from __future__ import annotations

import json
from pathlib import Path

from tango_beam.evaluation import figures, page
from tango_beam.evaluation.report import Report
from tango_beam.local_output import check_local_output

REPORT, PAGE, FIGURES = "report.json", "report.html", "figures"


def check(output: str, *, overwrite: bool) -> Path:
    """Refuses, before any work, what could not be written at the end; returns the directory.

    Raises:
      RefusedError: a directory that holds files while `overwrite` is off, or files that are no
        report's; or matplotlib is missing.
    """
    figures.require_matplotlib()
    return check_local_output(
        output,
        kind="report",
        overwrite=overwrite,
        foreign=lambda names: [name for name in names if name not in (REPORT, PAGE, FIGURES)],
    )


def write(report: Report, folder: Path) -> list[Path]:
    """Writes report.json, report.html and the figures; returns their paths."""
    drawings = folder / FIGURES
    drawings.mkdir(parents=True, exist_ok=True)
    numbers, html = folder / REPORT, folder / PAGE
    text = json.dumps(report.to_json(), indent=1, ensure_ascii=False)
    numbers.write_text(text + "\n", encoding="utf-8")
    inline = {}
    for name, figure in figures.draw(report).items():
        inline[name] = figures.svg(figure)
        figures.save(figure, drawings / f"{name}.svg")
        figures.save(figure, drawings / f"{name}.png")
    html.write_text(page.render(report, inline), encoding="utf-8")
    return [html, numbers, drawings]
