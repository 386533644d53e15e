"""Sentiment of a folder of reviews, with a promise: the embedded cascade, certified and audited.

    pip install -e '.[evaluate]'
    python -m examples.sentiment_at_scale --reviews 'imdb/*.parquet' --rows 3000 --output sentiment

Three steps, each a command of tango-beam's as well; the script prints them as it goes.

1. A sample is drawn (`--rows`), so that the first try is a short one. Leave the option out, and the
   whole folder is classified.
2. `calibrate --agreement 0.99` reads a threshold off some rows of these reviews, and signs: on at
   least 99 % of them the cascade answers as its second tier would. That takes no labels, for it
   speaks of the second tier, not of the truth. The cascade was trained on sentences; whether
   its first tier is any good on your reviews is just what the sample tells.
3. `classify --audit_rows --report` answers every row. Of those that the first tier answers alone,
   so many are shown to the second one too. `no contradiction` is the audit's good news; `alarm`
   (exit code 4) says that the certificate does not hold here.

What to read: `covered` (the certificate is of this corpus and these scores), the share that is
escalated (what you pay for), and the plot. It shows how sure the first tier is: where the bars
crowd at the right end, the cascade is cheap. The same on one page: OUTPUT/answers/_report.html.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from examples import steps
from pipelines import calibrate, classify


def main(arguments: Sequence[str]) -> None:
    """Draws, calibrates, classifies, reports."""
    options = _options(arguments)
    output = Path(options.output)
    reviews = steps.draw(options.reviews, output / "reviews.parquet", options.rows)
    given = ["--input", str(reviews), "--text_column", options.text_column]
    sample = [] if options.sample_rows is None else ["--sample_rows", str(options.sample_rows)]
    steps.run(
        calibrate,
        *given,
        *("--agreement", str(options.agreement), *sample),
        *("--output", str(output / "cascade")),
    )
    steps.run(
        classify,
        *given,
        *("--cascade", str(output / "cascade"), "--output", str(output / "answers")),
        *("--audit_rows", str(options.audit_rows), "--report"),
    )
    manifest = json.loads((output / "answers" / "_manifest.json").read_text(encoding="utf-8"))
    print(*figures(manifest), sep="\n")
    if options.label_column:
        print(right(output / "answers", options.label_column))
    plot(manifest, output / "sentiment.svg")


def figures(manifest: dict[str, Any]) -> list[str]:
    """What a run's manifest says, in a few lines."""
    rows, audit = manifest["rows"], manifest["audit"]
    answered = rows["accepted"] + rows["escalated"]
    low, high = audit["interval"]
    return [
        f"answered      {answered:,} of {rows['read']:,}; {rows['dead']:,} dead",
        f"escalated     {rows['escalated'] / answered:.1%}, threshold "
        f"{manifest['cascade']['thresholds'][0]:.4f}",
        f"certificate   {manifest['cascade']['certificate']['status']}",
        f"audit         {audit['verdict']}: {audit['disagreements']:,} of {audit['checked']:,} "
        f"checked answers disagree, {low:.2%} to {high:.2%} of all rows",
    ]


def right(folder: Path, label_column: str) -> str:
    """How many answers are the given labels."""
    table = ds.dataset(folder, format="parquet").to_table(columns=["prediction", label_column])
    share = pc.mean(pc.equal(table["prediction"], table[label_column]).cast("float64")).as_py()
    return f"right         {share:.1%} of the answers, by column {label_column}"


def plot(manifest: dict[str, Any], path: Path) -> None:
    """Rows by the first tier's confidence, and where its threshold lies."""
    figure, axes = steps.figure("the first tier's confidence", "rows")
    bottom: dict[str, int] = {}
    for fate, color in (("accepted", steps.FIRST), ("escalated", steps.SECOND)):
        bins = manifest["counts"][fate]["confidences"]
        starts = [float(start) for start in bins]
        axes.bar(
            starts,
            list(bins.values()),
            0.01,
            bottom=[bottom.get(start, 0) for start in bins],
            align="edge",
            color=color,
            label=fate,
        )
        bottom = {**bottom, **bins}
    axes.axvline(manifest["cascade"]["thresholds"][0], color="black", lw=1, label="threshold")
    axes.set_yscale("log")
    axes.legend(frameon=False)
    steps.save(figure, path)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="examples.sentiment_at_scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--reviews", required=True, help="file, folder or glob of Parquet")
    parser.add_argument("--text_column", default="text")
    parser.add_argument("--label_column", help="where there is one: says how many are right")
    parser.add_argument("--rows", type=int, help="drawn at random (default: all)")
    parser.add_argument("--agreement", type=float, default=0.99)
    parser.add_argument("--sample_rows", type=int, help="to sign with (default: 10,000 at 0.99)")
    parser.add_argument("--audit_rows", type=int, default=500)
    parser.add_argument("--output", required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
