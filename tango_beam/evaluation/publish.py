"""Where a report goes: a directory that is empty, or that holds an earlier report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tango_beam.errors import RefusedError
from tango_beam.evaluation import figures, page

REPORT, PAGE, FIGURES = "report.json", "report.html", "figures"


class Output:
    """The output directory of an evaluation.

    Args:
      folder: a local path.
    """

    def __init__(self, folder: str) -> None:
        self._given, self.folder = folder, Path(folder)

    def check(self, *, overwrite: bool) -> None:
        """Refuses, before any work, what could not be written at the end.

        Raises:
          RefusedError: a URL, or a directory that holds files while `overwrite` is off, or files
            that are no report's; or matplotlib is missing.
        """
        figures.require_matplotlib()
        if "://" in self._given:
            raise RefusedError(
                f"--output {self._given}: expected a local directory, found a URL; copy it there "
                "afterwards"
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise RefusedError(f"--output {self.folder}: expected a directory, found a file")
        found = sorted(entry.name for entry in self.folder.glob("*"))
        if found and not overwrite:
            raise RefusedError(
                f"--output {self.folder}: expected an empty directory, found "
                f"{', '.join(found[:5])}; --overwrite replaces an earlier report"
            )
        foreign = [name for name in found if name not in (REPORT, PAGE, FIGURES)]
        if foreign:
            raise RefusedError(
                f"--output {self.folder}: --overwrite replaces an earlier report and nothing else, "
                f"found {', '.join(foreign[:5])}"
            )

    def write(self, found: dict[str, Any]) -> list[Path]:
        """Writes report.json, report.html and the figures; returns their paths."""
        drawings = self.folder / FIGURES
        drawings.mkdir(parents=True, exist_ok=True)
        report, html = self.folder / REPORT, self.folder / PAGE
        report.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        inline = {}
        for name, figure in figures.draw(found).items():
            inline[name] = figures.svg(figure)
            figures.save(figure, drawings / f"{name}.svg")
            figures.save(figure, drawings / f"{name}.png")
        html.write_text(page.render(found, inline), encoding="utf-8")
        return [html, report, drawings]
