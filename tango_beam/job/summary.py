"""The table at the end of a run: rows by fate, promises, and what the run cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from tango_beam.guarantees.certificate import NONE
from tango_beam.job.tier_names import tier_names
from tango_beam.run.manifest import Audit, Manifest, ModelWork
from tango_beam.terminal import Line, projections

# A run with fewer rows or seconds mostly measures its own start.
_ENOUGH_ROWS = 10_000
_NOTES = 8  # all stand in the manifest
# A run of this many seconds is long enough to spend a few on the machine's peak.
_ENOUGH_SECONDS = 120.0


@dataclass(frozen=True)
class Spent:
    """What the process that launched a run saw of its cost.

    Attributes:
      seconds: wall clock, from the command to its end.
      working: of these, while the pipeline ran.
      before: rows that earlier runs had committed, which this one had not to score.
      cores: that did the work; None where it was done elsewhere.
      peaks: what this machine does in large matrix products, FLOP/s by tier (`tier 1`).
    """

    seconds: float
    working: float = 0.0
    before: int = 0
    cores: int | None = None
    peaks: Mapping[str, float] = field(default_factory=dict)


def peaks(precisions: Mapping[str, str], device: str, working: float) -> dict[str, float]:
    """FLOP/s of this machine's best matrix products, where a run was long enough to ask.

    Args:
      precisions: by tier; int8 has no rate to stand beside.
      device: on which the models ran.
      working: seconds that the run took; it takes a few more to measure.
    """
    from tango_beam.models import peak_flops

    if device != "cpu" or working < _ENOUGH_SECONDS:
        return {}
    rates = {kind: peak_flops.peak_flops(kind) for kind in {*precisions.values()} - {"int8"}}
    return {tier: rates[kind] for tier, kind in precisions.items() if kind in rates}


def fields(manifest: Manifest, output: str, spent: Spent) -> dict[str, Any]:
    """The same figures as fields, for a log collector."""
    rows = manifest.rows
    done = rows.read - spent.before
    return {
        "output": output,
        **asdict(rows),
        "files": len(manifest.files),
        "broken_files": len(manifest.broken_files),
        "seconds": round(spent.seconds, 3),
        "rows_a_second": round(done / max(spent.seconds, 1e-9), 3),
        "rows_of_earlier_runs": spent.before,
        "price": sum(asked.price or 0.0 for asked in manifest.asked.values()),
        "cascade": manifest.cascade.name,
        "fingerprint": manifest.cascade.fingerprint,
        "certificate": manifest.cascade.certificate.status,
        "audit": manifest.audit.verdict if manifest.audit else None,
    }


def summary(manifest: Manifest, output: str, spent: Spent) -> Table:
    """The table at the end of a run.

    Args:
      manifest: as stored.
      output: where.
      spent: by this process.
    """
    rows = manifest.rows
    answered = rows.accepted + rows.escalated
    table = Table(title=None, show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    cascade = manifest.cascade
    thresholds = ", ".join(f"{value:.4f}" for value in cascade.thresholds) or "none"
    if cascade.filter is not None:
        sides = ", ".join(f"{value:.4f}" for value in cascade.label_thresholds if value is not None)
        thresholds += f", {sides or 'the same'} for {cascade.filter}"
    table.add_row("cascade", cascade.name, f"threshold {thresholds}, {cascade.fingerprint}")
    done = rows.read - spent.before
    rate = f"{done / max(spent.seconds, 1e-9):,.0f} rows/s" if done else ""
    earlier = f", {spent.before:,} of them by earlier runs" if spent.before else ""
    table.add_row("read", f"{rows.read:,}", f"{rate}{earlier}".removeprefix(", "))
    for note in manifest.notes[:_NOTES]:
        table.add_row("note", "", note)
    for kind, count, what in (
        ("accepted", rows.accepted, "answered by the first tier"),
        ("escalated", rows.escalated, "answered by a later tier"),
    ):
        table.add_row(kind, f"{count:,}", f"{count / max(1, answered):.1%} {what}")
    if len(manifest.cascade.thresholds) > 1 and rows.escalated:
        _add_later_tiers(table, manifest, answered)
    if rows.filtered:
        share = f"{rows.filtered / answered:.1%} of the answered, not written (--keep)"
        table.add_row("filtered", f"{rows.filtered:,}", share)
    _add_losses(table, manifest)
    _add_promises(table, manifest)
    for line in _costs(manifest, spent, done):
        table.add_row(*line)
    table.add_row("output", f"{len(manifest.files)} files", output)
    return table


def _add_later_tiers(table: Table, manifest: Manifest, answered: int) -> None:
    """Of more tiers than two, each has its share of the escalated rows."""
    (_, *later), tiers = tier_names(manifest).items(), manifest.counts.escalated.tiers
    for stage, name in later:
        count = tiers.get(stage.removeprefix("tier "), 0)
        what = f"went on to {name}, the last" if stage == later[-1][0] else f"answered by {name}"
        table.add_row("", f"{count:,}", f"{count / max(1, answered):.1%} {what}")


def _add_losses(table: Table, manifest: Manifest) -> None:
    rows = manifest.rows
    dead = f"{rows.dead / max(1, rows.read):.2%}"
    table.add_row("dead", f"{rows.dead:,}", f"{dead} in _dead_letters" if rows.dead else "")
    for reason, count in list(manifest.dead_letters.reasons.items())[:5]:
        table.add_row("", f"{count:,}", reason)
    for broken in manifest.broken_files[:5]:
        table.add_row("broken", "", f"{broken['path']}: {broken['error']}")


def _add_promises(table: Table, manifest: Manifest) -> None:
    certificate = manifest.cascade.certificate
    if certificate.status != NONE:
        table.add_row("certificate", "", certificate.status)
        for line in certificate.differs[:3]:
            table.add_row("", "", line)
    if manifest.audit:
        table.add_row("audited", f"{manifest.audit.checked:,}", describe_audit(manifest.audit))


def _costs(manifest: Manifest, spent: Spent, done: int) -> Iterator[Line]:
    """Where the time went, and what larger corpora would take."""
    by_stage = ", ".join(f"{stage} {value:,.1f} s" for stage, value in manifest.seconds.items())
    yield "seconds", f"{spent.seconds:,.1f}", by_stage
    if done < _ENOUGH_ROWS:
        return
    for tier, asked in manifest.asked.items():
        spent_on = "" if asked.price is None else f"{asked.price:,.2f} spent, "
        said = f"{asked.tokens_in:,} tokens of prompts, {asked.tokens_out:,} of answers"
        yield "calls", f"{asked.calls:,}", f"{tier}: {spent_on}{said}"
    models = manifest.models
    within = sum(tier.seconds for tier in models.values())
    # Seconds of earlier runs, or of several workers at once, are no share of this one's.
    alone = spent.cores is not None and not spent.before and spent.working
    if models:
        yield (
            "models",
            f"{within / spent.working:.0%} of the time" if alone else "",
            _models(models, spent.peaks),
        )
    rate = done / max(1e-9, spent.working)
    yield from projections(rate, spent.cores)


def _models(models: Mapping[str, ModelWork], peaks: Mapping[str, float]) -> str:
    lines = []
    for tier, cost in models.items():
        rate = cost.operations / max(1e-9, cost.seconds)
        share = f", {rate / peaks[tier]:.0%} of the machine's" if tier in peaks else ""
        lines.append(f"{tier} {cost.seconds:,.1f} s at {rate / 1e9:,.0f} GFLOP/s{share}")
    return "; ".join(lines) + " (no padding counted)"


def describe_audit(audit: Audit) -> str:
    """The verdict of an audit with the figures behind it."""
    low, high = audit.interval
    goal = "" if audit.goal is None else f", certified at most {1 - audit.goal:.2%}"
    failed = f"; the last tier failed on {audit.failed:,} more" if audit.failed else ""
    return (
        f"{audit.verdict}: {audit.disagreements:,} of {audit.checked:,} checked answers "
        f"disagree, {low:.2%} to {high:.2%} of all rows{goal}{failed}"
    )
