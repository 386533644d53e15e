"""Scores a record batch with one tier; rows that fail are found one by one. No Beam."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tango_beam import audit, machine, record_columns, routing
from tango_beam.answers import Answers
from tango_beam.arrays import Float32, Int32, Int64
from tango_beam.branches import Failures, ScoredRows, TierRole
from tango_beam.errors import JobError
from tango_beam.models import thread_pool
from tango_beam.models.logits import each_micro_batch
from tango_beam.models.protocol import Model
from tango_beam.models.texts import RowsFailedError
from tango_beam.models.tokens import Tokens


@dataclass(frozen=True)
class Routed:
    """The branches of a scored batch; a branch without rows is an empty batch.

    Attributes:
      simple: rows that this tier answers, with the answer columns.
      complex: rows for the next tier, with what it needs.
      failed: rows on which the model fails, with stage and error.
      audited: simple rows of an earlier tier that were checked; its answer, and this one hidden.
    """

    simple: pa.RecordBatch
    complex: pa.RecordBatch
    failed: pa.RecordBatch
    audited: pa.RecordBatch | None = None


def score(model: Model, batch: pa.RecordBatch, role: TierRole) -> Routed:
    """Answers a batch's rows and routes them by confidence.

    A row on which the model fails is found by bisection, so its batch mates get their answers.

    Args:
      model: the tier's model.
      batch: any columns, with the text columns of `role` among them; texts may be null (they fail).
      role: the tier's place.
    """
    started = time.perf_counter()
    failures = Failures(batch)
    errors = failures.errors
    texts, pairs, rows = _readable(batch, role, errors)
    tokens, rows = _tokens(model, batch, texts, pairs, rows, errors)
    computing = time.perf_counter()
    outputs, padded = _outputs(model, tokens, rows, errors)
    _answer_whole(model, batch, tokens, rows, outputs, errors)
    computing = time.perf_counter() - computing
    for row, complaint in role.decoder.complaints(outputs).items():
        errors.setdefault(int(rows[row]), complaint)
    failures.taken = _taken_by(rows, tokens, errors)
    fine = np.flatnonzero(~np.isin(rows, list(errors)))
    if len(fine) < len(rows):
        outputs, padded, tokens = outputs[fine], padded[fine], tokens.take(fine)
    contexts = None
    if pairs is not None:
        contexts = _plain_texts(batch, role.columns.text_columns[1]).take(pa.array(rows[fine]))
    answers = role.decoder(outputs, model.labels, contexts)
    cost = None
    if role.columns.costs:
        spent = time.perf_counter() - started, computing
        cost = _cost(spent, batch.num_rows, model, tokens, padded)
    # This tier's tokens have done their work; copying them along would cost more than the rows.
    kept = record_columns.drop(batch, record_columns.TOKENS)
    kept = kept if len(fine) == batch.num_rows else kept.take(pa.array(rows[fine]))
    checked = _checked(model, kept, tokens, answers, role, contexts)
    scored = ScoredRows(role, kept, answers, tokens, cost, checked)
    return _parted(scored, model.vocabulary, failures)


def _parted(scored: ScoredRows, vocabulary: str, failures: Failures) -> Routed:
    """The branches: by confidence, by the audit's draw, and by whether an answer is held."""
    role, held = scored.role, audit.is_held(scored.rows)
    escalate, drawn = held & (role.threshold is not None), np.zeros(len(held), bool)
    if role.threshold is not None:
        limits = role.limits(scored.answers.columns())
        unsure = routing.is_complex(scored.answers.confidences, limits)
        drawn = ~unsure & ~held & audit.is_drawn(scored.rows, role.audit_rate)
        escalate |= unsure | drawn
    return Routed(
        simple=scored.simple(np.flatnonzero(~escalate & ~held)),
        complex=scored.complex(np.flatnonzero(escalate), vocabulary, drawn),
        failed=failures.without_answer(role),
        audited=scored.audited(np.flatnonzero(held & ~escalate), *failures.with_answer()),
    )


def _readable(
    batch: pa.RecordBatch, role: TierRole, errors: dict[int, str]
) -> tuple[pa.Array, pa.Array | None, Int64]:
    """Text columns without nulls, and the rows they belong to."""
    texts, *more = (_plain_texts(batch, name) for name in role.columns.text_columns)
    pairs = more[0] if more else None
    valid = texts.is_valid().to_numpy(zero_copy_only=False)
    if pairs is not None:
        valid = valid & pairs.is_valid().to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(valid)
    for row in np.flatnonzero(~valid):
        errors[int(row)] = "expected a text, found null"
    if len(rows) < batch.num_rows:
        texts = texts.take(pa.array(rows))
        pairs = None if pairs is None else pairs.take(pa.array(rows))
    return texts, pairs, rows


def _plain_texts(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        raise ValueError(f"expected a column {name!r} of texts, found {batch.schema.names}")
    texts = batch.column(name)
    return texts if texts.type == pa.string() else texts.cast(pa.string())


def _tokens(
    model: Model,
    batch: pa.RecordBatch,
    texts: pa.Array,
    pairs: pa.Array | None,
    rows: Int64,
    errors: dict[int, str],
) -> tuple[Tokens, Int64]:
    """The rows' tokens, from the tier before where it shares the vocabulary."""
    name = record_columns.TOKENS + model.vocabulary
    if name in batch.schema.names and len(rows) == batch.num_rows:
        return Tokens.from_arrow(batch.column(name)), rows

    def tokenize(part: Int64) -> Tokens:
        chosen = pa.array(part)
        return model.tokenize(texts.take(chosen), None if pairs is None else pairs.take(chosen))

    def fail(row: int, error: str) -> None:
        errors[int(rows[row])] = error

    try:
        return model.tokenize(texts, pairs), rows
    except Exception:  # noqa: BLE001 - whatever a tokenizer raises belongs to some row
        good = bisect(np.arange(len(rows)), tokenize, fail)
        return tokenize(good), rows[good]


def _outputs(
    model: Model, tokens: Tokens, rows: Int64, errors: dict[int, str]
) -> tuple[Float32, Int32]:
    """Raw outputs of every row of `tokens`, and its share of the padded tokens.

    NaN where the model fails on a row, or on a piece of it.
    """
    found: Float32 = np.full((len(tokens), model.width), np.nan, np.float32)
    padded = np.zeros(len(tokens), np.int32)
    owners = rows[tokens.owners]

    def run(part: Int64) -> None:
        try:
            logits = model.forward(tokens, part)
        except RowsFailedError as known:
            logits = known.outputs
            for place, complaint in known.errors.items():
                fail(int(part[place]), complaint)
        if logits.shape != (len(part), model.width):
            raise ValueError(
                f"expected outputs of shape {(len(part), model.width)} for {len(part)} rows, "
                f"found {logits.shape}"
            )
        found[part] = logits
        padded[part] = model.padded(tokens.lengths[part])

    def fail(piece: int, error: str) -> None:
        errors[int(owners[piece])] = error

    def attempt(part: Int64) -> None:
        try:
            run(part)
        except JobError:
            raise
        except Exception:  # noqa: BLE001 - whatever it was, another attempt tells whose it is
            again.append(part)

    again: list[Int64] = []
    each_micro_batch(model, tokens, attempt)
    if again:
        # One at a time, since together they may have taken more memory than there is.
        thread_pool.renew()
        machine.give_back_memory()
        thread_pool.each(model.device, [again], lambda parts: [bisect(p, run, fail) for p in parts])
        thread_pool.renew()
    return model.gathered(found, tokens), tokens.by_row(padded)


def _answer_whole(
    model: Model,
    batch: pa.RecordBatch,
    tokens: Tokens,
    rows: Int64,
    outputs: Float32,
    errors: dict[int, str],
) -> None:
    """Puts what the whole of a model with exits says in place of an exit's, for audited rows."""
    if not hasattr(model, "whole"):
        return
    held = np.flatnonzero(audit.is_held(batch)[rows] & np.isfinite(outputs).all(axis=1))

    def fail(row: int, complaint: str) -> None:
        errors.setdefault(int(rows[row]), complaint)

    _ask_whole(model, tokens, held, outputs, fail)


def _ask_whole(
    model: Any, tokens: Tokens, rows: Int64, outputs: Float32, fail: Callable[[int, str], None]
) -> None:
    """Overwrites outputs of some rows with what all layers of a model with exits say."""

    def ask(part: Int64) -> None:
        outputs[part] = model.whole(tokens, part)

    for part in model.plan(tokens.lengths[rows]):
        bisect(rows[part], ask, fail)


def _checked(
    model: Model,
    rows: pa.RecordBatch,
    tokens: Tokens,
    answers: Answers,
    role: TierRole,
    contexts: pa.Array | None,
) -> pa.StructArray | None:
    """What all layers of a last tier with exits say of rows drawn for the audit, null of others.

    A row that an earlier tier answers is checked by `_answer_whole`; these are the last tier's own,
    which an exit may have answered in place of the whole.
    """
    if role.threshold is not None or role.audit_rate <= 0 or not hasattr(model, "whole"):
        return None
    drawn = np.flatnonzero(audit.is_drawn(rows, role.audit_rate) & ~audit.is_held(rows))
    outputs = np.full((len(tokens), model.width), np.nan, np.float32)
    # A row on which the whole fails keeps the exit's answer, unchecked.
    _ask_whole(model, tokens, drawn, outputs, lambda row, complaint: None)
    told = np.flatnonzero(np.isfinite(outputs).all(axis=1))
    chosen = pa.array(told)
    said = role.decoder(
        outputs[told], model.labels, None if contexts is None else contexts.take(chosen)
    )
    mine = {name: column.take(chosen) for name, column in answers.columns().items()}
    last = audit.last_answer(mine, {**said.columns(), "confidence": said.confidences}, role.decoder)
    places = np.full(len(tokens), -1)
    places[told] = np.arange(len(told))
    return last.take(pa.array(places, mask=places < 0))


def bisect(
    part: Int64, action: Callable[[Int64], object], fail: Callable[[int, str], None]
) -> Int64:
    """Runs an action on rows, halving where it fails; returns the rows on which it did not.

    A batch that is too large for memory passes in halves; a row that fails alone is reported.

    Raises:
      JobError: what ends the job, whichever row it came with.
    """
    try:
        if len(part):
            action(part)
        return part
    except JobError:
        raise
    except Exception as error:  # noqa: BLE001 - models raise what they like; the row bears it
        if len(part) == 1:
            fail(int(part[0]), f"{type(error).__name__}: {error}"[:500])
            return part[:0]
    middle = len(part) // 2
    halves = bisect(part[:middle], action, fail), bisect(part[middle:], action, fail)
    return np.concatenate(halves)


def _cost(
    spent: tuple[float, float], rows: int, model: Model, tokens: Tokens, padded: Int32
) -> pa.StructArray:
    """What each row took in a tier: seconds, those within the model, tokens, operations."""
    whole, computing = (
        np.full(tokens.rows, seconds / max(1, rows), np.float32) for seconds in spent
    )
    columns = {
        "seconds": whole,
        "computing": computing,
        "tokens": tokens.by_row(tokens.lengths).astype(np.int32),
        "padded": padded,
        "operations": tokens.by_row(model.operations(tokens.lengths)),
    }
    taken = getattr(tokens, "taken", None)
    if taken is not None:
        columns |= dict(zip(record_columns.TAKEN, taken.T.copy(), strict=True))
    return pa.StructArray.from_arrays([pa.array(c) for c in columns.values()], list(columns))


def _taken_by(rows: Int64, tokens: Tokens, errors: Mapping[int, str]) -> dict[int, list[int]]:
    """Calls and tokens of rows that have no answer, by row; nothing where nobody counts."""
    taken = getattr(tokens, "taken", None)
    if taken is None or not errors:
        return {}
    return {int(row): taken[place].tolist() for place, row in enumerate(rows) if row in errors}
