"""The actor that a Ray Data user would write: it holds the model on one core."""

import time

import pyarrow as pa

from benchmarks.peers import plain_batches


class Actor:
    """Answers Arrow batches, as `plain_batches` does."""

    def __init__(self, source: str, max_length: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.model, self.tokenizer = plain_batches.loaded(source)
        self.max_length = max_length

    def __call__(self, batch: pa.Table) -> pa.Table:
        begun = time.time()
        texts = batch["text"].to_pylist()
        labels = plain_batches.batched(self.model, self.tokenizer, texts, self.max_length)
        columns = {"id": batch["id"], "prediction": pa.array(labels)}
        times = {"begun": begun, "ended": time.time()}
        return pa.table(columns | {name: [at] * len(labels) for name, at in times.items()})
