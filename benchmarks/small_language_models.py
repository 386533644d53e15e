"""Two small language models for augmentation, out of a pretrained encoder like BERT, in minutes.

    python -m benchmarks.small_language_models --encoder MINILM --train DATA/sst2/train.parquet \\
        --output MODELS

`MODELS/generator` writes lines (`distill --generator`), `MODELS/masked_lm` fills in words
(`--masked_lm`). Where large ones are at hand they do better.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken
from transformers import AutoConfig, AutoTokenizer, BertForMaskedLM, BertLMHeadModel

from benchmarks import common
from tango_beam.io.labelled import read_labelled

TEXTS_A_STEP, EXAMPLES, MASKED = 32, 5, 0.15
RATE, WARM_UP, IGNORED = 3e-4, 20, -100


def causal(encoder: str) -> tuple[Any, Any]:
    """A network that goes on with a text, and a tokenizer that keeps line breaks and tabs."""
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    tokenizer.add_tokens([AddedToken(one, normalized=False) for one in ("\n", "\t")])
    config = AutoConfig.from_pretrained(encoder)
    config.is_decoder, config.eos_token_id = True, tokenizer.sep_token_id
    network = BertLMHeadModel.from_pretrained(encoder, config=config)
    network.resize_token_embeddings(len(tokenizer))
    return network, tokenizer


def masked(encoder: str) -> tuple[Any, Any]:
    """A network that fills in words, and its tokenizer."""
    return BertForMaskedLM.from_pretrained(encoder), AutoTokenizer.from_pretrained(encoder)


def lines(tokenizer: Any, texts: list[str], rng: np.random.Generator) -> Iterator[dict]:
    """Batches of some texts below each other, of which each token is to be foretold."""
    while True:
        drawn = rng.integers(len(texts), size=(TEXTS_A_STEP, EXAMPLES))
        shown = ["".join(f"{texts[row]}\n" for row in rows) for rows in drawn]
        given = tokenizer(shown, add_special_tokens=False, padding=True, return_tensors="pt")
        yield _batch(given, given["attention_mask"].bool())


def gaps(tokenizer: Any, texts: list[str], rng: np.random.Generator) -> Iterator[dict]:
    """Batches of texts in which some pieces are masked, and are to be found (Devlin et al., 2019)."""
    while True:
        shown = [texts[row] for row in rng.integers(len(texts), size=EXAMPLES * TEXTS_A_STEP)]
        given = tokenizer(shown, padding=True, truncation=True, max_length=64, return_tensors="pt")
        ids = given["input_ids"]
        plain = torch.isin(ids, torch.tensor(tokenizer.all_special_ids), invert=True)
        hidden = plain & torch.from_numpy(rng.random(ids.shape) < MASKED)
        batch = _batch(given, hidden)
        yield {**batch, "input_ids": ids.masked_fill(hidden, tokenizer.mask_token_id)}


def _batch(given: Any, wanted: torch.Tensor) -> dict:
    ids = given["input_ids"]
    goal = ids.masked_fill(~wanted, IGNORED)
    return {"input_ids": ids, "attention_mask": given["attention_mask"], "labels": goal}


def train(network: Any, batches: Iterator[dict], steps: int) -> None:
    """Trains a language model in place, and prints its loss."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARM_UP, 1 - step / (steps + 1))
    )
    network.train()
    for step, batch in zip(range(1, steps + 1), batches, strict=False):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = network(**batch).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 20 == 0:
            print(f"step {step} of {steps}: loss {float(loss):.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Small language models for augmentation.")
    parser.add_argument("--encoder", required=True, help="pretrained, like BERT")
    parser.add_argument("--train", required=True, help="texts that they learn to write")
    parser.add_argument("--output", required=True, help="folder for both")
    parser.add_argument("--steps", type=int, default=100)
    ours = parser.parse_args()
    common.quiet()
    torch.manual_seed(0)
    texts = read_labelled([ours.train], ["text"], "label").texts.to_pylist()
    for name, start, batches in (("generator", causal, lines), ("masked_lm", masked, gaps)):
        folder = Path(ours.output, name)
        if (folder / "config.json").is_file():
            continue
        network, tokenizer = start(ours.encoder)
        train(network, batches(tokenizer, texts, np.random.default_rng(0)), ours.steps)
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
