"""What the paper reports: TangoBERT (Mamou, Pereg, Wasserblat and Schwartz, 2022), Tables 1 to 3."""

from __future__ import annotations

from dataclasses import dataclass

SHARES = (0.99, 0.98)


@dataclass(frozen=True)
class Rates:
    """A row of Table 3 at one share: score, rows a second at batch 1 and at own batches."""

    score: float
    batch_1: float
    own_batch: float


@dataclass(frozen=True)
class Published:
    """A task's rows in Tables 1 to 3.

    Attributes:
      augmented: texts, in thousands.
      train: rows, in thousands.
      test: rows, in thousands.
      first_tier: its name.
      second_tier: its name.
      speedups: over the second tier at batch 1, by routing (`deebert`, `random`, `cascade`,
        `oracle`), at 99 % and 98 % of its score; None where there is none.
      rates: of the second tier alone, then of the cascade at 99 % and at 98 %.
    """

    augmented: int
    train: float
    test: float
    first_tier: str
    second_tier: str
    speedups: dict[str, tuple[float | None, float | None]]
    rates: tuple[Rates, Rates, Rates]


def _speedups(
    deebert: tuple[float | None, float | None],
    random: tuple[float, float],
    cascade: tuple[float, float],
    oracle: tuple[float, float],
) -> dict[str, tuple[float | None, float | None]]:
    return {"deebert": deebert, "random": random, "cascade": cascade, "oracle": oracle}


PAPER = {
    "cola": Published(
        172,
        8.6,
        0.5,
        "TinyBERT4",
        "BERT-base",
        _speedups((1.3, 1.3), (1.3, 1.5), (1.5, 1.5), (3.2, 3.3)),
        (Rates(55.0, 3, 9), Rates(54.5, 4, 14), Rates(53.9, 4, 14)),
    ),
    "mrpc": Published(
        768,
        3.7,
        0.5,
        "BiLSTM",
        "RoBERTa-base",
        _speedups((1.2, 1.5), (1.2, 1.3), (2.1, 2.9), (6.5, 7.3)),
        (Rates(93.3, 6, 15), Rates(92.4, 11, 31), Rates(91.4, 15, 43)),
    ),
    "qnli": Published(
        2095,
        104.7,
        5.5,
        "TinyBERT4",
        "BERT-base",
        _speedups((1.5, 1.6), (1.0, 1.6), (2.6, 3.2), (3.9, 4.1)),
        (Rates(91.4, 3, 12), Rates(90.4, 7, 38), Rates(89.6, 9, 50)),
    ),
    "squad": Published(
        0,
        88.1,
        10.7,
        "Dynamic-TinyBERT4",
        "BERT-base",
        _speedups((None, None), (1.1, 1.3), (1.7, 2.5), (3.6, 4.2)),
        (Rates(88.2, 1, 3), Rates(87.3, 2, 6), Rates(86.4, 3, 8)),
    ),
    "sst2": Published(
        800,
        67.4,
        1.8,
        "BiLSTM",
        "RoBERTa-base",
        _speedups((1.4, 1.8), (1.2, 1.5), (4.3, 6.1), (11.5, 13.9)),
        (Rates(95.8, 9, 20), Rates(94.9, 36, 95), Rates(93.9, 53, 163)),
    ),
}
