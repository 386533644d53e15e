"""An endpoint that fails in every way: each row is answered or dead, once, and no wait is cut short.

    python -m benchmarks.accounting.endpoint_failures --work WORK
    python -m benchmarks.accounting.endpoint_failures --work WORK --rows 2000 --only stall

A tenth of the replies fails in one of seven ways, a run for each; then in all of them at once, a
fiftieth each. The tests' server, in a process of its own, counts what it is asked, and calls that
come before a wait that it asked for is over (`violations`). At last the server is killed midway: the
run ends in one line, and `--resume` completes it when the server is back.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds

from benchmarks import common, endpoint_cascade
from tango_beam.command_line import DONE, FAILED
from tango_beam.run.layout import DEAD_LETTERS
from tests import forked, tiny
from tests.endpoint_server import WAYS, Process

ALL, DEAD_SERVER = "all", "dead_server"
SHARE, SHARE_OF_ALL = 0.1, 0.02
REQUESTS = 64
SERVER = ("--labels", ",".join(tiny.LABELS))
# Closed by the server after so long: a client's own patience with one reply is two minutes.
STALL = ("--stall", 2)


def shares(way: str) -> tuple[str, ...]:
    """The server's options for failing in a way, or in all of them."""
    given = dict.fromkeys(WAYS, SHARE_OF_ALL) if way == ALL else {way: SHARE}
    return tuple(part for one, share in given.items() for part in ("--share", f"{one}={share}"))


def fates(output: Path, texts: list[str]) -> dict[str, bool]:
    """What holds of the rows that were written, read without the job."""
    table = ds.dataset(output, format="parquet").to_table(columns=["id", "text", "prediction"])
    said = zip(table["text"].to_pylist(), table["prediction"].to_pylist(), strict=True)
    files = [*(output / DEAD_LETTERS).iterdir()] if (output / DEAD_LETTERS).is_dir() else []
    letters = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    dead = [letter["row"] for letter in letters]  # of one file with one row group
    rows = common.manifest_of(output)["rows"]
    answered = Counter(table["id"].to_pylist())
    return {
        "each id is out or dead, once": answered + Counter(dead) == Counter(range(len(texts))),
        "answers are the endpoint's": all(label == endpoint_cascade.right(t) for t, label in said),
        "read = accepted + escalated + dead": rows["read"]
        == rows["accepted"] + rows["escalated"] + rows["dead"]
        == len(texts),
        "the dead are those of the manifest": rows["dead"] == len(dead),
        "dead rows say what they expected": all(
            letter["error"].startswith("expected ") for letter in letters
        ),
    }


def failing(work: Path, way: str, rows: int) -> dict:
    """What was seen of a run over a server that fails in a way."""
    texts = endpoint_cascade.texts(rows)
    path = common.write_parquet(work / "in.parquet", texts, rows_in_a_group=rows)
    with Process(*SERVER, *STALL, *shares(way)) as server:
        cascade = endpoint_cascade.cascade(work / "cascade", server.url)
        options = ("--requests", str(REQUESTS), "--max_dead_fraction", "0.1")
        seconds, manifest = common.run_job(path, work, cascade, *options)
        stats = server.stats()
    asked = manifest["asked"]["tier 2"]["calls"]
    failed = {one: stats["ways"].get(one, 0) for one in (WAYS if way == ALL else [way])}
    checks = fates(work / "out", texts) | {
        "no call before a wait was over": stats["violations"] == 0,
        "calls in the manifest are those of the server": asked == stats["calls"],
        "the server failed as it was told": min(failed.values()) > 0,
    }
    seen = {"way": way, "seconds": round(seconds), "rows": rows, "calls": stats["calls"]}
    seen |= {"dead": manifest["rows"]["dead"], "failed": failed, "checks": checks}
    return seen | {"violations": stats["violations"], "most_at_once": stats["most_at_once"]}


def dead_server(work: Path, rows: int) -> dict:
    """What was seen of a run whose server is killed midway, and comes back."""
    texts = endpoint_cascade.texts(rows)
    path = common.write_parquet(work / "in.parquet", texts, rows_in_a_group=rows)
    output = work / "out"
    asked = ("--requests", str(REQUESTS), "--patience", "10")
    with Process(*SERVER) as server:
        cascade = endpoint_cascade.cascade(work / "cascade", server.url)
        # A run of several checkpoints, so that there is something to go on from.
        options = ("--checkpoint_bytes", str(path.stat().st_size), *asked)
        given = common.classify_arguments(path, output, cascade, *options)
        run = forked.classify([*given, "--overwrite"])
        run.wait_for(lambda: asked_half(server, rows), 3600)
        server.kill()
        started = time.perf_counter()
        code = run.ended(600)
        seconds, said = time.perf_counter() - started, run.err.strip().splitlines()
        port = server.port
    checks = {
        "it ends with the code of a failure": code == FAILED,
        "it says why in one line, and the way out": len(said) == 1 and "--resume" in said[0],
    }
    with Process(*SERVER, "--port", port) as server:
        again = forked.classify([*given, "--resume"])
        checks["it goes on when the server is back"] = again.ended(3600) == DONE
        calls = server.stats()["calls"]
    seen = {"way": DEAD_SERVER, "seconds": round(seconds), "rows": rows, "said": said}
    return seen | {"calls_after": calls, "checks": checks | fates(output, texts)}


def asked_half(server: Process, rows: int) -> bool:
    """Whether it was asked about half of the rows; not looked at so often that it has no time."""
    time.sleep(0.2)
    return server.stats()["calls"] > rows / 2


def runs(ours) -> Iterator[dict]:
    """What was seen of each run."""
    for way in ours.only or (*WAYS, ALL, DEAD_SERVER):
        work = Path(ours.work) / "endpoint_failures" / way
        yield dead_server(work, ours.rows) if way == DEAD_SERVER else failing(work, way, ours.rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Every row is answered or dead, once.")
    parser.add_argument("--work", required=True, help="folder for inputs and outputs")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--only", action="append", choices=(*WAYS, ALL, DEAD_SERVER))
    ours = parser.parse_args()
    common.quiet()
    holds = True
    for seen in runs(ours):
        missed = [what for what, fine in seen["checks"].items() if not fine]
        holds = holds and not missed
        print(json.dumps(seen), flush=True)
        print(f"{seen['way']}: {'holds' if not missed else 'NOT ' + '; NOT '.join(missed)}")
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
