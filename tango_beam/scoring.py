"""Scores a record batch with one tier and parts it in three. No Beam: a function of its inputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam import audit, batching, memory, records, routing
from tango_beam.models import parallel
from tango_beam.models.base import Answers, Model
from tango_beam.models.operations import of_rows
from tango_beam.models.tokens import Tokens

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TierRole:
    """What a tier needs to know of the cascade that it stands in.

    Attributes:
      number: 1 for the first tier.
      threshold: rows under it are complex; None for the last tier, which answers all.
      first_threshold: the first tier's, as it is written out.
      cascade: fingerprint of the cascade.
      text_column: the column that is read.
      text_pair_column: the second text of a pair, or None.
      next_vocabulary: vocabulary of the next tier; tokens are passed on to one that shares it.
      prefix: goes before the names of the columns that are added.
      scores: whether every label's probability is written out.
      costs: whether seconds, tokens and operations a row travel along, hidden.
      audit_rate: share of the rows, drawn by position, whose accepted answers are checked by the
        last tier; 0 to 1.
    """

    number: int
    threshold: float | None
    first_threshold: float
    cascade: str
    text_column: str = "text"
    text_pair_column: str | None = None
    next_vocabulary: str | None = None
    prefix: str = ""
    scores: bool = False
    costs: bool = False
    audit_rate: float = 0.0


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
    errors: dict[int, str] = {}
    texts, pairs, rows = _readable(batch, role, errors)
    tokens, rows = _tokens(model, batch, texts, pairs, rows, errors)
    computing = time.perf_counter()
    outputs, padded = _outputs(model, tokens, rows, errors)
    computing = time.perf_counter() - computing
    fine = np.flatnonzero(~np.isin(rows, list(errors)))
    answers = model.decode(outputs[fine])
    # This tier's tokens have done their work; copying them along would cost more than the rows.
    kept = records.drop(batch, records.TOKENS)
    answered = _Answered(
        rows=kept if len(fine) == batch.num_rows else kept.take(pa.array(rows[fine])),
        answers=answers,
        tokens=tokens if len(fine) == len(tokens) else tokens.take(fine),
    )
    if role.costs:
        seconds = time.perf_counter() - started, computing
        shares = [spent / max(1, batch.num_rows) for spent in seconds]
        answered.cost = _cost(shares, model, answered.tokens.lengths, padded[fine])
    held = audit.held(answered.rows)
    escalate, drawn = held & (role.threshold is not None), np.zeros(len(fine), bool)
    if role.threshold is not None:
        unsure = routing.is_complex(answers.confidences, role.threshold)
        drawn = ~unsure & ~held & audit.drawn(answered.rows, role.audit_rate)
        escalate |= unsure | drawn
    return Routed(
        simple=_simple(answered, np.flatnonzero(~escalate & ~held), role),
        complex=_complex(answered, np.flatnonzero(escalate), role, model.vocabulary, drawn),
        failed=_failed(batch, errors, role),
        audited=_audited(answered, np.flatnonzero(held & ~escalate), batch, errors, role),
    )


@dataclass
class _Answered:
    """Rows with their answers, before they are parted."""

    rows: pa.RecordBatch
    answers: Answers
    tokens: Tokens
    cost: pa.StructArray | None = None


def _readable(
    batch: pa.RecordBatch, role: TierRole, errors: dict[int, str]
) -> tuple[pa.Array, pa.Array | None, IntArray]:
    """Text columns without nulls, and the rows they belong to."""
    texts = _plain_texts(batch, role.text_column)
    pairs = _plain_texts(batch, role.text_pair_column) if role.text_pair_column else None
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
    rows: IntArray,
    errors: dict[int, str],
) -> tuple[Tokens, IntArray]:
    """The rows' tokens, from the tier before where it shares the vocabulary."""
    name = records.TOKENS + model.vocabulary
    if name in batch.schema.names and len(rows) == batch.num_rows:
        return Tokens.from_arrow(batch.column(name)), rows

    def tokenize(part: IntArray) -> Tokens:
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
    model: Model, tokens: Tokens, rows: IntArray, errors: dict[int, str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Raw outputs of every row of `tokens`, and its share of the padded tokens."""
    outputs: npt.NDArray[np.float32] = np.full((len(tokens), len(model.labels)), np.nan, np.float32)
    padded = np.zeros(len(tokens), np.int32)

    def run(part: IntArray) -> None:
        found = model.forward(tokens, part)
        if found.shape != (len(part), len(model.labels)):
            raise ValueError(
                f"expected outputs of shape {(len(part), len(model.labels))} for {len(part)} rows, "
                f"found {found.shape}"
            )
        outputs[part] = found
        padded[part] = model.padded(tokens.lengths[part])

    def fail(row: int, error: str) -> None:
        errors[int(rows[row])] = error

    def attempt(part: IntArray) -> None:
        try:
            run(part)
        except Exception:  # noqa: BLE001 - whatever it was, another attempt tells whose it is
            again.append(part)

    again: list[IntArray] = []
    parallel.each(model.device, model.plan(tokens.lengths), attempt, model.threads)
    if again:
        # One at a time, since together they may have taken more memory than there is.
        parallel.renew()
        memory.give_back()
        parallel.each(model.device, [again], lambda parts: [bisect(p, run, fail) for p in parts])
        parallel.renew()
    finite = np.isfinite(outputs).all(axis=1)
    for row in np.flatnonzero(~finite):
        errors.setdefault(int(rows[row]), f"expected finite scores, found {outputs[row].tolist()}")
    return outputs, padded


def bisect(
    part: IntArray, action: Callable[[IntArray], object], fail: Callable[[int, str], None]
) -> IntArray:
    """Runs an action on rows, halving where it fails; returns the rows on which it did not.

    A batch that is too large for memory passes in halves; a row that fails alone is reported.
    """
    try:
        if len(part):
            action(part)
        return part
    except Exception as error:  # noqa: BLE001 - models raise what they like; the row bears it
        if len(part) == 1:
            fail(int(part[0]), f"{type(error).__name__}: {error}"[:500])
            return part[:0]
    middle = len(part) // 2
    halves = bisect(part[:middle], action, fail), bisect(part[middle:], action, fail)
    return np.concatenate(halves)


def _cost(
    shares: list[float], model: Model, lengths: IntArray, padded: npt.NDArray[np.int32]
) -> pa.StructArray:
    """What each row took in a tier: seconds, those within the model, tokens, operations."""
    whole, computing = (np.full(len(lengths), share, np.float32) for share in shares)
    columns = {
        "seconds": whole,
        "computing": computing,
        "tokens": lengths.astype(np.int32),
        "padded": padded,
        "operations": of_rows(model.network, lengths),
    }
    return pa.StructArray.from_arrays([pa.array(c) for c in columns.values()], list(columns))


def _simple(answered: _Answered, chosen: IntArray, role: TierRole) -> pa.RecordBatch:
    """Rows that this tier answers, columns in the contract's order, hidden ones last."""
    keep = pa.array(chosen)
    rows = answered.rows.take(keep)
    first = _first_answer(answered, chosen, role)
    route = "accepted" if role.number == 1 else "escalated"
    columns = _contract(rows, _own_answer(answered, keep, role), first, route, role)
    return pa.RecordBatch.from_pydict({**columns, **_costs(answered, keep, role)})


def _own_answer(answered: _Answered, keep: pa.Array, role: TierRole) -> dict[str, pa.Array]:
    """What this tier says of some rows, by the names of the output's columns."""
    answers = answered.answers
    answer = {
        "prediction": answers.predictions.take(keep),
        "confidence": pa.array(answers.confidences).take(keep),
        "tier": records.constant(role.number, len(keep), pa.int8()),
        "truncated": pa.array(answered.tokens.truncated).take(keep),
    }
    return {**answer, "scores": answers.scores.take(keep)} if role.scores else answer


def _contract(
    rows: pa.RecordBatch,
    answer: dict[str, pa.Array],
    first: dict[str, pa.Array],
    route: str,
    role: TierRole,
) -> dict[str, pa.Array]:
    """The input's columns, the added ones in the contract's order, the hidden ones that stay."""
    count = rows.num_rows
    given = {
        **answer,
        **first,
        "route": records.constant(route, count, pa.string()),
        "cascade": records.constant(role.cascade, count, pa.string()),
    }
    order = (*records.ANSWER_NAMES, *(["scores"] if role.scores else []))
    ordered = {role.prefix + name: given[name] for name in order}
    names = records.visible(rows.schema.names)
    inputs = {name: rows.column(name) for name in names if name not in ordered}
    return {**inputs, **ordered, **_hidden(rows)}


def _complex(
    answered: _Answered,
    chosen: IntArray,
    role: TierRole,
    vocabulary: str,
    drawn: npt.NDArray[np.bool_],
) -> pa.RecordBatch:
    """Rows for the next tier: their columns, the first tier's answer, tokens if they are shared."""
    keep = pa.array(chosen)
    rows = answered.rows.take(keep)
    inputs = {name: rows.column(name) for name in records.visible(rows.schema.names)}
    first = _first_answer(answered, chosen, role)
    columns = {**inputs, **{role.prefix + name: column for name, column in first.items()}}
    columns |= _hidden(rows)
    if role.next_vocabulary == vocabulary:
        columns[records.TOKENS + vocabulary] = answered.tokens.take(chosen).to_arrow()
    if role.audit_rate > 0:
        own = _own_answer(answered, keep, role)
        columns[records.AUDIT] = audit.hold(rows, own, drawn[chosen], audit.held(rows))
    return pa.RecordBatch.from_pydict({**columns, **_costs(answered, keep, role)})


def _audited(
    answered: _Answered,
    chosen: IntArray,
    batch: pa.RecordBatch,
    errors: dict[int, str],
    role: TierRole,
) -> pa.RecordBatch | None:
    """Checked rows with the answer that they came with; what this tier says of them is hidden.

    A row on which this tier fails was answered already: it keeps its answer, unchecked.
    """
    if records.AUDIT not in batch.schema.names:
        return None
    keep = pa.array(chosen)
    lost = batch.take(pa.array(_held_among(batch, errors), pa.int64()))
    parts = [
        (answered.rows.take(keep), answered.answers.predictions.take(keep),
         pa.array(answered.answers.confidences).take(keep), _costs(answered, keep, role)),
        (lost, pa.nulls(lost.num_rows, pa.string()), pa.nulls(lost.num_rows, pa.float32()), {}),
    ]  # fmt: skip
    made = []
    for rows, prediction, confidence, costs in parts:
        if not rows.num_rows:
            continue
        first = {name: rows.column(role.prefix + name) for name in records.FIRST_ANSWER_NAMES}
        columns = _contract(rows, audit.held_answer(rows), first, "audited", role)
        last = pa.StructArray.from_arrays([prediction, confidence], ["prediction", "confidence"])
        columns |= {records.AUDIT: rows.column(records.AUDIT), records.AUDITED: last}
        made.append(pa.RecordBatch.from_pydict({**columns, **(costs if not errors else {})}))
    return batching.join(made) if made else None


def _held_among(batch: pa.RecordBatch, errors: dict[int, str]) -> list[int]:
    held = audit.held(batch)
    return [row for row in sorted(errors) if held[row]]


def _first_answer(answered: _Answered, chosen: IntArray, role: TierRole) -> dict[str, pa.Array]:
    """What the first tier said: this tier's answer if it is the first, else carried along."""
    keep = pa.array(chosen)
    if role.number > 1:
        rows = answered.rows.take(keep)
        return {name: rows.column(role.prefix + name) for name in records.FIRST_ANSWER_NAMES}
    return {
        "first_tier_prediction": answered.answers.predictions.take(keep),
        "first_tier_confidence": pa.array(answered.answers.confidences).take(keep),
        "threshold": records.constant(role.first_threshold, len(chosen), pa.float32()),
    }


def _hidden(rows: pa.RecordBatch) -> dict[str, pa.Array]:
    """Hidden columns that outlive a tier; tokens do not."""
    kept = (records.POSITION, records.PARCEL, records.COST)
    return {name: rows.column(name) for name in rows.schema.names if name.startswith(kept)}


def _costs(answered: _Answered, keep: pa.Array, role: TierRole) -> dict[str, pa.Array]:
    if answered.cost is None:
        return {}
    return {f"{records.COST}{role.number}": answered.cost.take(keep)}


def _failed(batch: pa.RecordBatch, errors: dict[int, str], role: TierRole) -> pa.RecordBatch:
    """Rows without an answer, with the stage and the error; their own columns only."""
    checked = set(_held_among(batch, errors))
    rows = [row for row in sorted(errors) if row not in checked]
    failed = batch.take(pa.array(rows, pa.int64()))
    added = [role.prefix + name for name in records.ANSWER_NAMES]
    names = [name for name in failed.schema.names if name not in added]
    working = (records.TOKENS, records.COST, records.AUDIT)
    kept = [name for name in names if not name.startswith(working)]
    return records.append(
        failed.select(kept),
        {
            records.STAGE: records.constant(f"tier {role.number}", len(rows), pa.string()),
            records.ERROR: pa.array([errors[row] for row in rows], pa.string()),
        },
    )
