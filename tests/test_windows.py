"""Windows and timestamps of rows that a cascade answers, of bounded and of unbounded input."""

import subprocess
import sys

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.test_stream import TestStream
from apache_beam.testing.util import assert_that
from apache_beam.transforms import trigger, window

from tango_beam import Cascade, Compute, load_cascade, rebatching, record_columns
from tango_beam.placement import Placement
from tests import tiny

CPU = Compute("cpu", "fp32")
SECONDS = [0, 3, 3, 9, 12, 25, 25.5, 29]  # timestamps; windows of ten seconds


@pytest.fixture(scope="module")
def config(cascade):
    return load_cascade(str(cascade))


@pytest.fixture(scope="module")
def stamped():
    """Record batches of a null and eight texts, each batch at a time of its own."""
    rng = np.random.default_rng(4)
    return [
        window.TimestampedValue(
            pa.record_batch({"id": [9 * n + row for row in range(9)], "text": texts}), second
        )
        for n, second in enumerate(SECONDS)
        for texts in [[None, *(tiny.sentence(rng) for _ in range(8))]]
    ]


class Seen(beam.DoFn):
    """A row as (id, route, timestamp, end of its window)."""

    def process(self, element, at=beam.DoFn.TimestampParam, within=beam.DoFn.WindowParam):
        assert record_columns.TIME not in element.schema.names
        for row in element.to_pylist():
            yield row["id"], row.get("route", "failed"), float(at), float(within.end)


def seen(result):
    return [
        found | name >> beam.ParDo(Seen())
        for name, found in (("answers", result.answered), ("failures", result.failed))
    ] | beam.Flatten()


def are(expected, length=10):
    """Every row once, at its time, in its window; and the branches are not empty."""

    def check(found):
        placed = [(row, at, end) for row, _, at, end in found]
        assert sorted(placed) == expected(length), placed
        assert {route for _, route, *_ in found} == {"accepted", "escalated", "failed"}

    return check


def in_fixed_windows(length):
    return [
        (9 * n + row, at, (at // length + 1) * length)
        for n, at in enumerate(SECONDS)
        for row in range(9)
    ]


@pytest.mark.parametrize("placement", [Placement(), Placement(apart=True)], ids=["", "apart"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_rows_keep_their_timestamps_so_windows_hold_before_and_after(
    config, stamped, before, placement
):
    cut = beam.WindowInto(window.FixedWindows(10))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        given = pipeline | beam.Create(stamped, reshuffle=False) | beam.Map(lambda one: one)
        if before:
            given |= "cut before" >> cut
        result = given | Cascade(config, compute=CPU, placement=placement)
        rows = seen(result) if before else seen_after(result, cut)
        assert_that(rows, are(in_fixed_windows))


def seen_after(result, cut):
    return [
        found | f"cut {name}" >> cut | name >> beam.ParDo(Seen())
        for name, found in (("answers", result.answered), ("failures", result.failed))
    ] | beam.Flatten()


def test_overlapping_windows_have_each_row_once_in_each(config, stamped):
    def expected(length):
        return sorted(
            (9 * n + row, at, end)
            for n, at in enumerate(SECONDS)
            for end in ((at // 5 + 1) * 5, (at // 5 + 2) * 5)
            for row in range(9)
        )

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        given = pipeline | beam.Create(stamped, reshuffle=False)
        given |= beam.WindowInto(window.SlidingWindows(10, 5))
        assert_that(seen(given | Cascade(config, compute=CPU)), are(expected))


class Sizes(beam.DoFn):
    def process(self, element, within=beam.DoFn.WindowParam):
        yield element.num_rows, float(within.end)


def test_windows_share_no_batch_and_few_wait():
    ends = [10 * (n % 5) for n in range(15)] + [10 * n for n in range(5, 20)] + [0]
    batches = [window.TimestampedValue(pa.record_batch({"n": [1, 2]}), end) for end in ends]

    def check(found):
        # Three batches of each of five windows; then fifteen windows more, ten of which may wait.
        # The fullest went out first, so the last batch of the first window goes alone.
        expected = [(6, 10.0 * n + 10) for n in range(5)]
        expected += [(2, 10.0 * n + 10) for n in range(5, 20)] + [(2, 10.0)]
        assert sorted(found) == sorted(expected)

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        given = pipeline | beam.Create(batches, reshuffle=False) | beam.Map(lambda one: one)
        given |= beam.WindowInto(window.FixedWindows(10))
        assert_that(given | rebatching.BatchRows(100) | beam.ParDo(Sizes()), check)


def counted(result):
    """Answered rows of each window, counted where windows close: late rows would be missing."""
    return (
        result.answered
        | beam.Map(lambda batch: batch.num_rows)
        | beam.WindowInto(
            window.FixedWindows(10),
            trigger=trigger.AfterWatermark(),
            accumulation_mode=trigger.AccumulationMode.DISCARDING,
        )
        | beam.CombineGlobally(sum).without_defaults()
        | beam.ParDo(Ended())
    )


class Ended(beam.DoFn):
    def process(self, element, within=beam.DoFn.WindowParam):
        yield element, float(within.end)


def test_unbounded_input_is_answered_as_it_comes_and_no_row_is_late(config, stamped):
    stream = TestStream(coder=beam.coders.registry.get_coder(pa.RecordBatch))
    for second in sorted(set(SECONDS)):
        stream.advance_watermark_to(second)
        stream.add_elements([one for one in stamped if one.timestamp == second])
    stream.advance_watermark_to_infinity()
    options = PipelineOptions()
    options.view_as(StandardOptions).streaming = True

    def check(found):
        assert sorted(found, key=lambda one: one[1]) == [(32, 10.0), (8, 20.0), (24, 30.0)]

    with beam.Pipeline(options=options) as pipeline:
        rows = counted(pipeline | stream | Cascade(config, compute=CPU))
        assert_that(rows, check)


TICKING = """
import sys
import time

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.transforms.window import FixedWindows
from tango_beam import Cascade, load_cascade


def keep(count, window=beam.DoFn.WindowParam):
    with open(sys.argv[3], "a") as file:
        file.write(f"{float(window.start)} {count}\\n")


given = ["--runner", "PrismRunner", "--prism_location", sys.argv[1], "--streaming"]
given += ["--environment_type", "LOOPBACK"]
start = 2 * (time.time() // 2)
with beam.Pipeline(options=PipelineOptions(given)) as pipeline:
    ticks = pipeline | PeriodicImpulse(start, start + 4, 1.0)
    batch = pa.record_batch({"text": ["good", "bad", None]})
    rows = ticks | beam.Map(lambda tick: batch).with_output_types(pa.RecordBatch)
    answered = (rows | Cascade(load_cascade(sys.argv[2]))).answered
    sizes = answered | beam.Map(lambda found: found.num_rows) | beam.WindowInto(FixedWindows(2))
    sizes | beam.CombineGlobally(sum).without_defaults() | beam.Map(keep)
"""


@pytest.mark.runners
def test_prism_answers_a_stream_that_ticks(cascade, runners, tmp_path):
    (prism,) = runners.glob("prism-*")
    binary, found = tmp_path / "prism", tmp_path / "found"
    binary.write_bytes(prism.read_bytes())
    binary.chmod(0o755)
    command = [sys.executable, "-c", TICKING, str(binary), str(cascade), str(found)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = {float(line.split()[0]): int(line.split()[1]) for line in found.open()}
    first = min(counts)
    assert counts == {first: 4, first + 2: 4}
