"""This project beside what its users have today.

    python -m benchmarks.peers.compare --data DATA --work WORK [--pair bert_base] [--corpus imdb]

All contenders answer the same texts with the same second tier on this machine, in turns, round
after round, each in a process of its own. Every round is added to WORK/peers.json; WORK/peers.md
shows the medians and what is unfair about them. Long runs can be cut in pieces: `--prepare` once,
then a round or some contenders (`--only`) at a time.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import common, model_pairs, unseen_texts
from benchmarks.peers import one_peer, page, preparation
from tango_beam.cascade_directory import load_cascade

NAMES = {
    "a": "transformers_pipeline",
    "b": "careful_loop",
    "b_bf16": "careful_loop",
    "c": "beam_run_inference",
    "d": "ray_data",
    "e": "sentence_transformers",
}
NEEDS = {"c": "apache_beam", "d": "ray", "e": "sentence_transformers"}


@dataclass(frozen=True)
class Runner:
    """Runs contenders on what `preparation` made."""

    folder: Path
    setup: dict
    ray_python: str

    def contender(self, letter: str) -> dict:
        """Rate of a contender; `missing` where it is not installed, `failed` where it fails."""
        python = self.ray_python if letter == "d" else sys.executable
        needed = NEEDS.get(letter)
        if needed and not is_installed(python, needed):
            return {"missing": f"{needed} is not installed for {python}"}
        sample = "slow" if letter == "a" else "careful"
        command = [
            *(python, "-m", one_peer.__name__, NAMES[letter]),
            *("--texts", str(self.folder / f"{sample}.parquet")),
            *("--source", self.setup["source"]),
            *("--max_length", str(self.setup["max_length"])),
            *("--output", str(self.folder / f"answers_{letter}.parquet")),
        ]
        if letter.startswith("b"):
            command += ["--way", json.dumps(self.setup["ways"][letter])]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return {"failed": done.stderr.strip().splitlines()[-1:]}
        measured = json.loads(done.stdout.splitlines()[-1])
        return {**measured, "agrees": preparation.agreement(self.folder, letter, sample)}

    def ours(self, condition: str, start_up: float, *options: str) -> dict:
        """Rates of the job as a user runs it, whole and with start-up apart."""
        cascade, threshold = self.setup["conditions"][condition]
        seconds = self.job(cascade, "--threshold", repr(threshold), *options)
        manifest = common.manifest_of(self.folder / "out")
        rows = manifest["rows"]
        return {
            "rows": rows["read"],
            "seconds": seconds - start_up,
            "start_up": start_up,
            "rate": rows["read"] / (seconds - start_up),
            "whole": rows["read"] / seconds,
            "escalated": rows["escalated"] / rows["read"],
            "padding": common.padding(manifest),
        }

    def start_up(self, *options: str) -> float:
        """Median of three jobs of a row: loading a model can vary by seconds."""
        cascade, threshold = self.setup["conditions"]["embedded"]
        one = ("--threshold", repr(threshold), "--limit", "1")
        return common.middle([self.job(cascade, *one, *options) for _ in range(3)])

    def job(self, cascade: str, *options: str) -> float:
        """Wall time of the job in a process of its own."""
        paths = self.folder / "all.parquet", self.folder / "out"
        command = common.classify_command(*paths, cascade, *options)
        return common.wall_time(command, stderr=subprocess.DEVNULL)

    def round(self, only: list[str]) -> Iterator[dict]:
        """One round: the contenders and the job's conditions in turns."""
        for letter in NAMES:
            if letter in only and (letter != "b_bf16" or "b_bf16" in self.setup["ways"]):
                yield {"contender": letter, **self.contender(letter)}
        if "f" not in only:
            return
        start_up = self.start_up()
        for condition in self.setup["conditions"]:
            yield {"contender": "f", "condition": condition, **self.ours(condition, start_up)}
        tuned = load_cascade(self.setup["cascade"]).tiers[-1].precision is not None
        if tuned or self.setup["ways"]["b"]["precision"] != "int8":
            return
        int8 = ("--precision", "int8")
        start_up = self.start_up(*int8)
        for share in preparation.SHARES:  # like with like: (b) is int8, and answers as such
            condition = f"{share:.0%}"
            measured = self.ours(condition, start_up, *int8)
            yield {"contender": "f", "condition": f"{condition}{page.INT8}", **measured}


def is_installed(python: str, package: str) -> bool:
    return not subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode


def show(record: dict) -> None:
    who = f"{record['contender']} {record.get('condition', '')}".strip()
    if "rate" not in record:
        print(f"  {who}: {record.get('missing') or record.get('failed')}", flush=True)
        return
    more = f", {record['escalated']:.1%} escalated" if "escalated" in record else ""
    print(f"  {who}: {record['rate']:,.0f}/s of {record['rows']:,} rows{more}", flush=True)


def run_rounds(runner: Runner, store: Path, ours) -> None:
    """Runs rounds, and adds every record to what is stored as soon as it is there."""
    place = {"pair": ours.pair, "corpus": ours.corpus}
    for _ in range(ours.rounds):
        records = json.loads(store.read_text()) if store.exists() else []
        same = [r["round"] for r in records if (r["pair"], r["corpus"]) == (*place.values(),)]
        number = ours.round or max(same, default=0) + 1
        print(f"{ours.pair}, lengths of {ours.corpus}, round {number}", flush=True)
        for record in runner.round(ours.only):
            show(record)
            records.append({**place, "round": number, **record})
            store.write_text(json.dumps(records, indent=1) + "\n")


def main() -> None:
    ours = options()
    common.quiet()
    work = Path(ours.work)
    folder = work / "peers" / f"{ours.pair}-{ours.corpus}"
    setup = preparation.prepared(folder, ours)
    if not ours.prepare:
        run_rounds(Runner(folder, setup, ours.ray_python), work / "peers.json", ours)
    (work / "peers.md").write_text(page.page(work))
    print(f"{work / 'peers.md'}")


def options() -> argparse.Namespace:
    parser = common.arguments("This project beside what its users have today.")
    parser.set_defaults(cascade=None)  # the pair's; or what `pipelines.tune` made of it
    parser.add_argument("--corpus", choices=unseen_texts.CORPORA, default="sst2")
    parser.add_argument("--pair", choices=model_pairs.PAIRS, default="sst2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--round", type=int, help="add to this round; default: a new one")
    parser.add_argument("--rows", type=int, help="for the job")
    parser.add_argument("--careful_rows", type=int, help="for (b) to (e)")
    parser.add_argument("--slow_rows", type=int, help="for (a)")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=[*NAMES, "f"],
        help=f"some of {','.join(NAMES)},f",
    )
    parser.add_argument("--prepare", action="store_true", help="make texts and settings, and stop")
    parser.add_argument(
        "--ray_python",
        default=os.environ.get("RAY_PYTHON", sys.executable),
        help="a Python that has ray[data] and this project's packages",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
