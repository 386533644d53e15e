"""Answered rows counted by hand out of a run's part files, and figures read off its page."""

import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np


def confidence_bin(confidence):
    reached = [n for n in range(100) if np.float32(n / 100) <= np.float32(confidence)]
    return f"{max(reached) / 100:.2f}"


def length_bin(characters):
    begins = 1 << characters.bit_length() - 1 if characters > 15 else 0
    return str(min(begins, 1 << 16))


def counts(rows, names, texts=("text",), prefix=""):
    """What the manifest must say of some rows.

    Args:
      rows: as they were written.
      names: says what a row is called, a list.
    """
    found = {
        fate: {name: Counter() for name in ("confidences", "tiers", "answers", "lengths")}
        for fate in ("accepted", "escalated")
    }
    for row in rows:
        given = {name.removeprefix(prefix): value for name, value in row.items()}
        bins = found["escalated" if given["route"] == "escalated" else "accepted"]
        bins["confidences"][confidence_bin(given["first_tier_confidence"])] += 1
        bins["tiers"][str(given["tier"])] += 1
        bins["answers"].update(names(given))
        bins["lengths"][length_bin(sum(len(given[name]) for name in texts))] += 1
    return {fate: {name: dict(one) for name, one in bins.items()} for fate, bins in found.items()}


class _Tables(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tables, self._name, self._cell = {}, None, None

    def handle_starttag(self, tag, attributes):
        if tag == "h2":
            self._name = dict(attributes)["id"]
            self.tables[self._name] = []
        elif tag == "tr":
            self.tables[self._name].append([])
        elif tag in ("td", "th"):
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[self._name][-1].append(self._cell)
            self._cell = None


def tables_of(html):
    """The tables of a page by the name of their section, as lists of lists of texts, head first."""
    parser = _Tables()
    parser.feed(html)
    return parser.tables


def number(text):
    return int(text.replace(",", ""))


def drawn(html):
    """Rows by bin and fate, as the page's drawing of confidences says them."""
    said = re.findall(r"<title>([\d.]+) to [\d.]+: ([\d,]+) accepted, ([\d,]+) escalated", html)
    return [
        {bins[0]: number(bins[place]) for bins in said if bins[place] != "0"} for place in (1, 2)
    ]
