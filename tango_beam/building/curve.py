"""The curve of agreement against cost, as SVG; speedups on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tango_beam.building.result import Offer
from tango_beam.html_page import ticks

_WIDE, _HIGH, _LEFT, _BELOW, _TOP = 560, 300, 52, 42, 14
_MOST_SPEEDUPS = 9


def svg(front: Sequence[Offer], chosen: Sequence[Offer]) -> str:
    """A drawing of chains: speedup to the right, agreement upward.

    Args:
      front: the cheapest chain for each agreement.
      chosen: the chain that was built.
    """
    points = [(one.speedup, one.agreement) for one in (*front, *chosen)]
    if not points:
        return ""
    low = min(0.99, min(agreement for _, agreement in points))
    low = max(0.0, low - 0.15 * (1 - low))
    fastest = max(1.0, *(speedup for speedup, _ in points)) * 1.05

    def place(speedup: float, agreement: float) -> tuple[float, float]:
        part = math.log(max(1.0, speedup)) / max(1e-9, math.log(fastest))
        across = (_WIDE - _LEFT - 16) * part
        up = (_HIGH - _BELOW - _TOP) * (agreement - low) / (1 - low)
        return _LEFT + across, _HIGH - _BELOW - up

    line = sorted({(1.0, 1.0), *((one.speedup, one.agreement) for one in front)})
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
    dots = "".join(_dot(*place(one.speedup, one.agreement)) for one in chosen)
    label = ", ".join(f"{agreement:.1%} at {speedup:.1f} times" for speedup, agreement in line)
    return (
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="agreement: {label}">'
        f"{_grid(place, low, fastest)}"
        f'<polyline points="{path}" fill="none" stroke="var(--accent)" stroke-width="2.5"/>'
        f"{dots}</svg>"
    )


def _dot(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="var(--other)"/>'


def _grid(place: object, low: float, fastest: float) -> str:
    """Lines and their labels: agreements to the left, speedups below."""
    assert callable(place)
    drawn = []
    for agreement in ticks(low, 1.0, 5):
        _, y = place(1.0, agreement)
        drawn.append(
            f'<line x1="{_LEFT}" x2="{_WIDE - 16}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="var(--grid)"/><text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{agreement:.1%}</text>"
        )
    for speedup in _speedups(fastest):
        x, _ = place(speedup, 1.0)
        drawn.append(
            f'<text x="{x:.1f}" y="{_HIGH - _BELOW + 18}" text-anchor="middle">{speedup:g} x</text>'
        )
    drawn.append(
        f'<text x="{(_WIDE + _LEFT) / 2:.0f}" y="{_HIGH - 6}" text-anchor="middle">times as fast '
        "as the second tier alone</text>"
    )
    return "".join(drawn)


def _speedups(fastest: float) -> list[float]:
    """Round speedups up to the fastest, about even on a logarithmic scale."""
    decades = range(math.floor(math.log10(fastest)) + 1)
    for within in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        found = [part * 10.0**one for one in decades for part in within]
        found = [speedup for speedup in found if speedup <= fastest]
        if len(found) <= _MOST_SPEEDUPS:
            break
    return found
