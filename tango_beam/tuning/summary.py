"""What tuning shows to people: a table a tier, a plot, and whether the cascade pays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from tango_beam.summary import cores, projections
from tango_beam.tuning.study import Outcome
from tango_beam.tuning.ways import Chosen

PLOT = "throughput.png"


def tables(outcome: Outcome, output: str) -> Iterator[Table]:
    """Tables for standard output: what was measured of each tier, then what it comes to."""
    for number, found in enumerate(outcome.tiers, start=1):
        yield _tier(number, found)
    yield _whole(outcome, output)


def _tier(number: int, found: Chosen) -> Table:
    budgets = sorted({way.batch_tokens for way in found.measured})
    table = Table(title=f"tier {number}: rows a second by padded tokens in a micro-batch")
    table.add_column("precision")
    for budget in budgets:
        table.add_column(f"{budget:,}", justify="right")
    table.add_column("as fp32 answers, at least", justify="right")
    for name, agreement in found.agreements.items():
        rates = {way.batch_tokens: way for way in found.measured if way.precision == name}
        cells = [
            f"[bold]{rates[at].rate:,.0f}[/]"
            if rates[at] == found.way
            else f"{rates[at].rate:,.0f}"
            for at in budgets
        ]
        proof = f"{agreement.bound:.2%} ({agreement.differ} of {agreement.rows:,} differ)"
        table.add_row(name, *cells, "" if name == "fp32" else proof)
    return table


def _whole(outcome: Outcome, output: str) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for number, found in enumerate(outcome.tiers, start=1):
        share = ""
        if found.useful_share is not None:
            share = f"; {found.useful_share:.0%} of the machine's rate, no padding counted"
        table.add_row(
            f"tier {number}",
            f"{found.way.precision}, {found.way.batch_tokens:,} padded tokens at a time: the "
            f"fastest that answers as fp32 does often enough{share}",
        )
    cascade, alone = outcome.rates
    table.add_row("escalated", f"{outcome.escalated:.1%} of the sample at the cascade's threshold")
    table.add_row(
        "rows a second",
        f"{cascade:,.0f} expected of the cascade, {alone:,.0f} of the last tier alone, sorted and "
        f"tuned: {cascade / alone:.2f} x",
    )
    for name, figure, unit in projections(cascade, cores()):
        table.add_row(name, f"{figure} {unit}" if name else f"{figure} rows: {unit}")
    if not outcome.pays:
        table.add_row("", "THE CASCADE DOES NOT PAY here: run the last tier alone (--threshold 1)")
    if outcome.void:
        table.add_row("certificate", "void: scores are others now; run pipelines.calibrate again")
    table.add_row("cascade", output)
    return table


def plot(outcome: Outcome, folder: Path) -> Path | None:
    """Draws rows a second against batch size, a panel a tier; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(5 * len(outcome.tiers), 3.6), layout="constrained")
    panels = figure.subplots(1, len(outcome.tiers), squeeze=False)[0]
    for number, (panel, found) in enumerate(zip(panels, outcome.tiers, strict=True), start=1):
        for name in found.agreements:
            ways = sorted(
                (way.batch_tokens, way.rate) for way in found.measured if way.precision == name
            )
            panel.plot(*zip(*ways, strict=True), marker="o", label=name)
        panel.plot(found.way.batch_tokens, found.way.rate, "o", ms=12, mfc="none", mec="black")
        panel.set_xscale("log", base=2)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("padded tokens in a micro-batch")
        panel.set_ylabel("rows a second")
        panel.set_title(f"tier {number}")
        panel.legend()
    path = folder / PLOT
    figure.savefig(path, dpi=150)
    return path
