"""The second tier against the machine: `python -m benchmarks.second_tier --data ... --work ...`.

Useful FLOP/s of BERT-base's shape in bf16, model calls only, over the best bf16 product that the
machine does in the same round. Micro-batches come from the tier's planner and are scored as the
job scores them. Its weights are random, so it may read IMDB's own texts.
"""

import time
from pathlib import Path

import pyarrow as pa
import torch

from benchmarks import common, shapes, untrained
from tango_beam import models
from tango_beam.models import parallel

BAR = 0.75
PRODUCTS = ((4096, 4096, 4096), (4096, 768, 768), (4096, 768, 3072))


@torch.inference_mode()
def machine_rate(seconds: float = 0.7) -> float:
    """The best bf16 FLOP/s of the products: on all cores at once, or one on each core."""
    best = 0.0
    cores = parallel.workers()
    for rows, inner, columns in PRODUCTS:
        left = torch.randn(rows, inner).bfloat16()
        weights = torch.nn.Linear(inner, columns, bias=False).bfloat16()
        flop = 2.0 * rows * inner * columns
        once = timed(lambda: weights(left))  # noqa: B023 - called at once
        repeats = max(2, int(seconds / max(once, 1e-6)))
        together = [timed(lambda: weights(left)) for _ in range(repeats)]  # noqa: B023
        apart = [
            timed(lambda: parallel.each("cpu", [left] * cores, weights))  # noqa: B023
            for _ in range(max(2, repeats // cores))
        ]
        best = max(best, flop / min(together), cores * flop / min(apart))
    return best


def timed(action) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def useful_rate(model, texts: list[str], window: int) -> tuple[float, float]:
    """FLOP/s without padding, and padded over real tokens; tokenization is not timed."""
    seconds = flop = 0.0
    real = padded = 0.0
    for at in range(0, len(texts), window):
        tokens = model.tokenize(pa.array(texts[at : at + window]))
        lengths = tokens.lengths
        started = time.perf_counter()
        parts = model.plan(lengths)
        parallel.each(model.device, parts, lambda rows: model.forward(tokens, rows))  # noqa: B023
        seconds += time.perf_counter() - started
        flop += shapes.useful_flop(model.network.config, lengths)
        real += lengths.sum()
        padded += sum(int(model.padded(lengths[rows]).sum()) for rows in parts)
    return flop / seconds, padded / real


def main() -> None:
    parser = common.arguments("Useful FLOP/s of BERT-base's shape over the machine's bf16 rate.")
    parser.add_argument("--rows", type=int, default=4096, help="of SST-2's lengths")
    parser.add_argument("--long_rows", type=int, default=384, help="of IMDB's lengths")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--corpus", choices=untrained.CORPORA, help="only this one")
    parser.add_argument("--max_length", type=int, help="default: the checkpoint's 512")
    ours = parser.parse_args()
    common.quiet()
    folder = shapes.bert_base(Path(ours.work) / "bert_base")
    model = models.load(
        str(folder / "second_tier"), device="cpu", precision="bf16", max_length=ours.max_length
    )
    texts = {
        "sst2": untrained.of("sst2", ours.data, ours.rows),
        "imdb": untrained.repeated(untrained.reviews(ours.data), ours.long_rows),
    }
    for corpus in [ours.corpus] if ours.corpus else untrained.CORPORA:
        useful_rate(model, texts[corpus][:64], 4096)
        ratios = []
        for number in range(ours.rounds):
            before = machine_rate()
            rate, padding = useful_rate(model, texts[corpus], 4096)
            machine = max(before, machine_rate())
            ratios.append(rate / machine)
            print(
                f"{corpus} round {number + 1}: {rate / 1e9:,.0f} of {machine / 1e9:,.0f} GFLOP/s "
                f"({ratios[-1]:.3f}), padding {padding:.3f}",
                flush=True,
            )
        print(f"{corpus}: useful / machine = {common.middle(ratios):.3f} (bar: at least {BAR})")


if __name__ == "__main__":
    main()
