"""The last step of the graph: it commits the run."""

from __future__ import annotations

from typing import Any

import apache_beam as beam

from tango_beam.run import commit, join
from tango_beam.run.store import Store

KEYED = tuple[int, int]


class Commit(beam.PTransform):
    """Receipt names of all sinks in; after the last of them, commits the run.

    Args:
      output: the run's output directory.
      joins: pieces are joined into parts of a chosen size before (see `join`).
    """

    def __init__(self, output: str, joins: bool = False) -> None:
        super().__init__()
        self._output, self._joins = output, joins

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
        after = keyed | "Receipts" >> beam.Flatten() | "AfterAll" >> beam.GroupByKey()
        if self._joins:
            # The first of them stands for a run without joins.
            after = (
                after
                | "Decide" >> beam.FlatMap(lambda _: [None, *_decide(Store(output))])
                | "Spread" >> beam.Reshuffle()
                | "Join" >> beam.Map(lambda one: _execute(Store(output), one))
                | "AfterJoins" >> beam.GroupByKey()
            )
        last = beam.Map(lambda _: commit.commit(Store(output))).with_output_types(None)
        return after | "Commit" >> last


def _decide(store: Store) -> list[dict[str, Any]]:
    return [one.to_json() for one in join.decide(store)]


def _execute(store: Store, stored: dict[str, Any] | None) -> KEYED:
    if stored is not None:
        join.execute(store, join.Join.from_json(stored))
    return 0, 0
