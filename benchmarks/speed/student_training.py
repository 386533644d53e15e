"""How fast a BiLSTM learns on every core, beside its own pass on one core, and on all of them.

    python -m benchmarks.speed.student_training [--rounds N]

Steps of the embedded cascade's student (embeddings 64 wide, two bidirectional layers of 96), forwards,
back and the optimizer's, of random pieces: batches as a training has them of sentences, and of
reviews, of which few have the same length. In turns.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from benchmarks import common
from tango_beam.models import thread_pool
from tango_beam.models.bilstm import BiLSTMNetwork
from tango_beam.models.bilstm_config import BiLSTMConfig
from tango_beam.training import lstm_training

# Rows, and tokens in each.
BATCHES = {"sentences": (128, 24), "reviews": (24, 280)}
PIECES, STEPS = 30_000, 10

Loss = Callable[[BiLSTMNetwork, torch.Tensor, torch.Tensor], torch.Tensor]


def plain(network: BiLSTMNetwork, ids: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
    """The loss by the network's own pass."""
    return functional.mse_loss(network(ids), aim)


def rate(loss: Loss, shape: tuple[int, int], threads: int) -> float:
    """Tokens a second."""
    network = BiLSTMNetwork(
        BiLSTMConfig(("a", "b"), PIECES, embedding_size=64, hidden_size=96, pooling="max")
    )
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    ids, aim = torch.randint(PIECES, shape), torch.randn(shape[0], 2)

    def step() -> None:
        loss(network, ids, aim).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    with thread_pool.bound_to(threads):
        step()
        started = time.perf_counter()
        for _ in range(STEPS):
            step()
        return STEPS * ids.numel() / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description="A BiLSTM in training, in three ways.")
    parser.add_argument("--rounds", type=int, default=3)
    ours = parser.parse_args()
    cores = thread_pool.workers()
    ways = {
        "own pass, one core": (plain, 1),
        f"own pass, {cores} cores": (plain, cores),
        f"side by side, {cores} cores": (lstm_training.mean_loss, cores),
    }
    for corpus, shape in BATCHES.items():
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ours.rounds):
            for way, (loss, threads) in ways.items():
                rates[way].append(rate(loss, shape, threads))
        for way, found in rates.items():
            print(f"{corpus}: {way}: {common.middle(found):,.0f} tokens a second")


if __name__ == "__main__":
    main()
