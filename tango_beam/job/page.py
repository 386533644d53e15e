"""The page that a run leaves with `--report`: made of its manifest alone, so it does not grow."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from tango_beam.guarantees import audit_verdict
from tango_beam.guarantees.certificate import COVERED, NONE
from tango_beam.guarantees.in_words import sentence
from tango_beam.html_page import MIDDLE, Html, bar, document, facts, table
from tango_beam.job import histogram
from tango_beam.job.histogram import ACCEPTED, ESCALATED
from tango_beam.job.sections import Section, answered_by, sections
from tango_beam.run.manifest import Manifest

# Of a longer table, the manifest has the rest.
MOST_ROWS = 200
DEAD = "var(--muted)"
_FATES = (("accepted by the first tier", ACCEPTED), ("escalated", ESCALATED))
_STYLE = """\
th { white-space: normal; }
td.text { min-width: 130px; }
td .bar { height: 12px; min-width: 130px; margin: 6px 0 0; }
.key i { display: inline-block; width: .8em; height: .8em; margin: 0 4px 0 12px; }
.key i:first-child { margin-left: 0; }
"""


def render(manifest: Manifest, where: str, failed: bool = False) -> str:
    """The page.

    Args:
      manifest: of a run that has ended.
      where: its output.
      failed: too many of its rows are dead.
    """
    shown = "".join(_section(one, manifest) for one in sections(manifest))
    files = f"{len(manifest.inputs):,} file" + "s" * (len(manifest.inputs) != 1)
    return document(
        title=f"Run of cascade {manifest.cascade.name}",
        subtitle=f"{manifest.rows.read:,} rows of {files}, written to {where}; "
        f"finished {manifest.finished}; cascade {manifest.cascade.fingerprint}.",
        body=_verdict(manifest, failed) + _facts(manifest) + shown,
        style=_STYLE,
    )


def _verdict(manifest: Manifest, failed: bool) -> str:
    rows, audit = manifest.rows, manifest.audit
    said = [(not failed, _account(manifest, failed))]
    covers = manifest.cascade.certificate
    if covers.status != NONE:
        covered = covers.status == COVERED
        promised = [sentence(one) for one in covers.signed] if covered else []
        said.append((covered, " ".join((f"Certificate: {covers.status}.", *promised))))
    if audit:
        alarm = audit.verdict == audit_verdict.ALARM
        said.append((not alarm, f"Audit of {rows.audited:,} accepted rows: {audit.verdict}."))
    return "".join(
        f'<p class="promise{"" if fine else " no"}">{escape(text)}</p>' for fine, text in said
    )


def _account(manifest: Manifest, failed: bool) -> str:
    rows = manifest.rows
    answered = rows.accepted + rows.escalated
    account = f"{rows.read:,} rows read: {answered:,} answered, {rows.dead:,} dead."
    if failed:
        most = manifest.options.get("max_dead_fraction")
        return f"Failed: more rows are dead than --max_dead_fraction {most} allows. {account}"
    return f"Complete. {account}"


def _facts(manifest: Manifest) -> str:
    shares = _shares(manifest)
    answered = max(1, sum(count for _, count in shares))
    cells = [
        (f"{count / answered:.1%}", f"answered by {name}: {count:,} rows") for name, count in shares
    ]
    if len(shares) > 1:
        share, (name, count) = cells[-1][0], shares[-1]
        cells[-1] = (share, f"went on to {name}, the last: {count:,} rows")
    read = (f"{manifest.rows.read:,}", "rows read")
    return facts((read, *cells, (f"{manifest.rows.dead:,}", "rows without an answer")))


def _shares(manifest: Manifest) -> list[tuple[str, int]]:
    """Tiers and the rows that they answered, the first tier first."""
    shares, rows = answered_by(manifest), manifest.rows
    if sum(count for _, count in shares) == rows.accepted + rows.escalated:
        return shares
    return [("the first tier", rows.accepted), ("later tiers", rows.escalated)]  # not counted


def _section(section: Section, manifest: Manifest) -> str:
    head, rows = section.head, section.rows[:MOST_ROWS]
    if section.bars:
        head = (*head, "")
        both = zip(rows, section.bars, strict=False)  # the rows may be cut
        rows = tuple((*row, _small_bar(row[0], *shares)) for row, shares in both)
    note = f'<p class="note">{escape(section.note)}</p>' if section.note else ""
    more = len(section.rows) - len(rows)
    rest = f'<p class="note">And {more:,} more, in _manifest.json.</p>' if more else ""
    shown = table(head, rows, section.texts) if rows else ""
    title = f'<h2 id="{section.name}">{escape(section.title)}</h2>'
    return f"{title}{note}{_drawing(section, manifest)}{shown}{rest}"


def _small_bar(name: str, accepted: float, escalated: float) -> str:
    return Html(bar(escape(name), (accepted, escalated), (ACCEPTED, ESCALATED)))


def _drawing(section: Section, manifest: Manifest) -> str:
    """What stands above a section's table."""
    rows, counts, cascade = manifest.rows, manifest.counts, manifest.cascade
    if section.name == "fates" and rows.read:
        fates = [*_shares(manifest), ("dead", rows.dead)]
        colours = [*_tier_colours(len(fates) - 1), DEAD]
        drawing = bar("rows by fate", [count / rows.read for _, count in fates], colours)
        return drawing + _key(zip([name for name, _ in fates], colours, strict=True))
    if section.name == "confidence":
        sides = [one for one in cascade.label_thresholds[:1] if one is not None]
        limits = (*cascade.thresholds[:1], *sides)
        drawn = (counts.accepted.confidences, counts.escalated.confidences, limits)
        return histogram.svg(*drawn) + _key(_FATES)
    return ""


def _tier_colours(tiers: int) -> list[str]:
    """The first tier's is that of accepted rows, the last tier's that of escalated ones."""
    between = max(0, tiers - 2)
    middle = [MIDDLE[place % len(MIDDLE)] for place in range(between)]
    return [ACCEPTED, *middle, ESCALATED][: max(1, tiers)]


def _key(named: Iterable[tuple[str, str]]) -> str:
    """What each colour of a drawing stands for."""
    each = "".join(f'<i style="background:{colour}"></i>{escape(name)}' for name, colour in named)
    return f'<p class="note key">{each}</p>'
