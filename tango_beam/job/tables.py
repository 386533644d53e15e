"""How a run stands, for a terminal: the sections of its page as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tango_beam.job.sections import Section, sections
from tango_beam.run.standing import CUT_SHORT, Standing

# Of a longer table, `--json` has the rest.
MOST_ROWS = 30
_BAR = 24


def tables(standing: Standing, output: str) -> Iterator[RenderableType]:
    """Tables for standard output.

    Args:
      standing: of the run.
      output: where it lies.
    """
    yield _state(standing, output)
    for section in sections(standing.manifest):
        yield _shown(section)


def _state(standing: Standing, output: str) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    manifest = standing.manifest
    said = [("run", standing.state), ("output", output)]
    if standing.ended:
        said.append(("finished", manifest.finished))
    else:
        done = (
            f"{standing.input_done:.1%} of the input; {standing.checkpoints:,} checkpoints stored"
        )
        said.append(("so far", done))
    if standing.state == CUT_SHORT:
        said.append(("", "the same command with --resume goes on with it"))
    said.append(("cascade", f"{manifest.cascade.name}, {manifest.cascade.fingerprint}"))
    for row in said:
        table.add_row(*map(_plain, row))
    return table


def _shown(section: Section) -> Group:
    """A title, a table, and what there is to say of it."""
    more = len(section.rows) - MOST_ROWS
    parts: list[RenderableType] = [Text(section.title, "bold")]
    parts += [_table(section)] if section.rows else []
    parts += [_plain(section.note)] if section.note else []
    parts += [f"and {more:,} more (--json has them all)"] if more > 0 else []
    return Group(*parts)


def _table(section: Section) -> Table:
    table = Table(box=None, pad_edge=False, show_header=any(section.head))
    for place, name in enumerate(section.head):
        table.add_column(_plain(name), justify="left" if place in section.texts else "right")
    if section.bars:
        table.add_column("")
    for place, row in enumerate(section.rows[:MOST_ROWS]):
        drawn = [_bar(*section.bars[place])] if section.bars else []
        table.add_row(*map(_plain, row), *drawn)
    return table


def _bar(accepted: float, escalated: float) -> Text:
    """Two parts of a bar; one that is there at all is seen."""
    whole = accepted + escalated
    cells = max(round(_BAR * whole), int(whole > 0))
    later = round(cells * escalated / whole) if whole else 0
    return Text("█" * (cells - later) + "░" * later)


def _plain(cell: str) -> Text:
    """A cell as it stands: neither rich's markup nor a terminal's own codes have an effect."""
    return Text("".join(sign if sign.isprintable() or sign == "\n" else "�" for sign in cell))
