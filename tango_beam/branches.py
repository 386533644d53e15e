"""Rows of a scored batch, branch by branch: which columns they have, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tango_beam import audit, batching, record_columns, routing
from tango_beam.answers import Answers, Decoder, LabelDecoder
from tango_beam.arrays import Bool, Float64, Int64
from tango_beam.models.tokens import Tokens
from tango_beam.record_columns import OutputColumns


@dataclass(frozen=True)
class TierRole:
    """What a tier needs to know of the cascade that it stands in.

    Attributes:
      number: 1 for the first tier.
      threshold: rows under it are complex; None for the last tier, which answers all.
      first_threshold: the first tier's, as it is written out.
      cascade: fingerprint of the cascade.
      columns: which columns are read and added.
      decoder: makes answers of the tier's logits.
      next_vocabulary: vocabulary of the next tier; tokens are passed on to one that shares it.
      filter: the label that the cascade is a filter on; None where it is none.
      label_threshold: of rows that the tier calls that label; None where `threshold` is all rows'.
      audit_rate: share of the rows, drawn by position, whose accepted answers are checked by the
        last tier; 0 to 1.
    """

    number: int
    threshold: float | None
    first_threshold: float
    cascade: str
    columns: OutputColumns = OutputColumns()  # noqa: RUF009 - frozen
    decoder: Decoder = LabelDecoder()  # noqa: RUF009 - frozen
    next_vocabulary: str | None = None
    audit_rate: float = 0.0
    filter: str | None = None
    label_threshold: float | None = None

    def limits(self, answer: Mapping[str, pa.Array]) -> float | Float64:
        """The threshold of rows with these answers of this tier: one for all, or one a row."""
        threshold = self.first_threshold if self.threshold is None else self.threshold
        if self.label_threshold is None or self.filter is None:
            return threshold
        called = self.decoder.calls(answer, self.filter).to_numpy(zero_copy_only=False)
        return routing.of_sides(called, threshold, self.label_threshold)


@dataclass(frozen=True)
class ScoredRows:
    """Rows with a tier's answers, before they are parted into branches.

    Attributes:
      role: the tier's.
      rows: as they came, without tokens.
      answers: the tier's.
      tokens: of the texts.
      cost: what each row took (see `record_columns.COST`); None where costs are not counted.
      checked: what all layers of this tier say of rows that are drawn for the audit, where it is
        the last one and may have answered from an exit; null of other rows.
    """

    role: TierRole
    rows: pa.RecordBatch
    answers: Answers
    tokens: Tokens
    cost: pa.StructArray | None = None
    checked: pa.StructArray | None = None

    def simple(self, chosen: Int64) -> pa.RecordBatch:
        """Rows that this tier answers, columns in the contract's order, hidden ones last."""
        keep = pa.array(chosen)
        rows = self.rows.take(keep)
        route = "accepted" if self.role.number == 1 else "escalated"
        answer = self._answer(keep)
        columns = _contract(rows, answer, self._first_answer(rows, answer), route, self.role)
        if self.checked is not None:
            columns[record_columns.HELD_ANSWER] = pa.StructArray.from_arrays(
                [*answer.values()], [*answer]
            )
            columns[record_columns.LAST_ANSWER] = self.checked.take(keep)
        return pa.RecordBatch.from_pydict({**columns, **self._costs(keep)})

    def complex(self, chosen: Int64, vocabulary: str, drawn: Bool) -> pa.RecordBatch:
        """Rows for the next tier: their columns, the first tier's answer, tokens if it shares them.

        Args:
          chosen: which rows, int64.
          vocabulary: of this tier.
          drawn: rows that this tier accepts and the last one checks, shape [rows].
        """
        role, keep = self.role, pa.array(chosen)
        rows, answer = self.rows.take(keep), self._answer(keep)
        columns = {name: rows.column(name) for name in record_columns.visible(rows.schema.names)}
        first = self._first_answer(rows, answer)
        columns |= {role.columns.prefix + name: column for name, column in first.items()}
        columns |= _hidden(rows)
        if role.next_vocabulary == vocabulary:
            columns[record_columns.TOKENS + vocabulary] = self.tokens.take(chosen).to_arrow()
        if role.audit_rate > 0:
            held = audit.hold(rows, answer, drawn[chosen], audit.is_held(rows))
            columns[record_columns.HELD_ANSWER] = held
        return pa.RecordBatch.from_pydict({**columns, **self._costs(keep)})

    def audited(self, chosen: Int64, lost: pa.RecordBatch, taken: Int64) -> pa.RecordBatch | None:
        """Checked rows with the answer that they came with; what this tier says is hidden.

        Args:
          chosen: which rows, int64.
          lost: checked rows on which this tier failed: they keep their answer, unchecked.
          taken: what these took of an endpoint (see `Failures.taken`), shape [rows, 3].
        """
        if not len(chosen) and not lost.num_rows:
            return None
        keep = pa.array(chosen)
        rows, answer = self.rows.take(keep), self._answer(keep)
        nobody = {name: pa.nulls(lost.num_rows, answer[name].type) for name in answer}
        parts = [
            *((part, self._costs(keep)) for part in _audited(rows, answer, self.role)),
            *((part, self._paid(taken)) for part in _audited(lost, nobody, self.role)),
        ]
        return batching.join([record_columns.append(*part) for part in parts])

    def _answer(self, keep: pa.Array) -> dict[str, pa.Array]:
        """What this tier says of some rows, by the names of the output's columns."""
        answer = {
            **{name: column.take(keep) for name, column in self.answers.columns().items()},
            "confidence": pa.array(self.answers.confidences).take(keep),
            "tier": record_columns.constant(self.role.number, len(keep), pa.int8()),
            "truncated": pa.array(self.tokens.truncated).take(keep),
        }
        return answer | (
            {"scores": self.answers.scores.take(keep)} if self.role.columns.scores else {}
        )

    def _first_answer(
        self, rows: pa.RecordBatch, answer: dict[str, pa.Array]
    ) -> dict[str, pa.Array]:
        """What the first tier said: this tier's answer if it is the first, else carried along."""
        if self.role.number > 1:
            return _carried(rows, self.role)
        limits = self.role.limits(answer)
        return {
            "first_tier_prediction": answer["prediction"],
            "first_tier_confidence": answer["confidence"],
            "threshold": pa.array(np.full(rows.num_rows, limits, np.float32)),
        }

    def _costs(self, keep: pa.Array) -> dict[str, pa.Array]:
        if self.cost is None:
            return {}
        return {f"{record_columns.COST}{self.role.number}": self.cost.take(keep)}

    def _paid(self, taken: Int64) -> dict[str, pa.Array]:
        """What rows without an answer were paid for, in the costs' form; null of all else."""
        if self.cost is None:
            return {}
        paid = dict(zip(record_columns.TAKEN, taken.T.copy(), strict=True))
        nothing = [None] * len(taken)
        kinds = [*self.cost.type]
        columns = [pa.array(paid.get(kind.name, nothing), kind.type) for kind in kinds]
        cost = pa.StructArray.from_arrays(columns, fields=kinds)
        return {f"{record_columns.COST}{self.role.number}": cost}


@dataclass
class Failures:
    """Rows of a batch on which a tier fails, with the error.

    Attributes:
      batch: all rows, as they came.
      errors: by row number.
      taken: calls and tokens of rows that an endpoint was asked in vain, by row number.
    """

    batch: pa.RecordBatch
    errors: dict[int, str] = field(default_factory=dict)
    taken: dict[int, list[int]] = field(default_factory=dict)

    def without_answer(self, role: TierRole) -> pa.RecordBatch:
        """Rows that end here, with the stage and the error; their own columns only."""
        held = audit.is_held(self.batch)
        rows = [row for row in sorted(self.errors) if not held[row]]
        failed = self.batch.take(pa.array(rows, pa.int64()))
        added = role.columns.added().names
        working = (record_columns.TOKENS, record_columns.COST, record_columns.HELD_ANSWER)
        names = [name for name in failed.schema.names if name not in added]
        stage = record_columns.constant(f"tier {role.number}", len(rows), pa.string())
        errors = pa.array([self.errors[row] for row in rows], pa.string())
        return record_columns.append(
            failed.select([name for name in names if not name.startswith(working)]),
            {record_columns.STAGE: stage, record_columns.ERROR: errors, **self._costs(role, rows)},
        )

    def _costs(self, role: TierRole, rows: list[int]) -> dict[str, pa.Array]:
        """What was paid for rows without an answer, too."""
        if not self.taken or not rows or not role.columns.costs:
            return {}
        columns = [pa.array(column) for column in self._taken_of(rows).T.copy()]
        cost = pa.StructArray.from_arrays(columns, [*record_columns.TAKEN])
        return {f"{record_columns.COST}{role.number}": cost}

    def _taken_of(self, rows: Iterable[int]) -> Int64:
        """Calls and tokens of some rows, int64, shape [rows, 3]."""
        kinds = len(record_columns.TAKEN)
        taken = [self.taken.get(row, [0] * kinds) for row in rows]
        return np.array(taken, np.int64).reshape(-1, kinds)

    def with_answer(self) -> tuple[pa.RecordBatch, Int64]:
        """Rows that carry the answer of an earlier tier, and what they took all the same."""
        rows = np.intersect1d(list(self.errors), np.flatnonzero(audit.is_held(self.batch)))
        rows = rows.astype(np.int64)
        return self.batch.take(pa.array(rows)), self._taken_of(rows.tolist())


def _audited(
    rows: pa.RecordBatch, last_answer: dict[str, pa.Array], role: TierRole
) -> list[pa.RecordBatch]:
    if not rows.num_rows:
        return []
    held = audit.held_answer(rows)
    columns = _contract(rows, held, _carried(rows, role), "audited", role)
    columns[record_columns.HELD_ANSWER] = rows.column(record_columns.HELD_ANSWER)
    columns[record_columns.LAST_ANSWER] = audit.last_answer(held, last_answer, role.decoder)
    return [pa.RecordBatch.from_pydict(columns)]


def _carried(rows: pa.RecordBatch, role: TierRole) -> dict[str, pa.Array]:
    names, prefix = record_columns.FIRST_ANSWER_NAMES, role.columns.prefix
    return {name: rows.column(prefix + name) for name in names}


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
        "route": record_columns.constant(route, count, pa.string()),
        "cascade": record_columns.constant(role.cascade, count, pa.string()),
    }
    columns, prefix = role.columns, role.columns.prefix
    order = [one.name for one in columns.answer.fields()]
    order += ["scores"] if columns.scores else []
    ordered = {prefix + name: given[name] for name in order}
    names = record_columns.visible(rows.schema.names)
    inputs = {name: rows.column(name) for name in names if name not in ordered}
    return {**inputs, **ordered, **_hidden(rows)}


def _hidden(rows: pa.RecordBatch) -> dict[str, pa.Array]:
    """Hidden columns that outlive a tier; tokens do not."""
    kept = (record_columns.POSITION, record_columns.PARCEL, record_columns.COST)
    texts = (*record_columns.TEXTS, record_columns.LINE, record_columns.TIME)
    return {
        name: rows.column(name) for name in rows.schema.names if name.startswith((*kept, *texts))
    }
