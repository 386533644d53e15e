"""The last step of the graph: it commits the run."""

from __future__ import annotations

import apache_beam as beam

from tango_beam.run import commit
from tango_beam.run.store import Store

KEYED = tuple[int, int]


class Commit(beam.PTransform):
    """Receipt names of all sinks in; after the last of them, commits the run.

    Args:
      output: the run's output directory.
    """

    def __init__(self, output: str) -> None:
        super().__init__()
        self._output = output

    def expand(self, names: tuple[beam.PCollection, ...]) -> beam.PCollection:
        output = self._output
        # One element that is always there, so that a run without any row is committed too.
        always = names[0].pipeline | "Always" >> beam.Impulse()
        # Keyed ahead of the Flatten: Flink's runner loses track of a Flatten that joins an Impulse
        # with outputs of another stage and goes on in a ParDo.
        keyed = [
            ends | f"ToOneKey{number}" >> beam.Map(lambda _: (0, 0)).with_output_types(KEYED)
            for number, ends in enumerate((*names, always))
        ]
        return (
            keyed
            | "Receipts" >> beam.Flatten()
            | "AfterAll" >> beam.GroupByKey()
            | "Commit" >> beam.Map(lambda _: commit.commit(Store(output))).with_output_types(None)
        )
