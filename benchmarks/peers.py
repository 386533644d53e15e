"""This project beside what its users have today: `python -m benchmarks.peers --data D --work W`.

All contenders answer the same texts with the same second tier on this machine, in turns, round after
round, each in a process of its own. Every round is added to W/peers.json; W/peers.md shows the
medians and what is unfair about them. Long runs can be cut in pieces: `--prepare` once, then a
round or some contenders (`--only`) at a time.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import common, peers_page, peers_setup, shapes, untrained
from tango_beam.config import load_cascade

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
    """Runs contenders on what `peers_setup` prepared."""

    folder: Path
    setup: dict
    ray_python: str

    def contender(self, letter: str) -> dict:
        """Rate of a contender; `missing` where it is not installed, `failed` where it fails."""
        python = self.ray_python if letter == "d" else sys.executable
        needed = NEEDS.get(letter)
        if (
            needed
            and subprocess.run([python, "-c", f"import {needed}"], capture_output=True).returncode
        ):
            return {"missing": f"{needed} is not installed for {python}"}
        sample = "slow" if letter == "a" else "careful"
        output = self.folder / f"answers_{letter}.parquet"
        command = [
            python, "-m", "benchmarks.contenders", NAMES[letter], "--texts",
            str(self.folder / f"{sample}.parquet"), "--source", self.setup["source"],
            "--max_length", str(self.setup["max_length"]), "--output", str(output),
        ]  # fmt: skip
        if letter.startswith("b"):
            command += ["--way", json.dumps(self.setup["ways"][letter])]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return {"failed": done.stderr.strip().splitlines()[-1:]}
        found = json.loads(done.stdout.splitlines()[-1])
        return {**found, "agrees": peers_setup.agreement(self.folder, letter, sample)}

    def ours(self, condition: str, start_up: float, *options: str) -> dict:
        """Rates of the job as a user runs it, whole and with start-up apart."""
        cascade, threshold = self.setup["conditions"][condition]
        seconds = self.job("--cascade", cascade, "--threshold", repr(threshold), *options)
        manifest = json.loads((self.folder / "out" / "_manifest.json").read_text())
        rows = manifest["rows"]
        return {
            "rows": rows["read"],
            "seconds": seconds - start_up,
            "start_up": start_up,
            "rate": rows["read"] / (seconds - start_up),
            "whole": rows["read"] / seconds,
            "escalated": rows["escalated"] / rows["read"],
            "padding": {
                tier: count["padded"] / max(1, count["real"])
                for tier, count in manifest["tokens"].items()
            },
        }

    def start_up(self, *options: str) -> float:
        """Median of three jobs of a row: loading a model can vary by seconds."""
        return common.middle([self.job(*options) for _ in range(3)])

    def job(self, *options: str) -> float:
        """Wall time of the job in a process of its own."""
        command = [
            sys.executable, "-m", "pipelines.classify", "--input",
            str(self.folder / "all.parquet"), "--output", str(self.folder / "out"),
            "--overwrite", *options,
        ]  # fmt: skip
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started

    def round(self, only: list[str]) -> Iterator[dict]:
        """One round: the contenders and the job's conditions in turns."""
        for letter in NAMES:
            if letter in only and (letter != "b_bf16" or "b_bf16" in self.setup["ways"]):
                yield {"contender": letter, **self.contender(letter)}
        if "f" not in only:
            return
        cascade, threshold = self.setup["conditions"]["embedded"]
        one = ("--cascade", cascade, "--threshold", repr(threshold), "--limit", "1")
        start_up = self.start_up(*one)
        for condition in self.setup["conditions"]:
            yield {"contender": "f", "condition": condition, **self.ours(condition, start_up)}
        tuned = load_cascade(cascade).tiers[-1].precision is not None
        if tuned or self.setup["ways"]["b"]["precision"] != "int8":
            return
        start_up = self.start_up(*one, "--precision", "int8")
        for share in peers_setup.SHARES:  # like with like: (b) is int8, and answers as such
            condition = f"{share:.0%}"
            found = self.ours(condition, start_up, "--precision", "int8")
            yield {"contender": "f", "condition": f"{condition}{peers_page.INT8}", **found}


def show(record: dict) -> None:
    who = f"{record['contender']} {record.get('condition', '')}".strip()
    if "rate" not in record:
        print(f"  {who}: {record.get('missing') or record.get('failed')}", flush=True)
        return
    more = f", {record['escalated']:.1%} escalated" if "escalated" in record else ""
    print(f"  {who}: {record['rate']:,.0f}/s of {record['rows']:,} rows{more}", flush=True)


def main() -> None:
    ours = options()
    common.quiet()
    work = Path(ours.work)
    folder = work / "peers" / f"{ours.pair}-{ours.corpus}"
    setup = peers_setup.prepared(folder, ours)
    if not ours.prepare:
        store = work / "peers.json"
        runner = Runner(folder, setup, ours.ray_python)
        for _ in range(ours.rounds):
            records = json.loads(store.read_text()) if store.exists() else []
            same = [
                r["round"] for r in records if (r["pair"], r["corpus"]) == (ours.pair, ours.corpus)
            ]
            number = ours.round or max(same, default=0) + 1
            print(f"{ours.pair}, lengths of {ours.corpus}, round {number}", flush=True)
            place = {"pair": ours.pair, "corpus": ours.corpus, "round": number}
            for found in runner.round(ours.only):
                show(found)
                records.append({**place, **found})
                store.write_text(json.dumps(records, indent=1) + "\n")
    page = peers_page.page(work)
    (work / "peers.md").write_text(page)
    print(f"{work / 'peers.md'}")


def options() -> argparse.Namespace:
    parser = common.arguments("This project beside what its users have today.")
    parser.set_defaults(cascade=None)  # the pair's; or what `pipelines.tune` made of it
    parser.add_argument("--corpus", choices=untrained.CORPORA, default="sst2")
    parser.add_argument("--pair", choices=shapes.PAIRS, default="sst2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--round", type=int, help="add to this round; default: a new one")
    parser.add_argument("--rows", type=int, help="for the job")
    parser.add_argument("--careful_rows", type=int, help="for (b) to (e)")
    parser.add_argument("--slow_rows", type=int, help="for (a)")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=[*NAMES, "f"],
        help=f"some of {','.join(NAMES)},f",
    )  # fmt: skip
    parser.add_argument("--prepare", action="store_true", help="make texts and settings, and stop")
    parser.add_argument(
        "--ray_python", default=os.environ.get("RAY_PYTHON", sys.executable),
        help="a Python that has ray[data] and this project's packages",
    )  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    main()
