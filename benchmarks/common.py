"""What the benchmarks share: texts, the job, and the same work without Beam."""

import argparse
import contextlib
import io
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import classify
from tango_beam import command_line, models, routing
from tango_beam.config import load_cascade
from tango_beam.training import corpora, holdout

HELD_OUT, HELD_OUT_SEED = 1500, 0


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True, help="folder with sst2/train and dev.parquet")
    parser.add_argument("--work", required=True, help="folder for inputs and outputs")
    parser.add_argument("--cascade", default="sst2")
    return parser


def dev_and_held_out(data: str) -> list[str]:
    """SST-2's dev rows and the sentences that no tier was trained on."""
    train = corpora.read_labelled(f"{data}/sst2/train.parquet")
    split = holdout.hold_out(train.texts, HELD_OUT, HELD_OUT_SEED)
    dev = corpora.read_labelled(f"{data}/sst2/dev.parquet")
    return dev.texts + train.take(split.held_out).texts


def repeated(texts: list[str], count: int, seed: int = 0) -> list[str]:
    """`count` texts: the given ones again and again, in random order."""
    rng = np.random.default_rng(seed)
    return [texts[index] for index in rng.permutation(np.arange(count) % len(texts))]


def write_parquet(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": range(len(texts)), "text": texts})
    pq.write_table(table, path, row_group_size=100_000)
    return path


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
    tiers = [
        models.load(tier.source, max_length=tier.max_length, tokenizer=tier.tokenizer)
        for tier in config.tiers
    ]
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
    outputs = np.zeros((len(tokens), len(model.labels)), np.float32)
    for rows in model.plan(tokens.lengths):
        outputs[rows] = model.forward(tokens, rows)
    return model.decode(outputs)


def joined(waiting):
    column = pa.concat_arrays([tokens.to_arrow() for tokens in waiting])
    return type(waiting[0]).from_arrow(column)


def middle(values: list[float]) -> float:
    return statistics.median(values)


def quiet() -> None:
    command_line.quiet(verbose=False)
