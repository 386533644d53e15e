"""The paper's Tables 1 to 3 with this project's figures beside them, and Figures 2 to 4.

    python -m benchmarks.paper.page --work WORK --output benchmarks/paper

Reads the reports that `benchmarks.paper.run` left, one a task; a task without one is left out.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper.published import PAPER, SHARES, Published
from benchmarks.paper.run import REPORT
from benchmarks.paper.tasks import TASKS, Task
from tango_beam.evaluation import figures, report_directory
from tango_beam.evaluation.curves import cheapest
from tango_beam.evaluation.report import Report
from tango_beam.training.model_card import LOG

PAGE = "README.md"
ROUTINGS = ("deebert", "random", "cascade", "oracle")
FIGURES = {
    "speedup_batch_1": "Score against speedup at batch size 1 (the paper's Figure 2)",
    "speedup_own_batch": "The same at the tiers' own batch sizes (Figure 3, as speedups)",
    "corrections": "Errors that escalation corrects and introduces (Figure 4)",
}
DRAWN = ("sst2", "qnli")
HEAD = """# The paper's tables, and ours

Left of a slash what was measured here, right of it what the paper reports (TangoBERT: Mamou, Pereg, Wasserblat, Schwartz,
2022): other data, other encoders, another machine, so only the shape is to be compared. Commands: `python -m
benchmarks.paper.run --task TASK --data DATA --work WORK --encoder MPNET --small MINILM` for each task, then `python -m
benchmarks.paper.page --work WORK --output benchmarks/paper`. What differs is said below each table.
"""


def reports(work: str) -> dict[str, Report]:
    """The reports that there are, by task, in the paper's order of tasks."""
    paths = {name: Path(work, name, REPORT, report_directory.REPORT) for name in PAPER}
    return {
        name: Report.from_json(json.loads(path.read_text()))
        for name, path in paths.items()
        if path.is_file()
    }


def training_of(work: str, task: str, tier: str) -> dict[str, Any]:
    """What the training of a tier says of itself."""
    return json.loads(Path(work, task, tier, LOG).read_text())


def speedup_at(report: Report, routing: str, place: int, size: str) -> float | None:
    """Largest speedup of a routing at a share of the last tier's score, read off the same rows.

    Args:
      report: of a task.
      routing: one of `ROUTINGS`.
      place: of the share in `SHARES`.
      size: `batch_1` or `own_batch`.
    """
    if routing == "deebert":
        found = report.early_exit
        return found.speedup_at[place].speedup.get(size) if found else None
    scores = np.array(getattr(report.curve, routing))
    speedups = np.array(report.curve.speedups[size][routing])
    step = cheapest(scores, speedups, report.reference, SHARES[place])
    return None if step is None else float(speedups[step])


def table_1(found: dict[str, Report], work: str) -> Iterator[tuple[str, ...]]:
    """Rows, tiers and metrics."""
    yield (
        "task",
        "rows to train",
        "augmented",
        "rows to test",
        "metric",
        "first tier",
        "second tier",
    )
    for name, report in found.items():
        theirs, first = PAPER[name], training_of(work, name, "first_tier")
        used = first["data"]
        labelled = sum(row["rows"] for row in used if row["use"] == "train")
        more = sum(row["rows"] for row in used if row["use"].startswith(("augmented", "unlab")))
        yield (
            TASKS[name].shown,
            f"{labelled:,} / {1000 * theirs.train:,.0f}",
            f"{more:,} / {1000 * theirs.augmented:,}",
            f"{report.input.rows:,} / {1000 * theirs.test:,.0f}",
            report.metric.shown,
            f"{_tier(report, 0)} / {theirs.first_tier}",
            f"{_tier(report, -1)} / {theirs.second_tier}",
        )


def _tier(report: Report, place: int) -> str:
    tier = report.cascade.tiers[place]
    return f"{tier.model.split(',')[0]}, {tier.parameters / 1e6:.1f} M"


def table_2(found: dict[str, Report]) -> Iterator[tuple[str, ...]]:
    """Speedups at batch size 1, by routing, at 99 % and at 98 % of the second tier's score."""
    yield "task", *(f"{routing} {100 * share:.0f}" for share in SHARES for routing in ROUTINGS)
    for name, report in found.items():
        cells = [
            f"{_times(speedup_at(report, routing, place, 'batch_1'))} / "
            f"{_times(PAPER[name].speedups[routing][place])}"
            for place in range(len(SHARES))
            for routing in ROUTINGS
        ]
        yield TASKS[name].shown, *cells


def table_3(found: dict[str, Report]) -> Iterator[tuple[str, ...]]:
    """Scores and rows a second: of the second tier, then of the cascade at both shares."""
    yield (
        "task",
        "",
        "score",
        "batch 1, rows a second",
        "own batches, rows a second",
        "speedup, own batches",
        "the same, threshold of other rows",
        "splits that keep it",
    )
    for name, report in found.items():
        yield from _rows_of(TASKS[name], report, PAPER[name])


def _rows_of(task: Task, report: Report, theirs: Published) -> Iterator[tuple[str, ...]]:
    sizes = ("batch_1", "own_batch")
    alone = {size: 1 / report.costs[size].alone.seconds_per_row for size in sizes}
    whole = theirs.rates[0]
    yield (
        task.shown,
        "second tier",
        f"{100 * report.reference:.1f} / {whole.score}",
        f"{alone['batch_1']:,.0f} / {whole.batch_1:g}",
        f"{alone['own_batch']:,.0f} / {whole.own_batch:g}",
        *("", "", ""),
    )
    for entry, rates in zip(report.speedup_at, theirs.rates[1:], strict=True):
        same, held = entry.same_rows, entry.held_out
        speedup = same.speedup if same else dict.fromkeys(sizes, None)
        cells = [
            f"{'-' if value is None else f'{alone[size] * value:,.0f}'} / {published:g}"
            for size, value, published in (
                ("batch_1", speedup["batch_1"], rates.batch_1),
                ("own_batch", speedup["own_batch"], rates.own_batch),
            )
        ]
        yield (
            task.shown,
            f"cascade at {100 * entry.share:.0f} %",
            f"{f'{100 * same.score:.1f}' if same else '-'} / {rates.score}",
            *cells,
            f"{_times(speedup['own_batch'])} / {rates.own_batch / whole.own_batch:.1f}",
            _times(held.speedup["own_batch"]),
            f"{held.reached:.0%} of {held.splits}",
        )


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def markdown(rows: Iterator[tuple[str, ...]]) -> str:
    """A table; its first row is the head."""
    head, *lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *lines])


def write(work: str, folder: Path) -> Path:
    """Writes the page and its pictures; returns the page."""
    found = reports(work)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [HEAD, "## Table 1: rows, tiers and metrics\n\n" + markdown(table_1(found, work))]
    parts += [f"- {TASKS[name].shown}: {TASKS[name].differs}." for name in found]
    parts += [
        "## Table 2: times as fast as the second tier, batch size 1\n\n" + markdown(table_2(found)),
        "The threshold is read off the rows on which it is scored, as in the paper; DeeBERT's too.",
        "## Table 3: scores and rows a second\n\n" + markdown(table_3(found)),
        "The last two columns: threshold chosen on a random half, scored on the other half.",
        _machine(found),
    ]
    for name in (name for name in DRAWN if name in found):
        drawn = figures.draw(found[name])
        for figure, title in FIGURES.items():
            figures.save(drawn[figure], folder / f"{name}_{figure}.png")
            parts.append(f"## {TASKS[name].shown}. {title}\n\n![{title}]({name}_{figure}.png)")
    page = folder / PAGE
    page.write_text("\n\n".join(parts) + "\n")
    return page


def _machine(found: dict[str, Report]) -> str:
    machines = {
        f"{facts.processor}, {facts.cores} cores, {facts.precision}, torch {facts.torch}"
        for facts in (report.machine for report in found.values())
    }
    repeats = {report.repeats for report in found.values()}
    return (
        f"Machine: {'; '.join(sorted(machines))} (the paper: a Xeon Platinum 8280, fp32). "
        f"{' or '.join(map(str, sorted(repeats)))} timings on 500 rows, medians."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The paper's tables with our figures beside them.")
    parser.add_argument("--work", required=True, help="where benchmarks.paper.run left its reports")
    parser.add_argument("--output", required=True, help="folder for the page and its pictures")
    ours = parser.parse_args()
    print(write(ours.work, Path(ours.output)))


if __name__ == "__main__":
    main()
