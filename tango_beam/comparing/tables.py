"""A comparison as people read it on a terminal."""

from __future__ import annotations

from rich.table import Table

from tango_beam.comparing.report import Example, Report, Side

_TEXT = 160


def side_by_side(report: Report) -> Table:
    """Figures of both runs, and of the rows that both hold."""
    table = Table(box=None, pad_edge=False)
    table.add_column("", style="bold")
    table.add_column("A", justify="right")
    table.add_column("B", justify="right")
    sides = (report.a, report.b)

    def line(name: str, *cells: str) -> None:
        table.add_row(name, *cells)

    line("output", *(side.output for side in sides))
    line("cascade", *(f"{side.cascade} {side.fingerprint}" for side in sides))
    thresholds = (", ".join(f"{one:.4f}" for one in side.thresholds) or "none" for side in sides)
    line("threshold", *thresholds)
    line("read", *(f"{side.read:,}" for side in sides))
    line("dead", *(f"{side.dead:,}" for side in sides))
    if any(side.filtered for side in sides):
        line("filtered", *(f"{side.filtered:,}" for side in sides))
    line("escalated", *(f"{side.escalated:.1%}" for side in sides))
    line("confidence", *(f"{side.confidence:.4f}" for side in sides))
    for tier in sorted({one.tier for side in sides for one in side.tiers}):
        line(f"tier {tier}", *(_tier(side, tier) for side in sides))
    line("seconds", *(f"{sum(side.seconds.values()):,.1f}" for side in sides))
    for stage in dict.fromkeys(stage for side in sides for stage in side.seconds):
        line(f"  {stage}", *(f"{side.seconds.get(stage, 0.0):,.1f}" for side in sides))
    line("only here", f"{report.only_a:,}", f"{report.only_b:,}")
    return table


def _tier(side: Side, tier: int) -> str:
    found = [one for one in side.tiers if one.tier == tier]
    return f"{found[0].rows:,} at {found[0].confidence:.4f}" if found else "0"


def changes(report: Report, pairs: int) -> Table:
    """What changed, in all, from tier to tier, and from answer to answer."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    by = f"rows of both, matched by {report.matched_by}"
    table.add_row("both", f"{report.both:,}", by)
    table.add_row(
        "changed", f"{report.changed:,}", f"{_share(report.changed, report.both)} of them"
    )
    for move in report.moves:
        share = _share(move.changed, move.rows)
        of = f"of {move.rows:,} rows of tier {move.a} in A and tier {move.b} in B ({share})"
        table.add_row("", f"{move.changed:,}", of)
    for pair in report.pairs[:pairs]:
        table.add_row("answer", f"{pair.rows:,}", f"{pair.a} > {pair.b}")
    more = report.pairs[pairs:]
    if more:
        rows = sum(pair.rows for pair in more)
        table.add_row("", f"{rows:,}", f"in {len(more):,} other pairs (--pairs, --json)")
    for note in report.notes:
        table.add_row("note", "", note)
    for example in report.examples:
        table.add_row("example", "", _example(example))
    return table


def _share(part: int, whole: int) -> str:
    return f"{part / max(1, whole):.2%}"


def _example(example: Example) -> str:
    text = " | ".join(" ".join(text.split()) for text in example.texts)
    text = f"{text[:_TEXT]}..." if len(text) > _TEXT else text
    a = f"{example.a} ({_sure(example.confidence_a)}, tier {example.tier_a})"
    b = f"{example.b} ({_sure(example.confidence_b)}, tier {example.tier_b})"
    return f"{example.key}: {a} > {b}{f': {text}' if text else ''}"


def _sure(confidence: float | None) -> str:
    return "none" if confidence is None else f"{confidence:.3f}"
