"""The report's figures, drawn with matplotlib.

One drawing serves light and dark: its colours are the light theme's, and in the page each becomes a
CSS custom property (`page.recolour`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tango_beam.arrays import Float64
from tango_beam.errors import RefusedError
from tango_beam.evaluation.curves import evenly

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tango_beam.evaluation.report import Report

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
    "exits": ("#0f7f86", "#5cc9d0"),
}
# What matplotlib takes by name.
Style = dict[str, Any]
_LIGHT = {role: light for role, (light, _) in COLOURS.items()}
# Narrow, so that the text stays legible where a phone shows it 360 pixels wide (inches).
_WIDTH, _HEIGHT = 4.4, 3.5
# Of a text beside the axes, as a share of their height.
_LINE_HEIGHT = 0.06
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


def draw(report: Report) -> dict[str, Figure]:
    """Every figure of the report, by name, in the report's order."""
    with _style():
        return {
            "speedup_own_batch": _against_speedup(report, "own_batch"),
            "speedup_batch_1": _against_speedup(report, "batch_1"),
            "escalation": _against_escalation(report),
            "corrections": _corrections(report),
            "costs": _costs(report),
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


def _against_speedup(report: Report, size: str) -> Figure:
    """Score against speedup over all thresholds (TangoBERT, Figures 2 and 3)."""
    speedups = {name: np.array(values) for name, values in report.curve.speedups[size].items()}
    own = report.own.speedup[size] if report.own else None
    left = report.early_exit
    exits = None if left is None else (np.array(left.speedups[size]), np.array(left.scores))
    figure, axes = _scores(report, speedups, own, exits)
    every = np.concatenate([*speedups.values(), *([] if exits is None else [exits[0]])])
    low, high = min(every.min(), 1.0) / 1.05, max(every.max(), 1.0) * 1.05
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = _ticks(low, high)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.axvline(1, color=_LIGHT["grid"], linewidth=2.5, zorder=0.5)
    axes.set_xlabel(f"speedup over {report.last} alone (times, log scale)")
    return figure


def _against_escalation(report: Report) -> Figure:
    """Score against the share of rows escalated: the same on every machine."""
    shares = 100 * np.array(report.curve.escalated) / report.input.rows
    own = 100 * (report.own.escalated or 0.0) if report.own else None
    figure, axes = _scores(report, dict.fromkeys(_LINES, shares), own)
    axes.set_xlim(0, 100)
    axes.set_xlabel("rows escalated (%)")
    return figure


def _scores(
    report: Report,
    across: Mapping[str, Float64],
    own: float | None,
    exits: tuple[Float64, Float64] | None = None,
) -> tuple[Figure, Axes]:
    """Score of each routing over all thresholds, beside levels of the last tier's score.

    Args:
      report: of the evaluation.
      across: for each routing, where its thresholds lie on the x axis, shape [steps].
      own: where the cascade's own threshold lies on it; None without.
      exits: where thresholds of the last tier's exits lie, and their scores; None without.
    """
    figure, axes = _axes()
    curve, grey = report.curve, _LIGHT["random"]
    kept = evenly(len(curve.thresholds), _MOST_POINTS)
    low, high = np.array(curve.random_low)[kept], np.array(curve.random_high)[kept]
    axes.fill_between(across["random"][kept], low, high, color=grey, alpha=0.2, linewidth=0)
    for name, line in _LINES.items():
        heights = np.array(getattr(curve, name))[kept]
        axes.plot(across[name][kept], heights, line, color=_LIGHT[name], label=name)
    if exits is not None:
        # Exits may fall far below every tier, where the rest would be a line.
        lowest, highest = axes.get_ylim()
        axes.plot(*exits, "-.", color=_LIGHT["exits"], label="early exit")
        axes.set_ylim(lowest - (highest - lowest) / 2, highest)
    if report.own and own is not None:
        score = report.own.metrics[report.metric.name]
        dot: Style = {"color": _LIGHT["cascade"], "markeredgecolor": _LIGHT["ink"], "zorder": 3}
        axes.plot([own], [score], "o", markersize=7, label="own threshold", **dot)
    _levels(axes, report)
    axes.set_ylabel(report.metric.shown)
    _legend(figure)
    return figure, axes


def _levels(axes: Axes, report: Report) -> None:
    """Draws lines at 100, 99 and 98 % of the last tier's score."""
    lines: dict[float, Any] = {1.0: "-", 0.99: "-.", 0.98: (0, (1, 2))}
    lowest, highest = axes.get_ylim()
    room = np.inf
    for share, line in lines.items():
        level = share * report.reference
        axes.axhline(level, color=_LIGHT["muted"], linewidth=0.9, linestyle=line, zorder=1)
        # Beside the axes, where no curve runs, and each below the one before.
        text = report.last if share == 1 else f"{100 * share:.0f} %"
        height = min(level, room)
        room = height - _LINE_HEIGHT * (highest - lowest)
        _note(axes, text, height, (4, 0), va="center", fontsize=8.5, annotation_clip=False)


def _note(axes: Axes, text: str, height: float, offset: tuple[int, int], **style: Any) -> None:
    """Writes a text at the right end of the axes, at a height in data and an offset in points."""
    at: Style = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate(text, (1.0, height), xytext=offset, color=_LIGHT["muted"], **at, **style)


def _legend(figure: Figure) -> None:
    figure.legend(loc="outside upper left", ncols=4, handlelength=1.8, columnspacing=1.0)


def _corrections(report: Report) -> Figure:
    """Corrected and introduced errors by confidence quantile (TangoBERT, Figure 4)."""
    figure, axes = _axes(3.0)
    values = report.corrections
    rows = np.maximum(np.array(values.rows), 1)
    kinds = {
        "corrected\n(F-T)": (values.corrected, _LIGHT["corrected"]),
        "introduced\n(T-F)": (values.introduced, _LIGHT["introduced"]),
        "both\nwrong": (values.both_wrong, _LIGHT["unchanged"]),
    }
    most = max(float((np.array(counts) / rows).max()) for counts, _ in kinds.values()) or 1.0
    for line, (counts, colour) in enumerate(kinds.values()):
        for place, count in enumerate(counts):
            _cell(axes, place, line, count, count / rows[place] / most, colour)
    axes.set_xlim(0, len(rows))
    axes.set_ylim(len(kinds), 0)
    axes.grid(visible=False)
    axes.set_yticks(np.arange(len(kinds)) + 0.5, list(kinds))
    edges = values.edges
    slanted: Style = {"rotation": 55, "ha": "right", "rotation_mode": "anchor", "fontsize": 8.5}
    axes.set_xticks(np.arange(len(edges)), [_short(edge) for edge in edges], **slanted)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("first-tier confidence at the deciles (0 to 1)")
    axes.set_title("rows in each tenth, least confident first")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _cell(axes: Axes, place: int, line: int, count: int, depth: float, colour: str) -> None:
    """Draws a count in a square, the deeper the larger its share (0 to 1) is."""
    from matplotlib.patches import Rectangle

    corner = (place + 0.03, line + 0.04)
    shade: Style = {"facecolor": colour, "alpha": 0.06 + 0.6 * depth, "linewidth": 0}
    axes.add_patch(Rectangle(corner, 0.94, 0.92, **shade))
    size = 9.5 if count < 1000 else 7.5
    middle: Style = {"ha": "center", "va": "center", "color": _LIGHT["ink"], "fontsize": size}
    axes.text(place + 0.5, line + 0.5, f"{count:,}", **middle)


def _costs(report: Report) -> Figure:
    """What escalated rows cost in the tiers behind the first, by routing, as measured."""
    figure, axes = _axes()
    cost = report.costs["own_batch"]
    for name, line in _LINES.items():
        later = cost.later[name]
        shares, seconds = 100 * np.array(later.shares), 1000 * np.array(later.seconds)
        style: Style = {"marker": "o", "markersize": 4, "color": _LIGHT[name], "label": name}
        axes.plot(shares, seconds, line, **style)
    # Everything escalated costs the same, whatever the order.
    end = 1000 * cost.later["random"].seconds[-1]
    axes.plot([0, 100], [0, end], color=_LIGHT["grid"], linewidth=3, zorder=0.5)
    first = 1000 * cost.first.seconds_per_row
    axes.axhline(first, color=_LIGHT["muted"], linewidth=0.9, linestyle="-.")
    _note(axes, "tier 1, all rows", first, (-3, 3), ha="right", fontsize=8)
    axes.set_xlim(0, 101)
    axes.set_ylim(0, None)
    axes.set_xlabel("rows escalated (%)")
    axes.set_ylabel("later tiers, ms a row of input")
    _legend(figure)
    return figure


def _ticks(low: float, high: float, most: int = 7) -> np.ndarray:
    """Round speedups from `low` to `high`, 1 among them; in finer steps where few are round."""
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
