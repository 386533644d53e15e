"""The cascade as a PTransform.

record batches ──> tier 1 ──┬─ simple ────────────────────────────────────> branches[0]
                            ├─ complex ─> re-batch ─> tier 2 ──┬─ simple ──> branches[1]
                            │                                  ├─ failed ──> failures[1]
                            │                                  └─ audited ─> audits[0]
                            └─ failed ─────────────────────────────────────> failures[0]
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from tango_beam import coders  # noqa: F401 - registers the coder
from tango_beam.branches import TierRole
from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.models import loading
from tango_beam.placement import Placement, Send
from tango_beam.rebatching import BatchRows
from tango_beam.record_columns import OutputColumns
from tango_beam.tier import AUDITED, COMPLEX, FAILED, SIMPLE, ScoreTier


class _Collections(NamedTuple):
    branches: tuple[PCollection, ...]
    failures: tuple[PCollection, ...]
    audits: tuple[PCollection, ...]


class CascadeOutput(_Collections):
    """What `Cascade` gives: PCollections of record batches.

    Attributes:
      branches: rows with the answer columns, one PCollection for each tier that answers.
      failures: rows on which a tier's model failed, with stage and error, one for each tier.
      audits: the first tiers' rows that a later tier checked, one for each tier that may; none
        without an `audit_rate`.
    """

    @property
    def simple(self) -> PCollection:
        """Rows that the first tier answers; with an `audit_rate`, those that nobody checks."""
        return self.branches[0]

    @cached_property
    def complex(self) -> PCollection:
        """Rows that were escalated and answered."""
        if len(self.branches) == 2:
            return self.branches[1]
        pipeline = self.branches[0].pipeline
        return self.branches[1:] | "FlattenComplex" >> beam.Flatten(pipeline=pipeline)

    @cached_property
    def failed(self) -> PCollection:
        """Rows without an answer; their columns, the stage and the error."""
        return self.failures | "FlattenFailed" >> beam.Flatten()

    @cached_property
    def answered(self) -> PCollection:
        """Simple and complex rows in one PCollection.

        On Beam's in-process runner a Flatten ahead of a sink holds the whole collection in memory;
        to write large outputs there, give each of `branches` a sink of its own.
        """
        return (*self.branches, *self.audits) | "FlattenAnswered" >> beam.Flatten()


class Cascade(beam.PTransform):
    """Scores record batches with a small model and sends what it is unsure of on to a larger one.

    An instance is complex when the tier's confidence in it is under the tier's threshold
    (TangoBERT, section 3). Input: a PCollection of `pyarrow.RecordBatch` with a text column, or two
    for pairs; other columns pass through. Output: see `CascadeOutput`; the added columns are
    `record_columns.AnswerShape.fields`. Rows keep windows and timestamps, and share a model's batch
    with rows of the same window and bundle.

        batches | Cascade(load_cascade("sst2"))

    Args:
      config: the tiers; any number of them.
      columns: which columns are read (`text`), and which are added.
      compute: device and precision.
      audit_rate: share of rows, drawn by position, that the last tier answers too where an earlier
        one accepts them; wants rows with positions (`records.POSITION`).
      placement: where the tiers behind the first one run; beside it by default.
      fingerprint: what goes into the `cascade` column; computed from the config by default.

    Raises:
      ValueError: at run time, when a batch lacks a text column.
    """

    def __init__(
        self,
        config: CascadeConfig,
        *,
        columns: OutputColumns = OutputColumns(),  # noqa: B008 - frozen
        compute: Compute = Compute(),  # noqa: B008 - frozen
        audit_rate: float = 0.0,
        fingerprint: str | None = None,
        placement: Placement = Placement(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        self._config, self._compute, self._placement = config, compute, placement
        columns = replace(columns, answer=config.shape)
        if fingerprint is None:
            device = loading.resolve_device(compute.device)
            precision = loading.resolve_precision(compute.precision, device)
            fingerprint = config.fingerprint(precision)
        self._roles = [
            TierRole(
                number=number,
                threshold=tier.threshold,
                first_threshold=config.threshold,
                cascade=fingerprint,
                columns=columns,
                decoder=config.decoder(tier),
                audit_rate=audit_rate,
                filter=config.filter,
                label_threshold=tier.label_threshold,
            )
            for number, tier in enumerate(config.tiers, start=1)
        ]

    def expand(self, batches: PCollection) -> CascadeOutput:
        tiers, place = self._config.tiers, self._placement.hinted
        branches, failures, audits = [], [], []
        unanswered = batches
        for role, tier, following in zip(self._roles, tiers, (*tiers[1:], None), strict=True):
            number = role.number
            score = beam.ParDo(ScoreTier(tier, role, self._compute, following))
            scored = (
                unanswered
                | f"BatchForTier{number}" >> place(BatchRows(tier.batch_rows), number)
                | f"Tier{number}"
                >> place(score.with_output_types(pa.RecordBatch), number).with_outputs(
                    COMPLEX, FAILED, AUDITED, main=SIMPLE
                )
            )
            branches.append(scored[SIMPLE])
            failures.append(scored[FAILED])
            if number > 1 and role.audit_rate > 0:
                audits.append(scored[AUDITED])
            unanswered = scored[COMPLEX]
            if number == 1 and following and self._placement.apart:
                unanswered = self._sent(unanswered, following)
        return CascadeOutput(tuple(branches), tuple(failures), tuple(audits))

    def _sent(self, batches: PCollection, following: TierConfig) -> PCollection:
        """Complex rows, shuffled to where the second tier runs."""
        return (
            batches
            | "BatchForShuffle" >> BatchRows(following.batch_rows)
            | "SendComplex" >> Send(self._placement)
        )
