"""What `pipelines.compare` can be told."""

from __future__ import annotations

from dataclasses import dataclass

from tango_beam.command_line import option
from tango_beam.errors import RefusedError
from tango_beam.options import refuse_outside

SUFFIXES = (".parquet", ".jsonl")


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What `pipelines.compare` can be told; the names are those of the command line."""

    a: str = option("output of a run of pipelines.classify: folder or URL", positional=True)
    b: str = option("output of another run, over the same rows", positional=True)
    key: str | None = option(
        "column whose value is another in each row: text or whole numbers (default: the source "
        "columns of both, which classify --source_columns writes)",
        None,
        metavar="COLUMN",
    )
    examples: int = option("show N changed rows, those of which both are surest", 5)
    pairs: int = option("show the N pairs of answers that most rows changed between", 10)
    json: bool = option("print JSON, with every pair", False)
    output: str | None = option(
        "write all changed rows to this .parquet or .jsonl, local or an fsspec URL",
        None,
        metavar="FILE",
    )
    overwrite: bool = option("replace that file", False)

    def __post_init__(self) -> None:
        refuse_outside(self, 0, "examples", "pairs")
        if self.output is not None and not self.output.endswith(SUFFIXES):
            raise RefusedError(
                f"--output: expected a name that ends in {' or '.join(SUFFIXES)}, found "
                f"{self.output}"
            )
        if self.overwrite and self.output is None:
            raise RefusedError("--overwrite: expected --output FILE with it, found none")
