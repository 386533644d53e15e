"""The page that `benchmarks.peers` writes: medians, ratios, bars, and what is unfair about it."""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path

from tango_beam.config import load_cascade
from tango_beam.evaluation import machine

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
- The contenders do the second tier's work alone and give its answers; the cascade gives the first tier's to the rest. How
  often those agree is `pipelines.evaluate`'s to say; the forced escalations are no settings that anybody chose for quality.
- Start-up is apart everywhere: imports and loading for (a), (b) and (e), which then read and write nothing; all but what lies
  between the first batch and the last for (c) and (d); a job with `--limit 1` for this project. The column with start-up holds for this many rows only.
- (a) to (e) answer fewer rows: texts at even steps through the lengths of the job's. A careful loop on fewer rows finds fewer of
  one length, which costs it a little; the job's tiers sort within their own windows, and do not see the whole corpus either.
- (b)'s batch size, precision and threads were chosen on these texts before the rounds; the job runs as its cascade says.
  Int8 changes answers: the last column says how often, and `pipelines.tune` refuses it where it changes too many. Where (b)
  took it, a job that is not tuned ran with `--precision int8` too: int8 beside int8. With random weights, answers mean nothing.
- Texts: the 2,372 sentences that no tier was trained on, repeated. IMDB's test split is not at hand: its reviews' lengths
  are filled with those sentences, which mixes moods and makes the first tier less sure than reviews would.
- BERT-base's shape reads the embedded cascade's word pieces, behind its first tier, 256 tokens at most.
- (c) and (d) run the models as their guides show, with nothing tuned but precision, order and threads.
"""


def page(work: Path) -> str:
    """Markdown on all rounds in peers.json so far."""
    store = work / "peers.json"
    records = json.loads(store.read_text()) if store.exists() else []
    facts = machine.facts("cpu", "bf16")
    lines = [
        "# This project beside what its users have today",
        "",
        f"{facts['cores']} cores of {facts['processor']}, torch {facts['torch']}. Medians of the rounds; a ratio is the "
        "median of the rounds' ratios.",
    ]
    for pair, corpus in dict.fromkeys((r["pair"], r["corpus"]) for r in records):
        some = [r for r in records if (r["pair"], r["corpus"]) == (pair, corpus)]
        setup = json.loads((work / "peers" / f"{pair}-{corpus}" / "setup.json").read_text())
        lines += ["", f"## {PAIRS[pair]}, lengths of {corpus.upper()}", "", *_rates(some, setup)]
        lines += ["", *_ratios(pair, some)]
    return "\n".join([*lines, "", "## What is unfair about it", UNFAIR])


def _rates(records: list[dict], setup: dict) -> list[str]:
    rounds = len({record["round"] for record in records})
    lines = [
        f"Texts a second, {rounds} round{'s' * (rounds > 1)}. (b): {_way(setup['ways']['b'])}. Certified: "
        f"{setup['certified']}. (f): second tier {_own(setup['cascade'])}.",
        "",
        "| | | texts | a second | with start-up | escalated | agrees with (a) |",
        "|---|---|---|---|---|---|---|",
    ]
    for letter, what in WHO.items():
        mine = [record for record in records if record["contender"] == letter]
        rated = [record for record in mine if "rate" in record]
        if not rated:
            why = [str(record.get("missing") or record.get("failed")) for record in mine]
            if why or letter != "b_bf16":
                lines.append(f"| ({letter}) | {what} | | {why[-1] if why else 'not run'} | | | |")
            continue
        agrees = [record["agrees"] for record in rated if record.get("agrees") is not None]
        share = f"{middle(agrees):.1%}" if agrees and letter != "a" else ""
        lines.append(
            f"| ({letter}) | {what} | {rated[-1]['rows']:,} | {middle(r['rate'] for r in rated):,.0f} | | | {share} |"
        )
    for condition in conditions(records):
        mine = _of(records, "f", condition)
        lines.append(
            f"| (f) | this project, {condition} | {mine[-1]['rows']:,} | {middle(r['rate'] for r in mine):,.0f} | "
            f"{middle(r['whole'] for r in mine):,.0f} | {middle(r['escalated'] for r in mine):.1%} | |"
        )
    return lines


def _ratios(pair: str, records: list[dict]) -> list[str]:
    letters = [letter for letter in WHO if any(_of(records, letter))]
    lines = [
        "Times as fast (bar in brackets; bold where it is met or there is none but to be ahead):",
        "",
        "| | " + " | ".join(f"({letter})" for letter in letters) + " |",
        "|---|" + "---|" * len(letters),
    ]
    for condition in conditions(records):
        cells = []
        for letter in letters:
            found = ratio(records, condition, letter)
            bar = BARS.get((pair, letter), {}).get(condition.removesuffix(INT8))
            shown = "" if found is None else f"{found:.2f}"
            shown = f"**{shown}**" if found is not None and found >= (bar or 1.0) else shown
            cells.append(shown + (f" ({bar})" if bar else ""))
        lines.append(f"| {condition} | " + " | ".join(cells) + " |")
    return lines


def ratio(records: list[dict], condition: str, letter: str) -> float | None:
    """The job's rate over a contender's, median of the rounds that have both; start-up apart."""
    ours = {record["round"]: record["rate"] for record in _of(records, "f", condition)}
    theirs = {record["round"]: record["rate"] for record in _of(records, letter)}
    both = ours.keys() & theirs.keys()
    return middle(ours[number] / theirs[number] for number in both) if both else None


def conditions(records: list[dict]) -> list[str]:
    return list(dict.fromkeys(r["condition"] for r in records if r["contender"] == "f"))


def _of(records: list[dict], letter: str, condition: str | None = None) -> list[dict]:
    """A contender's records that hold a rate."""
    return [
        record
        for record in records
        if record["contender"] == letter
        and "rate" in record
        and condition in (None, record.get("condition"))
    ]


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


def middle(values: Iterable[float]) -> float:
    return statistics.median(list(values))
