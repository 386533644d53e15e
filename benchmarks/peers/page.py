"""What `benchmarks.peers.compare` writes: medians, ratios, bars, and what is unfair about them."""

import json
from pathlib import Path

from benchmarks.common import middle
from tango_beam import machine
from tango_beam.cascade_directory import load_cascade
from tests.benchmark_arithmetic import rated, ratio

WHO = {
    "a": "`transformers.pipeline`, fp32, batch 32, as it comes",
    "b": "second tier alone, careful: sorted, own batch size, fastest precision",
    "b_bf16": "the same, fastest in bf16",
    "c": "Beam `RunInference`, bf16, batches of 32 sorted within larger ones",
    "d": "Ray Data `map_batches`, bf16, an actor on each core, the same batches",
    "e": "sentence-transformers' encoder, bf16, sorted, batch 32; same head",
}
PAIRS = {"sst2": "embedded cascade", "bert_base": "BERT-base's shape, random weights"}
BARS = {
    ("sst2", "a"): {"10%": 20, "20%": 12, "30%": 8.5},
    ("sst2", "b"): {"10%": 5.5, "20%": 3.6, "30%": 2.6},
    ("bert_base", "b"): {"10%": 8, "20%": 4, "40%": 2.2},
}
# Behind the name of a condition whose job ran with `--precision int8`, as (b) may have.
INT8 = ", int8"
UNFAIR = """\
- The contenders do the second tier's work alone and give its answers; the cascade gives the first
  tier's to the rest. How often those agree is `pipelines.evaluate`'s to say; the forced
  escalations are no settings that anybody chose for quality.
- Start-up is apart everywhere: imports and loading for (a), (b) and (e), which then read and
  write nothing; all but what lies between the first batch and the last for (c) and (d); a job
  with `--limit 1` for this project. The column with start-up holds for this many rows only.
- (a) to (e) answer fewer rows: texts at even steps through the lengths of the job's. A careful
  loop on fewer rows finds fewer of one length, which costs it a little; the job's tiers sort
  within their own windows, and do not see the whole corpus either.
- (b)'s batch size, precision and threads were chosen on these texts before the rounds; the job
  runs as its cascade says. Int8 changes answers: the last column says how often, and
  `pipelines.tune` refuses it where it changes too many. Where (b) took it, a job that is not
  tuned ran with `--precision int8` too: int8 beside int8. With random weights, answers mean
  nothing.
- Texts: the 2,372 sentences that no tier was trained on, repeated. IMDB's test split is not at
  hand: its reviews' lengths are filled with those sentences, which mixes moods and makes the
  first tier less sure than reviews would.
- BERT-base's shape reads the embedded cascade's word pieces, behind its first tier, 256 tokens at
  most.
- (c) and (d) run the models as their guides show, with nothing tuned but precision, order and
  threads.
"""


def page(work: Path) -> str:
    """Markdown on all rounds in peers.json so far."""
    store = work / "peers.json"
    records = json.loads(store.read_text()) if store.exists() else []
    facts = machine.facts("cpu", "bf16")
    lines = [
        "# This project beside what its users have today",
        "",
        f"{facts.cores} cores of {facts.processor}, torch {facts.torch}. Medians of the rounds; a "
        "ratio is the median of the rounds' ratios.",
    ]
    for pair, corpus in dict.fromkeys((r["pair"], r["corpus"]) for r in records):
        some = [r for r in records if (r["pair"], r["corpus"]) == (pair, corpus)]
        setup = json.loads((work / "peers" / f"{pair}-{corpus}" / "setup.json").read_text())
        lines += ["", f"## {PAIRS[pair]}, lengths of {corpus.upper()}", "", *_rates(some, setup)]
        lines += ["", *_ratios(pair, some)]
    return "\n".join([*lines, "", "## What is unfair about it", UNFAIR])


def _rates(records: list[dict], setup: dict) -> list[str]:
    rounds = len({record["round"] for record in records})
    return [
        f"Texts a second, {rounds} round{'s' * (rounds > 1)}. (b): {_way(setup['ways']['b'])}. "
        f"Certified: {setup['certified']}. (f): second tier {_own(setup['cascade'])}.",
        "",
        "| | | texts | a second | with start-up | escalated | agrees with (a) |",
        "|---|---|---|---|---|---|---|",
        *(line for letter in WHO for line in _rate_of_peer(records, letter)),
        *(_rate_of_job(records, condition) for condition in conditions(records)),
    ]


def _rate_of_peer(records: list[dict], letter: str) -> list[str]:
    """A peer's line; none where the fastest in bf16 is the fastest of all."""
    mine = rated(records, letter)
    if not mine:
        others = [record for record in records if record["contender"] == letter]
        why = [str(record.get("missing") or record.get("failed")) for record in others]
        if not why and letter == "b_bf16":
            return []
        return [f"| ({letter}) | {WHO[letter]} | | {why[-1] if why else 'not run'} | | | |"]
    agrees = [record["agrees"] for record in mine if record.get("agrees") is not None]
    share = f"{middle(agrees):.1%}" if agrees and letter != "a" else ""
    rate = middle([record["rate"] for record in mine])
    return [f"| ({letter}) | {WHO[letter]} | {mine[-1]['rows']:,} | {rate:,.0f} | | | {share} |"]


def _rate_of_job(records: list[dict], condition: str) -> str:
    mine = rated(records, "f", condition)
    rate, whole, escalated = (
        middle([record[name] for record in mine]) for name in ("rate", "whole", "escalated")
    )
    return (
        f"| (f) | this project, {condition} | {mine[-1]['rows']:,} | {rate:,.0f} | {whole:,.0f} | "
        f"{escalated:.1%} | |"
    )


def _ratios(pair: str, records: list[dict]) -> list[str]:
    letters = [letter for letter in WHO if rated(records, letter)]
    lines = [
        "Times as fast (bar in brackets; bold where it is met or there is none but to be ahead):",
        "",
        "| | " + " | ".join(f"({letter})" for letter in letters) + " |",
        "|---|" + "---|" * len(letters),
    ]
    for condition in conditions(records):
        bars = {
            letter: BARS.get((pair, letter), {}).get(condition.removesuffix(INT8))
            for letter in letters
        }
        cells = [_cell(ratio(records, condition, letter), bars[letter]) for letter in letters]
        lines.append(f"| {condition} | " + " | ".join(cells) + " |")
    return lines


def _cell(times: float | None, bar: float | None) -> str:
    shown = "" if times is None else f"{times:.2f}"
    if times is not None and times >= (bar or 1.0):
        shown = f"**{shown}**"
    return shown + (f" ({bar})" if bar else "")


def conditions(records: list[dict]) -> list[str]:
    """What the job ran under, in the order of the first record of each."""
    return list(dict.fromkeys(r["condition"] for r in records if r["contender"] == "f"))


def _own(cascade: str) -> str:
    tier = load_cascade(cascade).tiers[-1]
    if tier.precision is None:
        return "in bf16, as it comes"
    return f"in {tier.precision} by {tier.backend or 'torch'}, as `pipelines.tune` left it"


def _way(way: dict) -> str:
    cores = (
        "one micro-batch on each core" if way["side_by_side"] else "all cores on one micro-batch"
    )
    return f"{way['precision']}, {way['budget']:,} padded tokens, {cores}"
