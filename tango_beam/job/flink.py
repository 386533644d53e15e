"""What a Flink run needs beside `--runner FlinkRunner`, where the user did not say."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
)

# A worker is kept for the next stage for so long: without, every stage starts a Python process of
# its own and loads the models anew.
KEPT_MILLISECONDS = 60_000


def worker_command() -> str:
    """Path of the installed `tango-beam-worker`."""
    here = Path(sysconfig.get_path("scripts")) / "tango-beam-worker"
    return str(here if here.exists() else Path(sys.executable).parent / "tango-beam-worker")


def fill_in(options: PipelineOptions) -> None:
    """Sets where Python runs, and for how long it is kept, unless the options say so.

    Flink inside this process (`--flink_master [local]`, `[auto]`) calls back into it (LOOPBACK);
    a cluster starts a worker process beside each TaskManager (PROCESS): it needs this package, at
    the same place. On a cluster of another kind, say `--environment_type EXTERNAL` or `DOCKER`.

    Args:
      options: of a run on Flink; changed in place.
    """
    portable = options.view_as(PortableOptions)
    if portable.environment_type is None and not portable.environment_config:
        master = options.view_as(FlinkRunnerOptions).flink_master
        if master in ("[local]", "[auto]"):
            portable.environment_type = "LOOPBACK"
        else:
            portable.environment_type = "PROCESS"
            portable.environment_config = json.dumps({"command": worker_command()})
    if not portable.environment_cache_millis:
        portable.environment_cache_millis = KEPT_MILLISECONDS
