"""Classifies a corpus with a cascade: `python -m pipelines.classify --input ... --output DIR`."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tango_beam import command_line, logs
from tango_beam.command_line import ALARM, DONE, FAILED, TOO_MANY_DEAD, Parser
from tango_beam.errors import Interrupted
from tango_beam.job.options import ClassifyOptions

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from tango_beam.job.prepare import Job
    from tango_beam.job.summary import Spent
    from tango_beam.run.lease import Lease
    from tango_beam.run.store import Store

DESCRIPTION = """\
Classifies every text of a corpus with a cascade of models: a small first tier answers what it is
sure of, a larger second tier the rest. Every input row becomes an output row or a dead letter.

  python -m pipelines.classify --input examples/reviews.jsonl --output out
  python -m pipelines.classify --input 'corpus/*.parquet' --output out --text_column review
  python -m pipelines.classify --input corpus/ --output out \\
      --first_tier models/small --second_tier models/large --threshold 0.9
"""
EPILOG = f"""\
Every other Beam option (--runner, --flink_master, --project, ...) goes to Beam.

{command_line.EXIT_CODES}"""


def parser() -> Parser:
    """The command line."""
    return command_line.parser_of(ClassifyOptions, "pipelines.classify", DESCRIPTION, EPILOG)


def main(arguments: Sequence[str]) -> int:
    """Runs the job; returns the exit code."""
    started = time.monotonic()
    command_line.quiet("--verbose" in arguments)
    ours, beam_arguments = command_line.split_beam_arguments(parser(), arguments)
    options = command_line.options_of(ClassifyOptions, ours)
    # Beam and torch take seconds to import; a misspelt option need not wait for them.
    from apache_beam.options.pipeline_options import PipelineOptions

    from tango_beam.job import prepare, runners, summary
    from tango_beam.run import commit
    from tango_beam.run.lease import Lease
    from tango_beam.run.output import open_output

    beam_options = PipelineOptions(beam_arguments)
    local = runners.is_in_process(beam_options)
    job = prepare.prepare(options, local=local, processes=runners.workers(beam_options))
    if local and options.placement == "apart":
        logs.say(
            "--placement apart, in one process: rows for the second tier are held in memory until "
            "all input is read",
            level="WARNING",
        )
    with Lease() as lease:
        store = open_output(
            options.output,
            job.run,
            overwrite=options.overwrite,
            resume=options.resume,
            spelled=command_line.names_of(ClassifyOptions, "spelled"),
            lease=lease,
        )
        spent = summary.Spent(0.0)
        if options.resume and store.has_ended():
            print("ended already; nothing was left to do")
        elif not job.run.input.files:
            commit.commit(store)
            print("nothing new: every input file has been answered, and none has changed")
        else:
            spent = _run(job, beam_options, store, lease)
        seconds = time.monotonic() - started
        return _conclude(store, options, dataclasses.replace(spent, seconds=seconds))


def _run(job: Job, beam_options: PipelineOptions, store: Store, lease: Lease) -> Spent:
    """Runs a job to its end; returns what it took."""
    from tango_beam import machine
    from tango_beam.job import runners, summary, watch
    from tango_beam.run import receipts

    earlier = receipts.progress(store)
    before = earlier.rows[receipts.READ]
    pipeline = runners.new_pipeline(beam_options)
    job.build(pipeline, runners.workers(beam_options))
    launched = time.monotonic()
    try:
        with watch.Watch(job.run.items(), store, earlier, job.prices) as shown:
            runners.execute(pipeline, shown.tick, lease.renew)
    except Interrupted:
        store.abandon()
        raise
    working = time.monotonic() - launched
    if not runners.is_in_process(beam_options):
        return summary.Spent(0.0, working, before)
    peaks = summary.peaks(job.precisions(), job.compute.device, working)
    return summary.Spent(0.0, working, before, machine.cores(), peaks)


def _conclude(store: Store, options: ClassifyOptions, spent: Spent) -> int:
    """Shows what came of the run; returns the exit code."""
    from tango_beam import terminal
    from tango_beam.guarantees import audit_verdict
    from tango_beam.job import page, summary
    from tango_beam.run.layout import REPORT, TEMPORARY
    from tango_beam.run.manifest import read_manifest

    manifest, failed = read_manifest(store)
    if manifest is None:
        logs.say("failed: the pipeline ended without a manifest", level="ERROR")
        return FAILED
    rows = manifest.rows
    if not spent.working:
        spent = dataclasses.replace(spent, before=rows.read)
    terminal.show(summary.summary(manifest, options.output, spent), logged=False)
    if options.report:
        store.write_text(REPORT, page.render(manifest, options.output, failed))
        store.drop_folder(TEMPORARY)
        print(f"{options.output.rstrip('/')}/{REPORT}")
    logs.say("ended", summary.fields(manifest, options.output, spent), only_json=True)
    if failed:
        logs.say(
            f"failed: expected at most {options.max_dead_fraction:.2%} dead rows, found "
            f"{rows.dead / rows.read:.2%} ({rows.dead:,} of {rows.read:,})",
            level="ERROR",
        )
        return TOO_MANY_DEAD
    if manifest.audit and manifest.audit.verdict == audit_verdict.ALARM:
        logs.say(summary.describe_audit(manifest.audit), level="WARNING")
        return ALARM
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
