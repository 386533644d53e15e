"""The report as one HTML page: no network, light and dark, wide and narrow."""

from __future__ import annotations

import re
from html import escape
from importlib import resources
from string import Template
from typing import Any

from tango_beam.evaluation import prose, tables
from tango_beam.evaluation.figures import COLOURS
from tango_beam.evaluation.tables import TextTable

_ID = re.compile(r'\bid="([^"]+)"')


def render(found: dict[str, Any], drawings: dict[str, str]) -> str:
    """The page.

    Args:
      found: what `study.run` found.
      drawings: SVG of each figure, by name.
    """
    template = Template(
        resources.files("tango_beam.evaluation").joinpath("page.html").read_text(encoding="utf-8")
    )
    source = found["input"]
    captions = prose.captions(found)
    return template.substitute(
        title=escape(f"How good, how fast: {found['cascade']['name'] or 'cascade'}"),
        subtitle=escape(
            f"{source['rows']:,} labelled rows, {len(source['labels'])} labels, "
            f"{len(found['cascade']['tiers'])} tiers. Speedups are this machine's: "
            f"{found['machine']['processor']}, {found['machine']['cores']} cores, "
            f"{found['machine']['precision']}."
        ),
        light=_theme(0),
        dark=_theme(1),
        summary=_paragraphs(prose.summary(found)),
        scores=_table(tables.scores(found)),
        speedups=_table(tables.speedups(found)),
        figures="\n".join(
            _figure(name, svg, *captions[name]) for name, svg in drawings.items()
        ),
        more="\n".join(
            _table(table)
            for table in (
                tables.curve(found), tables.corrections(found), tables.costs(found),
                tables.machine(found),
            )
        ),
        method=_paragraphs(prose.method(found)),
    )  # fmt: skip


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
