"""The report's numbers as tables of text, for the page and for the terminal alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tango_beam.evaluation import metrics

BATCHES = {"batch_1": "batch size 1", "own_batch": "own batch sizes"}
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


def scores(found: dict[str, Any]) -> TextTable:
    """Every metric of each tier alone and of the cascade."""
    positive = found["metric"]["positive"]
    kinds = ["accuracy", *(["f1"] if positive else []), "macro_f1", "mcc"]
    heads = [f"F1 ({positive})" if kind == "f1" else metrics.NAMES[kind] for kind in kinds]
    rows = [
        (
            row["what"],
            *(number(row[kind]) for kind in kinds),
            percent(row["escalated"]),
            *(times(row["speedup"][size]) for size in BATCHES),
        )
        for row in found["scores"]
    ]
    head = ("", *heads, "escalated", *(f"speedup, {name}" for name in BATCHES.values()))
    return TextTable("scores", f"Scores on {found['input']['rows']:,} rows", head, rows)


def speedups(found: dict[str, Any]) -> TextTable:
    """Speedup@99 and speedup@98, on the same rows and with a held-out threshold."""
    last, shown = len(found["cascade"]["tiers"]), found["metric"]["shown"]
    rows = []
    for entry in found["speedup_at"]:
        name = f"speedup@{100 * entry['share']:.0f}"
        same, held = entry["same_rows"], entry["held_out"]
        if same is None:
            rows.append((name, "same rows", *(_NONE for _ in range(6)), _NONE))
        else:
            rows.append((name, "same rows", *_speedup_cells(same), _NONE))
        reached = f"{held['reached']:.0%} of {held['splits']}"
        rows.append((name, "other half", *_speedup_cells(held), reached))
    head = (
        "", "scored on", *BATCHES.values(), "threshold", "escalated", shown,
        f"of tier {last}'s", "goal kept",
    )  # fmt: skip
    note = (
        f"The largest speedup over tier {last} alone whose {shown} is at least 99 % or 98 % of "
        f"tier {last}'s. Same rows: the threshold is read off the rows on which it is scored, as "
        "in the paper. Other half: chosen on a random half, scored on the other; medians over the "
        "splits. Goal kept: splits in which the other half kept the share too."
    )
    return TextTable("speedups", "Speedup at 99 % and 98 %", head, rows, note)


def _speedup_cells(entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        *(times(entry["speedup"][size]) for size in BATCHES),
        number(entry["threshold"]),
        percent(entry["escalated"]),
        number(entry["score"]),
        percent(entry["kept"]),
    )


def curve(found: dict[str, Any], most: int = 21) -> TextTable:
    """The curve at no more than so many of its thresholds; report.json has all."""
    values, rows = found["curve"], found["input"]["rows"]
    count = len(values["thresholds"])
    chosen = np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()
    lines = [
        (
            number(values["thresholds"][step]),
            percent(values["escalated"][step] / rows),
            *(number(values[routing][step]) for routing in ("cascade", "oracle", "random")),
            *(times(values["speedups"][size]["cascade"][step]) for size in BATCHES),
        )
        for step in chosen
    ]
    head = (
        "threshold", "escalated", "cascade", "oracle", "random",
        *(f"speedup, {name}" for name in BATCHES.values()),
    )  # fmt: skip
    note = f"{len(chosen)} of {count:,} thresholds; report.json has all of them."
    title = f"{found['metric']['shown'].capitalize()} and speedup by threshold"
    return TextTable("curve", title, head, lines, note)


def corrections(found: dict[str, Any]) -> TextTable:
    """Rows by quantile of the first tier's confidence."""
    values = found["corrections"]
    rows = [
        (
            f"{values['edges'][place]:.4f} to {values['edges'][place + 1]:.4f}",
            *(
                f"{values[kind][place]:,}"
                for kind in ("rows", "corrected", "introduced", "both_wrong", "both_right")
            ),
        )
        for place in range(len(values["rows"]))
    ]
    head = (
        "first-tier confidence", "rows", "corrected (F-T)", "introduced (T-F)",
        "both wrong", "both right",
    )  # fmt: skip
    return TextTable("corrections", "Errors by confidence", head, rows)


def costs(found: dict[str, Any]) -> TextTable:
    """What the first tier and the last one alone cost a row."""
    rows = []
    for size, name in BATCHES.items():
        cost = found["costs"][size]
        for key, what in (("first", "tier 1"), ("alone", f"{_last(found)} alone")):
            seconds, repeats = cost[key]["seconds_per_row"], cost[key]["repeats"]
            rows.append(
                (
                    name,
                    what,
                    f"{1000 * seconds:.3f}",
                    f"{1000 * min(repeats):.3f} to {1000 * max(repeats):.3f}",
                    f"{1 / seconds:,.0f}",
                    f"{cost['rows_timed']:,}",
                )
            )
    head = ("", "", "ms a row", "over the repeats", "rows a second", "rows timed")
    return TextTable("costs", "Costs, tokenization included", head, rows)


def machine(found: dict[str, Any]) -> TextTable:
    """What was evaluated, and on what."""
    facts, source = found["machine"], found["input"]
    rows = [
        ("rows", f"{source['rows']:,} of {', '.join(source['files'])}"),
        ("labels", ", ".join(f"{label} {count:,}" for label, count in source["labels"].items())),
    ]
    for place, tier in enumerate(found["cascade"]["tiers"], start=1):
        tokens = ", takes over tokens" if tier["takes_tokens"] else ""
        rows.append(
            (
                f"tier {place}",
                f"{tier['model']}; windows of {tier['batch_rows']:,} rows, "
                f"{tier['mean_tokens']:.1f} tokens a row{tokens}; {tier['source']}",
            )
        )
    rows += [
        ("fingerprint", found["cascade"]["scoring_fingerprint"]),
        ("processor", f"{facts['processor']}, {facts['cores']} cores"),
        ("accelerator", facts["accelerator"] or "none"),
        ("precision", f"{facts['precision']} on {facts['device']}"),
        ("torch", f"{facts['torch']}, {facts['threads']} threads; Python {facts['python']}"),
        ("load before", f"{facts['load_average']} (other work on the machine slows all tiers)"),
        ("repeats, seed", f"{found['repeats']}, {found['seed']}"),
        ("command", found["command"]),
    ]
    return TextTable("machine", "What was measured, and on what", ("", ""), rows)


def _last(found: dict[str, Any]) -> str:
    return f"tier {len(found['cascade']['tiers'])}"


def number(value: float | None) -> str:
    """Four decimals."""
    return _NONE if value is None else f"{value:.4f}"


def percent(value: float | None) -> str:
    """A share as a percentage, one decimal."""
    return _NONE if value is None else f"{100 * value:.1f} %"


def times(value: float | None) -> str:
    """A speedup."""
    return _NONE if value is None else f"{value:.2f} x"
