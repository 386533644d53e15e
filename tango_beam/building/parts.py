"""How many rows teach, choose and sign; and the rows themselves, drawn once and kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tango_beam.calibration.goals import Goals
from tango_beam.errors import RefusedError
from tango_beam.guarantees import bounds
from tango_beam.io import sample
from tango_beam.io.planned import Input
from tango_beam.training.texts import Row

logger = logging.getLogger(__name__)

# Of the rows that may be asked about, the shares that sign and that choose; and the most of each.
SIGN, CHOOSE = 0.2, 0.15
MOST_SIGN, MOST_CHOOSE, MOST_TRAIN = 6_000, 3_000, 60_000
# A filter's test counts the rows of one label alone, which may be rare.
MOST_SIGN_FILTER = 20_000
FEWEST_CHOOSE, FEWEST_TRAIN = 100, 200
# Rows on which a budget of escalation is shown, by the first tier alone.
BUDGET_ROWS = 5_000


@dataclass(frozen=True)
class Parts:
    """Rows of each part; no row is in two of them."""

    sign: int
    choose: int
    train: int

    @property
    def total(self) -> int:
        """Rows that the second tier is asked about."""
        return self.sign + self.choose + self.train


def parts_of(rows: int, goals: Goals) -> Parts:
    """Shares rows out among the parts.

    Args:
      rows: that there are, or that the second tier may be asked about.
      goals: say how many rows it takes to sign.

    Raises:
      RefusedError: too few rows to sign for the goals, or to learn from.
    """
    filters = goals.label is not None
    most = MOST_SIGN_FILTER if filters else min(MOST_SIGN, goals.test_rows())
    fewest = bounds.fewest_rows(goals.strictest, goals.share) if goals.strictest else 100
    # A test with the fewest rows signs only where not one of them errs.
    sign = max(min(most, int(SIGN * rows)), min(3 * fewest, int(rows / 3)))
    choose = min(MOST_CHOOSE, int(CHOOSE * rows))
    train = min(MOST_TRAIN, rows - sign - choose)
    if sign < fewest or choose < FEWEST_CHOOSE or train < FEWEST_TRAIN:
        raise RefusedError(
            f"expected rows to sign ({fewest:,} at least for this goal and delta), to choose "
            f"({FEWEST_CHOOSE}) and to train ({FEWEST_TRAIN}), found {rows:,} rows in all that the "
            "second tier can be asked about: a lower goal, more --minutes or --teacher_rows, or a "
            "larger corpus"
        )
    return Parts(sign, choose, train)


@dataclass(frozen=True)
class Rows:
    """Texts of the three parts, a column each, or two for pairs.

    Attributes:
      sign, choose, train: of the parts.
      pool: further rows, which nobody has asked about; a student may pick of them what to learn.
      budget: further rows, on which the first tier alone shows how many it escalates.
      corpus: rows that the corpus has.
      drawn: rows that were drawn, those without a text among them.
    """

    sign: Sequence[pa.Array]
    choose: Sequence[pa.Array]
    train: Sequence[pa.Array]
    pool: Sequence[pa.Array]
    budget: Sequence[pa.Array]
    corpus: int
    drawn: int


def draw(corpus: Input, columns: Sequence[str], most: int, seed: int) -> sample.Sample:
    """Draws rows of the corpus in random order, so that any stretch of them is a sample too.

    Args:
      corpus: what is read.
      columns: of texts.
      most: rows to draw.
      seed: the same rows for the same seed and corpus.
    """
    return sample.draw(corpus, columns, most, 1.0, seed)


def parted(drawn: sample.Sample, parts: Parts, columns: Sequence[str]) -> Rows:
    """The rows of each part; those that sign come first, whatever the other parts' sizes are."""
    texts = [drawn.rows[name].combine_chunks() for name in columns]
    texts = [text.chunk(0) if isinstance(text, pa.ChunkedArray) else text for text in texts]

    count = drawn.rows.num_rows
    rest = count - parts.total
    budget = min(BUDGET_ROWS, rest // 2)

    def part(start: int, count: int) -> list[pa.Array]:
        return [text.slice(start, count) for text in texts]

    return Rows(
        sign=part(0, parts.sign),
        choose=part(parts.sign, parts.choose),
        train=part(parts.sign + parts.choose, parts.train),
        pool=part(parts.total, rest - budget),
        budget=part(count - budget, budget),
        corpus=drawn.corpus,
        drawn=drawn.drawn,
    )


def rows_of(columns: Sequence[pa.Array]) -> list[Row]:
    """Columns of texts as a text, or two, a row."""
    return [*zip(*(column.to_pylist() for column in columns), strict=True)]


def keep(drawn: sample.Sample, path: Path) -> None:
    """Writes drawn rows, so that a build that goes on has the same ones."""
    counts = {b"drawn": str(drawn.drawn).encode(), b"corpus": str(drawn.corpus).encode()}
    partial = path.with_suffix(".partial")
    pq.write_table(drawn.rows.replace_schema_metadata(counts), partial, compression="zstd")
    partial.rename(path)


def kept(path: Path) -> sample.Sample | None:
    """The rows that an earlier run drew; None where none did."""
    if not path.is_file():
        return None
    table = pq.read_table(path)
    counts = table.schema.metadata
    return sample.Sample(table, int(counts[b"drawn"]), int(counts[b"corpus"]))
