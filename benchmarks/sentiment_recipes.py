"""How the embedded sentiment cascade is made, and one that learns from a base-size teacher.

    python -m benchmarks.sentiment_recipes --recipe embedded base_size --data DATA --work WORK \\
        --encoder MPNET --small MINILM

Both leave out the sentences that `benchmarks.unseen_texts` keeps from every tier, and are compared on
them. A recipe takes an hour and a half on two cores; what lies in WORK is taken as it is, and a
training that was cut short goes on.
"""

import argparse
from pathlib import Path

from benchmarks import steps

_SST2 = "--train {data}/sst2/train.parquet --held_out 1500"
_MINE = "--teacher_logits {work}/logits --drop_unused --average 0.999 --store bf16"
_STUDENT = "--embedding_size 64 --hidden_size 96 --epochs 4 --store bf16"
_UNLABELED = "--unlabeled {kept}/train.parquet"

RECIPES: dict[str, steps.Steps] = {
    # As the cards in tango_beam/cascades/sst2 have it.
    "embedded": {
        "teacher_0": ("finetune", f"--encoder {{small}} {_SST2} --average 0.999"),
        "imdb": ("finetune", "--encoder {small} --train {kept}/train.parquet --epochs 1"),
        "teacher_1": ("finetune", f"--encoder {{work}}/imdb {_SST2} --average 0.999"),
        "second_tier": (
            "finetune",
            f"--encoder {{small}} {_SST2} --teacher {{work}}/teacher_0 --teacher {{work}}/teacher_1 "
            f"{_UNLABELED} --unlabeled_rows 150000 --epochs 2 --batch_size 64 {_MINE}",
        ),
        "first_tier": (
            "distill",
            f"--teacher {{work}}/second_tier {_SST2} {_UNLABELED} --augmented 90000 {_STUDENT} "
            "--cascade embedded",
        ),
    },
    "base_size": {
        "teacher": (
            "finetune",
            f"--encoder {{encoder}} {_SST2} --epochs 1 --learning_rate 4e-5",
        ),
        "second_tier": (
            "finetune",
            f"--encoder {{small}} {_SST2} --teacher {{work}}/teacher {_UNLABELED} "
            f"--unlabeled_rows 100000 --epochs 3 {_MINE}",
        ),
        "first_tier": (
            "distill",
            f"--teacher {{work}}/second_tier {_SST2} {_UNLABELED} --augmented 200000 "
            f"--augment_unlabeled {_STUDENT} --pooling max --cascade base_size",
        ),
    },
}


def make(recipe: str, work: str, places: dict[str, object]) -> None:
    """Runs a recipe's commands whose folders have no card yet."""
    steps.run(RECIPES[recipe], work, lambda pattern: pattern.format(**places))


def main() -> None:
    parser = argparse.ArgumentParser(description="Recipes for a sentiment cascade, side by side.")
    parser.add_argument("--recipe", nargs="+", required=True, choices=sorted(RECIPES))
    parser.add_argument("--data", required=True, help="folder with sst2 and imdb")
    parser.add_argument("--work", required=True, help="folder for all that is made")
    parser.add_argument("--encoder", help="base-size pretrained encoder", default="")
    parser.add_argument("--small", required=True, help="pretrained encoder of second tiers")
    ours = parser.parse_args()
    kept = Path(ours.work, "kept")
    parted = ["--data", ours.data, "--output", str(kept)]
    if not (kept / "kept.parquet").is_file():
        steps.call("benchmarks.unseen_texts", parted)
    for recipe in ours.recipe:
        work = f"{ours.work}/{recipe}"
        make(recipe, work, vars(ours) | {"kept": kept, "work": work})
    cascades = [word for one in ours.recipe for word in ("--cascade", f"{ours.work}/{one}")]
    compared = ["--data", ours.data, "--kept", str(kept), *cascades]
    steps.call("benchmarks.statistics.unseen_sentences", compared)


if __name__ == "__main__":
    main()
