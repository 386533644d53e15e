"""Draws the chart of docs/efficiency.md, of figures that stand in benchmarks/README.md.

    python -m benchmarks.efficiency_chart [--output docs/images]

It reads two tables there (the peers, and what one command built) and writes efficiency-light.svg and
efficiency-dark.svg, so a figure that changes there changes here. The same figures give the same bytes.
"""

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = {
    "(a)": "transformers.pipeline, as it comes",
    "(c)": "Beam's RunInference",
    "(b) held to bf16": "a careful loop, bf16",
    "(b) at its fastest, int8": "a careful loop, int8",
}
THEMES = {
    "light": {"ink": "#1f2328", "grid": "#d0d7de", "high": "#2a7f9e", "low": "#d9822b"},
    "dark": {"ink": "#e6edf3", "grid": "#3d444d", "high": "#58b3d4", "low": "#f0a35c"},
}


def tables(page):
    """The tables of a page: each a list of rows, of dicts by column."""
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip("|\n ").split("|")] for line in block.splitlines()
        ]
        # strip("|") takes an empty first cell along.
        width = len(rows[1])
        rows = [[""] * (width - len(row)) + row for row in rows]
        yield [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def number(cell):
    """The first number of a cell."""
    found = re.search(r"\d[\d,]*\.?\d*", cell)
    return float(found.group().replace(",", "")) if found else None


def peers(page):
    """Escalated share (%), and by contender how many times as fast the job is: the embedded cascade."""
    (table,) = (one for one in tables(page) if one and "(b) held to bf16" in one[0])
    begin = next(n for n, row in enumerate(table) if row[""].startswith("embedded cascade"))
    rows = table[begin : begin + 3]
    shares = [number(row["escalated"]) for row in rows]
    return shares, {title: [number(row[name]) for row in rows] for name, title in PEERS.items()}


def builds(page):
    """Corpus, goal, speedup over the second tier alone: what `pipelines.build` made."""
    (table,) = (
        one for one in tables(page) if one and one[0].get("corpus", "").startswith("AG News")
    )
    corpus = ""
    for row in table:
        corpus = row["corpus"].split(",")[0] or corpus
        said = row["speedup, held out (aim)"]
        yield corpus + (" (expected)" if "expected" in said else ""), row["goal"], number(said)


def draw(page, theme, path):
    """Both panels as an SVG whose ground is transparent."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    ink, grid = theme["ink"], theme["grid"]
    colors = {"text.color": ink, "axes.labelcolor": ink, "xtick.color": ink, "ytick.color": ink}
    fixed = {"svg.fonttype": "none", "svg.hashsalt": "tango-beam", "axes.edgecolor": grid}
    with pyplot.rc_context({**colors, **fixed, "font.size": 9}):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
        _draw_peers(left, *peers(page), ink)
        _draw_builds(right, [*builds(page)], theme)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, transparent=True, metadata={"Date": None})
        pyplot.close(figure)


def _draw_peers(axes, shares, times, ink):
    for (title, values), marker in zip(times.items(), "osD^", strict=True):
        axes.plot(shares, values, marker=marker, color=ink, lw=1, alpha=0.85)
        note = {"textcoords": "offset points", "fontsize": 8}
        axes.annotate(title, (shares[-1], values[-1]), (30, -3), **note)
        for share, value in zip(shares, values, strict=True):
            axes.annotate(f"{value:g}", (share, value), (6, 1), **note)
    axes.set_yscale("log", base=2)
    axes.set_yticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
    axes.set_xticks(shares, [f"{share:g} %" for share in shares])
    axes.set_xlim(min(shares) - 2, max(shares) + 22)
    axes.set_ylim(1.9, 48)
    axes.set_xlabel("rows escalated, embedded cascade")
    axes.set_title("times as fast as", loc="left", fontsize=9)


def _draw_builds(axes, rows, theme):
    labels = [f"{corpus}, {goal}" for corpus, goal, _ in rows]
    colors = [theme["high" if goal == "0.99" else "low"] for _, goal, _ in rows]
    bars = axes.barh(labels, [times for *_, times in rows], color=colors)
    axes.bar_label(bars, fmt="%g", padding=3, fontsize=8)
    axes.axvline(1, color=theme["ink"], lw=1, ls=":")
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the second tier alone")
    axes.set_title("built by one command, for an agreement of", loc="left", fontsize=9)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for name, theme in THEMES.items():
        draw(page, theme, output / f"efficiency-{name}.svg")
        print(output / f"efficiency-{name}.svg")


if __name__ == "__main__":
    main()
