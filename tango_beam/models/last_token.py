"""Networks that read their answer off a text's last token, where transformers reads it alone.

A decoder without a padding id in its configuration takes micro-batches of one row in transformers,
since it could not tell where a text ends; here the text's length says so. An encoder with a decoder
looks for the token of the end, and takes no micro-batch whose texts spell it unequally often.
"""

from __future__ import annotations

from typing import Any

import torch


def logits(network: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits of a micro-batch, shape [rows, labels], each row's as if it were alone.

    Args:
      network: a sequence classifier of transformers.
      inputs: what it is called with, by name; without a mask nothing is padding.
    """
    config = network.config.get_text_config()
    if config.is_encoder_decoder and config.eos_token_id is not None:
        ends = (inputs["input_ids"] == config.eos_token_id).sum(1)
        if (ends != ends[0]).any():
            return _by_number(network, inputs, ends)
    if config.pad_token_id is None and isinstance(getattr(network, "score", None), torch.nn.Linear):
        return _at_the_end(network, inputs)
    return network(**inputs).logits


def _by_number(network: Any, inputs: dict[str, torch.Tensor], ends: torch.Tensor) -> torch.Tensor:
    parts = [torch.nonzero(ends == count).flatten() for count in ends.unique()]
    each = [network(**{name: rows[part] for name, rows in inputs.items()}).logits for part in parts]
    return torch.cat(each)[torch.argsort(torch.cat(parts))]


def _at_the_end(network: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    rows = torch.arange(len(ids), device=ids.device)
    last = ids.shape[1] - 1 if mask is None else mask.sum(1) - 1
    return network.score(network.base_model(**inputs)[0][rows, last])
