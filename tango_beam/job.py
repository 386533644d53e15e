"""The main job: options in, everything checked, the graph built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError

from tango_beam import models, placement, records
from tango_beam.calibration import certificate
from tango_beam.cascade import Cascade
from tango_beam.config import CascadeConfig, TierConfig, load_cascade
from tango_beam.errors import RefusedError
from tango_beam.io import inputs, resume
from tango_beam.io.commit import Commit
from tango_beam.io.lease import Lease
from tango_beam.io.plan import PlannedFile
from tango_beam.io.read import DEAD, ReadRecords
from tango_beam.io.run import RUN_FILE, Run
from tango_beam.io.store import Store
from tango_beam.io.write import Sink
from tango_beam.models.checkpoints import labels_of, revision_of
from tango_beam.options import Options
from tango_beam.placement import Placement
from tango_beam.tier import Compute, load_tier


@dataclass(frozen=True)
class Job:
    """A checked job.

    Attributes:
      options: as given.
      cascade: its tiers, with the threshold that holds.
      compute: device and precision, no longer `auto`.
      run: what is written to `_run.json`.
      weight: bytes of input, as progress counts them.
    """

    options: Options
    cascade: CascadeConfig
    compute: Compute
    run: Run
    weight: int

    def build(self, pipeline: beam.Pipeline, workers: int = 1) -> None:
        """Adds the job's graph to a pipeline.

        Each branch has a sink of its own: on the in-process runner a Flatten ahead of a sink holds
        the whole collection in memory.
        """
        output = self.options.output
        where = self._placement(pipeline)
        rows = pipeline | "Input" >> ReadRecords(output, len(self.run.items()), workers)
        scored = rows["good"] | "Cascade" >> Cascade(
            self.cascade,
            text_column=self.options.text_column,
            text_pair_column=self.options.text_pair_column,
            compute=self.compute,
            prefix=self.options.answer_prefix,
            scores=self.options.scores,
            costs=True,
            audit_rate=self.run.audit_rate,
            fingerprint=self.run.cascade["fingerprint"],
            placement=where,
        )

        def sink(tier: int, step: str) -> beam.PTransform:
            made = Sink(output, step)
            return made if tier == 1 else where.here(made)

        stored = [rows[DEAD] | "DeadOnArrival" >> Sink(output, "dead")]
        for number, branch in enumerate(scored.branches, start=1):
            step = "accepted" if number == 1 else "escalated"
            stored.append(branch | f"AnsweredByTier{number}" >> sink(number, step))
        for number, branch in enumerate(scored.audits, start=2):
            stored.append(branch | f"AuditedByTier{number}" >> sink(number, "audited"))
        for number, branch in enumerate(scored.failures, start=1):
            stored.append(branch | f"DeadInTier{number}" >> sink(number, "dead"))
        _ = tuple(stored) | "Manifest" >> Commit(output)

    def precisions(self) -> dict[str, str]:
        """What the models that are loaded in this process compute in, by tier."""
        loaded = load_tiers(self.cascade, self.compute)
        return {f"tier {number}": model.precision for number, model in enumerate(loaded, start=1)}

    def _placement(self, pipeline: beam.Pipeline) -> Placement:
        options = self.options
        hints = options.second_tier_ram, options.second_tier_accelerator
        return placement.settle(options.placement, pipeline.options, *hints)


def prepare(options: Options, *, local: bool = True) -> Job:
    """Checks everything that can be checked before any row is scored.

    Args:
      options: as given.
      local: the models run on this machine; elsewhere `auto` finds the device where they do, while
        the precision is settled here, since every worker must give the same scores.

    Raises:
      RefusedError: says what was expected and what was found.
    """
    cascade = resolve_cascade(options)
    if options.text_pair_column is None and cascade.pair:
        raise RefusedError(
            f"cascade {cascade.name}: expected two texts a row, found no --text_pair_column"
        )
    if len(cascade.tiers) != 2 and (options.audit_rows or options.audit_rate):
        raise RefusedError(
            f"--audit_rows: expected a cascade of two tiers, found {len(cascade.tiers)}"
        )
    compute = settle(options.device, options.precision, local=local)
    compute = replace(compute, workers=options.workers)
    device, precision = compute.device, compute.precision
    schema = inputs.read_schema(options.schema) if options.schema else None
    found = inputs.inspect(
        options.input,
        options.text_columns,
        input_format=options.input_format,
        columns=options.columns,
        schema=schema,
        limit=options.limit,
        allow_broken_files=options.allow_broken_files,
    )
    output_schema = _output_schema(options, cascade, found.schema)
    if options.output_format != "jsonl":
        _refuse_for_parquet(output_schema)
    run = Run(
        files=found.files,
        row_schema=found.row_schema,
        input_schema=found.schema,
        output_schema=output_schema,
        text_columns=options.text_columns,
        output_format="jsonl" if options.output_format == "jsonl" else "parquet",
        checkpoint_bytes=options.checkpoint_bytes,
        allow_broken_files=options.allow_broken_files,
        max_dead_fraction=options.max_dead_fraction,
        cascade=_describe_cascade(cascade, precision, options, found.files),
        audit_rate=_audit_rate(options, cascade, found),
        options=options.of_results(device, precision),
        broken=found.broken,
    )
    if local:
        load_tiers(cascade, compute)
    weight = sum(item.weight for item in run.items())
    return Job(options, cascade, compute, run, weight)


def settle(device: str, precision: str, *, local: bool = True) -> Compute:
    """Device and precision with `auto` settled; elsewhere `auto` finds the device where it is.

    Raises:
      RefusedError: a device that is not there, a precision that nobody knows.
    """
    try:
        device = models.resolve_device(device) if local else device
        return Compute(device, models.resolve_precision(precision, device))
    except ValueError as error:
        raise RefusedError(str(error)) from error


def load_tiers(cascade: CascadeConfig, compute: Compute) -> list[models.Model]:
    """Loads the models of a run in this process: what is wrong with one shows now.

    Raises:
      RefusedError: weights that are missing, damaged or of another shape, a file that is not there.
    """
    loaded = []
    for tier in cascade.tiers:
        try:
            loaded.append(load_tier(tier, compute))
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            found = " ".join(lines[:3]) or repr(error)
            raise RefusedError(
                f"tier {tier.source}: expected a checkpoint that loads, found {found[:500]}"
            ) from error
    return loaded


def open_output(job: Job, lease: Lease | None = None) -> Store:
    """Makes or empties the output directory and writes `_run.json`; leaves a run to resume alone.

    Args:
      job: from `prepare`.
      lease: taken before anything is changed there.

    Raises:
      RefusedError: it holds something, or cannot be written, or another run than this one, or
        somebody else is writing there.
    """
    output = job.options.output
    try:
        store = Store(output)
        inside = [entry.file.path for entry in job.run.files if store.holds(entry.file.path)]
        if inside:
            raise RefusedError(f"--output {output}: expected no input in it, found {inside[0]}")
        begun = store.read_json(RUN_FILE) if job.options.resume else None
        # Nothing but an empty `_run.json`: it was killed before it had begun.
        again = job.options.overwrite or begun is not None
        if begun:
            _refuse_another_run(job, begun)
        else:
            store.refuse_what_is_there(again)
        if lease:
            lease.take(store)
        if begun:
            store.reopen()
            return store
        store.prepare(again)
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, RefusedError):
            raise
        raise RefusedError(
            f"--output {output}: expected a directory to write in, found {error}"
        ) from error
    job.run.save(store)
    return store


def _refuse_another_run(job: Job, begun: dict[str, Any]) -> None:
    differs = resume.differences(begun, job.run)
    if differs:
        shown = "; ".join(differs[:8])
        more = f"; and {len(differs) - 8} more" if len(differs) > 8 else ""
        raise RefusedError(
            f"--resume: expected the run that was begun in {job.options.output}, found another: "
            f"{shown}{more}. --overwrite starts anew"
        )


def resolve_cascade(options: Options) -> CascadeConfig:
    """The cascade that the options name, with their threshold and max_length.

    Raises:
      RefusedError: options that contradict each other, or tiers with different labels.
    """
    if options.first_tier or options.second_tier:
        cascade = _pair_of_tiers(options)
    else:
        cascade = load_cascade(options.cascade)
        if options.threshold is not None:
            if len(cascade.tiers) < 2:
                raise RefusedError(f"--threshold: cascade {cascade.name} has one tier only")
            cascade = cascade.with_first_threshold(options.threshold)
    if options.precision != "auto":
        cascade = cascade.without_precisions()
    if options.max_length is not None:
        cascade = cascade.with_max_length(options.max_length)
    _refuse_other_labels(cascade)
    pinned = (replace(t, revision=t.revision or revision_of(t.source)) for t in cascade.tiers)
    return replace(cascade, tiers=tuple(pinned))


def _pair_of_tiers(options: Options) -> CascadeConfig:
    given = {
        "--first_tier": options.first_tier,
        "--second_tier": options.second_tier,
        "--threshold": options.threshold,
    }
    missing = [name for name, value in given.items() if value is None]
    if missing or options.cascade != Options.cascade:
        found = f"no {' and no '.join(missing)}" if missing else f"--cascade {options.cascade} too"
        raise RefusedError(
            f"expected --first_tier, --second_tier and --threshold together, or --cascade, found "
            f"{found}"
        )
    assert options.first_tier and options.second_tier
    return CascadeConfig(
        tiers=(
            TierConfig(options.first_tier, threshold=options.threshold),
            TierConfig(options.second_tier),
        ),
        labels=tuple(sorted(labels_of(options.first_tier))),
        name=f"{options.first_tier} + {options.second_tier}",
    )


def _refuse_other_labels(cascade: CascadeConfig) -> None:
    for tier in cascade.tiers:
        found = sorted(labels_of(tier.source))
        if found != sorted(cascade.labels):
            raise RefusedError(
                f"tier {tier.source}: expected the labels {sorted(cascade.labels)}, found {found}"
            )


def _output_schema(options: Options, cascade: CascadeConfig, schema: pa.Schema) -> pa.Schema:
    names: Sequence[str] = schema.names
    if options.answer_prefix:
        renamed = records.output_schema(
            pa.schema([]),
            labels=cascade.labels,
            scores=options.scores,
            source=options.source_columns,
            prefix=options.answer_prefix,
        )
        clashes = sorted(set(names) & set(renamed.names))
        if clashes:
            raise RefusedError(
                f"--answer_prefix {options.answer_prefix}: expected new names, found {clashes} "
                "among the input's columns"
            )
        names = [name for name in names if name.startswith(records.HIDDEN)]
    records.refuse_clashes(names, scores=options.scores, source=options.source_columns)
    return records.output_schema(
        schema,
        labels=cascade.labels,
        scores=options.scores,
        source=options.source_columns,
        prefix=options.answer_prefix,
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
    cascade: CascadeConfig, precision: str, options: Options, files: Sequence[PlannedFile]
) -> dict[str, Any]:
    return {
        "name": cascade.name,
        "fingerprint": cascade.fingerprint(precision),
        "scoring_fingerprint": cascade.scoring_fingerprint(precision),
        "labels": list(cascade.labels),
        "thresholds": [tier.threshold for tier in cascade.tiers[:-1]],
        "tiers": [asdict(tier) for tier in cascade.tiers],
        "certificate": certificate.coverage(cascade, precision, files, options.text_columns),
    }


def _audit_rate(options: Options, cascade: CascadeConfig, found: inputs.Inputs) -> float:
    """The share of rows to draw, so that about as many simple ones are audited as were asked for.

    Where a certificate says how many rows are escalated, those do not count; else all do.
    """
    if options.audit_rate is not None:
        return options.audit_rate
    if options.audit_rows is None:
        return 0.0
    escalated = (cascade.certificate or {}).get("speed", {}).get("escalated", 0.0)
    simple = inputs.estimate_rows(found.files) * (1 - escalated)
    return min(1.0, options.audit_rows / max(1.0, simple))
