"""The report as one HTML page: no network, light and dark, wide and narrow."""

from __future__ import annotations

import re
from html import escape
from importlib import resources
from string import Template

from tango_beam.answers.task import MULTI_LABEL, SCORE, SPAN
from tango_beam.evaluation import curves, tables
from tango_beam.evaluation.figures import COLOURS
from tango_beam.evaluation.report import Report
from tango_beam.evaluation.tables import TextTable, percent, times

# What the figure of errors calls false.
_FALSE = {
    MULTI_LABEL: " False is any other set of labels.",
    SCORE: " False is another bucket.",
    SPAN: " False is no exact match.",
}
_ID = re.compile(r'\bid="([^"]+)"')


def render(report: Report, drawings: dict[str, str]) -> str:
    """The page.

    Args:
      report: of the evaluation.
      drawings: SVG of each figure, by name.
    """
    template = Template(
        resources.files("tango_beam.evaluation").joinpath("page.html").read_text(encoding="utf-8")
    )
    source = report.input
    captions = _captions(report)
    return template.substitute(
        title=escape(f"How good, how fast: {report.cascade.name or 'cascade'}"),
        subtitle=escape(
            f"{source.rows:,} labelled rows, {_answers(report)}, "
            f"{len(report.cascade.tiers)} tiers. Speedups are this machine's: "
            f"{report.machine.processor}, {report.machine.cores} cores, "
            f"{report.machine.precision}."
        ),
        light=_theme(0),
        dark=_theme(1),
        summary=_paragraphs(_summary(report)),
        scores=_table(tables.scores(report)),
        speedups="\n".join(map(_table, (*tables.by_kind(report), tables.speedups(report)))),
        figures="\n".join(_figure(name, svg, *captions[name]) for name, svg in drawings.items()),
        more="\n".join(
            _table(table)
            for table in (
                tables.curve(report),
                tables.corrections(report),
                tables.costs(report),
                tables.machine(report),
            )
        ),
        method=_paragraphs(_method(report)),
    )


def recolour(svg: str, name: str) -> str:
    """An SVG document as an element of the page: its colours follow the theme, its ids are its own.

    Args:
      svg: as matplotlib wrote it.
      name: goes before every id, which would otherwise clash with another figure's.
    """
    inner = svg[svg.index("<svg") :]
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.DOTALL)
    inner = _ID.sub(rf'id="{name}-\1"', inner)
    inner = re.sub(r'(href="|url\()#', rf"\1#{name}-", inner)
    for role, (light, _) in COLOURS.items():
        inner = inner.replace(light, f"var(--{role})")
    return inner


def _summary(report: Report) -> list[str]:
    """What a reader in a hurry takes away."""
    last, shown = report.last, report.metric.shown
    held = report.speedup_at[0].held_out
    lines = [
        f"With a threshold chosen on one half of the rows to keep 99 % of {last}'s {shown}, "
        f"the cascade was {times(held.speedup['own_batch'])} as fast as {last} alone on "
        f"the other half (batch size 1: {times(held.speedup['batch_1'])}), escalated "
        f"{percent(held.escalated)} of the rows and kept {percent(held.kept)} of it; "
        f"medians of {held.splits} splits. {percent(held.reached)} of the splits kept 99 % "
        "on the other half too."
    ]
    gain = report.against_random
    if gain.thresholds_above is not None:
        lines.append(
            f"Averaged over all shares of escalated rows, its {shown} is {gain.cascade:+.4f} "
            "against random escalation of as many, and higher at "
            f"{percent(gain.thresholds_above)} of the thresholds; the oracle's is "
            f"{gain.oracle:+.4f}."
        )
    return lines


def _answers(report: Report) -> str:
    """What is answered, and by how many of what."""
    count, several = len(report.input.labels), report.cascade.task == MULTI_LABEL
    if report.cascade.task == SPAN:
        return "spans of a context"
    if report.cascade.task == SCORE:
        return f"scores in {count} buckets"
    return f"{count} labels{', any number of them a row' * several}"


def _captions(report: Report) -> dict[str, tuple[str, str]]:
    """Title and caption of each figure."""
    last, shown = report.last, report.metric.shown
    return {
        "speedup_own_batch": (
            f"{_capital(shown)} against speedup, own batch sizes",
            "As in the paper's Figure 3. Every point is a threshold of the first tier. Random "
            "escalates as many rows at random (line: expected; band: 5 to 95 % of "
            f"{curves.DRAWS} draws). "
            "The oracle escalates first what later tiers correct, last what they would break.",
        ),
        "speedup_batch_1": (
            f"{_capital(shown)} against speedup, batch size 1",
            "As in the paper's Figure 2: one text at a time."
            + (f" Early exit: {last} left at its exits." if report.early_exit else ""),
        ),
        "escalation": (
            f"{_capital(shown)} against rows escalated",
            "The same on every machine: no cost is in it.",
        ),
        "corrections": (
            "Errors by confidence",
            "As in the paper's Figure 4: rows on which the first tier is false and the later ones "
            "true (F-T), true and false (T-F), and both false, in each tenth of the rows by "
            "first-tier confidence. A deeper colour is a larger share of the tenth. Equal "
            "confidences stay together." + _FALSE.get(report.cascade.task, ""),
        ),
        "costs": (
            "Cost of escalated rows, own batch sizes",
            "Later tiers on the rows that each routing escalates. Points are measured, lines "
            "interpolate. The grey line is the average row; a routing above it escalates rows "
            f"longer than that, or too few to fill {last}'s batches.",
        ),
    }


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _method(report: Report) -> list[str]:
    """How the numbers came about, for people who doubt them."""
    costs, repeats = report.costs, report.repeats
    return [
        "Speedup: seconds of the last tier alone on all rows, over seconds of the first tier on "
        "all rows plus those of the later tiers on the escalated ones. Under 1, the cascade is "
        "slower than the last tier alone. Tokenization counts. " + _tokens(report),
        "Own batch sizes: each tier scores windows of its own size, sorted by length. "
        f"{costs['own_batch'].rows_timed:,} rows were timed; the later tiers on exactly the "
        "rows that each routing escalates, at 5, 10, 25, 50 and 100 % of them, with straight lines "
        f"in between. Medians of {repeats} repeats, taken in turn.",
        f"Batch size 1: each of {costs['batch_1'].rows_timed:,} rows drawn at random was "
        f"tokenized and scored alone, {repeats} times; a least-squares line in the number of "
        "tokens carries the medians over to all rows.",
        "Reading, writing and Beam are not counted. Rows of other lengths, another processor, or "
        "other work beside it give other speedups.",
    ]


def _tokens(report: Report) -> str:
    tiers = report.cascade.tiers
    takes = [str(place) for place, tier in enumerate(tiers, start=1) if tier.takes_tokens]
    if not takes:
        return "No tier shares its vocabulary with the one before, so each tokenizes what it reads."
    return (
        f"Tier {', '.join(takes)} shares its vocabulary with the tier before and, in the cascade, "
        "takes over its tokens, as the job does; alone it tokenizes."
    )


def _theme(which: int) -> str:
    return " ".join(f"--{role}: {colours[which]};" for role, colours in COLOURS.items())


def _paragraphs(texts: list[str]) -> str:
    # A number and its unit stay on one line.
    unbroken = (text.replace(" %", "\u00a0%").replace(" x ", "\u00a0x ") for text in texts)
    return "\n".join(f"<p>{escape(text)}</p>" for text in unbroken)


def _figure(name: str, svg: str, title: str, caption: str) -> str:
    drawn = recolour(svg, name).replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    return (
        f'<figure id="figure-{name}">\n{drawn}\n<figcaption><b>{escape(title)}.</b> '
        f"{escape(caption)}</figcaption>\n</figure>"
    )


def _table(table: TextTable) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.head)
    rows = "\n".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    titled = f"<thead><tr>{head}</tr></thead>" if any(table.head) else ""
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="head"><h2>{escape(table.title)}</h2>'
        f'<button type="button" data-table="{table.name}">Copy</button></div>\n'
        f'<div class="scroll"><table id="{table.name}">{titled}<tbody>\n{rows}\n</tbody></table>'
        f"</div>\n{note}"
    )
