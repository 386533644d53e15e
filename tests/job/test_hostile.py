"""What a corpus may hold to do harm: memory stays bounded, rows are answered or dead letters."""

import gzip
import json
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard

from tango_beam import scoring
from tests import forked, jobs, tiny
from tests.test_scoring import ROLE

BLOCK = 16 << 20  # bytes of one letter; they pack into some kilobytes


def run(cascade, path, output, *options, line_bytes=None):
    """Exit code, peak memory in MiB, and what the job said."""
    given = jobs.arguments(cascade, path, output, "--precision", "fp32", *options)
    done = forked.Forked(forked.measured, given, line_bytes)
    code = done.ended()
    peaks = [line.split()[1] for line in done.out.splitlines() if line.startswith("peak")]
    return code, int(peaks[0]) if peaks else None, done.err


def jsonl(*rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture(scope="module")
def usual(cascade, tmp_path_factory):
    """Peak memory of a run over one short text, in MiB."""
    folder = tmp_path_factory.mktemp("usual")
    path = jobs.write_jsonl(folder / "in.jsonl.gz", [{"id": 1, "text": "good"}])
    code, peak, _ = run(cascade, path, folder / "out")
    assert code == 0
    return peak


@pytest.mark.parametrize("suffix", ["gz", "zst"])
@pytest.mark.parametrize(
    ("blocks", "line_bytes", "most"),
    [(12, 4 << 20, 64), pytest.param(96, None, 600, marks=pytest.mark.slow)],
)
def test_a_bomb_is_one_dead_letter_in_bounded_memory(
    cascade, tmp_path, usual, suffix, blocks, line_bytes, most
):
    """A line of 192 MiB where 4 may be, and of 1,536 where 64 may be; `most` is in MiB."""
    pack = gzip.compress if suffix == "gz" else zstandard.compress
    block = pack(b"a" * BLOCK)
    before = pack(jsonl({"id": 1, "text": "good"}) + b'{"id": 2, "text": "')
    path = tmp_path / f"in.jsonl.{suffix}"
    path.write_bytes(before + blocks * block + pack(b'"}\n' + jsonl({"id": 3, "text": "bad"})))
    assert path.stat().st_size < 4 << 20
    code, peak, said = run(
        cascade, path, tmp_path / "out", "--max_dead_fraction", "1", line_bytes=line_bytes
    )
    assert code == 0, said
    assert peak - usual < most
    rows, letters, manifest = jobs.read_output(tmp_path / "out")
    jobs.accounted(rows, letters, manifest)
    assert sorted(row["id"] for row in rows) == [1, 3]
    (letter,) = letters
    assert "bytes in a line" in letter["error"]


def test_a_text_of_ten_megabytes_is_answered(cascade, tmp_path):
    path = tmp_path / "in.jsonl"
    long = "good film " * 1_000_000
    path.write_bytes(jsonl({"id": 1, "text": long}, {"id": 2, "text": "bad"}))
    code, _, said = run(cascade, path, tmp_path / "out", "--columns", "id")
    assert code == 0, said
    rows, letters, manifest = jobs.read_output(tmp_path / "out")
    jobs.accounted(rows, letters, manifest)
    assert {row["id"]: row["truncated"] for row in rows} == {1: True, 2: False}


def test_texts_that_hold_anything_are_answered_or_dead_letters(cascade, tmp_path):
    escapes = [b'"a\\u0000b"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\xff"']
    texts = ["\x00", "\u202e good", "\ufeff", "a" * 100_000, "\u0301" * 9000, "  \t "]
    found = [b'{"id": %d, "text": %s}\n' % item for item in enumerate(escapes)]
    found += [jsonl({"id": 100 + n, "text": text}) for n, text in enumerate(texts)]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(found))
    code, _, said = run(cascade, path, tmp_path / "out", "--max_dead_fraction", "1")
    assert code == 0, said
    rows, letters, manifest = jobs.read_output(tmp_path / "out")
    jobs.accounted(rows, letters, manifest)
    assert manifest["rows"]["read"] == len(found)
    assert {0, 3, *(100 + n for n in range(len(texts)))} <= {row["id"] for row in rows}


def scored_in_little_memory(folder):
    model = tiny.load(folder, batch_tokens=1 << 20)
    texts = pa.array(["good film " * 20] * 2000)
    tokens = model.tokenize(texts)
    # Threads have their stacks before memory is counted.
    scoring.score(model, pa.record_batch({"text": texts[:50]}), ROLE)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (400 << 20), held + (400 << 20)))
    with pytest.raises((RuntimeError, MemoryError)):
        model.forward(tokens, np.arange(2000))
    routed = scoring.score(model, pa.record_batch({"text": texts}), ROLE)
    print(routed.simple.num_rows + routed.complex.num_rows, routed.failed.num_rows)


def test_a_batch_that_is_too_large_for_memory_is_halved_and_tried_again(tmp_path):
    folder = tiny.transformer(tmp_path / "wide", intermediate_size=8192, num_hidden_layers=2)
    done = forked.Forked(scored_in_little_memory, folder)
    assert done.ended() == 0, done.err
    assert done.out.split() == ["2000", "0"]
