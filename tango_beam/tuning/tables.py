"""What tuning shows to people: a table a tier, a plot, and whether the cascade pays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from tango_beam.machine import cores
from tango_beam.terminal import projections
from tango_beam.tuning.candidates import Timing, TunedTier
from tango_beam.tuning.tune import Outcome

PLOT = "throughput.png"
# How the in-process runner is told to run several worker processes.
PROCESSES = "--direct_running_mode multi_processing --direct_num_workers {} --workers 1"


def tables(outcome: Outcome, output: str) -> Iterator[Table]:
    """Tables for standard output: what was measured of each tier, then of the whole cascade."""
    for number, tuned in enumerate(outcome.tiers, start=1):
        yield _tier(number, tuned)
    yield _whole(outcome, output)


def _tier(number: int, tuned: TunedTier) -> Table:
    budgets = sorted({timing.batch_tokens for timing in tuned.timings})
    table = Table(title=f"tier {number}: rows a second by padded tokens in a micro-batch")
    table.add_column("precision")
    for budget in budgets:
        table.add_column(f"{budget:,}", justify="right")
    table.add_column("as fp32 answers, at least", justify="right")
    for label, timings in lines(tuned):
        rates = {
            timing.batch_tokens: f"[bold]{timing.rate:,.0f}[/]"
            if timing == tuned.best
            else f"{timing.rate:,.0f}"
            for timing in timings
        }
        cells = [rates.get(budget, "") for budget in budgets]  # fewer tokens: timed at one of them
        agreement = tuned.agreements[timings[0].name]
        proof = f"{agreement.bound:.2%} ({agreement.differ} of {agreement.rows:,} differ)"
        if agreement.bound < tuned.least <= 1 - agreement.differ / agreement.rows:
            proof += ", more --sample_rows would tell"
        shown = timings[0].name != "fp32" and timings[0].threads == 1
        table.add_row(label, *cells, proof if shown else "")
    return table


def lines(tuned: TunedTier) -> list[tuple[str, list[Timing]]]:
    """The timings of a tier by what was timed, batch sizes in order."""
    made: dict[str, list[Timing]] = {}
    for timing in sorted(tuned.timings, key=lambda timing: timing.batch_tokens):
        threads = "" if timing.threads == 1 else f", {timing.threads} threads"
        made.setdefault(timing.name + threads, []).append(timing)
    return list(made.items())


def _whole(outcome: Outcome, output: str) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for number, tuned in enumerate(outcome.tiers, start=1):
        best, share = tuned.best, ""
        if tuned.useful_share is not None:
            share = f"; {tuned.useful_share:.0%} of the machine's rate, no padding counted"
        table.add_row(
            f"tier {number}",
            f"{best.name}, {best.batch_tokens:,} padded tokens and {best.threads} "
            f"thread{'s' * (best.threads > 1)} to a micro-batch: the fastest, within 3 %, of those "
            f"that answer as fp32 does often enough{share}",
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
        table.add_row("certificate", "void, since scores have changed: run pipelines.calibrate")
    table.add_row("cascade", output)
    return table


def _add_workers(table: Table, outcome: Outcome) -> None:
    """One process on all cores beside one on each, and the options that give the faster."""
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
    for number, (panel, tuned) in enumerate(zip(panels, outcome.tiers, strict=True), start=1):
        for label, timings in lines(tuned):
            budgets = [timing.batch_tokens for timing in timings]
            panel.plot(budgets, [timing.rate for timing in timings], marker="o", label=label)
        panel.plot(tuned.best.batch_tokens, tuned.best.rate, "o", ms=12, mfc="none", mec="black")
        panel.set_xscale("log", base=2)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("padded tokens in a micro-batch")
        panel.set_ylabel("rows a second")
        panel.set_title(f"tier {number}")
        panel.legend()
    path = folder / PLOT
    figure.savefig(path, dpi=150)
    return path
