"""What a corpus may hold to do harm: memory stays bounded, rows are answered or dead letters."""

import gzip
import json
import subprocess
import sys

import pytest
import zstandard

from tests import jobs, tiny

PEAK = """\
import resource, sys
from pipelines import classify
code = classify.main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
sys.exit(code)
"""
BLOCK = 16 << 20  # bytes of one letter; they pack into some kilobytes


def run(cascade, path, output, *options):
    """Exit code, peak memory in MiB, and what the job said."""
    given = jobs.command(cascade, path, output, "--precision", "fp32", *options)[3:]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *given], capture_output=True, text=True, timeout=300
    )
    peaks = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("peak")]
    return done.returncode, int(peaks[0]) if peaks else None, done.stderr


def lines(*rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_bomb_is_one_dead_letter_in_bounded_memory(cascade, tmp_path, suffix):
    pack = gzip.compress if suffix == "gz" else zstandard.compress
    block = pack(b"a" * BLOCK)
    before = pack(lines({"id": 1, "text": "good"}) + b'{"id": 2, "text": "')
    path = tmp_path / f"in.jsonl.{suffix}"
    path.write_bytes(before + 96 * block + pack(b'"}\n' + lines({"id": 3, "text": "bad"})))
    assert path.stat().st_size < 4 << 20
    plain = jobs.write_jsonl(tmp_path / f"plain.jsonl.{suffix}", [{"id": 1, "text": "good"}])
    code, usual, _ = run(cascade, plain, tmp_path / "plain")
    assert code == 0
    code, peak, said = run(cascade, path, tmp_path / "out", "--max_dead_fraction", "1")
    assert code == 0, said
    assert peak - usual < 600  # MiB; the line is 1,536 MiB long
    rows, letters, manifest = jobs.read_output(tmp_path / "out")
    jobs.accounted(rows, letters, manifest)
    assert sorted(row["id"] for row in rows) == [1, 3]
    (letter,) = letters
    assert "bytes in a line" in letter["error"]


def test_a_text_of_ten_megabytes_is_answered(cascade, tmp_path):
    path = tmp_path / "in.jsonl"
    long = "good film " * 1_000_000
    path.write_bytes(lines({"id": 1, "text": long}, {"id": 2, "text": "bad"}))
    code, _, said = run(cascade, path, tmp_path / "out", "--columns", "id")
    assert code == 0, said
    rows, letters, manifest = jobs.read_output(tmp_path / "out")
    jobs.accounted(rows, letters, manifest)
    assert {row["id"]: row["truncated"] for row in rows} == {1: True, 2: False}


def test_texts_that_hold_anything_are_answered_or_dead_letters(cascade, tmp_path):
    escapes = [b'"a\\u0000b"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\xff"']
    texts = ["\x00", "\u202e good", "\ufeff", "a" * 100_000, "\u0301" * 9000, "  \t "]
    found = [b'{"id": %d, "text": %s}\n' % item for item in enumerate(escapes)]
    found += [lines({"id": 100 + n, "text": text}) for n, text in enumerate(texts)]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(found))
    code, _, said = run(cascade, path, tmp_path / "out", "--max_dead_fraction", "1")
    assert code == 0, said
    rows, letters, manifest = jobs.read_output(tmp_path / "out")
    jobs.accounted(rows, letters, manifest)
    assert manifest["rows"]["read"] == len(found)
    assert {0, 3, *(100 + n for n in range(len(texts)))} <= {row["id"] for row in rows}


SCARCE = """\
import resource, sys
import numpy as np, pyarrow as pa
from tango_beam import models, scoring
from tests.test_scoring import ROLE

model = models.load(sys.argv[1], device="cpu", precision="fp32", batch_tokens=1 << 20)
texts = pa.array(["good film " * 20] * 2000)
tokens = model.tokenize(texts)
(whole,) = model.plan(tokens.lengths)[:1]
scoring.score(model, pa.record_batch({"text": texts[:50]}), ROLE)  # threads have their stacks
with open("/proc/self/statm") as file:
    held = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (400 << 20), held + (400 << 20)))
try:
    model.forward(tokens, np.arange(2000))
    sys.exit("expected too little memory for all rows at once")
except (RuntimeError, MemoryError) as error:
    print(type(error).__name__)
routed = scoring.score(model, pa.record_batch({"text": texts}), ROLE)
print(routed.simple.num_rows + routed.complex.num_rows, routed.failed.num_rows)
"""


def test_a_batch_that_is_too_large_for_memory_is_halved_and_tried_again(tmp_path):
    folder = tiny.transformer(tmp_path / "wide", intermediate_size=8192, num_hidden_layers=2)
    done = subprocess.run(
        [sys.executable, "-c", SCARCE, str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["2000", "0"], done.stdout
