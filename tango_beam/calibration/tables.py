"""What a calibration shows to people: the promise, agreement by class, what else could be had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from tango_beam.calibration.certify import Outcome
from tango_beam.calibration.offers import Offer
from tango_beam.guarantees.certificate import ClassAgreement, Guarantee

MOST_CLASSES = 20


def tables(outcome: Outcome, output: str) -> Iterator[Table]:
    """Tables for standard output, most important first."""
    yield _promise(outcome, output)
    yield _classes(outcome.certificate.by_class)
    if outcome.offers:
        yield _offers(outcome.offers, len(outcome.certificate.exit_thresholds))


def _promise(outcome: Outcome, output: str) -> Table:
    certificate = outcome.certificate
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for one in certificate.signed:
        table.add_row(*_signed(one, certificate.speed.reached[-1] == 1))
    if outcome.wanted_rows:
        table.add_row(
            "",
            f"the sample is too small: with about {outcome.wanted_rows:,} rows, earlier tiers may "
            f"answer some (--sample_rows {outcome.wanted_rows})",
        )
    thresholds = ", ".join(f"{value:.6g}" for value in certificate.thresholds)
    if certificate.label_threshold is not None:
        thresholds += f", {certificate.label_threshold:.6g} for {certificate.filter}"
    speed, corpus = certificate.speed, certificate.corpus
    table.add_row("threshold", f"{thresholds}; {speed.escalated:.1%} of the sample escalated")
    if certificate.exit_thresholds:
        exits = _opened(certificate.exit_thresholds) or "all shut"
        through = sum(speed.reached[len(certificate.thresholds) :])
        layers = len(certificate.exit_thresholds) + 1
        rows = f"{through:.2f} of {layers} layers for a row of the sample"
        table.add_row("exits", f"{exits}; {rows}")
    table.add_row("corpus", f"{corpus.rows:,} rows in {len(corpus.files)} files")
    table.add_row("speedup", f"{speed.speedup:.2f} x the last tier alone, on this machine")
    if outcome.met and not speed.pays:
        table.add_row("", "THE CASCADE DOES NOT PAY here: run the last tier alone (--threshold 1)")
    for tier in certificate.calibration:
        table.add_row(
            f"tier {tier.tier}",
            f"temperature {tier.temperature_before:.4g} -> {tier.temperature_after:.4g}, "
            f"calibration error {tier.error_before:.4f} -> {tier.error_after:.4f} "
            f"(against the {tier.against})",
        )
    if certificate.unseen_classes:
        shown = ", ".join(certificate.unseen_classes[:10])
        table.add_row("unseen", f"no row of the sample is {shown}: nothing is known of them")
    attempts = certificate.attempts
    if len(attempts) > 1:
        whole = min(1.0, sum(attempt.delta for attempt in attempts))
        table.add_row(
            "attempts",
            f"{len(attempts)} on record: the best of them is wrong with probability {whole:.3g} "
            "at most, not delta",
        )
    table.add_row("output", output if outcome.met else f"{output}: only the attempt, on record")
    return table


def _signed(one: Guarantee, last_answers_all: bool) -> tuple[str, str]:
    """A goal, and what became of it."""
    what = one.goal + (f" of {one.label}" if one.label else "")
    counted = f"{one.errors:,} of {one.rows:,} rows count against it, {one.method}"
    proved = "" if one.bound is None else f"; proves {one.bound:.4f}"
    if not one.met and one.label_threshold is None and last_answers_all:
        counted, proved = f"of {one.rows:,} rows the last tier must answer all", ""
    state = "signed" if one.met else "NOT SIGNED"
    return f"{what} {one.value:.4g}", f"{state} (delta {one.delta:.4g}): {counted}{proved}"


def _classes(classes: Sequence[ClassAgreement]) -> Table:
    table = Table(title="agreement by class of the last tier (the same sample)", box=None)
    for name in ("class", "rows", "accepted", "disagree", "agreement", "exact interval"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for one in sorted(classes, key=lambda one: one.interval[0])[:MOST_CLASSES]:
        low, high = one.interval
        counts = (one.rows, one.accepted, one.disagreements)
        shown = [f"{count:,}" for count in counts]
        table.add_row(one.label, *shown, f"{one.agreement:.4f}", f"{low:.4f} to {high:.4f}")
    if len(classes) > MOST_CLASSES:
        table.caption = f"the {MOST_CLASSES} lowest of {len(classes)}; the rest in the certificate"
    return table


def _opened(thresholds: Sequence[float]) -> str:
    """The exits that rows may take, each by the layer that it is behind, with its threshold."""
    open_ = [(layer, value) for layer, value in enumerate(thresholds, start=1) if value < 1]
    return ", ".join(f"{value:.4g} behind layer {layer}" for layer, value in open_)


def _offers(offers: Sequence[Offer], exits: int) -> Table:
    table = Table(title="what these rows could sign for (each as the one goal)", box=None)
    for name in ("agreement", "threshold", "escalated"):
        table.add_column(name, justify="right")
    for offer in offers:
        tiers = len(offer.thresholds) - exits
        before = [f"{value:.6g}" for value in offer.thresholds[:tiers]]
        opened = _opened(offer.thresholds[tiers:])
        given = [", ".join([*before, opened] if opened else before), f"{offer.escalated:.1%}"]
        table.add_row(f"{offer.agreement:.4g}", *(given if offer.met else ["-", "100.0%"]))
    return table
