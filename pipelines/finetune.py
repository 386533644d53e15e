"""Fine-tunes an encoder into a second tier: `python -m pipelines.finetune --encoder ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from tango_beam import command_line
from tango_beam.command_line import DONE, Parser

DESCRIPTION = """\
Fine-tunes a Hugging Face encoder on labelled texts (Parquet) into a second tier.

Whole sentences are set aside first, with every training row that lies inside one of them; choose
seed and epochs on those. --dev is scored once, at the end, to report.

  python -m pipelines.finetune --encoder all-MiniLM-L6-v2 --train sst2/train.parquet \\
      --held_out 1500 --dev sst2/dev.parquet --output second_tier
"""


def parser() -> Parser:
    """The command line."""
    result = Parser(prog="pipelines.finetune", description=DESCRIPTION)
    result.add_argument("--encoder", required=True, metavar="PATH-or-hub-id")
    command_line.add_data_arguments(result)
    result.add_argument("--epochs", type=int, default=2)
    result.add_argument("--learning_rate", type=float, default=7e-5)
    result.add_argument("--batch_size", type=int, default=32)
    result.add_argument("--max_length", type=int, default=128, help="tokens read of a text")
    result.add_argument("--seed", type=int, default=0)
    result.add_argument("--smoothing", type=float, default=0.0, help="label smoothing")
    result.add_argument(
        "--average", type=float, default=0.0,
        help="keep a running mean of the weights with this decay (0.999, say); 0: the last weights",
    )  # fmt: skip
    result.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    result.add_argument("--store", choices=("bf16", "fp32"), default="fp32", help="weights on disk")
    result.add_argument(
        "--drop_unused", action="store_true", help="leave out pieces named [unusedN]"
    )
    result.add_argument(
        "--teacher", action="append", default=[], metavar="DIR",
        help="learn the mean logits of these classifiers instead of the labels (self-training)",
    )  # fmt: skip
    result.add_argument(
        "--unlabeled", action="append", default=[], metavar="PARQUET",
        help="with --teacher: texts of the domain, cut into sentences",
    )  # fmt: skip
    result.add_argument("--unlabeled_rows", type=int, metavar="N", help="sentences of each file")
    result.add_argument("--about", default="", help="a sentence for the model card")
    result.add_argument("--verbose", action="store_true")
    return result


def main(arguments: Sequence[str]) -> int:
    """Trains, scores and saves; returns the exit code."""
    ours = parser().parse_args(arguments)
    command_line.quiet(ours.verbose)
    command_line.talk("tango_beam.training")
    from tango_beam.training import finetune, second_tier

    def stated(kind: Any) -> dict[str, Any]:
        names = [field.name for field in fields(kind)]
        return {name: getattr(ours, name) for name in names if hasattr(ours, name)}

    line = command_line.as_given("pipelines.finetune", arguments)
    scores = second_tier.run(
        second_tier.SecondTier(**stated(second_tier.SecondTier)),
        finetune.FinetuneConfig(**stated(finetune.FinetuneConfig)),
        line,
    )
    for name, value in scores.items():
        print(f"{name}: {value:.4f}")
    print(f"saved: {ours.output}")
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
