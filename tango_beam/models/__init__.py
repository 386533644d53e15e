"""Model families behind one protocol, loaded once a process.

`load` is the one door: it reads a checkpoint's config.json, picks the family and keeps the result
for the life of the process, so that every stage and every thread of a worker shares one copy.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tango_beam import memory
from tango_beam.config import int8_is_whole
from tango_beam.models.base import Answers, Model, describe
from tango_beam.models.bilstm_config import MODEL_TYPE
from tango_beam.models.tokens import Tokens

if TYPE_CHECKING:
    from tango_beam.models.transformer import Transformer

__all__ = [
    "Answers",
    "Model",
    "Tokens",
    "describe",
    "load",
    "resolve_device",
    "resolve_precision",
    "vocabulary",
]

logger = logging.getLogger(__name__)

_loaded: dict[tuple, Model] = {}
_vocabularies: dict[tuple, str] = {}
_lock = threading.Lock()


def load(
    source: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    max_length: int | None = None,
    temperature: float = 1.0,
    confidence: str = "max_softmax",
    tokenizer: str | None = None,
    revision: str | None = None,
    batch_tokens: int | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Model:
    """Loads a checkpoint, or returns the copy that this process holds already.

    Args:
      source: folder with config.json and safetensors, or a Hugging Face id.
      device: `cpu`, `cuda`, or `auto` for the GPU where there is one.
      precision: `fp32`, `bf16`, `int8` (transformers on a processor; other families compute as
        with `auto`), or `auto` for bf16 where the hardware computes in it natively.
      max_length: reads at most so many tokens of a text.
      temperature: divides the logits before the softmax.
      confidence: `max_softmax`, `margin` or `entropy`.
      tokenizer: folder of the tokenizer, where it is not `source`.
      revision: commit of a Hugging Face id.
      batch_tokens: padded tokens in a micro-batch; what suits the family by default.
      backend: `torch`, the default, or `onnx` (transformers on a processor, fp32 or int8).
      threads: for torch to score one micro-batch with; one by default.

    Raises:
      ValueError: a checkpoint that does not fit; OSError: one that is not there.
    """
    memory.bound_kernels()
    device = resolve_device(device)
    precision = resolve_precision(precision, device)
    settings = (temperature, confidence, batch_tokens, threads or 1)
    key = (source, device, precision, max_length, tokenizer, revision, backend, *settings)
    with _lock:
        if key not in _loaded:
            model = _load(source, device, precision, max_length, tokenizer, revision, backend)
            model.temperature, model.confidence, model.batch_tokens, model.threads = settings
            _loaded[key] = model
            logger.info("process %d loaded %s: %s", os.getpid(), source, describe(model))
        return _loaded[key]


def _load(
    source: str,
    device: str,
    precision: str,
    max_length: int | None,
    tokenizer: str | None,
    revision: str | None,
    backend: str | None,
) -> Model:
    onnx = backend == "onnx"
    if onnx and (device != "cpu" or model_type(source) == MODEL_TYPE):
        raise ValueError(
            f"{source}: expected a transformer on a processor for backend onnx, found "
            f"{model_type(source)} on {device}"
        )
    # The families import here: torch and transformers take seconds, and only workers need them.
    if model_type(source) == MODEL_TYPE:
        from tango_beam.models import bilstm

        return bilstm.load_bilstm(
            Path(source),
            device=device,
            precision=resolve_precision("auto", device) if precision == "int8" else precision,
            max_length=max_length,
            tokenizer_folder=Path(tokenizer) if tokenizer else None,
        )
    from tango_beam.models import transformer

    computed = "fp32" if onnx else precision
    model = transformer.load_transformer(
        source, device=device, precision=computed, max_length=max_length, revision=revision
    )
    if onnx:
        return _through_onnx(source, model, precision)
    model.pack()
    return model


def _through_onnx(source: str, model: Transformer, precision: str) -> Model:
    from tango_beam.models import onnx

    if not onnx.is_installed():
        raise ValueError(
            f"{source}: expected onnx and onnxruntime for backend onnx, found neither or one; "
            "pip install 'tango-beam[onnx]'"
        )
    return onnx.OnnxTransformer(model, int8=precision == "int8", whole=int8_is_whole())


def vocabulary(
    source: str,
    *,
    max_length: int | None = None,
    tokenizer: str | None = None,
    revision: str | None = None,
) -> str:
    """The `vocabulary` of the model that `load` gives for the same arguments, without its weights.

    The fingerprint covers max_length too: tokens that were cut elsewhere are not the same.

    Raises:
      ValueError: a checkpoint that does not fit; OSError: one that is not there.
    """
    key = (source, max_length, tokenizer, revision)
    with _lock:
        if key not in _vocabularies:
            _vocabularies[key] = _fingerprint(source, max_length, tokenizer, revision)
        return _vocabularies[key]


def _fingerprint(
    source: str, max_length: int | None, tokenizer: str | None, revision: str | None
) -> str:
    if model_type(source) == MODEL_TYPE:
        from tango_beam.models import bilstm

        folder = Path(tokenizer) if tokenizer else None
        found = bilstm.load_tokenizer(Path(source), max_length=max_length, tokenizer_folder=folder)
    else:
        from tango_beam.models import transformer

        found = transformer.load_tokenizer(source, max_length=max_length, revision=revision)
    return found.fingerprint


def model_type(source: str) -> str | None:
    """`model_type` in a folder's config.json; None for what is no folder with one."""
    path = Path(source) / "config.json"
    return json.loads(path.read_text()).get("model_type") if path.is_file() else None


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
