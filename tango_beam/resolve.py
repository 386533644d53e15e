"""Turns names and options into a checked cascade, a settled device and loaded tiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError

from tango_beam import checkpoint_files
from tango_beam.answers import Task
from tango_beam.answers.task import LABELS, MULTI_LABEL, SCORE, SPAN
from tango_beam.cascade_directory import load_cascade
from tango_beam.checkpoint_files import ENDPOINT, HANDLER
from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.endpoints.settings import Endpoint, Limits
from tango_beam.errors import RefusedError
from tango_beam.models import handler_tier, loading
from tango_beam.models.checkpoints import Stated, revision_of, stated_of
from tango_beam.models.protocol import Model
from tango_beam.options import (
    AnswerOptions,
    AskingOptions,
    CascadeOptions,
    EndpointOptions,
    TierOptions,
)


def resolve_cascade(options: CascadeOptions, *, pair: bool, least_tiers: int = 1) -> CascadeConfig:
    """The cascade that options name, with their threshold, max_length and precision.

    Args:
      options: names a cascade, or two checkpoints (`TierOptions`).
      pair: whether two texts a row are read.
      least_tiers: that the cascade must have.

    Raises:
      RefusedError: options that contradict each other, tiers with different labels, too few tiers,
        or one text a row where the cascade reads two.
    """
    cascade = _named(options)
    if options.precision != "auto":
        cascade = cascade.without_precisions()
    if options.max_length is not None:
        cascade = cascade.with_max_length(options.max_length)
    if options.stride is not None:
        tiers = (replace(tier, stride=options.stride) for tier in cascade.tiers)
        cascade = replace(cascade, tiers=tuple(tiers))
    if options.exit_threshold is not None:
        last = replace(cascade.tiers[-1], exit_thresholds=(options.exit_threshold,))
        cascade = replace(cascade, tiers=(*cascade.tiers[:-1], last))
    _refuse_other_answers(cascade)
    if len(cascade.tiers) < least_tiers:
        raise RefusedError(f"cascade {cascade.name}: expected two tiers or more, found one")
    if (cascade.pair or cascade.task.kind == SPAN) and not pair:
        raise RefusedError(
            f"cascade {cascade.name}: expected two texts a row, found no --text_pair_column"
        )
    return pinned(cascade)


def pinned(cascade: CascadeConfig) -> CascadeConfig:
    """The same cascade; its tiers name the commit or the hash of what lies elsewhere."""
    tiers = (replace(t, revision=t.revision or _revision(t)) for t in cascade.tiers)
    return replace(cascade, tiers=tuple(tiers))


def _revision(tier: TierConfig) -> str | None:
    if tier.endpoint is not None:
        return tier.endpoint.fingerprint
    if tier.is_asked:
        return handler_tier.fingerprint(tier.source)
    return revision_of(tier.source)


def stated_by(tier: TierConfig) -> Stated:
    """What a tier answers with."""
    if tier.endpoint is not None:
        return Stated(tier.endpoint.labels, LABELS)
    if not tier.is_asked:
        return stated_of(tier.source)
    return Stated(tier.labels or handler_tier.tier_of(tier.source).labels or (), LABELS)


def tier_of(source: str, options: object, labels: Sequence[str] = ()) -> TierConfig:
    """The tier that a name stands for: a checkpoint, or what is given texts.

    Args:
      source: folder, hub id, `openai:URL` or `handler:package.module:function`.
      options: say what an endpoint is asked.
      labels: of the other tiers, where `--labels` does not name them.

    Raises:
      RefusedError: an endpoint without a model or a prompt, or neither with labels.
    """
    if not checkpoint_files.is_asked(source):
        return TierConfig(source)
    if not isinstance(options, EndpointOptions):
        raise RefusedError(f"tier {source}: expected a checkpoint, found what is given texts")
    given = options.labels or tuple(labels)
    if source.startswith(HANDLER):
        return TierConfig(source, labels=given)
    missing = [name for name in ("model", "prompt") if not getattr(options, name)]
    if missing:
        raise RefusedError(
            f"tier {source}: expected --model and --prompt with an endpoint, found no "
            f"--{' and no --'.join(missing)}"
        )
    assert options.model and options.prompt
    try:
        prompt = Path(options.prompt).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"--prompt {options.prompt}: expected a file with a prompt in UTF-8, found {error}"
        ) from error
    endpoint = Endpoint(source.removeprefix(ENDPOINT), options.model, prompt, given)
    return TierConfig(endpoint.name, endpoint=endpoint)


def refuse_asked(cascade: CascadeConfig, purpose: str) -> None:
    """Raises RefusedError for a tier that every timing would have to ask, and pay, again.

    Args:
      cascade: of any tiers.
      purpose: what the command does with them.
    """
    for tier in cascade.tiers:
        if tier.is_asked:
            raise RefusedError(
                f"tier {tier.source}: expected a checkpoint to {purpose}, found what is given "
                "texts, and would be asked for every timing; calibrate and classify take it"
            )


def _named(options: CascadeOptions) -> CascadeConfig:
    given = options if isinstance(options, TierOptions) else None
    if given and (given.first_tier or given.second_tier):
        return _pair_of_tiers(given)
    cascade = load_cascade(options.cascade)
    cascade = replace(cascade, task=task_of(options, cascade.task))
    if given is None or given.threshold is None:
        return cascade
    if len(cascade.tiers) < 2:
        raise RefusedError(f"--threshold: cascade {cascade.name} has one tier only")
    return cascade.with_first_threshold(given.threshold)


def _pair_of_tiers(options: TierOptions) -> CascadeConfig:
    given = {
        "--first_tier": options.first_tier,
        "--second_tier": options.second_tier,
        "--threshold": options.threshold,
    }
    missing = [name for name, value in given.items() if value is None]
    if missing or options.cascade != TierOptions.cascade:
        found = f"no {' and no '.join(missing)}" if missing else f"--cascade {options.cascade} too"
        raise RefusedError(
            f"expected --first_tier, --second_tier and --threshold together, or --cascade, found "
            f"{found}"
        )
    assert options.first_tier and options.second_tier
    stated = stated_by(tier_of(options.first_tier, options))
    if stated.kind is None and options.task is None:
        raise RefusedError(
            f"tier {options.first_tier}: expected a problem_type in config.json, found one output "
            "and none; --task score says that it is a number"
        )
    kind = options.task or stated.kind or SCORE
    cuts = options.cuts or () if kind == SCORE else ()
    return CascadeConfig(
        tiers=(
            replace(tier_of(options.first_tier, options), threshold=options.threshold),
            tier_of(options.second_tier, options, stated.labels),
        ),
        labels=tuple(sorted(stated.labels)),
        name=f"{options.first_tier} + {options.second_tier}",
        task=task_of(options, Task(kind, cuts)),
    )


def task_of(options: AnswerOptions, usual: Task) -> Task:
    """The kind of answer that options ask for, on top of what a cascade gives."""
    cuts = usual.cuts if options.cuts is None else options.cuts
    tolerance = usual.tolerance if options.tolerance is None else options.tolerance
    no_answer = options.no_answer or usual.no_answer
    return Task(options.task or usual.kind, cuts, tolerance, no_answer)


def _refuse_other_answers(cascade: CascadeConfig) -> None:
    kind = cascade.task.kind
    # A checkpoint of several outputs may not say that they are several labels.
    fits = {MULTI_LABEL: (LABELS, MULTI_LABEL), SCORE: (None, SCORE)}.get(kind, (kind,))
    if kind == MULTI_LABEL:
        cascade.task.every_cut(cascade.labels)
    for tier in cascade.tiers:
        stated = stated_by(tier)
        if stated.kind not in fits:
            raise RefusedError(
                f"tier {tier.source}: expected a checkpoint for {kind}, found one for "
                f"{stated.kind or 'a score'}"
            )
        labels = sorted(stated.labels)
        if kind in (LABELS, MULTI_LABEL) and labels != sorted(cascade.labels):
            raise RefusedError(
                f"tier {tier.source}: expected the labels {sorted(cascade.labels)}, found {labels}"
            )


def settle(options: AnswerOptions, *, local: bool = True, processes: int = 1) -> Compute:
    """Device and precision with `auto` settled, and a process's share of what is limited.

    Args:
      options: say where and how to compute, and how an endpoint may be asked (`AskingOptions`).
      local: the models run on this machine; elsewhere `auto` finds the device where they do, while
        the precision is settled here, since every worker must give the same scores.
      processes: among which the limits are shared out.

    Raises:
      RefusedError: a device that is not there, an unknown precision.
    """
    try:
        device = loading.resolve_device(options.device) if local else options.device
        compute = Compute(device, loading.resolve_precision(options.precision, device))
    except ValueError as error:
        raise RefusedError(str(error)) from error
    if not isinstance(options, AskingOptions):
        return compute
    tokens = options.tokens_a_minute and max(1, options.tokens_a_minute // processes)
    requests = max(1, options.requests // processes)
    limits = Limits(requests, tokens_a_minute=tokens, patience=options.patience)
    return replace(compute, limits=limits, answers_cache=options.answers_cache)


def load_tiers(cascade: CascadeConfig, compute: Compute) -> list[Model]:
    """Loads the models of all tiers in this process: what is wrong with one shows now.

    Raises:
      RefusedError: weights that are missing, damaged or of another shape, a file that is not there.
    """
    return [load_tier(tier, compute) for tier in cascade.tiers]


def load_tier(tier: TierConfig, compute: Compute) -> Model:
    """Loads one tier's model in this process.

    Raises:
      RefusedError: as `load_tiers`.
    """
    try:
        return loading.load(tier, compute)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        found = " ".join(lines[:3]) or repr(error)
        raise RefusedError(
            f"tier {tier.source}: expected a checkpoint that loads, found {found[:500]}"
        ) from error
