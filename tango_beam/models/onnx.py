"""Transformers through ONNX Runtime, on a processor: the extra `onnx`.

The checkpoint is read from safetensors as ever and exported when it is loaded; no ONNX file is read
from elsewhere, and none is kept.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tango_beam.arrays import Float32, Int64
from tango_beam.models import encoder_layers, last_token
from tango_beam.models.protocol import Classifier
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import Transformer, padded_inputs

_OPSET = 17
# Logits of both engines differ by less, in fp32.
_ROUNDING = 1e-2
_OTHERWISE = "expected an export to ONNX that answers as torch does (backend torch does)"


def is_installed() -> bool:
    """Whether the extra `onnx` is there."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


class OnnxTransformer(Classifier):
    """A sequence-classification transformer that ONNX Runtime computes, in fp32 or int8.

    Int8: weights by channel, inputs by micro-batch, as `quantize_dynamic` does
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).

    Args:
      model: loaded in fp32; its precision says in what it is to be computed. Its weights are given
        up.
      saturates: sums of products of eight by eight bits saturate here
        (`machine.int8_saturates`).
    """

    def __init__(self, model: Transformer, *, saturates: bool = False) -> None:
        super().__init__(
            model.labels,
            model.tokenizer,
            model.network,
            precision=model.precision,
            batch_tokens=model.batch_tokens,
            threads=model.threads,
        )
        self._segments, self._left, self._alike = model.segments, model.pads_left, model.alike
        known, words = encoder_layers.known(model.network), model.trial()
        expected = None if known else model.forward(words, np.arange(len(words)))
        with tempfile.TemporaryDirectory() as folder:
            path = _export(model, Path(folder))
            if model.precision == "int8":
                path = _quantize(path, saturates=saturates)
            self._session = _session(path)
        # A network that knows no segments has no such input, whatever its tokenizer says.
        self._names = {given.name for given in self._session.get_inputs()}
        if expected is not None:
            self._compare(words, expected)

    def _compare(self, words: Tokens, expected: Float32) -> None:
        """Holds what was exported, by way of one text's shape, against torch on texts of others.

        Raises:
          ValueError: a network whose steps hang on the shape.
        """
        try:
            found = self.forward(words, np.arange(len(words)))
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{_OTHERWISE}, found: {reason[:200]}") from error
        moved = float(np.abs(found - expected).max())
        if self.precision == "fp32" and moved > _ROUNDING:
            raise ValueError(f"{_OTHERWISE}, found a difference of {moved:.3g}")

    usual_tokens = 1 << 12

    def cut(self, lengths: Int64, budget: int, threads: int) -> list[Int64]:
        """Micro-batches of nearly one length."""
        return self._alike.cut(lengths, budget, stretch=1.05)

    def forward(self, tokens: Tokens, rows: Int64) -> Float32:
        """Logits for one micro-batch, float32, shape [rows, labels]."""
        logits = np.empty((len(rows), len(self.labels)), np.float32)
        for part in self._alike.parts(tokens, rows):
            inputs = padded_inputs(
                tokens, rows[part], self.tokenizer.pad_id, self._segments, left=self._left
            )
            given = {name: inputs[name] for name in inputs.keys() & self._names}
            logits[part] = self._session.run(None, given)[0]
        return logits


class _Logits(torch.nn.Module):
    def __init__(self, network: Any, names: list[str]) -> None:
        super().__init__()
        self._network, self._names = network, names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return last_token.logits(self._network, dict(zip(self._names, tensors, strict=True)))


def _export(model: Transformer, folder: Path) -> Path:
    """Writes the network as ONNX, rows and width left open."""
    path = folder / "model.onnx"
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if model.segments else [])]
    one = torch.ones(2, 9, dtype=torch.int64)
    given = {"input_ids": one.clone(), "attention_mask": one, "token_type_ids": one - 1}
    if model.alike.end is not None:
        given["input_ids"][:, -1] = model.alike.end
    model.network.set_attn_implementation("eager")  # fused attention has no ONNX operator
    encoder_layers.shorten(model.network)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer's, on constants that are constant here
        torch.onnx.export(
            _Logits(model.network, names),
            tuple(given[name] for name in names),
            str(path),
            input_names=names,
            output_names=["logits"],
            dynamic_axes={
                **{name: {0: "rows", 1: "width"} for name in names},
                "logits": {0: "rows"},
            },
            opset_version=_OPSET,
            dynamo=False,
        )
    return path


def _quantize(path: Path, *, saturates: bool) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = path.with_name("int8.onnx")
    with _quiet():
        quantize_dynamic(
            path,
            small,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=saturates,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
    return small


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps a hint of the quantizer's, on a step that is not needed here, off people's screens."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _session(path: Path) -> Any:
    """A session whose calls take one thread each: `thread_pool` runs several at once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
