"""docs/own_pipeline.md: the files that its snippets write; `test_pages` runs and compares all."""

import json
import re
import shutil

import pyarrow.parquet as pq
import pytest

from tests.jobs import ROOT

PAGE = (ROOT / "docs" / "own_pipeline.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
BLOCK = r"^```{}\n(.*?)^```"


def blocks(kind, text):
    return re.findall(BLOCK.format(kind), text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A folder with the example's texts, as a checkout has them."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "reviews.jsonl", folder / "examples")
    return folder


def run(title, beside, monkeypatch):
    """Runs the one snippet of a section, as a script of its own."""
    monkeypatch.chdir(beside)
    (code,) = blocks("python", SECTIONS[title])
    names = {"__name__": "snippet"}
    exec(code, names)
    return names


def test_every_snippet_stands_in_a_section_of_its_own():
    assert len(blocks("python", PAGE)) == len(SECTIONS)


def test_files_hold_every_row_once_with_the_schema_that_was_said(beside, monkeypatch):
    schema = run("Parquet in, Parquet out", beside, monkeypatch)["schema"]
    run("JSON in, JSON out", beside, monkeypatch)
    tables = [
        pq.read_table(path)
        for name in ("simple", "complex")
        for path in sorted((beside / "answers").glob(f"{name}-*.parquet"))
    ]
    assert all(table.schema.equals(schema) for table in tables)
    found = {row["id"]: row["prediction"] for table in tables for row in table.to_pylist()}
    assert sorted(found) == list(range(1, 17)) and sum(map(len, tables)) == 16
    lines = [line for path in (beside / "answers").glob("*.jsonl") for line in path.open()]
    assert {row["id"]: row["prediction"] for row in map(json.loads, lines)} == found
    assert len(lines) == 16
