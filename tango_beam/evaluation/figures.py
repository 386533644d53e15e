"""The report's figures, drawn with matplotlib from what `study.run` found.

One drawing serves light and dark: its colours are the light theme's, and in the page each becomes a
CSS custom property (`page.recolour`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tango_beam.errors import RefusedError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Role: colour in the light theme, colour in the dark one. Every colour occurs once.
COLOURS = {
    "ink": ("#1b1f24", "#e6e8eb"),
    "muted": ("#5b636e", "#a7afba"),
    "grid": ("#dce0e5", "#343a42"),
    "paper": ("#fdfdfc", "#15181c"),
    "cascade": ("#1f5fa8", "#7db4f0"),
    "oracle": ("#a8571a", "#f0a35e"),
    "random": ("#767e8a", "#8f98a4"),
    "corrected": ("#1d7a4d", "#63c896"),
    "introduced": ("#b0352d", "#f08a80"),
    "unchanged": ("#6a5a9e", "#b3a4e6"),
}
_LIGHT = {role: light for role, (light, _) in COLOURS.items()}
# Narrow, so that the text stays legible where a phone shows it 360 pixels wide (inches).
_WIDTH, _HEIGHT = 4.4, 3.5
_MOST_POINTS = 1500
_PNG_DPI = 200
_TICKS = np.outer(10.0 ** np.arange(-3, 5), [1, 1.5, 2, 3, 5, 7]).ravel()
_STYLE = {
    "font.size": 9.5,
    "font.family": "DejaVu Sans",
    "svg.fonttype": "path",
    "svg.hashsalt": "tango-beam",
    "text.color": _LIGHT["ink"],
    "axes.edgecolor": _LIGHT["muted"],
    "axes.labelcolor": _LIGHT["ink"],
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LIGHT["grid"],
    "xtick.color": _LIGHT["ink"],
    "ytick.color": _LIGHT["ink"],
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
}
_LINES = {"cascade": "-", "oracle": "--", "random": ":"}


def require_matplotlib() -> None:
    """Refuses to go on without matplotlib.

    Raises:
      RefusedError: it is not installed; says how to install it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise RefusedError(
            "expected matplotlib, which draws the report's figures, found none; "
            "pip install 'tango-beam[evaluate]'"
        ) from error


def draw(found: dict[str, Any]) -> dict[str, Figure]:
    """Every figure of the report, by name, in the report's order."""
    with _style():
        return {
            "speedup_own_batch": _against_speedup(found, "own_batch"),
            "speedup_batch_1": _against_speedup(found, "batch_1"),
            "escalation": _against_escalation(found),
            "corrections": _corrections(found),
            "costs": _costs(found),
        }


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def svg(figure: Figure) -> str:
    """A figure as SVG on no background, to be put into a page."""
    drawn = StringIO()
    with _style():
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Writes a figure on the light theme's paper, in the format that the name ends in."""
    # Without the date, two drawings of the same numbers are the same bytes.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with _style():
        figure.savefig(path, dpi=_PNG_DPI, facecolor=_LIGHT["paper"], metadata=metadata)


def _axes(height: float = _HEIGHT) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.set_facecolor("none")
    axes = figure.subplots()
    axes.set_facecolor("none")
    return figure, axes


def _against_speedup(found: dict[str, Any], size: str) -> Figure:
    """Score against speedup over all thresholds (TangoBERT, Figures 2 and 3)."""
    figure, axes = _axes()
    curve = found["curve"]
    speedups = {name: np.array(values) for name, values in curve["speedups"][size].items()}
    kept = _kept(len(curve["thresholds"]))
    axes.fill_between(
        speedups["random"][kept], _take(curve, "random_low", kept),
        _take(curve, "random_high", kept), color=_LIGHT["random"], alpha=0.2, linewidth=0,
    )  # fmt: skip
    for name, line in _LINES.items():
        axes.plot(
            speedups[name][kept], _take(curve, name, kept), line, color=_LIGHT[name], label=name
        )
    every = np.concatenate(list(speedups.values()))
    low, high = min(every.min(), 1.0) / 1.05, max(every.max(), 1.0) * 1.05
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = _ticks(low, high)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.axvline(1, color=_LIGHT["grid"], linewidth=2.5, zorder=0.5)
    axes.set_xlabel(f"speedup over tier {len(found['cascade']['tiers'])} alone (times, log scale)")
    own = found["scores"][-1]
    if own["escalated"] is not None:
        _mark_own(axes, own["speedup"][size], own[found["metric"]["name"]])
    return _finished(figure, axes, found)


def _against_escalation(found: dict[str, Any]) -> Figure:
    """Score against the share of rows escalated: the same on every machine."""
    figure, axes = _axes()
    curve = found["curve"]
    kept = _kept(len(curve["thresholds"]))
    shares = 100 * _take(curve, "escalated", kept) / found["input"]["rows"]
    axes.fill_between(
        shares, _take(curve, "random_low", kept), _take(curve, "random_high", kept),
        color=_LIGHT["random"], alpha=0.2, linewidth=0,
    )  # fmt: skip
    for name, line in _LINES.items():
        axes.plot(shares, _take(curve, name, kept), line, color=_LIGHT[name], label=name)
    axes.set_xlim(0, 100)
    axes.set_xlabel("rows escalated (%)")
    own = found["scores"][-1]
    if own["escalated"] is not None:
        _mark_own(axes, 100 * own["escalated"], own[found["metric"]["name"]])
    return _finished(figure, axes, found)


def _mark_own(axes: Axes, across: float, score: float) -> None:
    axes.plot(
        [across], [score], "o", color=_LIGHT["cascade"], markersize=7, label="own threshold",
        markeredgecolor=_LIGHT["ink"], zorder=3,
    )  # fmt: skip


def _finished(figure: Figure, axes: Axes, found: dict[str, Any]) -> Figure:
    """Adds the last tier's lines at 100, 99 and 98 %, the axis of the score, and the legend."""
    last, reference = len(found["cascade"]["tiers"]), found["reference"]
    for share, line in ((1.0, "-"), (0.99, "-."), (0.98, (0, (1, 2)))):
        level = share * reference
        axes.axhline(level, color=_LIGHT["muted"], linewidth=0.9, linestyle=line, zorder=1)
        # Beside the axes, where no curve runs.
        axes.annotate(
            f"tier {last}" if share == 1 else f"{100 * share:.0f} %", (1.0, level),
            xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=8.5, color=_LIGHT["muted"], annotation_clip=False,
        )  # fmt: skip
    axes.set_ylabel(found["metric"]["shown"])
    figure.legend(loc="outside upper left", ncols=4, handlelength=1.8, columnspacing=1.0)
    return figure


def _corrections(found: dict[str, Any]) -> Figure:
    """Corrected and introduced errors by confidence quantile (TangoBERT, Figure 4)."""
    figure, axes = _axes(3.0)
    values = found["corrections"]
    rows = np.maximum(np.array(values["rows"]), 1)
    kinds = {
        "corrected": "corrected\n(F-T)",
        "introduced": "introduced\n(T-F)",
        "both_wrong": "both\nwrong",
    }
    shades = {"corrected": "corrected", "introduced": "introduced", "both_wrong": "unchanged"}
    most = max(float((np.array(values[kind]) / rows).max()) for kind in kinds) or 1.0
    for line, kind in enumerate(kinds):
        for place, count in enumerate(values[kind]):
            _cell(axes, place, line, count, count / rows[place] / most, _LIGHT[shades[kind]])
    axes.set_xlim(0, len(rows))
    axes.set_ylim(len(kinds), 0)
    axes.grid(visible=False)
    axes.set_yticks(np.arange(len(kinds)) + 0.5, list(kinds.values()))
    edges = values["edges"]
    axes.set_xticks(
        np.arange(len(edges)), [_short(edge) for edge in edges], rotation=55, ha="right",
        rotation_mode="anchor", fontsize=8.5,
    )  # fmt: skip
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("first-tier confidence at the deciles (0 to 1)")
    axes.set_title("rows in each tenth, least confident first")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _cell(axes: Axes, place: int, line: int, count: int, depth: float, colour: str) -> None:
    from matplotlib.patches import Rectangle

    square = Rectangle(
        (place + 0.03, line + 0.04), 0.94, 0.92, facecolor=colour, alpha=0.06 + 0.6 * depth,
        linewidth=0,
    )  # fmt: skip
    axes.add_patch(square)
    axes.text(
        place + 0.5, line + 0.5, f"{count:,}", ha="center", va="center", color=_LIGHT["ink"],
        fontsize=9.5 if count < 1000 else 7.5,
    )  # fmt: skip


def _costs(found: dict[str, Any]) -> Figure:
    """What escalated rows cost in the tiers behind the first, by routing, as measured."""
    figure, axes = _axes()
    cost = found["costs"]["own_batch"]
    end = 0.0
    for name, line in _LINES.items():
        curve = cost["later"][name]
        seconds = 1000 * np.array(curve["seconds"])
        axes.plot(
            100 * np.array(curve["shares"]), seconds, line, marker="o", markersize=4,
            color=_LIGHT[name], label=name,
        )  # fmt: skip
        end = float(seconds[-1])
    axes.plot([0, 100], [0, end], color=_LIGHT["grid"], linewidth=3, zorder=0.5)
    first = 1000 * cost["first"]["seconds_per_row"]
    axes.axhline(first, color=_LIGHT["muted"], linewidth=0.9, linestyle="-.")
    axes.annotate(
        "tier 1, all rows", (1, first), xycoords=("axes fraction", "data"), xytext=(-3, 3),
        textcoords="offset points", ha="right", fontsize=8, color=_LIGHT["muted"],
    )  # fmt: skip
    axes.set_xlim(0, 101)
    axes.set_ylim(0, None)
    axes.set_xlabel("rows escalated (%)")
    axes.set_ylabel("later tiers, ms a row of input")
    figure.legend(loc="outside upper left", ncols=4, handlelength=1.8, columnspacing=1.0)
    return figure


def _take(curve: dict[str, Any], name: str, kept: np.ndarray) -> np.ndarray:
    return np.array(curve[name], float)[kept]


def _kept(count: int) -> np.ndarray:
    """Steps that are drawn: all, or evenly so many."""
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(int))


def _ticks(low: float, high: float, most: int = 7) -> np.ndarray:
    """Round speedups between two others, 1 among them: finer steps where there are few."""
    for steps in (_TICKS, np.arange(1, 40) / 10, np.arange(1, 80) / 20):
        inside = steps[(steps >= low) & (steps <= high)]
        if len(inside) >= 4:
            break
    every = 1 + (len(inside) - 1) // most
    start = int(np.abs(inside - 1).argmin()) % every if len(inside) else 0
    return inside[start::every]


def _short(value: float) -> str:
    """Enough decimals to tell quantiles near 1 apart."""
    return f"{value:.4f}" if value > 0.99 else f"{value:.2f}"
