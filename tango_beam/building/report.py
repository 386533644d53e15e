"""Draws up what a build gave, and writes the second tier alone where no cascade pays."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from tango_beam import machine
from tango_beam.answers import Answers
from tango_beam.arrays import Int64
from tango_beam.building import page, parts, teacher
from tango_beam.building.begun import WORK
from tango_beam.building.build import PAGE, REPORT, Build, Made
from tango_beam.building.measured import Measured
from tango_beam.building.result import (
    Asked,
    Built,
    Disagreement,
    Offer,
    Steadiness,
    TierShare,
)
from tango_beam.calibration import attempts
from tango_beam.cascade_directory import CASCADE_FILE, link_checkpoints, save_cascade
from tango_beam.config import CascadeConfig
from tango_beam.guarantees import bounds
from tango_beam.guarantees.chains import Chain
from tango_beam.models import loading
from tango_beam.models.logits import logits_of
from tango_beam.models.protocol import describe
from tango_beam.progress import board
from tango_beam.resolve import load_tier

logger = logging.getLogger(__name__)

SHOWN = 20
_TEXT = 400
TWICE = 200


def write(build: Build, made: Made, command: str) -> Built:
    """Writes `report.json` and `report.html`, and the second tier alone where nothing was signed.

    Args:
      build: the build.
      made: what it made.
      command: the command line.
    """
    if made.outcome is None or not made.outcome.met:
        _write_alone(build, made)
    built = _built(build, made, command)
    text = json.dumps(built.to_json(), indent=2) + "\n"
    (build.folder / REPORT).write_text(text)
    (build.folder / PAGE).write_text(page.render(built), encoding="utf-8")
    return built


def _write_alone(build: Build, made: Made) -> None:
    """A cascade directory of the second tier alone, with its fastest settings."""
    alone = made.teacher.alone(build.folder.name)
    attempts.clear(build.folder, (WORK, attempts.ATTEMPTS))
    save_cascade(link_checkpoints(alone, build.folder), build.folder)
    logger.info("%s: the second tier alone", build.folder / CASCADE_FILE)


def _built(build: Build, made: Made, command: str) -> Built:
    options, plan = build.options, made.planned.plan
    outcome = made.outcome if made.outcome is not None and made.outcome.met else None
    cascade = outcome.cascade if outcome else made.teacher.alone()
    tiers = made.planned.tiers if outcome else made.candidates[-1:]
    answered, agrees = _answered(made, outcome.cascade if outcome else None)
    shares = _shares(build, tiers, cascade, answered)
    last = made.candidates[-1].settings
    alone = last.whole
    seconds = sum(
        float((answered >= number).mean()) * one.settings.whole
        for number, one in enumerate(tiers, start=1)
    )
    if any(not one.settings.tokenizing for one in tiers[:-1]):
        seconds += last.tokenizing  # students share the second tier's tokens, and the first pays
    return Built(
        name=build.folder.name,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        input=options.input,
        output=options.output,
        corpus=made.rows.corpus,
        parts={name: len(getattr(made.rows, name)[0]) for name in ("train", "choose", "sign")},
        pays=outcome is not None,
        why=plan.why if made.outcome is None or outcome else _not_signed(made),
        signed=outcome.certificate.signed if outcome else (),
        tiers=shares,
        agreement=float(agrees.mean()) if len(agrees) else 1.0,
        escalated=float((answered == len(tiers)).mean()) if outcome else 1.0,
        speedup=alone / seconds,
        seconds=(seconds, alone),
        front=tuple(_offer(chain, plan.alone) for chain in plan.front),
        offers=tuple(_offer(chain, plan.alone) for chain in (plan.chain, *plan.others)),
        classes=outcome.certificate.by_class if outcome else (),
        asked=_asked(build, made),
        disagreements=_disagreements(made, cascade, answered) if outcome else (),
        steadiness=_steadiness(build, made),
        minutes=build.clock.spent / 60,
        machine=machine.facts("cpu", build.compute.precision).to_json(),
        columns=options.text_columns,
        attempts=outcome.certificate.attempts if outcome else (),
    )


def _not_signed(made: Made) -> str:
    assert made.outcome is not None
    each = ", ".join(
        f"{one.goal} {one.value:g}: {one.errors:,} of {one.rows:,} rows count against it"
        for one in made.outcome.certificate.signed
    )
    return f"the rows that sign do not carry the goal at any threshold ({each})"


def _answered(made: Made, cascade: CascadeConfig | None) -> tuple[Int64, np.ndarray]:
    """Of the signed rows, who answers each, and whether as the second tier does."""
    count = len(made.candidates[-1].sign)
    if cascade is None:
        return np.ones(count, np.int64), np.ones(count, bool)
    answers = made.planned.logits("sign").answers(cascade)
    thresholds = [tier.threshold or 0.0 for tier in cascade.tiers[:-1]]
    answer, tier = answers.cascaded(thresholds, cascade.tiers[0].label_threshold)
    return tier, answer == answers.last


def _shares(
    build: Build, tiers: Sequence[Measured], cascade: CascadeConfig, answered: Int64
) -> tuple[TierShare, ...]:
    spent = [
        float((answered >= number).mean()) * one.settings.whole
        for number, one in enumerate(tiers, start=1)
    ]
    return tuple(
        TierShare(
            name=one.name,
            model=describe(load_tier(one.settings.tier, build.compute)),
            threshold=tier.threshold,
            answers=float((answered == number).mean()),
            seconds=one.settings.whole,
            share_of_cost=spent[number - 1] / max(1e-12, sum(spent)),
        )
        for number, (one, tier) in enumerate(zip(tiers, cascade.tiers, strict=True), start=1)
    )


def _offer(chain: Chain, alone: Chain) -> Offer:
    reaches = chain.tiers[-1] == alone.tiers[-1]
    return Offer(
        chain.tiers,
        chain.agreement,
        chain.reaching[-1] if reaches else 0.0,
        alone.cost / max(1e-12, chain.cost),
    )


def _asked(build: Build, made: Made) -> Asked:
    options, rows = build.options, made.rows
    count = sum(len(part[0]) for part in (rows.train, rows.choose, rows.sign))
    return Asked(
        count,
        made.teacher.settings.whole,
        board.calls,
        board.tokens_in,
        board.tokens_out,
        options.price_in,
        options.price_out,
    )


def _steadiness(build: Build, made: Made) -> Steadiness | None:
    """How often an endpoint or a handler answers signed rows alike, when it is asked again."""
    path = build.work / "steadiness.json"
    if not made.teacher.tier.is_asked:
        return None
    if path.is_file():
        return Steadiness.from_json(json.loads(path.read_text()))
    texts = [column[:TWICE] for column in made.rows.sign]
    first = teacher.answers_of(made.teacher, parts.rows_of(texts), build.work / "answers")
    # A cache of its own: a build that is killed here does not ask for the third time.
    second_answers = replace(build.compute, answers_cache=str(build.work / "second_answers"))
    again = loading.load(made.teacher.tier, second_answers)
    second = logits_of(again, *texts, labels=made.teacher.labels)
    both = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    same = int((first.argmax(axis=1) == second.argmax(axis=1))[both].sum())
    count = int(both.sum())
    bound = 1 - bounds.upper(count - same, count, build.options.delta) if count else 0.0
    found = Steadiness(count, same, bound)
    path.write_text(json.dumps(found.to_json()) + "\n")
    return found


def _disagreements(made: Made, cascade: CascadeConfig, answered: Int64) -> tuple[Disagreement, ...]:
    """Rows on which tiers differ: first those that the cascade answers otherwise."""
    logits, texts = made.planned.logits("sign"), made.planned.texts["sign"]
    each = [
        cascade.decoder(tier)(outputs, cascade.labels, logits.contexts)
        for tier, outputs in zip(cascade.tiers, logits.logits, strict=True)
    ]
    names = [one.name for one in made.planned.tiers]
    said = [[*map(str, one.predictions.to_pylist())] for one in each]
    codes = np.stack(logits.answers(cascade).answers)
    differ = (codes != codes[-1]).any(axis=0)
    wrong = codes[answered - 1, np.arange(len(logits))] != codes[-1]
    order = [*np.flatnonzero(wrong), *np.flatnonzero(differ & ~wrong)]
    return tuple(
        Disagreement(
            _shown(texts, int(row), each[-1]),
            tuple(
                (name, answers[row], float(one.confidences[row]))
                for name, answers, one in zip(names, said, each, strict=True)
            ),
            int(answered[row]),
        )
        for row in order[:SHOWN]
    )


def _shown(texts: Sequence[pa.Array], row: int, answers: Answers) -> tuple[str, ...]:
    """A row's texts as the page shows them, cut; a long context around the answer in it."""
    *before, last = (column[row].as_py() for column in texts)
    place, start = answers.more.get("answer_start"), 0
    if place is not None:
        start = max(0, min(place[row].as_py() - _TEXT // 2, len(last) - _TEXT))
    cut = "… " * (start > 0) + last[start : start + _TEXT]
    return (*(text[:_TEXT] for text in before), cut)
