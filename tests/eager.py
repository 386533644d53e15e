"""Runs a transform at once and hands back lists, so that a Beam test reads as a literal."""

import apache_beam as beam
import pyarrow as pa
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

_found: dict[str, list] = {}


def run(batches: list[pa.RecordBatch], transform, outputs) -> dict[str, list[dict]]:
    """Rows of each output of a transform over record batches.

    Args:
      batches: the input.
      transform: the PTransform.
      outputs: names its outputs: a function from the transform's result to a dict.
    """
    _found.clear()
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        result = pipeline | beam.Create(batches, reshuffle=False) | transform
        for name, collection in outputs(result).items():
            _found[name] = []
            _ = collection | f"Keep {name}" >> beam.Map(_keep, name)
    return {name: [row for b in kept for row in b.to_pylist()] for name, kept in _found.items()}


def _keep(batch, name):
    _found[name].append(batch)
