"""How much of the machine a training uses, and how fast another tree's is beside it.

    python -m benchmarks.speed.training --encoder MINILM --data DATA --work WORK [--against TREE]

`pipelines.finetune` runs on some rows and on a few, in a process of its own whose working directory
is the tree; the time of the few is taken off, and with it imports, loading and saving. Useful are
the operations that the rows need, no padding, three times those of a forward pass; they are counted
in this tree, for either. Given beside the machine's best product before and behind.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks import common
from tango_beam.config import Compute, TierConfig
from tango_beam.models import transformer
from tango_beam.models.loading import resolve_precision
from tango_beam.models.peak_flops import peak_flops
from tango_beam.training.progress import PASSES

BAR, BAR_AGAINST = 0.5, 2.0
# Rows to train on, few rows, and the most tokens read of a text.
CORPORA = {"banking77": (10_000, 120, 128), "imdb": (400, 40, 512)}
RUN = "import sys; from pipelines import finetune; finetune.main(sys.argv[1:])"


def seconds(tree: Path, train: Path, encoder: str, more: list[str]) -> float:
    """Of a whole `finetune` in a tree."""
    output = train.parent / f"trained_{time.monotonic_ns()}"
    given = f"--train {train} --encoder {encoder} --output {output} --epochs 1".split()
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", RUN, *given, *more], cwd=tree, capture_output=True, text=True
    )
    taken = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{tree}: {done.stderr[-1000:]}")
    return taken


def prepared(corpus: str, ours) -> tuple[list[Path], float, int]:
    """Files of many rows and of few; operations and rows that are between them."""
    many, few, most = CORPORA[corpus]
    table = pq.read_table(Path(ours.data) / corpus / "train.parquet", columns=["text", "label"])
    drawn = table.take(np.random.default_rng(0).permutation(len(table)))
    # All labels first, since a head has an output for each.
    kinds = np.unique(drawn["label"].to_numpy(), return_index=True)[1]
    order = np.concatenate([kinds, np.setdiff1d(np.arange(many), kinds)])
    files = []
    for count in (many, few):
        files.append(Path(ours.work) / f"{corpus}_{count}.parquet")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(drawn.take(order[:count]), files[-1])
    model = transformer.load(
        TierConfig(classifier(files[1], ours), max_length=most), Compute("cpu", "fp32")
    )
    counts = [
        float(
            model.operations(
                model.tokenize(pq.read_table(file)["text"].combine_chunks()).lengths
            ).sum()
        )
        for file in files
    ]
    return files, PASSES * (counts[0] - counts[1]), many - few


def classifier(few: Path, ours) -> str:
    """The encoder with a head, for its operations to be counted."""
    output = few.with_suffix(".counted")
    if not output.is_dir():
        given = ["--train", str(few), "--encoder", ours.encoder, "--output", str(output)]
        subprocess.run(
            [sys.executable, "-c", RUN, *given, "--epochs", "1"], check=True, capture_output=True
        )
    return str(output)


def main() -> None:
    parser = common.arguments("Useful FLOP/s of finetune over the machine's best product.")
    parser.add_argument(
        "--encoder", required=True, help="a checkpoint of transformers; MiniLM, say"
    )
    parser.add_argument("--against", help="another tree, run in turns")
    parser.add_argument("--corpus", choices=CORPORA, help="only this one")
    parser.add_argument("--rounds", type=int, default=3)
    ours = parser.parse_args()
    common.quiet()
    trees = {"this tree": Path.cwd()} | ({"the other": Path(ours.against)} if ours.against else {})
    best = resolve_precision("auto", "cpu")
    for corpus in [ours.corpus] if ours.corpus else CORPORA:
        files, operations, rows = prepared(corpus, ours)
        length = ["--max_length", str(CORPORA[corpus][2])]
        rates: dict[str, list[float]] = {name: [] for name in trees}
        for number in range(ours.rounds):
            for name in list(trees)[:: 1 if number % 2 else -1]:
                before = peak_flops(best)
                taken = [seconds(trees[name], file, ours.encoder, length) for file in files]
                machine = max(before, peak_flops(best))
                between = taken[0] - taken[1]
                rates[name].append(rows / between)
                share = operations / between / machine
                print(
                    json.dumps(
                        {
                            "corpus": corpus,
                            "tree": name,
                            "rows a second": round(rates[name][-1], 1),
                            "useful TFLOP/s": round(operations / between / 1e12, 3),
                            "of the best product": round(share, 3),
                        }
                    ),
                    flush=True,
                )
        if ours.against:
            ratio = np.median(rates["this tree"]) / np.median(rates["the other"])
            print(
                f"{corpus}: {ratio:.2f} x the other tree's rows a second (bar on banking77: {BAR_AGAINST})"
            )


if __name__ == "__main__":
    main()
