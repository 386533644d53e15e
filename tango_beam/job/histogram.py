"""The first tier's confidences as a drawing: rows of each bin by fate, and the threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from tango_beam.html_page import ticks

ACCEPTED, ESCALATED = "var(--accent)", "var(--other)"
_WIDE, _HIGH, _LEFT, _RIGHT, _BELOW, _TOP = 720, 280, 66, 16, 42, 22
_BIN = 0.01
_FLOOR = 0.5  # rows at the foot of a bar, so that one row is seen
Place = Callable[[float, float], tuple[float, float]]


def svg(
    accepted: Mapping[str, int], escalated: Mapping[str, int], thresholds: Sequence[float]
) -> str:
    """A drawing of bins: confidence to the right, rows upward on a logarithmic scale.

    Most rows of a good first tier are in the last bin; what matters stands about the threshold.

    Args:
      accepted: rows by where their bin begins.
      escalated: likewise; they stand beside the accepted ones.
      thresholds: under which rows are escalated.
    """
    bins = sorted({*accepted, *escalated}, key=float)
    if not bins:
        return ""
    most = max(*accepted.values(), *escalated.values(), 1)
    low = math.floor(10 * min(float(bins[0]), *thresholds, 0.9) + 1e-6) / 10

    def place(confidence: float, rows: float) -> tuple[float, float]:
        across = (_WIDE - _LEFT - _RIGHT) * (confidence - low) / (1 - low)
        up = math.log(max(rows, _FLOOR) / _FLOOR) / math.log(most / _FLOOR)
        return _LEFT + across, _HIGH - _BELOW - (_HIGH - _BELOW - _TOP) * up

    drawn = "".join(_bars(place, one, accepted.get(one, 0), escalated.get(one, 0)) for one in bins)
    limits = "".join(_limit(place, one, most) for one in thresholds)
    rows = sum(accepted.values()), sum(escalated.values())
    return (
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="confidences: {rows[0]:,} rows '
        f'accepted, {rows[1]:,} escalated">{_grid(place, low, most)}{drawn}{limits}</svg>'
    )


def _bars(place: Place, begins: str, accepted: int, escalated: int) -> str:
    """The bars of one bin, side by side where it has two."""
    left, floor = place(float(begins), 0)
    right, _ = place(float(begins) + _BIN, 0)
    said = f"{begins} to {float(begins) + _BIN:.2f}: {accepted:,} accepted, {escalated:,} escalated"
    both = [(rows, fill) for rows, fill in ((escalated, ESCALATED), (accepted, ACCEPTED)) if rows]
    wide = (right - left - 0.6) / len(both)
    drawn = "".join(
        f'<rect x="{left + at * wide:.1f}" y="{place(0, rows)[1]:.1f}" width="{wide:.1f}" '
        f'height="{floor - place(0, rows)[1]:.1f}" fill="{fill}"/>'
        for at, (rows, fill) in enumerate(both)
    )
    return f"<g><title>{said}</title>{drawn}</g>"


def _limit(place: Place, threshold: float, most: int) -> str:
    x, top = place(threshold, most)
    _, floor = place(threshold, 0)
    side = "end" if threshold > 0.5 else "start"
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 8:.1f}" y2="{floor:.1f}" stroke="var(--ink)" '
        f'stroke-dasharray="4 3"/><text x="{x:.1f}" y="{top - 11:.1f}" text-anchor="{side}">'
        f"threshold {threshold:.4g}</text>"
    )


def _grid(place: Place, low: float, most: int) -> str:
    """Lines and their labels: rows to the left, confidences below."""
    drawn = []
    for power in range(int(math.log10(most)) + 1):
        rows = 10**power
        _, y = place(low, rows)
        drawn.append(
            f'<line x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="var(--grid)"/><text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{rows:,}</text>"
        )
    for confidence in ticks(low, 1.0, 10):
        x, y = place(confidence, 0)
        drawn.append(
            f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{confidence:g}</text>'
        )
    drawn.append(
        f'<text x="{(_WIDE + _LEFT) / 2:.0f}" y="{_HIGH - 6}" text-anchor="middle">confidence of '
        "the first tier; rows on a logarithmic scale</text>"
    )
    return "".join(drawn)
