"""Pages that commands leave: one HTML file, no network, light and dark, phone and desktop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from string import Template

# Of parts between the first and the last.
MIDDLE = ("#7aa95c", "#c9a227")
_COLOURS = ("var(--accent)", *MIDDLE, "var(--other)")


class Html(str):
    """Text of a page that is HTML already, so that it is not escaped again."""

    __slots__ = ()


def document(title: str, subtitle: str, body: str, style: str = "") -> str:
    """A whole page.

    Args:
      title: plain text.
      subtitle: plain text.
      body: HTML.
      style: CSS of this page alone.
    """
    source = resources.files("tango_beam").joinpath("page.html").read_text(encoding="utf-8")
    texts = {"title": escape(title), "subtitle": escape(subtitle)}
    return Template(source).substitute(texts, body=body, style=style)


def facts(shown: Iterable[tuple[str, str]]) -> str:
    """Figures that are seen first, each with what it is."""
    cells = (f"<div><b>{escape(a)}</b><span>{escape(b)}</span></div>" for a, b in shown)
    return f'<div class="facts">{"".join(cells)}</div>'


def bar(name: str, shares: Sequence[float], colours: Sequence[str] = ()) -> str:
    """A bar in parts.

    Args:
      name: for who cannot see it.
      shares: of its width, 0 to 1 together.
      colours: of the parts; by default the last has that of the last tier.
    """
    colours = colours or (_COLOURS[-len(shares) :] if len(shares) > 1 else _COLOURS[-1:])
    parts = "".join(
        f'<i style="width:{100 * share:.2f}%;background:{colour}"></i>'
        for share, colour in zip(shares, colours, strict=True)
    )
    said = ", ".join(f"{share:.1%}" for share in shares)
    return f'<div class="bar" role="img" aria-label="{name}: {said}">{parts}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = ()) -> str:
    """A table that scrolls where the screen is narrow; columns in `text` may wrap."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=text' if place in text else ''}>"
            f"{cell if isinstance(cell, Html) else escape(cell)}</{tag}>"
            for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells(head, "th")}</tr>{body}</table></div>'


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two bounds, for the axis of a drawing."""
    span = high - low
    steps = [m * 10.0**e for e in range(-4, 12) for m in (1, 2, 5)]
    step = next((step for step in steps if span / step <= most), span or 1.0)
    first = -(-low // step)
    return [round((first + n) * step, 6) for n in range(most + 1) if (first + n) * step <= high]
