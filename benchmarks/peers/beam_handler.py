"""The ModelHandler that a Beam user would write: Beam's own do not take texts of many lengths.

PytorchModelHandlerTensor and its keyed sister stack a batch's tensors, which must be of one shape;
the Hugging Face handlers of Beam 2.77 import TensorFlow classes that transformers 5 dropped.
"""

import time
from collections.abc import Iterable, Sequence

from apache_beam.ml.inference.base import ModelHandler

from benchmarks.peers import plain_batches


class Loaded:
    """Model and tokenizer in one object, as Beam keeps weak references to models."""

    def __init__(self, source: str) -> None:
        self.model, self.tokenizer = plain_batches.loaded(source)


class Handler(ModelHandler):
    """(id, text) in, (id, label, begun, ended) out; `plain_batches` answers."""

    def __init__(self, source: str, max_length: int, rows: int) -> None:
        super().__init__(min_batch_size=rows, max_batch_size=rows)
        self._source, self._max_length = source, max_length

    def load_model(self):
        return Loaded(self._source)

    def run_inference(self, batch: Sequence, model, inference_args=None) -> Iterable:
        begun = time.time()
        texts = [text for _, text in batch]
        labels = plain_batches.batched(model.model, model.tokenizer, texts, self._max_length)
        times = begun, time.time()
        return [(row, label, *times) for (row, _), label in zip(batch, labels, strict=True)]
