"""What tuning shows to people: a table a tier, a plot, and whether the cascade pays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from tango_beam.summary import cores, projections
from tango_beam.tuning.study import Outcome
from tango_beam.tuning.ways import Chosen, Measured

PLOT = "throughput.png"
# How the in-process runner has so many worker processes.
PROCESSES = "--direct_running_mode multi_processing --direct_num_workers {} --workers 1"


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
    for label, ways in lines(found):
        rates = {way.batch_tokens: way for way in ways}
        cells = [
            f"[bold]{rates[at].rate:,.0f}[/]"
            if rates[at] == found.way
            else f"{rates[at].rate:,.0f}"
            for at in budgets
        ]
        agreement = found.agreements[ways[0].name]
        proof = f"{agreement.bound:.2%} ({agreement.differ} of {agreement.rows:,} differ)"
        if agreement.bound < found.least <= 1 - agreement.differ / agreement.rows:
            proof += ", more --sample_rows would tell"
        shown = ways[0].name != "fp32" and ways[0].threads == 1
        table.add_row(label, *cells, proof if shown else "")
    return table


def lines(found: Chosen) -> list[tuple[str, list[Measured]]]:
    """What was measured of a tier, by what it was measured of, batch sizes in order."""
    made: dict[str, list[Measured]] = {}
    for way in sorted(found.measured, key=lambda way: way.batch_tokens):
        threads = "" if way.threads == 1 else f", {way.threads} threads"
        made.setdefault(way.name + threads, []).append(way)
    return list(made.items())


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
            f"{found.way.name}, {found.way.batch_tokens:,} padded tokens and {found.way.threads} "
            f"thread{'s' * (found.way.threads > 1)} to a micro-batch: the fastest, but for "
            f"3 %, that answers as fp32 does often enough{share}",
        )
    cascade, alone = outcome.rates
    table.add_row("escalated", f"{outcome.escalated:.1%} of the sample at the cascade's threshold")
    table.add_row(
        "rows a second",
        f"{cascade:,.0f} expected of the cascade, {alone:,.0f} of the last tier alone, sorted and "
        f"tuned: {cascade / alone:.2f} x",
    )
    _add_workers(table, outcome)
    for name, figure, unit in projections(cascade, cores()):
        table.add_row(name, f"{figure} {unit}" if name else f"{figure} rows: {unit}")
    if not outcome.pays:
        table.add_row("", "THE CASCADE DOES NOT PAY here: run the last tier alone (--threshold 1)")
    if outcome.void:
        table.add_row("certificate", "void: scores are others now; run pipelines.calibrate again")
    table.add_row("cascade", output)
    return table


def _add_workers(table: Table, outcome: Outcome) -> None:
    """One process on all cores beside one on each, and how to have the faster."""
    for workers in outcome.workers:
        several = workers.processes > 1
        shown = f"{workers.processes} process{'es' * several} of {workers.cores} "
        shown += f"core{'s' * (workers.cores > 1)}: {workers.rate:,.0f} rows a second"
        if workers == max(outcome.workers, key=lambda one: one.rate):
            shown += f", the faster; classify with {PROCESSES if several else 'no more options'}"
            shown = shown.format(workers.processes)
        table.add_row("" if several else "workers", shown)


def plot(outcome: Outcome, folder: Path) -> Path | None:
    """Draws rows a second against batch size, a panel a tier; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(5 * len(outcome.tiers), 3.6), layout="constrained")
    panels = figure.subplots(1, len(outcome.tiers), squeeze=False)[0]
    for number, (panel, found) in enumerate(zip(panels, outcome.tiers, strict=True), start=1):
        for label, ways in lines(found):
            budgets, rates = zip(*((way.batch_tokens, way.rate) for way in ways), strict=True)
            panel.plot(budgets, rates, marker="o", label=label)
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
