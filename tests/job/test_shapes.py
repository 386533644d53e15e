"""A corpus of many shapes, as crawls and logs are: no line that has a text is dead or changed."""

import json
import math

import pytest

from tests import tiny

SHAPES, KEYS = 40, [f"key {number}" for number in range(25)]


def value(rng, kind, depth=0):
    """A value of a kind; each shape has kinds of its own."""
    kinds = [
        lambda: None,
        lambda: bool(rng.integers(2)),
        lambda: int(rng.integers(-5, 5)),
        lambda: int(rng.integers(1 << 62)) * 4 + 3,
        lambda: int(rng.integers(1 << 62)) << 60,
        lambda: float(rng.standard_normal()),
        lambda: [math.nan, math.inf, -math.inf][rng.integers(3)],
        lambda: tiny.sentence(rng),
        lambda: 'é\u2028\U0001f600\\"',
        lambda: [value(rng, kind + n, depth + 1) for n in range(rng.integers(3))],
        lambda: {k: value(rng, kind + n, depth + 1) for n, k in enumerate("ab"[: rng.integers(3)])},
    ]
    return kinds[kind % (len(kinds) if depth < 2 else 9)]()


def shapes(rng):
    """Keys with the kind of their values, which change from shape to shape."""
    return [
        {key: int(rng.integers(11)) for key in rng.permutation(KEYS)[: rng.integers(1, 12)]}
        for _ in range(SHAPES)
    ]


def lines(rng, count):
    known = shapes(rng)
    for number in range(count):
        # The sample sees a few of the shapes only.
        shape = known[rng.integers(4 if number < count // 10 else SHAPES)]
        row = {key: value(rng, kind) for key, kind in shape.items()}
        yield {**row, "text": tiny.sentence(rng), "id": number}


def plain(value):
    """A value that can be compared: NaN is equal to itself."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "count", [2_000, pytest.param(60_000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_every_line_of_forty_shapes_is_answered_and_unchanged(job, rng, tmp_path, form, count):
    rows = {row["id"]: row for row in lines(rng, count)}
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows.values()))
    options = ["--threshold", "0", "--output_format", form, "--checkpoint_bytes", "1000000"]
    code, found, letters, manifest = job(path, options=options)
    assert (code, letters, manifest["rows"]["read"]) == (0, [], count)
    as_json = {note.split("column ")[1].split(": JSON")[0] for note in manifest["notes"]}
    for answer in found:
        line = rows.pop(answer["id"])
        own = {key: answer[key] for key in answer if key in {*KEYS, "text", "id"}}
        if form == "parquet":
            own = {key: inner for key, inner in own.items() if inner is not None}
            own |= {key: json.loads(own[key]) for key in own if key in as_json}
            own |= json.loads(answer["_extra"] or "{}")
            line = {key: inner for key, inner in line.items() if inner is not None}
            own = {key: inner for key, inner in own.items() if inner is not None}
        assert plain(own) == plain(line)
    assert not rows
