"""The page that a build leaves: one HTML file, no network, light and dark, phone and desktop."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template

from tango_beam.building import curve
from tango_beam.building.result import Built, TierShare
from tango_beam.guarantees.in_words import sentence
from tango_beam.html_page import bar, document, facts, table
from tango_beam.terminal import duration

# Rows of corpora that people have, and machines that they may use.
CORPORA = (1_000_000, 100_000_000, 10_000_000_000)
MACHINES = (1, 10, 100)
MOST_CLASSES = 100


def render(built: Built) -> str:
    """The page."""
    source = resources.files("tango_beam.building").joinpath("page.html")
    body = Template(source.read_text(encoding="utf-8")).substitute(
        promise=_promise(built),
        facts=_facts(built),
        chain=_chain(built.tiers),
        curve=_curve(built),
        classes=_classes(built),
        projection=_projection(built),
        disagreements=_disagreements(built),
        commands=_commands(built),
        method=_method(built),
    )
    subtitle = f"Built {built.made} out of {built.corpus:,} rows of {', '.join(built.input)}."
    return document(f"Cascade {built.name}", subtitle, body)


def _promise(built: Built) -> str:
    if not built.signed:
        return (
            f'<p class="promise no"><b>No cascade pays here.</b> {escape(_sentence(built.why))} '
            "What was written is the second tier alone, with its fastest settings.</p>"
        )
    each = "".join(f'<p class="promise">{escape(sentence(one))}</p>' for one in built.signed)
    about = (
        "It is about the corpus that the rows were drawn from, and about this cascade alone: "
        "another corpus, or next month's files, want a promise of their own."
    )
    if len(built.attempts) > 1:
        wrong = min(1.0, sum(attempt.delta for attempt in built.attempts))
        about += (
            f" {len(built.attempts)} promises were tried on these rows: that any of them is broken "
            f"has a probability of {wrong:.3g} at most."
        )
    return f'{each}<p class="note">{about}</p>'


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _facts(built: Built) -> str:
    cascade, alone = built.seconds
    shown = [
        (_times(built.speedup), "as fast as the second tier alone"),
        (f"{built.escalated:.1%}", "of the rows reach the second tier"),
        (f"{built.agreement:.2%}", "of the signed rows get its answer"),
        (f"{1 / cascade:,.0f} / {1 / alone:,.0f}", "rows a second, cascade / second tier"),
    ]
    rows = f"{built.parts['sign']:,} rows that signed the promise"
    note = f"Measured on the {rows}; the chain was chosen on others."
    return facts(shown) + (f'<p class="note">{note}</p>' if built.signed else "")


def _chain(tiers: Sequence[TierShare]) -> str:
    head = ("tier", "threshold", "answers", "ms a row", "of the cost", "model")
    rows = [
        (
            f"{number}. {tier.name}",
            "" if tier.threshold is None else f"{tier.threshold:.4f}",
            f"{tier.answers:.1%}",
            f"{1000 * tier.seconds:.3g}",
            f"{tier.share_of_cost:.0%}",
            tier.model,
        )
        for number, tier in enumerate(tiers, start=1)
    ]
    bars = (
        bar("rows", [tier.answers for tier in tiers])
        + bar("cost", [tier.share_of_cost for tier in tiers])
        + '<p class="note">Above: which tier answers the rows that signed. Below: where the time '
        "goes.</p>"
    )
    return bars + table(head, rows, text=(5,))


def _curve(built: Built) -> str:
    chose = f"{built.parts['choose']:,} rows that chose the chain"
    note = (
        f"Measured on the {chose}: what other goals would cost, and no promise. The figures at "
        "the top are of the rows that signed, so they differ a little. The dot is the chosen "
        "chain; the line, the cheapest chain for each agreement."
    )
    head = ("on the rows that chose", "agreement", "reach the second tier", "speedup")
    rows = [
        (" → ".join(one.tiers), f"{one.agreement:.2%}", f"{one.escalated:.1%}", _times(one.speedup))
        for one in built.offers[:8]
    ]
    drawn = curve.svg(built.front, built.offers[:1])
    return f'{drawn}<p class="note">{note}</p>{table(head, rows)}'


def _times(speedup: float) -> str:
    return f"{speedup:.2f} x"


def _classes(built: Built) -> str:
    if not built.classes:
        return ""
    head = ("class", "rows", "agreement", "95 % interval", "spared")
    rows = [
        (
            one.label,
            f"{one.rows:,}",
            f"{one.agreement:.2%}",
            f"{one.interval[0]:.1%} to {one.interval[1]:.1%}",
            f"{one.accepted / max(1, one.rows):.1%}",
        )
        for one in sorted(built.classes, key=lambda one: one.agreement)[:MOST_CLASSES]
    ]
    note = (
        "Rows that signed, by the class that the second tier gives; the weakest first. Spared: "
        "answered before the second tier."
    )
    return f'<h2>By class</h2><p class="note">{note}</p>{table(head, rows)}'


def _projection(built: Built) -> str:
    price = built.asked.price_a_row
    head = ["rows", "machines", "cascade", "second tier alone"]
    head += ["calls", "calls without it"] if built.asked.calls else []
    head += ["money", "money without it"] if price is not None else []
    rows = []
    for corpus in sorted({*CORPORA, built.corpus}):
        yours = " (yours)" * (corpus == built.corpus)
        for machines in MACHINES if corpus >= CORPORA[0] else MACHINES[:1]:
            row = [f"{corpus:,}{yours}", f"{machines}"]
            row += [duration(corpus * one / machines) for one in built.seconds]
            if built.asked.calls:
                row += [f"{corpus * built.escalated:,.0f}", f"{corpus:,}"]
            if price is not None:
                row += [f"{corpus * share * price:,.2f}" for share in (built.escalated, 1.0)]
            rows.append(row)
    note = (
        "Machines like the one that built it, each with a worker; scoring alone, without reading "
        "and writing. "
        + (
            "Calls are shared: more machines ask no faster than the endpoint answers."
            * bool(built.asked.calls)
        )
    )
    return table(head, rows) + f'<p class="note">{note}</p>'


def _disagreements(built: Built) -> str:
    if not built.disagreements:
        return ""
    names = [name for name, _, _ in built.disagreements[0].said]
    head = ("text", *names, "answered by")
    rows = []
    for one in built.disagreements:
        said = [f"{answer} ({sure:.2f})" for _, answer, sure in one.said]
        rows.append((" ⏐ ".join(one.texts), *said, names[one.answered_by - 1]))
    note = (
        "Signed rows on which the tiers differ: first those that the cascade answers otherwise "
        "than the second tier. Judge for yourself who is right."
    )
    shown = table(head, rows, text=(0,))
    return f'<h2>Where the tiers disagree</h2><p class="note">{note}</p>{shown}'


def _commands(built: Built) -> str:
    given = " ".join(f"--input {shlex.quote(pattern)}" for pattern in built.input)
    options = ("text_column", "text_pair_column")
    for option, column in zip(options, built.columns, strict=False):
        given += f" --{option} {shlex.quote(column)}" if column != "text" else ""
    name = shlex.quote(built.output)
    lines = [f"python -m pipelines.classify {given} --cascade {name} --output out"]
    if built.signed:
        lines += [
            "# the same, and the second tier checks 2,000 answers that it was spared:",
            f"python -m pipelines.classify {given} --cascade {name} --output out_audited "
            "--audit_rows 2000",
            "# another promise of the same chain, on rows of its own:",
            f"python -m pipelines.calibrate {given} --cascade {name} --agreement 0.98 "
            "--output another",
        ]
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _method(built: Built) -> str:
    parts = ", ".join(f"{count:,} to {name}" for name, count in built.parts.items())
    lines = [
        f"On the rows that chose: {built.why.rstrip('.')}." if built.signed else "",
        f"Rows were drawn at random, and no row has two uses: {parts}. The second tier answered "
        f"all of them ({1000 * built.asked.seconds:.3g} ms a row), and its answers are the "
        "only labels. The promise was tested on the rows to sign, once, when the chain was fixed.",
    ]
    if sum(built.parts.values()) >= built.corpus:
        lines.append(
            f"These are all {built.corpus:,} rows of the corpus, so the second tier has answered "
            "the whole of it. The students learnt from most of it: a run over the same corpus "
            "shows better figures than this page, which shows those of rows that are new to them."
        )
    if built.asked.calls:
        lines.append(
            f"The endpoint was asked {built.asked.calls:,} times in this run: "
            f"{built.asked.tokens_in:,} tokens of prompts, {built.asked.tokens_out:,} of answers."
        )
    steady = built.steadiness
    if steady is not None and steady.rows:
        lines.append(
            f"Asked twice, the second tier gave the same answer to {steady.same:,} of "
            f"{steady.rows:,} rows (at least {steady.bound:.1%} of all, at the promise's level). "
            "The promise is about the answers that it gave once: against a second asking, the "
            "cascade may differ on so many rows more as the second tier differs from itself."
        )
        lines.append(
            "Nobody can know from outside whether the model behind a name was changed since. "
            "--audit_rows is the way to notice: it asks again, while the job runs."
        )
    lines.append(f"{built.minutes:.1f} minutes on {_machine(built)}.")
    command = f"<pre>{escape(built.command)}</pre>"
    return "".join(f"<p>{escape(line)}</p>" for line in lines if line) + command


def _machine(built: Built) -> str:
    facts = built.machine
    return f"{facts.get('processor')}, {facts.get('cores')} cores, {facts.get('precision')}"
