"""The page that a run leaves with `--report`: made of its manifest alone, so it does not grow."""

from __future__ import annotations

from html import escape

from tango_beam.guarantees import audit_verdict
from tango_beam.guarantees.certificate import NONE
from tango_beam.html_page import Html, bar, document, facts, table
from tango_beam.job import histogram
from tango_beam.job.histogram import ACCEPTED, ESCALATED
from tango_beam.job.sections import Section, sections
from tango_beam.run.manifest import Manifest

# Of a longer table, the manifest has the rest.
MOST_ROWS = 200
DEAD = "var(--muted)"
_STYLE = """\
td .bar { height: 12px; min-width: 130px; margin: 6px 0 0; }
.key i { display: inline-block; width: .8em; height: .8em; margin: 0 4px 0 12px; }
.key i:first-child { margin-left: 0; }
"""
_KEY = (
    f'<p class="note key"><i style="background:{ACCEPTED}"></i>accepted by the first tier'
    f'<i style="background:{ESCALATED}"></i>escalated{{}}</p>'
)


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
        said.append((covers.status == "covered", f"Certificate: {covers.status}."))
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
    rows = manifest.rows
    answered = max(1, rows.accepted + rows.escalated)
    return facts(
        (
            (f"{rows.read:,}", "rows read"),
            (f"{rows.accepted / answered:.1%}", "of the answers are the first tier's"),
            (f"{rows.escalated / answered:.1%}", "are a later tier's"),
            (f"{rows.dead:,}", "rows without an answer"),
        )
    )


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
        shares = [count / rows.read for count in (rows.accepted, rows.escalated, rows.dead)]
        key = _KEY.format(f'<i style="background:{DEAD}"></i>dead')
        return bar("rows by fate", shares, (ACCEPTED, ESCALATED, DEAD)) + key
    if section.name == "confidence":
        sides = [one for one in cascade.label_thresholds[:1] if one is not None]
        limits = (*cascade.thresholds[:1], *sides)
        drawn = (counts.accepted.confidences, counts.escalated.confidences, limits)
        return histogram.svg(*drawn) + _KEY.format("")
    return ""
