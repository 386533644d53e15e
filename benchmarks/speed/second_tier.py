"""The second tier against the machine's best matrix product.

    python -m benchmarks.speed.second_tier --data DATA --work WORK

Useful FLOP/s of BERT-base's shape in bf16, model calls only, over the best bf16 product that the
machine does in the same round. Micro-batches come from the tier's planner and are scored as the
job scores them. Its weights are random, so it may read IMDB's own texts.
"""

from pathlib import Path

import pyarrow as pa

from benchmarks import common, model_pairs, unseen_texts
from tango_beam.config import Compute, TierConfig
from tango_beam.models.logits import logits_of_tokens
from tango_beam.models.peak_flops import peak_flops, seconds_of
from tango_beam.models.protocol import Model
from tango_beam.resolve import load_tier

BAR = 0.75
WINDOW = 4096


def useful_rate(model: Model, texts: list[str]) -> tuple[float, float]:
    """FLOP/s without padding, and padded over real tokens; tokenization is not timed."""
    seconds = flop = 0.0
    real = padded = 0
    for at in range(0, len(texts), WINDOW):
        tokens = model.tokenize(pa.array(texts[at : at + WINDOW]))
        lengths = tokens.lengths
        seconds += seconds_of(lambda: logits_of_tokens(model, tokens))  # noqa: B023 - at once
        flop += float(model.operations(lengths).sum())
        real += int(lengths.sum())
        padded += sum(int(model.padded(lengths[rows]).sum()) for rows in model.plan(lengths))
    return flop / seconds, padded / real


def main() -> None:
    parser = common.arguments("Useful FLOP/s of BERT-base's shape over the machine's bf16 rate.")
    parser.add_argument("--rows", type=int, default=4096, help="of SST-2's lengths")
    parser.add_argument("--long_rows", type=int, default=384, help="of IMDB's lengths")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--corpus", choices=unseen_texts.CORPORA, help="only this one")
    parser.add_argument("--max_length", type=int, help="default: the checkpoint's 512")
    ours = parser.parse_args()
    common.quiet()
    folder = model_pairs.bert_base(Path(ours.work) / "bert_base")
    tier = TierConfig(str(folder / "second_tier"), max_length=ours.max_length)
    model = load_tier(tier, Compute("cpu", "bf16"))
    texts = {
        "sst2": unseen_texts.of("sst2", ours.data, ours.rows),
        "imdb": unseen_texts.repeated(unseen_texts.reviews(ours.data), ours.long_rows),
    }
    for corpus in [ours.corpus] if ours.corpus else unseen_texts.CORPORA:
        useful_rate(model, texts[corpus][:64])
        ratios = []
        for number in range(ours.rounds):
            before = peak_flops("bf16", seconds=0.7)
            rate, padding = useful_rate(model, texts[corpus])
            machine = max(before, peak_flops("bf16", seconds=0.7))
            ratios.append(rate / machine)
            print(
                f"{corpus} round {number + 1}: {rate / 1e9:,.0f} of {machine / 1e9:,.0f} GFLOP/s "
                f"({ratios[-1]:.3f}), padding {padding:.3f}",
                flush=True,
            )
        print(f"{corpus}: useful / machine = {common.middle(ratios):.3f} (bar: at least {BAR})")


if __name__ == "__main__":
    main()
