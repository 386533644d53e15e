"""What the benchmarks share: the job, and the same work without Beam."""

import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import classify
from tango_beam import command_line, routing
from tango_beam.config import load_cascade
from tango_beam.models import parallel
from tango_beam.tier import Compute, load_tier


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True, help="folder with sst2/train and dev.parquet")
    parser.add_argument("--work", required=True, help="folder for inputs and outputs")
    parser.add_argument("--cascade", default="sst2")
    return parser


def write_parquet(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": range(len(texts)), "text": texts})
    pq.write_table(table, path, row_group_size=100_000)
    return path


def apart(module: str, *options: object, python: str = sys.executable, before=()) -> dict:
    """What a benchmark prints as its last line, JSON, run in a process of its own."""
    command = [*before, python, "-m", module, *map(str, options)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_job(path: Path, work: Path, cascade: str, *options: str) -> tuple[float, dict]:
    """Seconds and manifest of the job, run in this process: imports and models are warm."""
    output = work / "out"
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        code = classify.main([
            "--input", str(path), "--output", str(output), "--cascade", cascade, "--overwrite",
            *options,
        ])  # fmt: skip
    seconds = time.perf_counter() - started
    if code:
        sys.exit(f"the job failed with {code}")
    return seconds, json.loads((output / "_manifest.json").read_text())


def bare_loop(texts: list[str], cascade: str) -> tuple[float, int]:
    """Seconds and escalated rows of the same models, batches and routing in a plain loop.

    Windows of the tiers' own size are tokenized, cut into the same micro-batches, scored and routed;
    complex rows wait until the second tier's window is full. Nothing is read and nothing written.
    """
    config = load_cascade(cascade)
    tiers = [load_tier(tier, Compute()) for tier in config.tiers]
    first, second = tiers
    started = time.perf_counter()
    escalated, waiting = 0, []
    for at in range(0, len(texts), config.tiers[0].batch_rows):
        tokens = first.tokenize(pa.array(texts[at : at + config.tiers[0].batch_rows]))
        answers = score(first, tokens)
        rows = np.flatnonzero(routing.is_complex(answers.confidences, config.threshold))
        escalated += len(rows)
        waiting.append(tokens.take(rows))
        if sum(map(len, waiting)) >= config.tiers[1].batch_rows:
            score(second, joined(waiting))
            waiting = []
    if waiting:
        score(second, joined(waiting))
    return time.perf_counter() - started, escalated


def score(model, tokens):
    """Answers from micro-batches that are scored side by side, as the job does it."""
    outputs = np.zeros((len(tokens), len(model.labels)), np.float32)

    def run(rows):
        outputs[rows] = model.forward(tokens, rows)

    parallel.each(model.device, model.plan(tokens.lengths), run)
    return model.decode(outputs)


def joined(waiting):
    column = pa.concat_arrays([tokens.to_arrow() for tokens in waiting])
    return type(waiting[0]).from_arrow(column)


def middle(values: list[float]) -> float:
    return statistics.median(values)


def quiet() -> None:
    command_line.quiet(verbose=False)
