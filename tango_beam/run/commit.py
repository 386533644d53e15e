"""A run is committed: what counts is added up, the rest is deleted, the manifest is written."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from tango_beam.errors import JobError
from tango_beam.guarantees import audit_verdict
from tango_beam.io import planned
from tango_beam.machine import versions
from tango_beam.run import answer_counts, join, receipts
from tango_beam.run.answer_counts import AnswerCounts
from tango_beam.run.layout import (
    AUDIT,
    DEAD_LETTERS,
    FAILURE,
    JOINS,
    MANIFEST,
    RECEIPTS,
    TEMPORARY,
    is_part,
)
from tango_beam.run.manifest import (
    Asked,
    Audit,
    Cascade,
    Counts,
    DeadLetters,
    Manifest,
    ModelWork,
    Rows,
    Tokens,
)
from tango_beam.run.receipts import EXAMPLES, Example, Receipt, StoredFile, TierCost
from tango_beam.run.run_file import Run, describe_schema, load_run
from tango_beam.run.store import Store


def commit(store: Store) -> None:
    """Checks that all input is accounted for, and writes the manifest; may run twice.

    When too many rows are dead, `_failure.json` is written in its place.

    Raises:
      JobError: a checkpoint is missing, or the sums do not match.
    """
    if not store.has_ended():
        run = load_run(store)
        counted = [*join.count(store).values()]
        receipts.require_every_checkpoint(run.items(), counted)
        manifest = summarize(run, counted, functools.partial(join.joined, store))
        stored = manifest.stored
        store.delete([name for name in store.names() if is_part(name) and name not in stored])
        rows = manifest.rows
        failed = rows.read and rows.dead / rows.read > run.max_dead_fraction
        store.write_json(FAILURE if failed else MANIFEST, manifest.to_json())
    store.drop_folder(RECEIPTS)
    store.drop_folder(TEMPORARY)
    store.delete([JOINS])


def summarize(
    run: Run,
    counted: list[Receipt],
    joined: Callable[[list[StoredFile]], list[StoredFile]] = lambda files: files,
) -> Manifest:
    """Adds receipts up.

    Args:
      run: what was asked for.
      counted: the receipts that count.
      joined: puts parts in the places of their pieces.

    Raises:
      JobError: rows read are not rows accepted, escalated and dead, or rows written are not those
        that were answered and kept.
    """
    rows, errors, costs = _sums(counted)
    _take_in_audited(rows)
    pieces = [file for receipt in counted for file in receipt.files]
    files = sorted(joined(pieces), key=lambda file: file.name)
    data = tuple(file for file in files if not file.name.startswith("_"))
    _check(rows, sum(file.rows for file in data))
    fates = Rows(*(rows[fate.name] for fate in fields(Rows)))
    cascade = Cascade.from_json(run.cascade)
    seconds = {"read": sum(r.seconds for r in counted)} | {t: c.seconds for t, c in costs.items()}
    return Manifest(
        version=1,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=fates,
        files=data,
        dead_letters=_dead_letters(errors, counted, files),
        audit=_audit(run.audit_rate, cascade, fates, counted, files),
        broken_files=(*run.input.broken, *(one for receipt in counted for one in receipt.broken)),
        inputs=tuple(planned.to_json(file) for file in run.input.files),
        notes=run.input.notes,
        schema=tuple(describe_schema(run.output_schema)),
        cascade=cascade,
        seconds={stage: round(spent, 3) for stage, spent in seconds.items()},
        tokens={tier: Tokens(cost.tokens, cost.padded) for tier, cost in costs.items()},
        models={
            tier: ModelWork(round(cost.computing, 3), cost.operations)
            for tier, cost in costs.items()
        },
        asked=_asked(costs, run.options),
        counts=_counts(counted),
        versions=versions(),
        options=run.options,
        id=run.id,
        after=run.after,
    )


def _take_in_audited(rows: Counter[str]) -> None:
    """Counts audited rows as what they are: accepted, or, of a tier behind the first, escalated."""
    rows["accepted"] += rows["audited"]
    rows["escalated"] += rows["audited_later"]
    rows["audited"] += rows["audited_later"]


def _check(rows: Counter[str], written: int) -> None:
    """Raises JobError where a row is missing, or there too often."""
    if rows["read"] != rows["accepted"] + rows["escalated"] + rows["dead"]:
        raise JobError(f"expected rows read to be accepted, escalated or dead, found {dict(rows)}")
    if written != rows["accepted"] + rows["escalated"] - rows["filtered"]:
        raise JobError(
            f"expected files of all rows accepted or escalated and not filtered, found {dict(rows)}"
        )


def _dead_letters(
    errors: Counter[str], counted: list[Receipt], files: list[StoredFile]
) -> DeadLetters:
    reasons = dict(errors.most_common(50))
    examples: dict[str, tuple[Example, ...]] = {}
    for receipt in counted:
        for reason in receipt.examples.keys() & reasons.keys():
            both = examples.get(reason, ()) + receipt.examples[reason]
            examples[reason] = both[:EXAMPLES]
    return DeadLetters(_within(files, DEAD_LETTERS), reasons, examples)


def _counts(counted: list[Receipt]) -> Counts:
    def of(*steps: str) -> AnswerCounts:
        return answer_counts.total(one.counts for one in counted if one.step in steps)

    return Counts(of("accepted", "audited"), of("escalated", "audited_later"))


def _sums(counted: list[Receipt]) -> tuple[Counter[str], Counter[str], dict[str, TierCost]]:
    """Rows by step, dead rows by reason, and costs by tier."""
    rows: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    costs: dict[str, TierCost] = {}
    for receipt in counted:
        rows[receipt.step] += receipt.rows
        rows["filtered"] += receipt.filtered
        errors.update(receipt.errors)
        receipts.add_costs(costs, receipt.costs)
    return rows, errors, dict(sorted(costs.items()))


def _asked(costs: dict[str, TierCost], options: dict[str, Any]) -> dict[str, Asked]:
    prices = [options.get(name) for name in ("price_in", "price_out")]
    asked = {}
    for tier, cost in costs.items():
        if cost.calls:
            each = zip((cost.tokens_in, cost.tokens_out), prices, strict=True)
            price = sum(tokens * (one or 0.0) for tokens, one in each) / 1e6
            told = any(one is not None for one in prices)
            tokens = cost.tokens_in, cost.tokens_out
            asked[tier] = Asked(cost.calls, *tokens, price if told else None)
    return asked


def _within(files: list[StoredFile], folder: str) -> tuple[StoredFile, ...]:
    return tuple(file for file in files if file.name.startswith(folder))


def _audit(
    rate: float, cascade: Cascade, rows: Rows, counted: list[Receipt], files: list[StoredFile]
) -> Audit | None:
    """What the audit found; None where none was asked for."""
    if not rate:
        return None
    checked = sum(receipt.audit.rows for receipt in counted)
    disagreements = sum(receipt.audit.disagreements for receipt in counted)
    failed = sum(receipt.audit.failed for receipt in counted)
    answered = rows.accepted + rows.escalated
    # A last tier with exits is checked on its own rows too: the whole of it may say otherwise.
    exits = cascade.tiers and cascade.tiers[-1].get("exit_thresholds")
    answers = _counts(counted).escalated.tiers
    earlier = sum(count for tier, count in answers.items() if int(tier) < len(cascade.tiers))
    drawn_from = answered if exits else rows.accepted + earlier
    goal = cascade.certificate.agreement
    verdict = audit_verdict.conclude(checked, disagreements, drawn_from, answered, goal)
    return Audit(**vars(verdict), rate=rate, failed=failed, files=_within(files, AUDIT))
