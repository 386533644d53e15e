"""Products of a network's linear layers on a processor, in its own precision or in int8.

Weights are laid out once, when a model is loaded, as oneDNN's products want them; biases and
activations are computed within those products.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.nn import functional

from tango_beam import machine

_gelu_ = torch.ops.aten.gelu_
# Activations by their names in a checkpoint: oneDNN's name, its variant, and torch's, in place.
ACTIVATIONS: dict[str, tuple[str, str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "gelu": ("gelu", "none", _gelu_),
    "gelu_new": ("gelu", "tanh", lambda states: _gelu_(states, approximate="tanh")),
    "gelu_pytorch_tanh": ("gelu", "tanh", lambda states: _gelu_(states, approximate="tanh")),
    "relu": ("relu", "", torch.relu_),
}

# A lower bound of the outputs of the activations in `ACTIVATIONS`.
_LOWEST = -0.171


class Product:
    """A linear layer, or several side by side, with its activation; takes over their weights.

    Args:
      layers: of one input; their outputs are joined.
      activation: name in `ACTIVATIONS`, or None.
      int8: quantizes the weights by channel, and the inputs by token when they come.
      activated: inputs come out of an activation, which goes no lower than `_LOWEST`, and may be
        overwritten.
    """

    def __init__(
        self,
        layers: list[torch.nn.Linear],
        activation: str | None = None,
        *,
        int8: bool = False,
        activated: bool = False,
    ) -> None:
        name, variant, function = ACTIVATIONS[activation] if activation else ("none", "", None)
        self._activation: Callable[[torch.Tensor], torch.Tensor] | None = function
        self._after: tuple[str, list, str] = name, [], variant
        self._weight = torch.cat([layer.weight.detach() for layer in layers])
        self._bias = torch.cat([layer.bias.detach() for layer in layers])
        self._int8 = _Int8Product(self._weight, self._bias, activated=activated) if int8 else None
        self._laid_out = not int8 and _has_onednn(self._weight.dtype)
        if int8:
            self._weight = self._weight.new_empty(0)
        elif self._laid_out:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight)
        for layer in layers:
            layer.weight = torch.nn.Parameter(layer.weight.new_empty(0), requires_grad=False)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        if self._laid_out:
            return torch.ops.mkldnn._linear_pointwise(
                states, self._weight, self._bias, *self._after
            )
        if self._int8 is not None:
            product = self._int8(states)
        else:
            product = functional.linear(states, self._weight, self._bias)
        return self._activation(product) if self._activation else product


class _Int8Product:
    """A linear layer in int8: weights by channel, inputs by token.

    With a scale for every token (LLM.int8, Dettmers et al., 2022, section 3.1), what a row shares a
    micro-batch with does not move its scores, and one token with large values does not cost all
    others their precision. Of 2,372 answers of the embedded second tier 5 are not those of fp32;
    33 with `torch.ao.quantization.quantize_dynamic`, 12 to 21 with one scale and all eight bits.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, *, activated: bool = False
    ) -> None:
        weight, self._bias, self._activated = weight.float(), bias.float(), activated
        self._scales = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        rounded = (weight / self._scales[:, None]).round().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        # Inputs are unsigned to oneDNN; where sums saturate, a bit of them is left out.
        self._most, self._zero = (63, 64) if machine.int8_saturates() else (127, 128)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        states = states.float()
        largest = states.amax(dim=-1, keepdim=True)
        if self._activated:
            largest.clamp_(min=-_LOWEST)
        else:
            torch.maximum(largest, -states.amin(-1, keepdim=True), out=largest).clamp_(min=1e-12)
        scale = largest / self._most
        scaled = torch.mul(states, scale.reciprocal(), out=states if self._activated else None)
        # By way of int8, since torch takes ten times as long from float32 to uint8. Bytes wrap.
        rounded = scaled.round_().to(torch.int8).view(torch.uint8).add_(self._zero)
        sums = torch.ops.onednn.qlinear_pointwise(
            rounded,
            1.0,
            self._zero,
            self._packed,
            self._scales,
            self._zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return torch.addcmul(self._bias, sums, scale, out=sums)


@cache
def has_int8() -> bool:
    """Whether int8 products on weights that are laid out work here (torch.compile's own, too)."""
    try:
        made = _Int8Product(torch.eye(16), torch.ones(16))
        product = made(torch.full((2, 16), -3.0))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    return bool((product + 2).abs().max() < 0.1)


def quantized(network: Any) -> Any:
    """A network with linear layers in int8: weights by channel, inputs by micro-batch.

    A row's scores hang a little on the rows that it shares a micro-batch with, since an input's
    scale is that of all of them (torch.ao.quantization.quantize_dynamic).
    """
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch names torchao as its successor, which is no part
        return quantize_dynamic(network, {torch.nn.Linear: per_channel_dynamic_qconfig})


def _has_onednn(dtype: torch.dtype) -> bool:
    """Whether products on weights that are laid out work here (they are torch.compile's own)."""
    try:
        weight = torch.ops.mkldnn._reorder_linear_weight(torch.eye(16, dtype=dtype))
        ones = torch.ones(2, 16, dtype=dtype)
        product = torch.ops.mkldnn._linear_pointwise(ones, weight, ones[0], "relu", [], "")
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return bool((product == 2).all())
