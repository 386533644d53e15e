"""Classifies a corpus with a cascade: `python -m pipelines.classify --input ... --output DIR`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tango_beam import command_line
from tango_beam.command_line import ALARM, DONE, FAILED, TOO_MANY_DEAD, Parser
from tango_beam.errors import Interrupted

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from tango_beam.io.lease import Lease
    from tango_beam.io.store import Store
    from tango_beam.job import Job
    from tango_beam.summary import Spent

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
    result = Parser(prog="pipelines.classify", description=DESCRIPTION, epilog=EPILOG)
    reading = result.add_argument_group("reading")
    command_line.add_reading_arguments(reading)
    reading.add_argument(
        "--columns", metavar="A,B", help="pass only these columns through (the texts always)"
    )
    reading.add_argument(
        "--schema", metavar="FILE",
        help='JSONL: {"column": "type"}; read off the first 10,000 rows by default',
    )  # fmt: skip
    reading.add_argument("--limit", type=int, metavar="N", help="only the first N rows")
    reading.add_argument(
        "--allow_broken_files", action="store_true",
        help="go on past a file that breaks midway, and list it in the manifest",
    )  # fmt: skip
    tiers = result.add_argument_group("cascade")
    command_line.add_tier_arguments(tiers)
    command_line.add_pair_arguments(
        tiers,
        "first-tier confidence under which a row is escalated; 0: first tier only, 1: second "
        "tier only (default: the cascade's own)",
    )
    writing = result.add_argument_group("writing")
    writing.add_argument("--output", required=True, metavar="DIR", help="empty, or not there yet")
    writing.add_argument(
        "--output_format", choices=("auto", "parquet", "jsonl"), default="auto",
        help="auto is Parquet",
    )  # fmt: skip
    writing.add_argument("--overwrite", action="store_true", help="replace an earlier run")
    writing.add_argument(
        "--resume", action="store_true",
        help="go on with a run that was cut short (a kill, a full disk), or begin one",
    )  # fmt: skip
    writing.add_argument("--scores", action="store_true", help="add every label's probability")
    writing.add_argument(
        "--source_columns", action="store_true", help="add each row's file and position"
    )
    writing.add_argument(
        "--answer_prefix", default="", metavar="PREFIX", help="before the added columns' names"
    )
    writing.add_argument(
        "--max_dead_fraction", type=float, default=0.01, metavar="0..1",
        help="fail when more of the rows are dead (default: 0.01)",
    )  # fmt: skip
    writing.add_argument(
        "--audit_rows", type=int, metavar="N",
        help="have the last tier check about N of the rows that it is spared; both answers go to "
        "_audit/, and the exit code says if they contradict the cascade's certificate",
    )  # fmt: skip
    writing.add_argument(
        "--audit_rate", type=float, metavar="0..1", help="the same, as a share of the rows"
    )
    writing.add_argument(
        "--checkpoint_bytes", type=int, default=32 << 20, metavar="N",
        help="input read, scored and stored at a time (default: 32 MiB)",
    )  # fmt: skip
    result.add_argument(
        "--workers", type=int, metavar="N",
        help="micro-batches that a process scores at once, a core each (default: every core)",
    )  # fmt: skip
    placed = result.add_argument_group("placement")
    placed.add_argument(
        "--placement", choices=("auto", "together", "apart"), default="auto",
        help="together: both tiers in every worker, no row is shuffled; apart: rows for the second "
        "tier are shuffled to where it runs; auto is apart on Dataflow, together elsewhere",
    )  # fmt: skip
    placed.add_argument(
        "--second_tier_ram", metavar="SIZE",
        help="apart: memory that the second tier's workers need, such as 16GB (a resource hint)",
    )  # fmt: skip
    placed.add_argument(
        "--second_tier_accelerator", metavar="HINT",
        help="apart: such as 'type:nvidia-l4;count:1;install-nvidia-driver' (a resource hint)",
    )  # fmt: skip
    result.add_argument("--verbose", action="store_true", help="let Beam and the models talk")
    return result


def main(arguments: Sequence[str]) -> int:
    """Runs the job; returns the exit code."""
    started = time.monotonic()
    command_line.quiet("--verbose" in arguments)
    ours, beam_arguments = command_line.split_beam_arguments(parser(), arguments)
    # Beam and torch take seconds to import; a misspelt option need not wait for them.
    from apache_beam.options.pipeline_options import PipelineOptions

    from tango_beam import job, running
    from tango_beam.io.commit import FAILURE, MANIFEST
    from tango_beam.io.lease import Lease
    from tango_beam.options import Options
    from tango_beam.summary import Spent

    stated = {field.name: getattr(ours, field.name) for field in dataclasses.fields(Options)}
    stated["input"] = tuple(ours.input)
    stated["columns"] = tuple(ours.columns.split(",")) if ours.columns else None
    beam_options = PipelineOptions(beam_arguments)
    local = running.is_in_process(beam_options)
    prepared = job.prepare(Options(**stated), local=local)
    if local and ours.placement == "apart":
        print(
            "--placement apart, in one process: rows for the second tier are held in memory until "
            "all input is read",
            file=sys.stderr,
        )
    with Lease() as lease:
        store = job.open_output(prepared, lease)
        if ours.resume and any(map(store.exists, (MANIFEST, FAILURE))):
            print("ended already; nothing was left to do")
            spent = Spent(0.0)
        else:
            spent = _run(prepared, beam_options, store, lease)
        seconds = time.monotonic() - started
        return _conclude(store, ours, dataclasses.replace(spent, seconds=seconds))


def _run(prepared: Job, beam_options: PipelineOptions, store: Store, lease: Lease) -> Spent:
    """Runs a job to its end; returns what it took."""
    from tango_beam import report, running, summary
    from tango_beam.io import receipts

    _, before = receipts.progress(store)
    pipeline = running.new_pipeline(beam_options)
    prepared.build(pipeline, running.workers(beam_options))
    launched = time.monotonic()
    try:
        with report.Watch(prepared.weight, len(prepared.run.items()), store) as watch:
            running.execute(pipeline, watch.tick, lease.renew)
    except Interrupted:
        store.abandon()
        raise
    working = time.monotonic() - launched
    if not running.is_in_process(beam_options):
        return summary.Spent(0.0, working, before)
    peaks = summary.peaks(prepared.precisions(), prepared.compute.device, working)
    return summary.Spent(0.0, working, before, summary.cores(), peaks)


def _conclude(store: Store, ours: argparse.Namespace, spent: Spent) -> int:
    """Shows what came of the run; returns the exit code."""
    from tango_beam import audit, report, summary
    from tango_beam.io.commit import FAILURE, MANIFEST

    manifest, failure = store.read_json(MANIFEST), store.read_json(FAILURE)
    ended = manifest or failure
    if not ended:
        print("failed: the pipeline ended without a manifest", file=sys.stderr)
        return FAILED
    if not spent.working:
        spent = dataclasses.replace(spent, before=ended["rows"]["read"])
    report.show(summary.summary(ended, ours.output, spent))
    if failure:
        rows = failure["rows"]
        print(
            f"failed: expected at most {ours.max_dead_fraction:.2%} dead rows, found "
            f"{rows['dead'] / rows['read']:.2%} ({rows['dead']:,} of {rows['read']:,})",
            file=sys.stderr,
        )
        return TOO_MANY_DEAD
    if (ended["audit"] or {}).get("verdict") == audit.ALARM:
        print(summary.describe_audit(ended["audit"]), file=sys.stderr)
        return ALARM
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
