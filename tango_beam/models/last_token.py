"""Networks that read their answer off a text's last token, where transformers reads it alone.

A decoder without a padding id in its configuration takes micro-batches of one row in transformers,
since it could not tell where a text ends; here the text's length says so.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch


def logits(network: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Logits of a micro-batch, shape [rows, labels], each row's as if it were alone.

    Args:
      network: a sequence classifier of transformers.
      inputs: what it is called with, by name; without a mask nothing is padding.
    """
    padding = network.config.get_text_config().pad_token_id
    # A padding id that is no token's (LLaMA's -1) is none.
    known = padding is not None and 0 <= padding < len(network.get_input_embeddings().weight)
    if "use_cache" in inspect.signature(network.forward).parameters:
        inputs = {**inputs, "use_cache": False}
    if not known and isinstance(getattr(network, "score", None), torch.nn.Linear):
        return _at_the_end(network, inputs)
    return network(**inputs).logits


def _at_the_end(network: Any, inputs: dict[str, Any]) -> torch.Tensor:
    states, mask = network.base_model(**inputs)[0], inputs.get("attention_mask")
    if mask is None:
        return network.score(states[:, -1])
    last = (mask.sum(1) - 1)[:, None, None].expand(-1, 1, states.shape[-1])
    return network.score(states.gather(1, last)[:, 0])
