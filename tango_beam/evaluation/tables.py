"""A report's numbers as tables of text, for the page and for the terminal alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.table import Table

from tango_beam.answers.task import LABELS
from tango_beam.evaluation.curves import evenly
from tango_beam.evaluation.metrics import NAMES
from tango_beam.evaluation.report import AtThreshold, BySize, ChosenCuts, Report

BATCHES = {"batch_1": "batch size 1", "own_batch": "own batch sizes"}
_SPEEDUPS = tuple(f"speedup, {name}" for name in BATCHES.values())
_NONE = "-"


@dataclass(frozen=True)
class TextTable:
    """A table, every cell as it is shown.

    Attributes:
      name: for anchors and tests.
      title: what it shows.
      head: the columns' names.
      rows: one cell a column.
      note: what a reader must know to read it.
    """

    name: str
    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def scores(report: Report) -> TextTable:
    """Every metric of each tier alone and of the cascade."""
    positive = report.metric.positive
    kinds = list(report.scores[0].metrics)
    heads = [f"F1 ({positive})" if positive and kind == "f1" else NAMES[kind] for kind in kinds]
    rows = [
        (
            row.what,
            *map(number, row.metrics.values()),
            percent(row.escalated),
            *_times(row.speedup),
        )
        for row in report.scores
    ]
    head = ("", *heads, "escalated", *_SPEEDUPS)
    return TextTable("scores", f"Scores on {report.input.rows:,} rows", head, rows)


def by_label(report: Report) -> TextTable:
    """F1 of each label, where a row may have several."""
    head = ("", "rows", *(score.what for score in report.scores))
    rows = [
        (label, f"{count:,}", *(number(score.by_label[label]) for score in report.scores))
        for label, count in report.input.labels.items()
    ]
    return TextTable("by_label", "F1 by label", head, rows)


def cuts(chosen: ChosenCuts) -> TextTable:
    """The cuts that were chosen, and F1 with and without them."""
    rows = [
        (label, *map(number, (one.before, one.cut, one.f1_before, one.f1)))
        for label, one in chosen.labels.items()
    ]
    rows += [
        (NAMES[name], "", "", number(value), number(chosen.after[name]))
        for name, value in chosen.before.items()
    ]
    note = (
        f"Chosen on {chosen.rows:,} other rows, each for the highest F1 of the last tier; all "
        f"figures here are of rows that did not choose. To use them, give {chosen.option} to any "
        "command, or write them as cuts into the task of cascade.json. Thresholds and promises "
        "belong to the cuts: calibrate again."
    )
    head = ("", "cut before", "cut", "F1 before", "F1")
    return TextTable("cuts", "Chosen cuts, last tier", head, rows, note)


def by_kind(report: Report) -> list[TextTable]:
    """Tables that some kinds of answer have, or some options ask for."""
    labels = [by_label(report)] if report.scores[0].by_label else []
    return labels + ([cuts(report.cuts)] if report.cuts else []) + early_exit(report)


def speedups(report: Report) -> TextTable:
    """Speedup@99 and speedup@98, on the same rows and with a held-out threshold."""
    last, shown = report.last, report.metric.shown
    rows = []
    for entry in report.speedup_at:
        name = f"speedup@{100 * entry.share:.0f}"
        same, held = entry.same_rows, entry.held_out
        cells = _speedup_cells(same) if same else 6 * (_NONE,)
        rows.append((name, "same rows", *cells, _NONE))
        reached = f"{held.reached:.0%} of {held.splits}"
        rows.append((name, "other half", *_speedup_cells(held), reached))
    head = ("", "scored on", *BATCHES.values(), "threshold", "escalated", shown)
    head = (*head, f"of {last}'s", "goal kept")
    note = (
        f"The largest speedup over {last} alone whose {shown} is at least 99 % or 98 % of "
        f"{last}'s. Same rows: the threshold is read off the rows on which it is scored, as "
        "in the paper. Other half: chosen on a random half, scored on the other; medians over the "
        "splits. Goal kept: splits in which the other half kept the share too."
    )
    return TextTable("speedups", "Speedup at 99 % and 98 %", head, rows, note)


def early_exit(report: Report) -> list[TextTable]:
    """The last tier left at its exits, where it has some."""
    found = report.early_exit
    if found is None:
        return []
    last, shown = report.last, report.metric.shown
    rows = []
    for entry in found.speedup_at:
        name = f"speedup@{100 * entry.share:.0f}"
        layers = _NONE if entry.layers is None else f"{entry.layers:.2f} of {found.layers_of}"
        cells = number(entry.threshold), layers, number(entry.score)
        rows.append((name, *_times(entry.speedup or dict.fromkeys(BATCHES)), *cells))
    note = (
        f"DeeBERT (Xin et al., 2020), on {last}: one threshold for all exits, read off the rows on "
        "which it is scored. With own batch sizes, what a row that has left would have cost is "
        "saved in whole batches."
    )
    head = ("", *BATCHES.values(), "threshold", "layers", shown)
    return [TextTable("early_exit", f"{last.capitalize()} left early", head, rows, note)]


def _speedup_cells(entry: AtThreshold) -> tuple[str, ...]:
    return (
        *_times(entry.speedup),
        number(entry.threshold),
        percent(entry.escalated),
        number(entry.score),
        percent(entry.kept),
    )


def curve(report: Report, most: int = 21) -> TextTable:
    """The curve at no more than `most` of its thresholds; report.json has all."""
    values, rows = report.curve, report.input.rows
    count = len(values.thresholds)
    chosen = evenly(count, most).tolist()
    lines = [
        (
            number(values.thresholds[step]),
            percent(values.escalated[step] / rows),
            number(values.cascade[step]),
            number(values.oracle[step]),
            number(values.random[step]),
            *_times({size: along["cascade"][step] for size, along in values.speedups.items()}),
        )
        for step in chosen
    ]
    head = ("threshold", "escalated", "cascade", "oracle", "random", *_SPEEDUPS)
    note = f"{len(chosen)} of {count:,} thresholds; report.json has all of them."
    title = f"{report.metric.shown.capitalize()} and speedup by threshold"
    return TextTable("curve", title, head, lines, note)


def corrections(report: Report) -> TextTable:
    """Rows by quantile of the first tier's confidence."""
    values = report.corrections
    columns = {
        "rows": values.rows,
        "corrected (F-T)": values.corrected,
        "introduced (T-F)": values.introduced,
        "both wrong": values.both_wrong,
        "both right": values.both_right,
    }
    between = [f"{low:.4f} to {high:.4f}" for low, high in pairwise(values.edges)]
    counts = zip(*columns.values(), strict=True)
    rows = [
        (edges, *(f"{count:,}" for count in line))
        for edges, line in zip(between, counts, strict=True)
    ]
    head = ("first-tier confidence", *columns)
    return TextTable("corrections", "Errors by confidence", head, rows)


def costs(report: Report) -> TextTable:
    """What the first tier and the last one alone cost a row."""
    rows = []
    for size, name in BATCHES.items():
        cost = report.costs[size]
        for what, spent in (("tier 1", cost.first), (f"{report.last} alone", cost.alone)):
            seconds, repeats = spent.seconds_per_row, spent.repeats
            rows.append(
                (
                    name,
                    what,
                    f"{1000 * seconds:.3f}",
                    f"{1000 * min(repeats):.3f} to {1000 * max(repeats):.3f}",
                    f"{1 / seconds:,.0f}",
                    f"{cost.rows_timed:,}",
                )
            )
    head = ("", "", "ms a row", "over the repeats", "rows a second", "rows timed")
    return TextTable("costs", "Costs, tokenization included", head, rows)


def machine(report: Report) -> TextTable:
    """What was evaluated, and on what."""
    facts, source = report.machine, report.input
    answers = ", ".join(f"{label} {count:,}" for label, count in source.labels.items())
    task, stated = report.cascade.task, ", ".join(f"{cut:g}" for cut in report.cascade.cuts)
    rows = [
        ("rows", f"{source.rows:,} of {', '.join(source.files)}"),
        ("labels" if task == LABELS else task, answers),
        *([("cuts", stated)] if stated else []),
    ]
    for place, tier in enumerate(report.cascade.tiers, start=1):
        tokens = ", takes over tokens" if tier.takes_tokens else ""
        rows.append(
            (
                f"tier {place}",
                f"{tier.model}; windows of {tier.batch_rows:,} rows, "
                f"{tier.mean_tokens:.1f} tokens a row{tokens}; {tier.source}",
            )
        )
    rows += [
        ("fingerprint", report.cascade.scoring_fingerprint),
        ("processor", f"{facts.processor}, {facts.cores} cores"),
        ("accelerator", facts.accelerator or "none"),
        ("precision", f"{facts.precision} on {facts.device}"),
        ("torch", f"{facts.torch}, {facts.threads} threads; Python {facts.python}"),
        ("load before", f"{facts.load_average} (other work on the machine slows all tiers)"),
        ("repeats, seed", f"{report.repeats}, {report.seed}"),
        ("command", report.command),
    ]
    return TextTable("machine", "What was measured, and on what", ("", ""), rows)


def number(value: float | None) -> str:
    """Four decimals."""
    return _NONE if value is None else f"{value:.4f}"


def percent(value: float | None) -> str:
    """A share as a percentage, one decimal."""
    return _NONE if value is None else f"{100 * value:.1f} %"


def times(value: float | None) -> str:
    """A speedup."""
    return _NONE if value is None else f"{value:.2f} x"


def _times(speedup: BySize) -> Iterator[str]:
    return (times(speedup[size]) for size in BATCHES)


def terminal_tables(report: Report) -> list[Table]:
    """The tables at the end of a run."""
    chosen = [cuts(report.cuts)] if report.cuts else []
    shown = (scores(report), *chosen, speedups(report), *early_exit(report))
    return [_rich(table) for table in shown]


def _rich(table: TextTable) -> Table:
    shown = Table(title=table.title, title_justify="left", box=None, pad_edge=False)
    for place, name in enumerate(table.head):
        shown.add_column(name, justify="right" if place else "left")
    for row in table.rows:
        shown.add_row(*row)
    return shown
