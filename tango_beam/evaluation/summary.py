"""What an evaluation shows on the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from tango_beam.evaluation import tables
from tango_beam.evaluation.tables import TextTable


def terminal_tables(found: dict[str, Any]) -> list[Table]:
    """The tables at the end of a run."""
    return [_rich(tables.scores(found)), _rich(tables.speedups(found))]


def _rich(table: TextTable) -> Table:
    made = Table(title=table.title, title_justify="left", box=None, pad_edge=False)
    for place, name in enumerate(table.head):
        made.add_column(name, justify="right" if place else "left")
    for row in table.rows:
        made.add_row(*row)
    return made
