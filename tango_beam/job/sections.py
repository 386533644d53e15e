"""What there is to say of a run, as tables: a page and a terminal show the same ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tango_beam.guarantees.certificate import NONE
from tango_beam.job.summary import describe_audit
from tango_beam.job.tier_names import tier_names
from tango_beam.run.manifest import Counts, Manifest
from tango_beam.run.receipts import Example

# A table of confidences has bins of so many hundredths.
_STEP = 5
_STAGES = ("stage", "answers", "of all", "seconds", "of all", "ms a row", "in the model", "padding")
_ASKED = ("calls", "tokens of prompts", "of answers", "price")
Row = tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A table with a title.

    Attributes:
      name: of the section, in one word.
      title: for people.
      head: names of the columns.
      rows: as they are shown.
      note: what the table says, in words.
      texts: columns that hold texts: they stand to the left, and may wrap.
      bars: of each row, the accepted and the escalated share of the largest row; none where no bar
        is drawn.
    """

    name: str
    title: str
    head: Row = ()
    rows: tuple[Row, ...] = ()
    note: str = ""
    texts: tuple[int, ...] = (0,)
    bars: tuple[tuple[float, float], ...] = ()


def sections(manifest: Manifest) -> Iterator[Section]:
    """All there is to say of a run; what there is nothing of is left out."""
    yield _fates(manifest)
    counts = manifest.counts
    if counts.accepted.confidences or counts.escalated.confidences:
        yield _confidences(manifest)
        yield _answers(counts)
        yield _lengths(counts)
    yield _tiers(manifest)
    yield _promise(manifest)
    if manifest.audit:
        yield _audit(manifest)
    yield from _dead_letters(manifest)
    yield from _input(manifest)


def _fates(manifest: Manifest) -> Section:
    rows = manifest.rows
    fates = [
        ("read", rows.read, ""),
        ("accepted", rows.accepted, "answered by the first tier"),
        ("escalated", rows.escalated, "answered by a later tier"),
        ("dead", rows.dead, "without an answer: dead letters"),
        ("audited", rows.audited, "answered ahead of the last tier, and checked by it"),
        ("filtered", rows.filtered, "answered, and not written (--keep)"),
    ]
    # Of more tiers than two, each has its share.
    several = len(manifest.cascade.thresholds) > 1 and manifest.counts.escalated.tiers
    later = answered_by(manifest)[1:] if several else []
    fates[3:3] = [(name, count, _of_escalated(name, later[-1][0])) for name, count in later]
    shown = tuple(
        (name, f"{count:,}", _percent(count, rows.read), what)
        for name, count, what in fates
        if count or name not in ("audited", "filtered")
    )
    return Section("fates", "Rows by fate", ("", "rows", "of those read", ""), shown, texts=(0, 3))


def _of_escalated(name: str, last: str) -> str:
    return f"of these, {'went on to this, the last' if name == last else 'answered by this tier'}"


def _confidences(manifest: Manifest) -> Section:
    both = []
    for counts in (manifest.counts.accepted, manifest.counts.escalated):
        bins: Counter[int] = Counter()
        for edge, count in counts.confidences.items():
            bins[round(100 * float(edge)) // _STEP * _STEP] += count
        both.append(bins)
    edges = range(0, 100, _STEP)
    names = {edge: f"{edge / 100:.2f} to {(edge + _STEP) / 100:.2f}" for edge in edges}
    note = f"The first tier's confidence; {_first_threshold(manifest)}."
    named = [{names[edge]: bins[edge] for edge in names if bins[edge]} for bins in both]
    order = [name for name in names.values() if any(name in bins for bins in named)]
    return _escalation("confidence", "How sure the first tier is", "confidence", named, order, note)


def _first_threshold(manifest: Manifest) -> str:
    """Which rows the first tier does not answer, in words."""
    cascade = manifest.cascade
    if not cascade.thresholds:
        return "there is no later tier"
    said = f"rows under {cascade.thresholds[0]:.4f} go on to a later tier"
    side = cascade.label_thresholds[0] if cascade.label_thresholds else None
    return said if side is None else f"{said}, of those called {cascade.filter} under {side:.4f}"


def _answers(counts: Counts) -> Section:
    both = [counts.accepted.answers, counts.escalated.answers]
    totals = Counter(both[0]) + Counter(both[1])
    order = sorted(totals, key=lambda name: (-totals[name], name))
    return _escalation("answers", "By answer", "answer", both, order)


def _lengths(counts: Counts) -> Section:
    both = [counts.accepted.lengths, counts.escalated.lengths]
    edges = sorted({int(edge) for lengths in both for edge in lengths})
    names = {edge: f"{edge:,} to {max(16, 2 * edge) - 1:,}" for edge in edges}
    if 1 << 16 in names:
        names[1 << 16] = f"{1 << 16:,} or more"
    named = [{names[int(edge)]: count for edge, count in lengths.items()} for lengths in both]
    return _escalation("lengths", "By length of the text", "characters", named, [*names.values()])


def _escalation(
    name: str,
    title: str,
    what: str,
    both: list[dict[str, int]],
    order: list[str],
    note: str = "",
) -> Section:
    """Rows of some groups, and how many of them were escalated."""
    accepted, escalated = ([counts.get(group, 0) for group in order] for counts in both)
    totals = [one + other for one, other in zip(accepted, escalated, strict=True)]
    largest = max(totals, default=0) or 1
    rows = tuple(
        (group, f"{total:,}", f"{later:,}", _percent(later, total))
        for group, total, later in zip(order, totals, escalated, strict=True)
    )
    bars = tuple(
        (one / largest, other / largest) for one, other in zip(accepted, escalated, strict=True)
    )
    return Section(name, title, (what, "rows", "escalated", "of them"), rows, note, bars=bars)


def answered_by(manifest: Manifest) -> list[tuple[str, int]]:
    """The tiers' names and the rows that each answered, the first tier first."""
    counts = _answers_of_stages(manifest)
    return [(name, counts.get(stage, 0)) for stage, name in tier_names(manifest).items()]


def _answers_of_stages(manifest: Manifest) -> dict[str, int]:
    """Rows by the tier that answered them (`tier 1`)."""
    counts = manifest.counts
    both = Counter(counts.accepted.tiers) + Counter(counts.escalated.tiers)
    return {f"tier {number}": both[number] for number in sorted(both)}


def _tiers(manifest: Manifest) -> Section:
    answers, rows, names = _answers_of_stages(manifest), manifest.rows, tier_names(manifest)
    answered, spent = rows.accepted + rows.escalated, sum(manifest.seconds.values())
    head = (*_STAGES, *(_ASKED if manifest.asked else ()))
    shown = []
    for stage, seconds in manifest.seconds.items():
        count = answers.get(stage, 0)
        came = rows.read if stage == "read" else _reached(manifest, stage)
        row = [names.get(stage, stage), f"{count:,}" if stage in answers else ""]
        row += [_percent(count, answered) if stage in answers else ""]
        row += [f"{seconds:,.1f}", _percent(seconds, spent)]
        row += [f"{1000 * seconds / came:.3g}" if came else ""]
        row += _model(manifest, stage)
        shown.append((*row, *(_asked(manifest, stage) if manifest.asked else ())))
    note = "Seconds of all workers together, of the attempts that count."
    if rows.audited:
        note += (
            f" The last tier's line counts the {rows.audited:,} audited rows, too: their seconds, "
            "and each as a row."
        )
    return Section("tiers", "Seconds and cost by tier", head, tuple(shown), note)


def _reached(manifest: Manifest, stage: str) -> int:
    """Rows that a tier scored and that have an answer; audited ones reach the last tier, too."""
    answers = _answers_of_stages(manifest)
    names = [name for name in manifest.seconds if name != "read"]
    audited = manifest.rows.audited if len(names) > 1 and stage == names[-1] else 0
    return sum(answers.get(name, 0) for name in names[names.index(stage) :]) + audited


def _model(manifest: Manifest, stage: str) -> list[str]:
    model, tokens = manifest.models.get(stage), manifest.tokens.get(stage)
    padding = f"{tokens.padded / tokens.real:.3f}" if tokens and tokens.real else ""
    return [f"{model.seconds:,.1f}" if model else "", padding]


def _asked(manifest: Manifest, stage: str) -> list[str]:
    asked = manifest.asked.get(stage)
    if asked is None:
        return [""] * len(_ASKED)
    price = "" if asked.price is None else f"{asked.price:,.2f}"
    return [f"{asked.calls:,}", f"{asked.tokens_in:,}", f"{asked.tokens_out:,}", price]


def _promise(manifest: Manifest) -> Section:
    covers = manifest.cascade.certificate
    if covers.status == NONE:
        note = "The cascade has no certificate: nothing was promised of its answers."
        return Section("promise", "Promise", note=note)
    note = "; ".join((f"The cascade's certificate: {covers.status}", *covers.differs)) + "."
    head = ("goal", "of", "at least", "wrong with probability", "rows tested", "against it", "test")
    rows = tuple(
        (
            one.goal.replace("_", " "),
            one.label or "all rows",
            f"{one.value:.4g}",
            f"{one.delta:.4g}",
            f"{one.rows:,}",
            f"{one.errors:,}",
            one.method,
        )
        for one in covers.signed
    )
    return Section("promise", "Promise", head, rows, note, texts=(0, 1, 6))


def _audit(manifest: Manifest) -> Section:
    audit = manifest.audit
    assert audit is not None
    low, high = audit.interval
    found = "" if audit.disagreement is None else f"{audit.disagreement:.3%}"
    rows: tuple[Row, ...] = (
        ("checked by the last tier", f"{audit.checked:,}"),
        ("disagree", f"{audit.disagreements:,}"),
        ("of all rows, about", found),
        (
            f"of all rows, we are {1 - 2 * audit.level:.0%} sure that it is",
            f"{low:.3%} to {high:.3%}",
        ),
    )
    if audit.goal is not None:
        rows += (("certified, at most", f"{1 - audit.goal:.3%}"),)
    return Section("audit", "Audit", ("", "found"), rows, f"{describe_audit(audit)}.")


def _dead_letters(manifest: Manifest) -> Iterator[Section]:
    letters = manifest.dead_letters
    if not manifest.rows.dead:
        return
    counted = sum(letters.reasons.values())
    rows = tuple((reason, f"{count:,}") for reason, count in letters.reasons.items())
    rest = manifest.rows.dead - counted
    rows += (("other reasons", f"{rest:,}"),) if rest else ()
    yield Section("dead", "Dead letters", ("stage and reason", "rows"), rows)
    shown = tuple(
        (reason, _place(one), one.error, one.raw or "")
        for reason in letters.reasons
        for one in letters.examples.get(reason, ())
    )
    if shown:
        head = ("stage and reason", "where", "error", "record")
        yield Section("examples", "Some dead letters", head, shown, texts=(0, 1, 2, 3))


def _place(example: Example) -> str:
    at = f"byte {example.offset:,}" if example.row is None else f"row {example.row:,}"
    return f"{example.file}, {at}"


def _input(manifest: Manifest) -> Iterator[Section]:
    if manifest.notes:
        notes = tuple((note,) for note in manifest.notes)
        title = "What was unified, passed over or changed"
        yield Section("notes", title, ("note",), notes)
    if manifest.broken_files:
        broken = tuple((one["path"], one["error"]) for one in manifest.broken_files)
        yield Section("broken", "Broken files", ("file", "error"), broken, texts=(0, 1))
    files = tuple(
        (file["path"], file["format"], f"{file['size']:,}", _rows_of(file))
        for file in manifest.inputs
    )
    yield Section("inputs", "Input files", ("file", "format", "bytes", "rows"), files)


def _rows_of(file: Mapping) -> str:
    """Rows that a Parquet file's footer states."""
    groups = file.get("row_groups")
    return f"{sum(rows for rows, _ in groups):,}" if groups else ""


def _percent(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else ""
