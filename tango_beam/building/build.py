"""A build from beginning to end: draw, ask, train, measure, plan, sign, report.

Every step leaves what it made in `_build/`, so that a build that was cut short goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa

from tango_beam.answers.task import SPAN
from tango_beam.arrays import Float32
from tango_beam.building import (
    begun,
    in_turns,
    measured,
    parts,
    planning,
    students,
    teacher,
    unsure,
)
from tango_beam.building.begun import WORK
from tango_beam.building.clock import (
    AUGMENT,
    LABEL,
    TRAIN,
    Clock,
    rows_within,
    timed_seconds,
)
from tango_beam.building.measured import Measured
from tango_beam.building.options import BuildOptions
from tango_beam.building.parts import Parts, Rows
from tango_beam.building.passes import Plan
from tango_beam.building.planning import Planned
from tango_beam.building.students import Said
from tango_beam.building.teacher import Teacher
from tango_beam.calibration.certify import Outcome, ScoredSample, Signing, sign
from tango_beam.calibration.options import CalibrateOptions
from tango_beam.config import Compute
from tango_beam.errors import RefusedError
from tango_beam.io import inputs, sample
from tango_beam.io.planned import Input, describe_corpus
from tango_beam.models.logits import logits_of
from tango_beam.resolve import load_tier, settle
from tango_beam.training import augmentation
from tango_beam.training.texts import Row

logger = logging.getLogger(__name__)


REPORT, PAGE = "report.json", "report.html"
MOST_DRAWN = 200_000
MOST_AUGMENTED, TIMES_AUGMENTED = 90_000, 10
SECOND_TIER = "second tier"


@dataclass(frozen=True)
class Build:
    """What the steps of a build share.

    Attributes:
      options: of the build.
      folder: the output directory.
      compute: settled.
      corpus: what is read.
      clock: time left.
    """

    options: BuildOptions
    folder: Path
    compute: Compute
    corpus: Input
    clock: Clock

    @property
    def work(self) -> Path:
        """Where steps leave what they made."""
        return self.folder / WORK


@dataclass(frozen=True)
class Made:
    """What a build made, for the report.

    Attributes:
      rows: of the three parts.
      teacher: the second tier.
      planned: the chain.
      outcome: of signing; None where no cascade pays.
      candidates: all tiers, measured, the second tier last.
    """

    rows: Rows
    teacher: Teacher
    planned: Planned
    outcome: Outcome | None
    candidates: tuple[Measured, ...]


def run(build: Build) -> Made:
    """Builds a cascade and writes its directory, but for the report.

    Raises:
      RefusedError: what does not fit, before the second tier is asked anything, or too few rows.
      JobError: an endpoint that is down; the build goes on when it is started again.
    """
    options = build.options
    drawn = _drawn(build)
    columns = options.text_columns
    known = begun.read(build.work / "parts.json")
    there = drawn.rows.num_rows
    if options.goals.has_budget:
        there -= min(parts.BUDGET_ROWS, there // 5)
    most = min(there, options.teacher_rows or there)
    largest = parts.parts_of(most, options.goals)
    # It is timed on rows to learn from: nobody looks at those that sign.
    start = largest.sign + largest.choose
    some = [drawn.rows[name].combine_chunks()[start:][: teacher.TUNING_ROWS] for name in columns]
    taught = _teacher(build, some)
    plans = students.wanted(taught, options)
    if known is None:
        allowed = rows_within(build.clock.share(LABEL), taught.settings.whole)
        known = asdict(parts.parts_of(min(most, allowed), options.goals))
        begun.write(build.work / "parts.json", known)
    rows = parts.parted(drawn, Parts(**known), columns)
    logger.info("rows: %s", ", ".join(f"{count:,} to {name}" for name, count in known.items()))
    candidates, texts = _candidates(build, taught, rows, plans)
    planned = planning.plan(candidates, taught, options, texts, build.folder.name)
    outcome = _signed(build, rows, taught, planned) if planned.plan.pays else None
    return Made(rows, taught, planned, outcome, candidates)


def _drawn(build: Build) -> sample.Sample:
    path = build.work / "rows.parquet"
    drawn = parts.kept(path)
    if drawn is None:
        drawn = parts.draw(build.corpus, build.options.text_columns, MOST_DRAWN, build.options.seed)
        parts.keep(drawn, path)
    if not drawn.rows.num_rows:
        raise RefusedError(f"--input {' '.join(build.options.input)}: expected texts, found none")
    return drawn


def _teacher(build: Build, texts: Sequence[pa.Array]) -> Teacher:
    """The second tier, tuned and timed, or as an earlier run had it."""
    logger.info("the second tier is timed on %d rows", len(texts[0]))
    path = build.work / "tuned" / "second_tier.json"
    loaded = teacher.load(build.options, build.compute, texts, path)
    rate = 1 / max(1e-9, loaded.settings.whole)
    logger.info("the second tier answers %s rows a second", f"{rate:,.3g}")
    return loaded


def _asked(build: Build, taught: Teacher, columns: Sequence[pa.Array]) -> Float32:
    """What the second tier says of a part's rows, shape [rows, outputs]."""
    return teacher.answers_of(taught, parts.rows_of(columns), build.work / "answers")


def _lessons(build: Build, taught: Teacher, rows: Rows) -> tuple[list[Row], Said]:
    """Distinct texts to learn from, and what the second tier says of them."""
    if taught.task.kind == SPAN:
        lessons = list(dict.fromkeys(parts.rows_of(rows.train)))
        logger.info("the second tier reads %s contexts to learn from", f"{len(lessons):,}")
        return lessons, teacher.edges_of(taught, lessons, build.work / "answers")
    picked = unsure.rows_to_learn(
        rows.train, rows.pool, taught, build.options, build.compute, build.work
    )
    lessons = list(dict.fromkeys(picked))
    drawn = len(lessons)
    if taught.pieces is not None and not taught.pair:
        seconds = taught.settings.whole
        allowed = begun.read(build.work / "augmented.json")
        if allowed is None:
            within = rows_within(build.clock.share(AUGMENT), seconds)
            allowed = {"rows": min(MOST_AUGMENTED, TIMES_AUGMENTED * len(lessons), within)}
            begun.write(build.work / "augmented.json", allowed)
        if allowed["rows"]:
            kinds = ["mask", "ngram", "join"]
            texts = [text for (text,) in lessons]
            made = augmentation.augment(texts, kinds, allowed["rows"], build.options.seed)
            lessons = list(dict.fromkeys([*lessons, *((text,) for text in made)]))
    augmented = f", {len(lessons) - drawn:,} of them augmented" * (len(lessons) > drawn)
    logger.info("the second tier answers %s texts to learn from%s", f"{len(lessons):,}", augmented)
    logits = teacher.answers_of(taught, lessons, build.work / "answers")
    kept = taught.fine(logits)
    return [lessons[row] for row in kept], logits[kept]


def _candidates(
    build: Build, taught: Teacher, rows: Rows, plans: Sequence[Plan]
) -> tuple[tuple[Measured, ...], dict[str, list[pa.Array]]]:
    """All students, trained and measured, and the second tier, last; and texts of their rows."""
    drawn = {"choose": rows.choose, "sign": rows.sign}
    outputs = {name: _asked(build, taught, part) for name, part in drawn.items()}
    last = Measured(SECOND_TIER, taught.settings, **outputs)
    (last,), texts = measured.answered([last], drawn, taught)
    lessons, said = _lessons(build, taught, rows)
    found, minutes = list[Measured](), build.options.minutes
    # Another goal for a build that has ended takes seconds, whatever --minutes says.
    trains = any(not students.is_trained(build.work / "students" / plan.name) for plan in plans)
    for plan in plans:
        folder = build.work / "students" / plan.name
        seconds = build.clock.share(TRAIN[plan.kind])
        tier = students.train(plan, taught, build.options, lessons, said, folder, seconds)
        path = build.work / "tuned" / f"{plan.name}.json"
        settings = measured.settled(tier, taught, texts["choose"], build.options, path)
        each = {
            name: measured.outputs_of(settings, part, taught.labels, build.compute)
            for name, part in texts.items()
        }
        found.append(Measured(plan.name, settings, **each))
        alike = planning.agreement(found[-1], last, taught, texts["choose"])
        left = f"; {build.clock.left / 60:.0f} of {minutes:g} minutes left" * trains
        told = plan.name, 1 / settings.seconds, 100 * alike, left
        logger.info("%s: %.0f rows a second, agrees on %.1f %%%s", *told)
    timed = in_turns.timed(
        [*found, last],
        texts["choose"],
        build.compute,
        timed_seconds(build.options.minutes),
        build.work / "tuned" / "in_turns.json",
    )
    return measured.answered(timed, texts, taught)


def _signed(build: Build, rows: Rows, taught: Teacher, planned: Planned) -> Outcome:
    """Signs on rows that nobody has looked at, and writes the cascade directory."""
    options = build.options
    fit, test = planned.logits("choose"), planned.logits("sign")
    goals = options.goals
    budget = None
    if goals.has_budget:
        first = load_tier(planned.tiers[0].settings.tier, build.compute)
        budget = logits_of(first, *rows.budget, labels=taught.labels)
        budget = budget[taught.fine(budget)]
    path = tuple(chain.thresholds for chain in planned.plan.path)
    scored = ScoredSample(fit, test, budget, rows.corpus, options.seed, path)
    described = describe_corpus(build.corpus.files, options.text_columns, rows.corpus)
    given = Signing(
        _calibrating(options),
        build.compute,
        described,
        len(rows.sign[0]),
        earlier=begun.of_other_goals(build.folder, options.goals),
        tiers=len(planned.tiers),
        kept=(WORK, REPORT, PAGE),
    )
    return sign(given, planned.cascade, scored)


def _calibrating(options: BuildOptions) -> CalibrateOptions:
    return CalibrateOptions(
        input=options.input,
        output=options.output,
        text_column=options.text_column,
        text_pair_column=options.text_pair_column,
        **{name: getattr(options, name) for name in begun.GOALS},
    )


def begin(options: BuildOptions) -> Build:
    """Checks what can be checked before any work, and opens the output directory.

    Raises:
      RefusedError: says what was expected and what was found.
    """
    _, task, _ = teacher.named(options)
    students.refuse_kinds(options, task.kind)
    folder = Path(options.output)
    compute = settle(options)
    if options.answers_cache is None and options.second_tier.startswith("openai:"):
        compute = replace(compute, answers_cache=str(folder / WORK / "answers_cache"))
    corpus = inputs.inspect(
        options.input,
        options.text_columns,
        input_format=options.input_format,
        columns=[],
        unknown_keys="drop",
    )
    begun.open_output(options, folder)
    return Build(options, folder, compute, corpus, Clock(options.minutes))
