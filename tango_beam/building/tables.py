"""What a build shows to people on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from tango_beam.building.build import PAGE
from tango_beam.building.result import Built
from tango_beam.guarantees.in_words import sentence


def tables(built: Built, output: str) -> Iterator[Table]:
    """Tables for standard output, most important first."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for one in built.signed:
        table.add_row("signed", sentence(one))
    if not built.signed:
        table.add_row("no cascade pays", built.why)
        table.add_row("", "the second tier alone was written, with its fastest settings")
    cascade, alone = built.seconds
    table.add_row("speed", f"{built.speedup:.2f} x the second tier alone, on this machine")
    table.add_row("", f"{1 / cascade:,.0f} rows a second, and {1 / alone:,.0f}")
    table.add_row("page", f"{output}/{PAGE}")
    yield table
    if len(built.tiers) > 1:
        yield _chain(built)


def _chain(built: Built) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("tier", "threshold", "answers", "of the cost"):
        table.add_column(name, justify="left" if name == "tier" else "right")
    for tier in built.tiers:
        threshold = "" if tier.threshold is None else f"{tier.threshold:.4f}"
        table.add_row(tier.name, threshold, f"{tier.answers:.1%}", f"{tier.share_of_cost:.0%}")
    return table
