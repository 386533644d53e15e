"""Placement: complex rows stay in their worker, or are sent to where the second tier runs.

together   reader, both tiers and sinks in every worker; no row is shuffled
apart      complex rows are shuffled, evenly over the workers that meet the second tier's hints
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from tango_beam import rebatching, record_columns


@dataclass(frozen=True)
class Placement:
    """Where the tiers behind the first one run.

    Attributes:
      apart: complex rows are shuffled to them.
      min_ram: memory that their workers need, as Beam's resource hint `min_ram` spells it (`16GB`).
      accelerator: what their workers need, as Beam's hint `accelerator` spells it
        (`type:nvidia-l4;count:1;install-nvidia-driver`).

    Hints are heeded by Dataflow, and passed over by the in-process runner and by Flink. Source:
    https://beam.apache.org/documentation/runtime/resource-hints/
    """

    apart: bool = False
    min_ram: str | None = None
    accelerator: str | None = None

    def hinted(self, step: beam.PTransform, tier: int = 2) -> beam.PTransform:
        """A step of a tier; behind the first one it bears the second tier's hints.

        All steps behind the shuffle need the same: where hints change, fusion ends, and rows would
        cross a border on which they are not counted.
        """
        hints = {"min_ram": self.min_ram, "accelerator": self.accelerator}
        stated = {name: hint for name, hint in hints.items() if hint}
        if tier == 1 or not self.apart or not stated:
            return step
        return step.with_resource_hints(**stated)


def runner_of(options: PipelineOptions) -> str:
    """Name of the runner that Beam's options ask for; empty for the default."""
    return (options.view_as(StandardOptions).runner or "").rsplit(".", 1)[-1]


def placement_of(
    choice: str, options: PipelineOptions, ram: str | None = None, accelerator: str | None = None
) -> Placement:
    """The placement that was asked for; `auto` is `apart` on Dataflow, `together` elsewhere."""
    on_dataflow = runner_of(options) == "DataflowRunner"
    apart = choice == "apart" or (choice == "auto" and on_dataflow)
    return Placement(apart, ram, accelerator)


class Send(beam.PTransform):
    """Shuffles record batches, in parcels, so that receipts can tell one delivery from another.

    Args:
      placement: whose hints the far side bears.

    Input: record batches with positions, as `BatchRows` gives them. Output: record batches with
    `record_columns.PARCEL`.
    """

    def __init__(self, placement: Placement) -> None:
        super().__init__()
        self._placement = placement

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return (
            batches
            | "Times" >> beam.FlatMap(rebatching.in_time).with_output_types(pa.RecordBatch)
            | "Pack" >> beam.FlatMap(pack).with_output_types(pa.RecordBatch)
            | "Shuffle" >> beam.Reshuffle()
            | "Deliver"
            >> self._placement.hinted(beam.Map(deliver).with_output_types(pa.RecordBatch))
        )


def pack(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Parts a batch into parcels: rows of one attempt at one checkpoint each."""
    if record_columns.POSITION not in batch.schema.names:
        yield batch
        return
    for _, rows in record_columns.by_origin(batch):
        yield _stamp(rows, secrets.randbits(63) or 1, 0, rows.num_rows)


def deliver(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Gives an arrival of a parcel a number of its own."""
    if record_columns.PARCEL not in batch.schema.names:
        return batch
    sent = batch.column(record_columns.PARCEL)
    parcel, rows = (sent.field(name)[0].as_py() for name in ("parcel", "rows"))
    return _stamp(batch, parcel, secrets.randbits(63) or 1, rows)


def _stamp(batch: pa.RecordBatch, parcel: int, delivery: int, rows: int) -> pa.RecordBatch:
    count = batch.num_rows
    values = (parcel, delivery, rows)
    columns = [record_columns.constant(value, count, pa.int64()) for value in values]
    column = pa.StructArray.from_arrays(columns, fields=list(record_columns.PARCEL_TYPE))
    return record_columns.append(
        record_columns.drop(batch, record_columns.PARCEL), {record_columns.PARCEL: column}
    )
