"""The main job: everything is checked, and the graph is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from tango_beam.cascade import Cascade
from tango_beam.config import CascadeConfig, Compute
from tango_beam.errors import RefusedError
from tango_beam.guarantees import certificate
from tango_beam.io import inputs
from tango_beam.io.files import InputFile
from tango_beam.io.jsonl_schema import read_schema
from tango_beam.io.planned import Input, PlannedFile, describe_corpus
from tango_beam.job.options import ClassifyOptions
from tango_beam.placement import Placement, placement_of
from tango_beam.record_columns import OutputColumns
from tango_beam.resolve import load_tiers, resolve_cascade, settle
from tango_beam.run import earlier
from tango_beam.run.keep import Keep
from tango_beam.run.last_step import Commit
from tango_beam.run.read import ReadRecords
from tango_beam.run.run_file import Run
from tango_beam.run.write import Sink


@dataclass(frozen=True)
class Job:
    """A checked job.

    Attributes:
      options: as given.
      cascade: its tiers, with the threshold that holds.
      compute: device and precision, no longer `auto`.
      columns: which columns are read and added.
      run: what is written to `_run.json`.
    """

    options: ClassifyOptions
    cascade: CascadeConfig
    compute: Compute
    columns: OutputColumns
    run: Run

    def build(self, pipeline: beam.Pipeline, workers: int = 1) -> None:
        """Adds the job's graph to a pipeline.

        Each branch has a sink of its own: on the in-process runner a Flatten ahead of a sink holds
        the whole collection in memory.
        """
        output, place = self.options.output, self._placement(pipeline)
        rows = pipeline | "Input" >> ReadRecords(output, len(self.run.items()), workers)
        scored = rows.good | "Cascade" >> Cascade(
            self.cascade,
            columns=self.columns,
            compute=self.compute,
            audit_rate=self.run.audit_rate,
            fingerprint=self.run.cascade["fingerprint"],
            placement=place,
        )
        names = self.options.keep
        decoder = self.cascade.decoder(self.cascade.tiers[-1])
        keep = Keep(decoder, self.columns.prefix, names) if names else None
        stored = [rows.dead | "DeadOnArrival" >> Sink(output, "dead")]
        for number, branch in enumerate(scored.branches, start=1):
            sink = Sink(output, "accepted" if number == 1 else "escalated", decoder, keep)
            stored.append(branch | f"AnsweredByTier{number}" >> place.hinted(sink, number))
        for number, branch in enumerate(scored.audits, start=2):
            sink = Sink(output, "audited", decoder, keep)
            stored.append(branch | f"AuditedByTier{number}" >> place.hinted(sink, number))
        for number, branch in enumerate(scored.failures, start=1):
            sink = Sink(output, "dead")
            stored.append(branch | f"DeadInTier{number}" >> place.hinted(sink, number))
        _ = tuple(stored) | "Manifest" >> Commit(output, joins=self.run.part_bytes is not None)

    @property
    def prices(self) -> tuple[float, float]:
        """Of a million tokens of an endpoint's prompts and answers; 0 where none was given."""
        return self.options.price_in or 0.0, self.options.price_out or 0.0

    def precisions(self) -> dict[str, str]:
        """What the models that are loaded in this process compute in, by tier."""
        loaded = load_tiers(self.cascade, self.compute)
        return {f"tier {number}": model.precision for number, model in enumerate(loaded, start=1)}

    def _placement(self, pipeline: beam.Pipeline) -> Placement:
        options = self.options
        hints = options.second_tier_ram, options.second_tier_accelerator
        return placement_of(options.placement, pipeline.options, *hints)


def prepare(options: ClassifyOptions, *, local: bool = True, processes: int = 1) -> Job:
    """Checks everything that can be checked before any row is scored.

    Args:
      options: as given.
      local: the models run on this machine (see `resolve.settle`).
      processes: that score; an endpoint's limits are shared out among them.

    Raises:
      RefusedError: says what was expected and what was found.
    """
    cascade = resolve_cascade(options, pair=options.text_pair_column is not None)
    _refuse_audit(options, cascade)
    known = cascade.task.calls(cascade.labels)
    unknown = sorted({*options.keep} - {*known})
    if unknown:
        raise RefusedError(
            f"--keep: expected one of {', '.join(known) or 'nothing'} that cascade {cascade.name} "
            f"calls a row, found {', '.join(unknown)}"
        )
    compute = settle(options, local=local, processes=processes)
    compute = replace(compute, workers=options.workers)
    columns = OutputColumns(
        prefix=options.answer_prefix,
        scores=options.scores,
        source=options.source_columns,
        costs=True,
        answer=cascade.shape,
    )
    growth = _Growth(options)
    corpus = inputs.inspect(
        options.input,
        options.text_columns,
        input_format=options.input_format,
        columns=options.columns,
        schema=read_schema(options.schema) if options.schema else None,
        limit=options.limit,
        checkpoint_bytes=options.checkpoint_bytes,
        allow_broken_files=options.allow_broken_files,
        unknown_keys=options.unknown_keys,
        # A stated schema is for typed columns; without one nothing of a line need change.
        own_lines=options.output_format == "jsonl" and options.schema is None,
        output=columns,
        choose=growth.choose if options.after else None,
    )
    columns = replace(columns, text_columns=corpus.texts)
    run = growth.checked(_run(options, cascade, compute, columns, corpus))
    if local and corpus.files:
        load_tiers(cascade, compute)
    return Job(options, cascade, compute, columns, run)


class _Growth:
    """What earlier outputs have answered of the corpus (`--after`)."""

    def __init__(self, options: ClassifyOptions) -> None:
        self._force = options.force
        self._outputs = earlier.follow(options.after, options.output) if options.after else []
        self._division: earlier.Division | None = None

    def choose(self, files: Sequence[InputFile]) -> tuple[list[InputFile], tuple[str, ...]]:
        self._division = earlier.divide(files, self._outputs)
        return [*self._division.new], self._division.notes

    def checked(self, run: Run) -> Run:
        """The run with what it comes after.

        Raises:
          RefusedError: another cascade made an earlier output, and --force is off.
        """
        if self._division is None:
            return run
        if not self._force:
            earlier.refuse_others(self._outputs, run.cascade, run.options)
        earlier.warn(self._division, self._outputs)
        return replace(run, after=self._division.after)


def _refuse_audit(options: ClassifyOptions, cascade: CascadeConfig) -> None:
    """Raises RefusedError where an audit is asked for and nothing could differ."""
    tiers = len(cascade.tiers)
    fits = tiers > 1 or cascade.tiers[0].exit_thresholds
    if not fits and (options.audit_rows or options.audit_rate):
        raise RefusedError(
            "--audit_rows: expected a cascade of two tiers or more, or one tier with exits, found "
            "one without; nothing could differ"
        )


def _run(
    options: ClassifyOptions,
    cascade: CascadeConfig,
    compute: Compute,
    columns: OutputColumns,
    corpus: Input,
) -> Run:
    output_schema = columns.schema(corpus.schema)
    output_format = "jsonl" if options.output_format == "jsonl" else "parquet"
    if output_format == "parquet":
        _refuse_for_parquet(output_schema)
    return Run(
        input=corpus,
        output_schema=output_schema,
        output_format=output_format,
        max_dead_fraction=options.max_dead_fraction,
        cascade=_describe_cascade(cascade, compute.precision, options.text_columns, corpus.files),
        audit_rate=_audit_rate(options, cascade, corpus),
        options=options.of_results(compute.device, compute.precision),
    )


def _refuse_for_parquet(schema: pa.Schema) -> None:
    """Refuses a column that Parquet cannot hold, such as a struct without fields."""
    for field in schema:
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
        except pa.ArrowException as error:
            raise RefusedError(
                f"column {field.name}: expected a type that Parquet can hold, found {field.type} "
                f"({error}); write --output_format jsonl, leave it out with --columns, or state "
                "its type with --schema"
            ) from error


def _describe_cascade(
    cascade: CascadeConfig,
    precision: str,
    text_columns: Sequence[str],
    files: Sequence[PlannedFile],
) -> dict[str, Any]:
    scoring, fingerprint = cascade.scoring(precision), cascade.scoring_fingerprint(precision)
    thresholds = [tier.threshold for tier in cascade.tiers[:-1]]
    covers = certificate.coverage(
        cascade.certificate,
        scoring,
        fingerprint,
        [value or 0.0 for value in thresholds],
        describe_corpus(files, text_columns),
        cascade.tiers[0].label_threshold,
    )
    return {
        "name": cascade.name,
        "fingerprint": cascade.fingerprint(precision),
        "scoring_fingerprint": fingerprint,
        "labels": list(cascade.labels),
        "task": cascade.task.to_json(),
        "thresholds": thresholds,
        "filter": cascade.filter,
        "label_thresholds": list(cascade.label_thresholds),
        "tiers": [asdict(tier) for tier in cascade.tiers],
        "certificate": covers.to_json(),
    }


def _audit_rate(options: ClassifyOptions, cascade: CascadeConfig, corpus: Input) -> float:
    """The share of rows to draw, so that about as many are audited as were asked for.

    Where a certificate says how many rows reach the last tier, those do not count, unless it has
    exits; else all do.
    """
    if options.audit_rate is not None:
        return options.audit_rate
    if options.audit_rows is None:
        return 0.0
    drawn_from = float(inputs.estimate_rows(corpus.files))
    if cascade.certificate and not cascade.tiers[-1].exit_thresholds:
        drawn_from *= 1 - cascade.certificate.speed.reached[len(cascade.tiers) - 1]
    return min(1.0, options.audit_rows / max(1.0, drawn_from))
