"""Fine-tunes an encoder into a second tier: `python -m pipelines.finetune --encoder ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

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
    result.add_argument("--train", required=True, metavar="PARQUET", help="texts and labels")
    result.add_argument("--output", required=True, metavar="DIR")
    result.add_argument("--dev", metavar="PARQUET", help="scored once, at the end")
    result.add_argument("--text_column", default="text", metavar="NAME")
    result.add_argument("--label_column", default="label", metavar="NAME")
    result.add_argument(
        "--held_out", type=int, default=0, metavar="N", help="whole sentences to set aside"
    )
    result.add_argument("--held_out_seed", type=int, default=0, metavar="N")
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
    import torch

    from tango_beam.training import card, corpora, finetune, holdout, mixture

    data = corpora.read_labelled(ours.train, ours.text_column, ours.label_column)
    split = holdout.hold_out(data.texts, ours.held_out, ours.held_out_seed)
    train, held_out = data.take(split.train), data.take(split.held_out)
    chosen = {field.name: getattr(ours, field.name) for field in fields(finetune.FinetuneConfig)
              if hasattr(ours, field.name)}  # fmt: skip
    config = finetune.FinetuneConfig(**chosen)
    model = finetune.start(ours.encoder, data.labels, config, drop_unused=ours.drop_unused)

    used = [card.data_row(ours.train, len(train.texts), "train")]
    targets = None
    if ours.teacher:
        texts, used = mixture.gather(
            train.texts, ours.train, ours.unlabeled,
            text_column=ours.text_column, unlabeled_rows=ours.unlabeled_rows, seed=ours.seed,
        )  # fmt: skip
        targets = mixture.teach(ours.teacher, texts, data.labels, ours.max_length)
        train = corpora.Labelled(texts, targets.argmax(axis=1), data.labels)

    def rank(current: object) -> dict[str, float]:
        if not ours.held_out:
            return {}
        return {"accuracy, held-out sentences": finetune.accuracy(current, held_out)}

    history = finetune.fine_tune(model, train, config, targets, rank)
    folder = Path(ours.output)
    model.save(folder, torch.bfloat16 if ours.store == "bf16" else torch.float32)
    scores = rank(model)
    if ours.held_out:
        used.append(card.data_row(ours.train, ours.held_out, "held-out sentences, to choose on"))
    if ours.dev:
        dev = corpora.read_labelled(ours.dev, ours.text_column, ours.label_column)
        scores["accuracy, dev"] = finetune.accuracy(model, dev)
        used.append(card.data_row(ours.dev, len(dev.texts), "dev, scored once"))
    about = ours.about or f"A second tier, fine-tuned from {ours.encoder}."
    line = command_line.as_given("pipelines.finetune", arguments)
    card.write(folder, folder.name, about, line, used, scores, history, asdict(config))
    for name, value in scores.items():
        print(f"{name}: {value:.4f}")
    print(f"saved: {folder}")
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
