"""Loads a tier's model, once a process; settles device and precision.

`load` is the one door: it reads a checkpoint's config.json, picks the family and keeps the result
for the life of the process, so that every stage and every thread of a worker shares one copy.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import cast

from tango_beam import checkpoint_files, machine
from tango_beam.answers.task import SPAN
from tango_beam.config import Compute, TierConfig
from tango_beam.models import bilstm_config, static_config
from tango_beam.models.checkpoints import stated_of
from tango_beam.models.protocol import Model, describe
from tango_beam.models.tokens import TextTokenizer

logger = logging.getLogger(__name__)

_loaded: dict[tuple, Model] = {}
_vocabularies: dict[tuple, str] = {}
_lock = threading.Lock()


def load(tier: TierConfig, compute: Compute) -> Model:
    """Loads a tier's model, or returns the copy that this process holds already.

    Args:
      tier: what to load; its threshold and its decoder do not matter here.
      compute: device, and the precision of a tier that has none of its own. Int8 is for
        transformers on a processor; other families then compute as with `auto`.

    Raises:
      ValueError: a checkpoint on a URL that is not the one with which the job was launched, or one
        that does not fit; OSError: one that is not there.
    """
    machine.bound_kernels()
    if tier.is_asked:
        return _asked(tier, compute)
    tier = _local(tier)
    device = resolve_device(compute.device)
    compute = Compute(device, resolve_precision(tier.precision or compute.precision, device))
    key = _key(
        tier,
        compute.device,
        compute.precision,
        tier.backend,
        tier.batch_tokens,
        tier.threads,
        tier.stride,
        tier.exit_thresholds,
        tier.kept_tokens,
    )
    with _lock:
        if key not in _loaded:
            _loaded[key] = _load(tier, compute)
            shown = describe(_loaded[key])
            logger.info("process %d loaded %s: %s", os.getpid(), tier.source, shown)
        return _loaded[key]


def _asked(tier: TierConfig, compute: Compute) -> Model:
    """What is given texts: an endpoint or a handler."""
    key = (tier.source, tier.endpoint, tier.revision, compute.limits, compute.answers_cache)
    with _lock:
        if key not in _loaded:
            made: object
            if tier.endpoint is not None:
                from tango_beam.models import endpoint

                made = endpoint.load(tier.endpoint, compute)
            else:
                from tango_beam.models import handler

                made = handler.load(tier.source, tier.labels or None, revision=tier.revision)
            # Its texts stand where a checkpoint's tokens do.
            _loaded[key] = cast(Model, made)
        return _loaded[key]


def vocabulary(tier: TierConfig) -> str:
    """The `vocabulary` of the model that `load` gives; reads its tokenizer, no weights.

    The fingerprint covers max_length too: tokens that were cut elsewhere are not the same.

    Raises:
      ValueError: a checkpoint that does not fit; OSError: one that is not there.
    """
    if tier.is_asked:
        return "texts"  # shared by nobody
    tier = _local(tier)
    key = _key(tier)
    with _lock:
        if key not in _vocabularies:
            _vocabularies[key] = _tokenizer(tier).fingerprint
        return _vocabularies[key]


def _tokenizer(tier: TierConfig) -> TextTokenizer:
    # The families import here: torch and transformers take seconds, and only workers need them.
    if is_own(tier.source):
        from tango_beam.models import own_model

        return own_model.load_tokenizer(tier)
    from tango_beam.models import bert

    tokenizer = bert.load_tokenizer(tier)
    if tokenizer is not None:
        return tokenizer
    from tango_beam.models import transformer

    return transformer.load_tokenizer(tier)


def _key(tier: TierConfig, *more: object) -> tuple:
    return (tier.source, tier.max_length, tier.tokenizer, tier.revision, *more)


def _local(tier: TierConfig) -> TierConfig:
    """The tier with its folders on this machine."""
    source = checkpoint_files.local(tier.source) or tier.source
    revision = tier.revision
    if checkpoint_files.is_url(tier.source):
        digest = checkpoint_files.digest(tier.source) if revision else None
        if digest != revision:
            raise ValueError(
                f"{tier.source}: expected the checkpoint that the job was launched with "
                f"({(revision or '')[:16]}), found another ({(digest or '')[:16]})"
            )
        revision = None
    tokenizer = checkpoint_files.local(tier.tokenizer)
    return replace(tier, source=source, tokenizer=tokenizer, revision=revision)


def _load(tier: TierConfig, compute: Compute) -> Model:
    onnx = tier.backend == "onnx"
    if onnx and (compute.device != "cpu" or is_own(tier.source)):
        raise ValueError(
            f"{tier.source}: expected a transformer on a processor for backend onnx, found "
            f"{model_type(tier.source)} on {compute.device}"
        )
    own = is_own(tier.source)
    spans = not own and stated_of(tier.source).kind == SPAN
    _refuse_misplaced(tier, own=own, spans=spans)
    if own:
        if compute.precision == "int8":
            compute = replace(compute, precision=resolve_precision("auto", compute.device))
        return _own(tier, compute)
    if tier.kept_tokens:
        return _shortened(tier, compute, spans=spans)
    if spans:
        return _spans(tier, compute)
    if tier.exit_thresholds:
        return _left_early(tier, compute)
    if onnx:
        return _through_onnx(tier, compute)
    from tango_beam.models import bert

    packed = bert.load(tier, compute)
    if packed is not None:
        return packed
    from tango_beam.models import transformer

    return transformer.to_answer(transformer.load(tier, compute))


def _refuse_misplaced(tier: TierConfig, *, own: bool, spans: bool) -> None:
    """Raises ValueError for settings of encoders on a model that is none, or that has no exits."""
    if tier.exit_thresholds and (own or spans):
        expected, found = "a classifier like BERT for exit_thresholds", tier.exit_thresholds
    elif tier.kept_tokens and own:
        expected, found = "an encoder like BERT for kept_tokens", tier.kept_tokens
    else:
        return
    kind = "a reader of spans" if spans else model_type(tier.source)
    raise ValueError(f"{tier.source}: expected {expected}, found {[*found]} on {kind}")


def _left_early(tier: TierConfig, compute: Compute) -> Model:
    from tango_beam.models import early_exit

    if tier.backend == "onnx":
        raise ValueError(f"{tier.source}: expected backend torch for exit_thresholds, found onnx")
    return early_exit.load(tier, compute)


def _shortened(tier: TierConfig, compute: Compute, *, spans: bool) -> Model:
    from tango_beam.models import dynamic_length

    if tier.backend == "onnx":
        raise ValueError(f"{tier.source}: expected backend torch for kept_tokens, found onnx")
    return dynamic_length.load(tier, compute, spans=spans)


def _own(tier: TierConfig, compute: Compute) -> Model:
    from tango_beam.models import bilstm, static

    is_static = model_type(tier.source) == static_config.MODEL_TYPE
    return static.load(tier, compute) if is_static else bilstm.load(tier, compute)


def _spans(tier: TierConfig, compute: Compute) -> Model:
    from tango_beam.models import span_transformer

    if tier.backend == "onnx":
        raise ValueError(f"{tier.source}: expected backend torch for spans, found onnx")
    return span_transformer.to_answer(span_transformer.load(tier, compute))


def _through_onnx(tier: TierConfig, compute: Compute) -> Model:
    from tango_beam.models import onnx, transformer

    if not onnx.is_installed():
        raise ValueError(
            f"{tier.source}: expected onnx and onnxruntime for backend onnx, found neither or one; "
            "pip install 'tango-beam[onnx]'"
        )
    # ONNX Runtime quantizes what was exported in fp32, and has no bf16 on a processor.
    precision = "int8" if compute.precision == "int8" else "fp32"
    model = transformer.load(tier, replace(compute, precision=precision))
    return onnx.OnnxTransformer(model, saturates=machine.int8_saturates())


def model_type(source: str) -> str | None:
    """`model_type` in a folder's config.json; None for what is no folder with one."""
    path = Path(source) / "config.json"
    return json.loads(path.read_text()).get("model_type") if path.is_file() else None


def is_own(source: str) -> bool:
    """Whether a folder holds a model of this package's own families."""
    return model_type(source) in (bilstm_config.MODEL_TYPE, static_config.MODEL_TYPE)


def resolve_device(device: str) -> str:
    """`cpu` or `cuda` for `auto`, `cpu` or `cuda`.

    Raises:
      ValueError: `cuda` where torch sees no GPU, or a name that is none of the three.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"expected device auto, cpu or cuda, found {device!r}")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ValueError("expected a GPU for device cuda, found none that torch can use")
    return "cuda" if available and device != "cpu" else "cpu"


def resolve_precision(precision: str, device: str) -> str:
    """`fp32`, `bf16` or `int8` for `auto` or one of them.

    `auto` is bf16 where a matrix product in it is native: AVX-512 BF16 or AMX on a processor,
    compute capability 8.0 on a GPU. Int8 is for processors.

    Raises:
      ValueError: another precision, or int8 on a GPU.
    """
    import torch

    if precision not in ("auto", "bf16", "fp32", "int8"):
        raise ValueError(f"expected precision auto, bf16, fp32 or int8, found {precision!r}")
    if precision == "int8" and device == "cuda":
        raise ValueError("expected precision auto, bf16 or fp32 on a GPU, found int8")
    if precision != "auto":
        return precision
    if device == "cuda":
        native = not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] >= 8
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"
