"""What users have today for the second tier alone, one process a peer.

    python -m benchmarks.peers.one_peer NAME --texts T.parquet --source DIR --max_length N \\
        --output O

T.parquet has columns `id` and `text`; O becomes a Parquet file of `id` and `prediction`. The last
line printed is JSON: rows, seconds without start-up, and what was chosen. Start-up is imports and
loading; of Beam and Ray, which do that within their runs, the batches' own clocks tell the time.
"""

import argparse
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.peers import plain_batches
from benchmarks.peers.plain_batches import BATCH, rows_at_once

WARM = 64


def transformers_pipeline(ours) -> dict:
    """`transformers.pipeline` as it comes: fp32, batch 32, unsorted."""
    from transformers import pipeline

    texts = read(ours.texts)
    classify = pipeline(
        "text-classification", model=ours.source, device="cpu", batch_size=BATCH, dtype="float32"
    )
    options = {"truncation": True, "max_length": ours.max_length}
    classify(texts[:WARM], **options)
    started = time.perf_counter()
    answers = classify(texts, **options)
    seconds = time.perf_counter() - started
    write(ours.output, [answer["label"] for answer in answers])
    return {"seconds": seconds}


def careful_loop(ours) -> dict:
    """Sorted by length, bf16 or int8, own batch size; see `benchmarks.peers.careful_loop`."""
    from benchmarks.peers import careful_loop

    way = careful_loop.Way(**json.loads(ours.way))
    seconds, labels = careful_loop.measure(ours.source, ours.max_length, read(ours.texts), way)
    write(ours.output, labels)
    return {"seconds": seconds}


def sentence_transformers(ours) -> dict:
    """The checkpoint's encoder in sentence-transformers, bf16; its own pooler and head behind."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    texts = read(ours.texts)
    # The classifier lends its pooler and head; the encoder is loaded by the library itself.
    whole, _ = plain_batches.loaded(ours.source)
    body = Transformer(ours.source, model_kwargs={"dtype": torch.bfloat16})
    body.max_seq_length = ours.max_length
    encoder = SentenceTransformer(
        modules=[body, Pooling(body.get_embedding_dimension(), "cls")], device="cpu"
    )

    def answer(some: list[str]) -> list[str]:
        states = encoder.encode(some, batch_size=BATCH, convert_to_tensor=True)
        with torch.inference_mode():
            pooled = whole.bert.pooler(states.to(torch.bfloat16)[:, None])
            best = whole.classifier(pooled).argmax(1).tolist()
        return [whole.config.id2label[label] for label in best]

    answer(texts[:WARM])
    started = time.perf_counter()
    labels = answer(texts)
    seconds = time.perf_counter() - started
    write(ours.output, labels)
    return {"seconds": seconds}


def beam_run_inference(ours) -> dict:
    """Beam's RunInference on the in-process runner, from Parquet to Parquet.

    Timed as `ray_data` is. It runs once a process: a second pipeline would call torch from a second
    thread, with a second team of OpenMP threads, which halves its rate.
    """
    import apache_beam as beam
    from apache_beam.ml.inference.base import RunInference
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from benchmarks.peers.beam_handler import Handler

    folder = fresh(ours.output)
    texts, times = [("id", pa.int64()), ("prediction", pa.string())], ("begun", "ended")
    schema = pa.schema([*texts, *((name, pa.float64()) for name in times)])
    handler = Handler(ours.source, ours.max_length, rows_at_once(ours.texts))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        (
            pipeline
            | beam.io.ReadFromParquet(ours.texts)
            | beam.Map(lambda row: (row["id"], row["text"]))
            | RunInference(handler)
            | beam.Map(lambda answer: dict(zip(schema.names, answer, strict=True)))
            | beam.io.WriteToParquet(str(folder / "part"), schema)
        )
    return gather(folder, ours.output)


def ray_data(ours) -> dict:
    """Ray Data's map_batches with an actor on each core, from Parquet to Parquet.

    Its actors take seconds to start, now more and now less: timed is what lies between the first
    batch's begin and the last one's end. A file is one block to Ray, and a block goes to one actor,
    so the texts are parted first.
    """
    import ray
    import ray.data

    from benchmarks.peers.ray_actor import Actor

    cores = len(os.sched_getaffinity(0))
    temporary = str(Path(ours.ray_temp).absolute())
    silent = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init(num_cpus=cores, _temp_dir=temporary, **silent)
    ray.data.DataContext.get_current().enable_progress_bars = False
    folder, rows = fresh(ours.output), rows_at_once(ours.texts)
    texts = ray.data.read_parquet(ours.texts)
    answers = texts.repartition(-(-pq.read_metadata(ours.texts).num_rows // rows)).map_batches(
        Actor,
        fn_constructor_args=(ours.source, ours.max_length),
        batch_size=rows,
        batch_format="pyarrow",
        num_cpus=0.5,
        compute=ray.data.ActorPoolStrategy(size=cores),
    )
    answers.write_parquet(str(folder))
    ray.shutdown()
    return gather(folder, ours.output)


def read(path: str) -> list[str]:
    return pq.read_table(path)["text"].to_pylist()


def write(path: str, labels: list[str]) -> None:
    pq.write_table(pa.table({"id": np.arange(len(labels)), "prediction": labels}), path)


def fresh(output: str) -> Path:
    folder = Path(output).with_suffix(".parts")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def gather(folder: Path, output: str) -> dict:
    """Joins the parts that a framework wrote, in order of `id` again; times its batches."""
    answers = ds.dataset(folder, format="parquet").to_table().sort_by("id")
    pq.write_table(answers, output)
    ended, begun = pc.max(answers["ended"]).as_py(), pc.min(answers["begun"]).as_py()
    return {"seconds": ended - begun}


PEERS = {
    "transformers_pipeline": transformers_pipeline,
    "careful_loop": careful_loop,
    "beam_run_inference": beam_run_inference,
    "ray_data": ray_data,
    "sentence_transformers": sentence_transformers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=tuple(PEERS))
    for option in ("texts", "source", "output"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--max_length", type=int, required=True)
    parser.add_argument("--way", help="JSON of benchmarks.peers.careful_loop.Way")
    parser.add_argument("--ray_temp", default="/tmp/ray", help="Ray's own files; a short path")
    ours = parser.parse_args()
    result = PEERS[ours.name](ours)
    rows = pq.read_metadata(ours.texts).num_rows
    print(json.dumps({"rows": rows, **result, "rate": rows / result["seconds"]}))


if __name__ == "__main__":
    main()
