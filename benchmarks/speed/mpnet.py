"""MPNet-base against BERT-base, both packed: what a bias in every score costs.

    python -m benchmarks.speed.mpnet --data DATA

Rows a second of model calls only, on the same tokens, in turns. Weights are random, so both may
read IMDB's own texts.
"""

import argparse
from typing import Any

import pyarrow as pa
import torch
from transformers import (
    AutoTokenizer,
    BertForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
)

from benchmarks import common, model_pairs, unseen_texts
from tango_beam.checkpoint_files import EMBEDDED
from tango_beam.config import Compute, TierConfig
from tango_beam.models.logits import logits_of_tokens
from tango_beam.models.peak_flops import seconds_of
from tango_beam.models.protocol import Model
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import Transformer, to_answer

BARS = {"sst2": 0.95, "imdb": 0.90}


def packed(network: Any, precision: str, max_length: int) -> Model:
    """A network of random weights behind the embedded cascade's word pieces."""
    network.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "sst2" / "second_tier")
    tier = TierConfig("random", max_length=max_length)
    return to_answer(Transformer(network, tokenizer, tier, Compute("cpu", precision)))


def rates(models: tuple[Model, Model], tokens: Tokens, rounds: int) -> list[list[float]]:
    """Rows a second of either, by round; one more round, the first, is thrown away."""
    found: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for which in (0, 1) if number % 2 else (1, 0):
            seconds = seconds_of(lambda: logits_of_tokens(models[which], tokens))  # noqa: B023
            found[which].append(len(tokens) / seconds)
    return [each[1:] for each in found]


def main() -> None:
    parser = argparse.ArgumentParser(description="Rows a second of MPNet-base over BERT-base's.")
    parser.add_argument("--data", required=True, help="folder with sst2/ and imdb/")
    parser.add_argument("--rows", type=int, default=400, help="of SST-2's lengths")
    parser.add_argument("--long_rows", type=int, default=40, help="of IMDB's lengths")
    parser.add_argument("--max_length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp32"], help="int8 as well")
    ours = parser.parse_args()
    common.quiet()
    texts = {
        "sst2": unseen_texts.of("sst2", ours.data, ours.rows),
        "imdb": unseen_texts.repeated(unseen_texts.reviews(ours.data), ours.long_rows),
    }
    for precision in ours.precisions:
        bert = BertForSequenceClassification(model_pairs.BERT_BASE)
        mpnet = MPNetForSequenceClassification(MPNetConfig(max_position_embeddings=514))
        models = tuple(packed(each, precision, ours.max_length) for each in (bert, mpnet))
        for corpus, given in texts.items():
            before, after = rates(models, models[0].tokenize(pa.array(given)), ours.rounds)
            ratio = common.middle([b / a for a, b in zip(before, after, strict=True)])
            print(
                f"{corpus} {precision}: BERT-base {common.middle(before):,.1f} rows a second, "
                f"MPNet-base {common.middle(after):,.1f}; MPNet / BERT = {ratio:.3f} "
                f"(bar: at least {BARS[corpus]:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
