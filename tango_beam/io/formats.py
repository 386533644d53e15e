"""The input formats, by name: to add one, write a class and give it a line in `FORMATS`."""

from __future__ import annotations

from collections.abc import Mapping

from tango_beam.io.delimited import Delimited
from tango_beam.io.files import CSV, JSONL, PARQUET
from tango_beam.io.format import Format
from tango_beam.io.jsonl import JsonLines
from tango_beam.io.parquet import Parquet

FORMATS: Mapping[str, Format] = {PARQUET: Parquet(), JSONL: JsonLines(), CSV: Delimited()}
SUFFIXES = {suffix: name for name, kind in FORMATS.items() for suffix in kind.suffixes}
