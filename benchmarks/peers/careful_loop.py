"""The second tier alone, as a careful user would run it: a bare loop, no Beam, no files.

Texts are tokenized at once and sorted by length; micro-batches hold a budget of padded tokens. The
budget, bf16 or int8, and one micro-batch on all cores or one on each are what was fastest on a
sample of the same texts.
"""

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
import pyarrow.parquet as pq
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.benchmark_arithmetic import cut, evenly

BUDGETS = (512, 1024, 2048, 4096, 8192)


@dataclass(frozen=True)
class Way:
    """How the loop runs.

    Attributes:
      precision: `bf16` or `int8` (dynamic, linear layers only).
      budget: padded tokens in a micro-batch.
      side_by_side: a micro-batch on each core; else one at a time on all of them.
    """

    precision: str
    budget: int
    side_by_side: bool


PRECISIONS = ("bf16", "int8")
WAYS = [Way(*way) for way in product(PRECISIONS, BUDGETS, (False, True))]


class Alone:
    """A checkpoint with its tokenizer, loaded for one precision."""

    def __init__(self, source: str, max_length: int, precision: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(source)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        model = AutoModelForSequenceClassification.from_pretrained(source, dtype=dtype).eval()
        if precision == "int8":
            model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)
        self.model, self.max_length = model, max_length

    def tokens(self, texts: list[str]) -> list[list[int]]:
        ids_alone = {"return_attention_mask": False, "return_token_type_ids": False}
        encoded = self.tokenizer(texts, truncation=True, max_length=self.max_length, **ids_alone)
        return encoded["input_ids"]

    @torch.inference_mode()
    def answer(self, ids: list[list[int]]) -> np.ndarray:
        longest = max(map(len, ids))
        padded = np.zeros((len(ids), longest), np.int64)
        mask = np.zeros((len(ids), longest), np.int64)
        for row, text in enumerate(ids):
            padded[row, : len(text)] = text
            mask[row, : len(text)] = 1
        given = {} if mask.all() else {"attention_mask": torch.from_numpy(mask)}
        return self.model(torch.from_numpy(padded), **given).logits.float().argmax(1).numpy()

    def run(self, ids: list[list[int]], parts: list[np.ndarray], side_by_side: bool) -> np.ndarray:
        """The best label of each row that is in a part; the long parts come first."""
        best = np.full(len(ids), -1)

        def one(part: np.ndarray) -> None:
            best[part] = self.answer([ids[row] for row in part])

        if not side_by_side:
            for part in reversed(parts):
                one(part)
            return best
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(one, reversed(parts)))
        return best


def tried(source: str, max_length: int, texts: list[str], precision: str, tokens: int) -> list:
    """Every way of a precision with its tokens a second, on about `tokens` tokens of the texts.

    Ways with one micro-batch on all cores go first: a thread pool that has called torch leaves a
    second team of OpenMP threads behind.
    """
    alone = Alone(source, max_length, precision)
    ids = alone.tokens(texts)
    lengths = np.array(list(map(len, ids)))
    rates = []
    for way in sorted(WAYS, key=lambda way: way.side_by_side):
        if way.precision != precision:
            continue
        parts = evenly(cut(lengths, way.budget), lengths, tokens)
        alone.run(ids, parts[:1], way.side_by_side)
        started = time.perf_counter()
        alone.run(ids, parts, way.side_by_side)
        seconds = time.perf_counter() - started
        rate = float(lengths[np.concatenate(parts)].sum() / seconds)
        rates.append({**asdict(way), "tokens_a_second": rate})
    return rates


def measure(source: str, max_length: int, texts: list[str], way: Way) -> tuple[float, list[str]]:
    """Seconds, tokenization and all, and labels; imports and loading are not timed."""
    alone = Alone(source, max_length, way.precision)
    warm = alone.tokens(texts[:64])
    alone.run(warm, cut(np.array(list(map(len, warm))), way.budget), way.side_by_side)
    started = time.perf_counter()
    ids = alone.tokens(texts)
    lengths = np.array(list(map(len, ids)))
    best = alone.run(ids, cut(lengths, way.budget), way.side_by_side)
    seconds = time.perf_counter() - started
    names = alone.model.config.id2label
    return seconds, [names[int(label)] for label in best]


def main() -> None:
    parser = argparse.ArgumentParser(description="Tokens a second of every way, as JSON.")
    for option in ("source", "texts"):
        parser.add_argument(f"--{option}", required=True)
    for option in ("max_length", "tokens"):
        parser.add_argument(f"--{option}", type=int, required=True)
    parser.add_argument("--precision", choices=PRECISIONS, required=True)
    ours = parser.parse_args()
    texts = pq.read_table(ours.texts)["text"].to_pylist()
    ways = tried(ours.source, ours.max_length, texts, ours.precision, ours.tokens)
    print(json.dumps({"ways": ways}))


if __name__ == "__main__":
    main()
