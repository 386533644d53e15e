"""An encoder on a processor that rows leave where they are sure, in whole micro-batches.

DeeBERT (Xin et al., 2020) knows batches of one: a batch goes on until its last row leaves. Here a
layer computes keys and values of all rows, then its first tokens alone; the exit behind it reads
those, and the rest of the layer runs only for the rows that stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tango_beam.arrays import Bool, Float32, Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.models import encoder_layers, exits, transformer
from tango_beam.models.exits import Exits, entropy
from tango_beam.models.packed import Layer, PackedEncoder, PackedTransformer, fits
from tango_beam.models.packed_rows import PackedRows
from tango_beam.models.tokens import TextTokenizer, Tokens


class ExitingEncoder(PackedEncoder):
    """A packed encoder with exits.

    Args:
      network: as for `PackedEncoder`.
      behind: one exit behind each layer but the last.
      most: entropy in nats under which a row leaves.
      segments: the network is told first from second texts.
      int8: computes the layers' products in int8, the rest in the network's own precision.
    """

    def __init__(
        self,
        network: Any,
        behind: Exits,
        most: float,
        *,
        segments: bool = True,
        int8: bool = False,
    ) -> None:
        super().__init__(network, segments=segments, int8=int8, apart=True)
        if len(behind) != len(self._layers) - 1:
            layers = len(self._layers) - 1
            raise ValueError(f"expected an exit behind {layers} layers, found {len(behind)}")
        self._exits, self._most = behind, most

    @torch.inference_mode()
    def __call__(self, tokens: Tokens, rows: Int64, pad_id: int) -> Float32:
        """Logits of some rows, each of the exit that it left at, float32, shape [rows, labels]."""
        return self.answered(tokens, rows, pad_id)[0]

    @torch.inference_mode()
    def answered(self, tokens: Tokens, rows: Int64, pad_id: int) -> tuple[Float32, Int64]:
        """Logits of some rows, and how many layers each went through, int64, shape [rows]."""
        packed = self._pack(tokens, rows, pad_id)
        states = self._base.embeddings(**packed.given)[0]
        found: list[tuple[Int64, torch.Tensor, int]] = []
        for number, layer in enumerate(self._layers[:-1]):
            if not len(packed.order):
                break
            states, packed, left = self._past(number, layer, states, packed)
            found.append((*left, number + 1))
        if len(packed.order):
            last = self._through(self._layers[-1], states, packed, self._added(packed))
            logits = encoder_layers.answer(self._network, last)
            found.append((packed.order, logits, len(self._layers)))
        order = np.argsort(np.concatenate([places for places, _, _ in found]))
        depths = np.concatenate([np.full(len(places), depth) for places, _, depth in found])
        outputs = torch.cat([logits.float() for _, logits, _ in found]).numpy()
        return outputs[order], depths[order]

    def _past(
        self, number: int, layer: Layer, states: torch.Tensor, packed: PackedRows
    ) -> tuple[torch.Tensor, PackedRows, tuple[Int64, torch.Tensor]]:
        """Takes rows through a layer; gives the states of those that stay, and who leaves.

        Returns:
          States of all tokens of the rows that stay; how those are packed; the places of the rows
          that leave, and their logits.
        """
        assert layer.asks is not None
        asking = states[packed.first]
        query, key, value = layer.project(states, asking, self._heads)
        added = self._added(packed)
        mixed = self.attended((query, key, value), packed, added, packed.counts)
        first = self.fed(layer, mixed, asking)
        logits = self._exits.logits(number, first)
        stays: Bool = (entropy(logits) >= self._most).numpy()
        left = packed.order[~stays], logits[torch.from_numpy(~stays)]
        if not stays.any():
            return states[:0], PackedRows(packed.order[:0], [], [], {}), left
        if not stays.all():
            packed, places = packed.keep(stays)
            states, key, value = states[places], key[places], value[places]
            first = first[torch.from_numpy(stays)]
            added = self._added(packed)
        behind = torch.ones(len(states), dtype=torch.bool)
        behind[packed.first] = False
        found = torch.empty_like(states)
        found[packed.first] = first
        if behind.any():
            found[behind] = self._rest(layer, states[behind], key, value, packed, added)
        return found, packed, left

    def _rest(
        self,
        layer: Layer,
        asking: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        packed: PackedRows,
        added: Any,
    ) -> torch.Tensor:
        """States after a layer of all tokens but the first of each text."""
        assert layer.asks is not None
        query = layer.asks(asking).unflatten(1, (self._heads, -1))
        asked = [size - rows for size, rows in zip(packed.sizes, packed.counts, strict=True)]
        mixed = self.attended((query, key, value), packed, added, asked, skipped=1)
        return self.fed(layer, mixed, asking)


class ExitingTransformer(PackedTransformer):
    """A transformer on a processor that rows leave where they are sure.

    Args:
      labels: the labels' names, in the order of the outputs.
      tokenizer: makes the tokens.
      network: gives up its weights; `packed.fits` it.
      tier: what the cascade says of it: exit_entropy, batch_tokens, threads.
      precision: `fp32`, `bf16` or `int8`.
      behind: its layers; of the network's precision.
      segments: the network is told first from second texts.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        tokenizer: TextTokenizer,
        network: Any,
        tier: TierConfig,
        precision: str,
        behind: Exits,
        *,
        segments: bool = True,
    ) -> None:
        self._exits, self._most = behind, tier.exit_entropy or 0.0
        super().__init__(labels, tokenizer, network, tier, precision, segments=segments)

    def _packed(self, network: Any, *, segments: bool, int8: bool) -> PackedEncoder:
        return ExitingEncoder(network, self._exits, self._most, segments=segments, int8=int8)


def load(tier: TierConfig, compute: Compute) -> ExitingTransformer:
    """Loads a checkpoint with exits, to be left at `tier.exit_entropy`.

    Raises:
      ValueError: it has no exits, or is no encoder that can be packed on this device.
    """
    model = transformer.load(tier, compute)
    int8 = model.precision == "int8"
    if model.device != "cpu" or not fits(model.network, int8=int8):
        raise ValueError(
            f"{tier.source}: expected an encoder like BERT on a processor for exit_entropy, found "
            f"{type(model.network).__name__} on {model.device}"
        )
    found = exits.load(Path(tier.source), model.network.dtype)
    return ExitingTransformer(
        model.labels,
        model.tokenizer,
        model.network,
        tier,
        model.precision,
        found,
        segments=model.segments,
    )
