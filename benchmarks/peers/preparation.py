"""What a comparison needs before its first round: texts, samples, thresholds, loop settings."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks import common, model_pairs, unseen_texts
from benchmarks.peers import careful_loop
from tango_beam.cascade_directory import load_cascade
from tango_beam.command_line import DONE, NOT_SIGNED
from tango_beam.config import TierConfig
from tests.benchmark_arithmetic import spread, words

# Rows for the job, for (b) to (e), for (a); and tokens on which the loop's settings are tried.
SIZES = {
    ("sst2", "sst2"): (40_000, 8000, 1500, 30_000),
    ("sst2", "imdb"): (3000, 600, 120, 20_000),
    ("bert_base", "sst2"): (3000, 1000, 200, 4000),
    ("bert_base", "imdb"): (500, 128, 30, 4000),
}
SHARES = (0.1, 0.2, 0.3, 0.4)
AGREEMENT = 0.99


def prepared(folder: Path, ours) -> dict:
    """Settings of a pair and a corpus, made where they are not there yet."""
    path = folder / "setup.json"
    if path.exists():
        setup = json.loads(path.read_text())
        asked = {"cascade": ours.cascade, "rows": ours.rows}
        made = {"cascade": setup["cascade"], "rows": setup["rows"]["all"]}
        if any(asked[name] not in (None, made[name]) for name in asked):
            sys.exit(f"{path}: expected {asked}, found {made}; take another --work")
        return setup
    rows, careful_rows, slow_rows, tokens = SIZES[ours.pair, ours.corpus]
    rows = ours.rows or rows
    samples = {"careful": ours.careful_rows or careful_rows, "slow": ours.slow_rows or slow_rows}
    texts = unseen_texts.of(ours.corpus, ours.data, rows)
    write_texts(folder, texts, samples)
    cascade = model_pairs.cascade(ours.pair, Path(ours.work))
    second = load_cascade(cascade).tiers[-1]
    cascade = ours.cascade or cascade
    setup = {
        "source": second.source,
        "max_length": second.max_length,
        "cascade": cascade,
        "rows": {"all": rows, **samples},
        "conditions": conditions(cascade, texts),
    }
    setup |= certified(folder, ours.pair, cascade, setup["conditions"])
    setup |= loop_settings(second, folder, tokens)
    path.write_text(json.dumps(setup, indent=1) + "\n")
    return setup


def write_texts(folder: Path, texts: list[str], samples: dict[str, int]) -> None:
    """Writes all texts, and samples with the lengths of all, in random order."""
    common.write_parquet(folder / "all.parquet", texts)
    lengths = [words(text) for text in texts]
    for sample, count in samples.items():
        chosen = spread(lengths, min(count, len(texts)))
        some = [texts[row] for row in np.random.default_rng(0).permutation(chosen)]
        common.write_parquet(folder / f"{sample}.parquet", some)


def conditions(cascade: str, texts: list[str]) -> dict[str, tuple[str, float]]:
    """Cascade and threshold by name: shares of these texts forced on, and the cascade's own."""
    forced = zip(SHARES, model_pairs.thresholds(cascade, texts, SHARES), strict=True)
    own = load_cascade(cascade).threshold
    return {
        **{f"{share:.0%}": (cascade, threshold) for share, threshold in forced},
        "embedded": (cascade, own),
    }


def certified(folder: Path, pair: str, cascade: str, known: dict) -> dict:
    """The same with a threshold that `pipelines.calibrate` signs for on these texts, if it does."""
    if pair != "sst2":
        return {"certified": "random weights: nothing to agree with"}
    output = folder / "certified"
    rows = pq.read_metadata(folder / "all.parquet").num_rows
    sample = min(max(1000, rows // 10), rows)
    command = [
        *(sys.executable, "-m", "pipelines.calibrate"),
        *("--input", str(folder / "all.parquet"), "--cascade", cascade),
        *("--agreement", str(AGREEMENT), "--sample_rows", str(sample)),
        *("--output", str(output), "--overwrite"),
    ]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode == NOT_SIGNED:
        return {"certified": f"not signed for {AGREEMENT:.0%} agreement on {sample:,} rows"}
    if done.returncode != DONE:
        sys.exit(f"calibrating failed with {done.returncode}: {done.stderr}")
    threshold = load_cascade(str(output)).threshold
    return {
        "certified": f"signed for {AGREEMENT:.0%} agreement, {sample:,} rows drawn",
        "conditions": {**known, "certified": (str(output), threshold)},
    }


def loop_settings(second: TierConfig, folder: Path, tokens: int) -> dict:
    """The careful loop's fastest settings, and its fastest in bf16."""
    tried = []
    for precision in careful_loop.PRECISIONS:
        tried += common.apart(
            careful_loop.__name__,
            source=second.source,
            max_length=second.max_length,
            texts=folder / "careful.parquet",
            tokens=tokens,
            precision=precision,
        )["ways"]
    tried.sort(key=lambda way: -way["tokens_a_second"])
    settings = [{key: way[key] for key in ("precision", "budget", "side_by_side")} for way in tried]
    ways = {"b": settings[0]}
    if settings[0]["precision"] != "bf16":
        ways["b_bf16"] = next(way for way in settings if way["precision"] == "bf16")
    return {"ways": ways, "tried": tried}


def agreement(folder: Path, letter: str, sample: str) -> float | None:
    """Share of the texts that both saw to which a contender answers as `transformers.pipeline`."""
    paths = [folder / "answers_a.parquet", folder / f"answers_{letter}.parquet"]
    if not all(path.exists() for path in paths):
        return None
    answers = []
    for path, name in zip(paths, ("slow", sample), strict=True):
        texts = pq.read_table(folder / f"{name}.parquet")["text"].to_pylist()
        labels = pq.read_table(path)["prediction"].to_pylist()
        if len(texts) != len(labels):
            sys.exit(f"{path}: expected {len(texts)} labels, found {len(labels)}")
        answers.append(dict(zip(texts, labels, strict=True)))
    both = answers[0].keys() & answers[1].keys()
    return float(np.mean([answers[0][text] == answers[1][text] for text in both])) if both else None
