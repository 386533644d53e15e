"""Runs a pipeline beside a watcher, so that signals and progress are dealt with at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tango_beam.errors import Interrupted, JobError
from tango_beam.job import flink
from tango_beam.placement import runner_of

logger = logging.getLogger(__name__)

# `DirectRunner` in Beam 2.77 first tries to download Prism; the in-process runner is this one.
IN_PROCESS = ("DirectRunner", "FnApiRunner", "BundleBasedDirectRunner", "InProcessRunner")


def is_in_process(options: PipelineOptions) -> bool:
    """Whether the options ask for the in-process runner, which is the default."""
    return runner_of(options) in ("", *IN_PROCESS)


def new_pipeline(options: PipelineOptions) -> beam.Pipeline:
    """A pipeline on the runner that the options name."""
    if is_in_process(options):
        return beam.Pipeline(runner=FnApiRunner(), options=options)
    if runner_of(options) == "FlinkRunner":
        flink.fill_in(options)
    return beam.Pipeline(options=options)


def workers(options: PipelineOptions) -> int:
    """How many shares to cut the input in: as many as there are workers to take one."""
    known = options.get_all_options()
    names = ("parallelism", "direct_num_workers", "max_num_workers", "num_workers")
    counts = [known.get(name) for name in names]
    return max([count for count in counts if isinstance(count, int)] + [1])


def execute(pipeline: beam.Pipeline, *ticks: Callable[[], None], seconds: float = 0.25) -> None:
    """Runs a pipeline to its end.

    A pipeline that runs in the main thread swallows Ctrl-C; so it runs in another one, and the main
    thread waits for signals.

    Args:
      pipeline: built.
      ticks: called now and then, in the main thread.
      seconds: between two calls.

    Raises:
      JobError: the pipeline failed; the message is the innermost error's.
      Interrupted: SIGINT or SIGTERM; the pipeline may still be running.
    """
    failure: list[BaseException] = []
    # Portable runners set signal handlers of their own when they start, which only the main thread
    # may; they return at once. The in-process runner returns when all is done.
    state: list[Any] = [] if isinstance(pipeline.runner, FnApiRunner) else [_start(pipeline)]

    def work() -> None:
        try:
            result = state[0] if state else pipeline.run()
            result.wait_until_finish()
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            failure.append(error)

    def stop(signum: int, _: Any) -> None:
        raise Interrupted(signum)

    handled = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        thread = threading.Thread(target=work, name="pipeline", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(seconds)
            for tick in ticks:
                tick()
    except (Interrupted, JobError):
        _cancel(state)
        raise
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
    if failure:
        logger.debug("the pipeline failed", exc_info=failure[0])
        raise JobError(innermost(failure[0])) from failure[0]


def _start(pipeline: beam.Pipeline) -> Any:
    try:
        return pipeline.run()
    except Exception as error:
        raise JobError(innermost(error)) from error


def _cancel(state: list[Any]) -> None:
    """Asks a remote runner to stop the job; the in-process one ends with the process."""
    for result in state:
        try:
            result.cancel()
        except Exception as error:  # noqa: BLE001 - on the way out, whatever goes wrong
            logger.debug("cancelling: %s", error)


def innermost(error: BaseException) -> str:
    """What went wrong, out of a runner's nested tracebacks."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else repr(error)
    # A traceback that travelled as text ends with "package.Error: message [while running 'Step']".
    step = last.rfind(" [while running")
    last = last[:step] if step > 0 else last
    name, colon, message = last.partition(": ")
    if colon and name.replace(".", "").replace("_", "").isalnum() and name[:1].isalpha():
        ours = name.startswith("tango_beam.") or name == "OSError"
        return message if ours else f"{name.rsplit('.', 1)[-1]}: {message}"
    return last
