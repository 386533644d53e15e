"""What a calibration shows to people: the promise, agreement by class, what else could be had."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from tango_beam.calibration.study import Outcome

MOST_CLASSES = 20


def tables(outcome: Outcome, output: str) -> Iterator[Table]:
    """Tables for standard output, most important first."""
    yield _promise(outcome, output)
    yield _classes(outcome.cascade.certificate or {})
    if outcome.offers:
        yield _offers(outcome.offers)


def _promise(outcome: Outcome, output: str) -> Table:
    found = outcome.cascade.certificate or {}
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for signed in outcome.signed:
        what = signed.goal + (f" of {signed.label}" if signed.label else "")
        counted = f"{signed.errors:,} of {signed.rows:,} rows count against it, {signed.method}"
        proved = "" if signed.bound is None else f"; proves {signed.bound:.4f}"
        table.add_row(
            f"{what} {signed.value:.4g}",
            f"{'signed' if signed.met else 'NOT SIGNED'} (delta {signed.delta:.4g}): "
            f"{counted}{proved}",
        )
    thresholds = ", ".join(f"{value:.6g}" for value in found["thresholds"])
    speed, corpus = found["speed"], found["corpus"]
    table.add_row("threshold", f"{thresholds}; {speed['escalated']:.1%} of the sample escalated")
    table.add_row("corpus", f"{corpus['rows']:,} rows in {len(corpus['files'])} files")
    table.add_row("speedup", f"{speed['speedup']:.2f} x the last tier alone, on this machine")
    if not speed["pays"]:
        table.add_row("", "THE CASCADE DOES NOT PAY here: run the last tier alone (--threshold 1)")
    for entry in found["calibration"]:
        table.add_row(
            f"tier {entry['tier']}",
            f"temperature {entry['temperature_before']:.4g} -> {entry['temperature_after']:.4g}, "
            f"calibration error {entry['error_before']:.4f} -> {entry['error_after']:.4f} "
            f"(against the {entry['against']})",
        )
    if found["unseen_classes"]:
        shown = ", ".join(found["unseen_classes"][:10])
        table.add_row("unseen", f"no row of the sample is {shown}: nothing is known of them")
    attempts = found["attempts"]
    if len(attempts) > 1:
        whole = min(1.0, sum(attempt["delta"] for attempt in attempts))
        table.add_row(
            "attempts",
            f"{len(attempts)} on record: the best of them is wrong with probability {whole:.3g} "
            "at most, not delta",
        )
    table.add_row("output", output if outcome.met else f"{output}: only the attempt, on record")
    return table


def _classes(found: dict[str, Any]) -> Table:
    table = Table(title="agreement by class of the last tier (the same sample)", box=None)
    for name in ("class", "rows", "accepted", "disagree", "agreement", "exact interval"):
        table.add_column(name, justify="left" if name == "class" else "right")
    rows = sorted(found["by_class"], key=lambda entry: entry["interval"][0])
    for entry in rows[:MOST_CLASSES]:
        low, high = entry["interval"]
        table.add_row(
            entry["label"], f"{entry['rows']:,}", f"{entry['accepted']:,}",
            f"{entry['disagreements']:,}", f"{entry['agreement']:.4f}", f"{low:.4f} to {high:.4f}",
        )  # fmt: skip
    if len(rows) > MOST_CLASSES:
        table.caption = f"the {MOST_CLASSES} lowest of {len(rows)}; the rest in the certificate"
    return table


def _offers(offers: list[dict[str, Any]]) -> Table:
    table = Table(title="what these rows could sign for (each as the one goal)", box=None)
    for name in ("agreement", "threshold", "escalated"):
        table.add_column(name, justify="right")
    for offer in offers:
        given = [f"{offer['threshold']:.6g}", f"{offer['escalated']:.1%}"]
        table.add_row(f"{offer['agreement']:.4g}", *(given if offer["met"] else ["-", "100.0%"]))
    return table
