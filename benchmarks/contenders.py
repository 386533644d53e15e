"""What users have today for the second tier alone, one process a contender.

    python -m benchmarks.contenders NAME --texts T.parquet --source DIR --max_length N --output O

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

WARM = 64
BATCH = 32


def rows_at_once(ours) -> int:
    """Rows that a framework hands over at a time: 16 helpings or more, 64 to 1,024 rows each."""
    return min(1024, max(64, pq.read_metadata(ours.texts).num_rows // 16))


def batched(model, tokenizer, texts: list[str], max_length: int) -> list[str]:
    """Labels, of batches of 32 sorted by length: what people write inside an actor or a handler."""
    import torch

    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    found = [""] * len(texts)
    for at in range(0, len(order), BATCH):
        rows = order[at : at + BATCH]
        inputs = tokenizer(
            [texts[row] for row in rows], padding=True, truncation=True, max_length=max_length,
            return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            best = model(**inputs).logits.argmax(1).tolist()
        for row, label in zip(rows, best, strict=True):
            found[row] = model.config.id2label[label]
    return found


def loaded(source: str):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.bfloat16)
    return model.eval(), AutoTokenizer.from_pretrained(source)


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
    found = classify(texts, **options)
    seconds = time.perf_counter() - started
    write(ours.output, [answer["label"] for answer in found])
    return {"seconds": seconds}


def careful_loop(ours) -> dict:
    """Sorted by length, bf16 or int8, own batch size; see `benchmarks.careful`."""
    from benchmarks import careful

    way = careful.Way(**json.loads(ours.way))
    seconds, labels = careful.measure(ours.source, ours.max_length, read(ours.texts), way)
    write(ours.output, labels)
    return {"seconds": seconds}


def sentence_transformers(ours) -> dict:
    """The checkpoint's encoder in sentence-transformers, bf16; its own pooler and head behind."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    texts = read(ours.texts)
    # The classifier lends its pooler and head; the encoder is loaded by the library itself.
    whole, _ = loaded(ours.source)
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
    found = answer(texts)
    seconds = time.perf_counter() - started
    write(ours.output, found)
    return {"seconds": seconds}


def beam_run_inference(ours) -> dict:
    """Beam's RunInference on the in-process runner, from Parquet to Parquet.

    Timed as `ray_data` is. It runs once a process: a second pipeline would call torch from a second
    thread, with a second team of OpenMP threads, which halves its rate.
    """
    import apache_beam as beam
    from apache_beam.ml.inference.base import RunInference
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from benchmarks.beam_handler import Handler

    folder = fresh(ours.output)

    schema = pa.schema(
        [("id", pa.int64()), ("prediction", pa.string()), ("begun", pa.float64()),
         ("ended", pa.float64())]
    )  # fmt: skip
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        (
            pipeline
            | beam.io.ReadFromParquet(ours.texts)
            | beam.Map(lambda row: (row["id"], row["text"]))
            | RunInference(Handler(ours.source, ours.max_length, rows_at_once(ours)))
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

    from benchmarks import contenders  # by its name, so that actors import it

    cores = len(os.sched_getaffinity(0))
    ray.init(
        num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="error",
        _temp_dir=str(Path(ours.ray_temp).absolute()),
    )  # fmt: skip
    ray.data.DataContext.get_current().enable_progress_bars = False
    folder = fresh(ours.output)

    (
        ray.data.read_parquet(ours.texts)
        .repartition(-(-pq.read_metadata(ours.texts).num_rows // rows_at_once(ours)))
        .map_batches(
            contenders.Actor, fn_constructor_args=(ours.source, ours.max_length),
            batch_size=rows_at_once(ours), batch_format="pyarrow", num_cpus=0.5,
            compute=ray.data.ActorPoolStrategy(size=cores),
        )
        .write_parquet(str(folder))
    )  # fmt: skip
    ray.shutdown()
    return gather(folder, ours.output)


class Actor:
    """Holds the model on one core; answers Arrow batches."""

    def __init__(self, source: str, max_length: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.model, self.tokenizer = loaded(source)
        self.max_length = max_length

    def __call__(self, batch: pa.Table) -> pa.Table:
        begun = time.time()
        texts = batch["text"].to_pylist()
        found = batched(self.model, self.tokenizer, texts, self.max_length)
        columns = {"id": batch["id"], "prediction": pa.array(found)}
        times = {"begun": begun, "ended": time.time()}
        return pa.table(columns | {name: [at] * len(found) for name, at in times.items()})


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


CONTENDERS = {
    function.__name__: function
    for function in (
        transformers_pipeline, careful_loop, beam_run_inference, ray_data, sentence_transformers,
    )
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=tuple(CONTENDERS))
    for option in ("texts", "source", "output"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--max_length", type=int, required=True)
    parser.add_argument("--way", help="JSON of benchmarks.careful.Way")
    parser.add_argument("--ray_temp", default="/tmp/ray", help="Ray's own files; a short path")
    ours = parser.parse_args()
    result = CONTENDERS[ours.name](ours)
    rows = pq.read_metadata(ours.texts).num_rows
    print(json.dumps({"rows": rows, **result, "rate": (rows) / result["seconds"]}))


if __name__ == "__main__":
    main()
