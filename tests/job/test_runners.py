"""Runners: which one, how many shares, and what is said of a pipeline that failed."""

import threading

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tango_beam.errors import JobError
from tango_beam.job import runners


@pytest.mark.parametrize(
    ("arguments", "here"),
    [
        ([], True),
        (["--runner", "DirectRunner"], True),
        (["--runner", "apache_beam.runners.portability.fn_api_runner.FnApiRunner"], True),
        (["--runner", "PrismRunner"], False),
        (["--runner", "FlinkRunner"], False),
    ],
)
def test_the_in_process_runner_is_the_default(arguments, here):
    options = PipelineOptions(arguments)
    assert runners.is_in_process(options) == here
    if here:
        assert isinstance(runners.new_pipeline(options).runner, FnApiRunner)


def test_there_are_as_many_shares_as_workers():
    assert runners.workers(PipelineOptions([])) == 1
    assert runners.workers(PipelineOptions(["--parallelism", "3"])) == 3
    given = ["--num_workers", "2", "--max_num_workers", "8"]
    assert runners.workers(PipelineOptions(given)) == 8


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("", "ValueError('')"),
        ("no room", "no room"),
        ("Traceback:\n  File x\ntango_beam.errors.JobError: in.gz: cut short", "in.gz: cut short"),
        ("x\nOSError: No space left [while running 'Write']", "No space left"),
        ("x\nbotocore.errors.Denied: 403: no", "Denied: 403: no"),
        ("/in.jsonl: line 3 is none", "/in.jsonl: line 3 is none"),
    ],
)
def test_the_innermost_error_is_told_without_its_wrapping(said, shown):
    assert runners.innermost(ValueError(said)) == shown


def broken(_):
    raise RuntimeError("no such word")


def test_a_pipeline_that_fails_is_a_job_that_failed():
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create([1]) | beam.Map(broken)
    with pytest.raises(JobError, match=r"^no such word$"):
        runners.execute(pipeline)


def test_ticks_are_called_in_the_main_thread_and_may_end_the_job():
    seen = []

    def tick():
        seen.append(threading.current_thread())
        if len(seen) == 3:
            raise JobError("another run has taken over")

    waits = threading.Event()
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create([1]) | beam.Map(lambda _: waits.wait(30))
    with pytest.raises(JobError, match="taken over"):
        runners.execute(pipeline, tick, seconds=0.01)
    waits.set()
    assert seen == [threading.main_thread()] * 3
