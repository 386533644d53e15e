"""What the benchmarks share: options, inputs, and the job, in this process or in one of its own."""

import argparse
import contextlib
import io
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import classify
from tango_beam import command_line
from tango_beam.cascade_directory import link_checkpoints, load_cascade, save_cascade


def arguments(description: str) -> argparse.ArgumentParser:
    """A command line with `--data`, `--work` and `--cascade`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True, help="folder with sst2/train and dev.parquet")
    parser.add_argument("--work", required=True, help="folder for inputs and outputs")
    parser.add_argument("--cascade", default="sst2")
    return parser


def arguments_without_data(description: str) -> argparse.ArgumentParser:
    """A command line with `--work` and a `--cascade` that must be named."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", required=True, help="folder for inputs and outputs")
    parser.add_argument("--cascade", required=True, help="a cascade directory; small is quick")
    return parser


def add_flink(parser: argparse.ArgumentParser) -> None:
    """Adds what a Flink cluster is started from."""
    parser.add_argument("--jars", required=True, help="pyflink/lib of apache-flink-libraries")
    parser.add_argument("--job_server", required=True, help="Beam's Flink job server, a jar")


def on_flink(port: int, job_server: str, parallelism: int) -> list[str]:
    """Options that send the job to a Flink cluster on this machine."""
    return [
        *("--runner", "FlinkRunner"),
        *("--flink_master", f"localhost:{port}"),
        *("--flink_job_server_jar", job_server),
        *("--parallelism", str(parallelism)),
    ]


def write_parquet(path: Path, texts: Sequence[str], rows_in_a_group: int = 100_000) -> Path:
    """Writes texts with an `id` each; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": range(len(texts)), "text": texts})
    pq.write_table(table, path, row_group_size=rows_in_a_group)
    return path


def apart(module: str, **options: object) -> dict:
    """What a benchmark prints as its last line, JSON, run in a process of its own.

    Args:
      module: the benchmark.
      options: by name; those that are None are not given.
    """
    given = [
        part
        for name, value in options.items()
        if value is not None
        for part in (f"--{name}", str(value))
    ]
    command = [sys.executable, "-m", module, *given]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def classify_arguments(path: Path, output: Path, cascade: str, *options: str) -> list[str]:
    """Arguments of `pipelines.classify`."""
    paths = ["--input", str(path), "--output", str(output)]
    return [*paths, "--cascade", cascade, *options]


def classify_command(path: Path, output: Path, cascade: str, *options: str) -> list[str]:
    """The job as a user runs it, over what an earlier run left."""
    given = classify_arguments(path, output, cascade, "--overwrite", *options)
    return [sys.executable, "-m", "pipelines.classify", *given]


def wall_time(command: Sequence[str], **settings: object) -> float:
    """Seconds that a command takes in a process of its own; what it prints is thrown away."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **settings)
    return time.perf_counter() - started


def manifest_of(output: Path) -> dict:
    """What a run of the job says of itself."""
    return json.loads((output / "_manifest.json").read_text())


def run_job(path: Path, work: Path, cascade: str, *options: str) -> tuple[float, dict]:
    """Seconds and manifest of the job, run in this process: imports and models are warm."""
    output = work / "out"
    given = classify_arguments(path, output, cascade, "--overwrite", *options)
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        code = classify.main(given)
    seconds = time.perf_counter() - started
    if code:
        sys.exit(f"the job failed with {code}")
    return seconds, manifest_of(output)


def last_tier_alone(cascade: str, folder: Path) -> str:
    """Writes a cascade of another one's last tier only; at threshold 1 the first one runs as well."""
    config = load_cascade(cascade)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    alone = replace(config, tiers=config.tiers[-1:], certificate=None, name=folder.name)
    save_cascade(link_checkpoints(alone, folder), folder)
    return str(folder)


def padding(manifest: dict) -> dict[str, float]:
    """Padded over real tokens, by tier."""
    tokens = manifest["tokens"]
    return {tier: count["padded"] / max(1, count["real"]) for tier, count in tokens.items()}


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def quiet() -> None:
    """Keeps libraries' messages off."""
    command_line.quiet(verbose=False)
