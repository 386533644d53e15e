"""An encoder on a processor that rows leave where they are sure, in whole micro-batches.

DeeBERT (Xin et al., 2020) knows batches of one: a batch goes on until its last row leaves. Here a
layer computes keys and values of all rows, then its first tokens alone; the exit behind it reads
those, and the rest of the layer runs only for the rows that stay.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from tango_beam import routing
from tango_beam.arrays import Bool, Float32, Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.models import encoder_layers, exits, transformer
from tango_beam.models.exits import Exits
from tango_beam.models.logits import each_micro_batch
from tango_beam.models.packed import Layer, PackedEncoder, PackedTransformer, fits
from tango_beam.models.packed_rows import PackedRows
from tango_beam.models.tokens import TextTokenizer, Tokens

# How sure an exit is (see `routing.confidence`).
KIND = "entropy"
_WINDOW = 16_384


class ExitingEncoder(PackedEncoder):
    """A packed encoder with exits.

    Args:
      network: as for `PackedEncoder`.
      behind: one exit behind each layer but the last.
      thresholds: of their confidence, one for all exits or one for each.
      segments: the network is told first from second texts.
      int8: computes the layers' products in int8, the rest in the network's own precision.
    """

    def __init__(
        self,
        network: Any,
        behind: Exits,
        thresholds: Sequence[float],
        *,
        segments: bool = True,
        int8: bool = False,
    ) -> None:
        super().__init__(network, segments=segments, int8=int8, apart=True)
        layers = len(self._layers) - 1
        if len(behind) != layers:
            raise ValueError(f"expected an exit behind {layers} layers, found {len(behind)}")
        self._exits = behind
        self.open(thresholds)

    def open(self, thresholds: Sequence[float]) -> None:
        """Lets rows leave from these thresholds on, one for all exits or one for each.

        Raises:
          ValueError: another number of them.
        """
        count, given = len(self._exits), [*thresholds]
        if len(given) not in (1, count):
            raise ValueError(f"expected 1 or {count} exit_thresholds, found {len(given)}")
        self._thresholds = given * (count if len(given) == 1 else 1)

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
        for number, threshold in enumerate(self._thresholds):
            if not len(packed.order):
                break
            if threshold >= 1:
                states = self._shut(self._layers[number], states, packed)
                continue
            order = packed.order
            states, packed, logits, stays = self._past(number, threshold, states, packed)
            found.append((order[~stays], logits[torch.from_numpy(~stays)], number + 1))
        if len(packed.order):
            last = self._through(self._layers[-1], states, packed, self._added(packed))
            logits = encoder_layers.answer(self._network, last)
            found.append((packed.order, logits, len(self._layers)))
        order = np.argsort(np.concatenate([places for places, _, _ in found]))
        depths = np.concatenate([np.full(len(places), depth) for places, _, depth in found])
        outputs = torch.cat([logits.float() for _, logits, _ in found]).numpy()
        return outputs[order], depths[order]

    @torch.inference_mode()
    def everywhere(self, tokens: Tokens, rows: Int64, pad_id: int) -> Float32:
        """What every exit and the whole say of rows, float32, shape [rows, exits + 1, labels]."""
        packed = self._pack(tokens, rows, pad_id)
        states = self._base.embeddings(**packed.given)[0]
        found = []
        for number in range(len(self._thresholds)):
            states, packed, logits, _ = self._past(number, 1.0, states, packed)
            found.append(logits)
        last = self._through(self._layers[-1], states, packed, self._added(packed))
        found.append(encoder_layers.answer(self._network, last))
        together = torch.stack([logits.float() for logits in found], dim=1).numpy()
        return together[np.argsort(packed.order)]

    def _shut(self, layer: Layer, states: torch.Tensor, packed: PackedRows) -> torch.Tensor:
        """States of all tokens after a layer whose exit nobody takes."""
        projected = layer.project(states, states, self._heads)
        mixed = self.attended(projected, packed, self._added(packed), packed.sizes)
        return self.fed(layer, mixed, states)

    def _past(
        self, number: int, threshold: float, states: torch.Tensor, packed: PackedRows
    ) -> tuple[torch.Tensor, PackedRows, torch.Tensor, Bool]:
        """Takes rows through a layer, and lets those leave whose exit is sure.

        Returns:
          States of all tokens of the rows that stay; how those are packed; what the exit says of
          all rows; and which stay.
        """
        layer = self._layers[number]
        assert layer.asks is not None
        asking = states[packed.first]
        query, key, value = layer.project(states, asking, self._heads)
        added = self._added(packed)
        mixed = self.attended((query, key, value), packed, added, packed.counts)
        first = self.fed(layer, mixed, asking)
        logits = self._exits.logits(number, first)
        sure = routing.confidence(routing.softmax(logits.float().numpy()), KIND)
        stays = routing.is_complex(sure, threshold)
        if not stays.any():
            return states[:0], PackedRows(packed.order[:0], [], [], {}), logits, stays
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
        return found, packed, logits, stays

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
      tier: what the cascade says of it: exit_thresholds, batch_tokens, threads.
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
        self._behind, self._at = behind, tier.exit_thresholds or (1.0,)
        super().__init__(labels, tokenizer, network, tier, precision, segments=segments)

    def _packed(self, network: Any, *, segments: bool, int8: bool) -> PackedEncoder:
        return ExitingEncoder(network, self._behind, self._at, segments=segments, int8=int8)

    def at(self, thresholds: Sequence[float]) -> ExitingTransformer:
        """The same model, of the same weights, with other thresholds."""
        made = copy.copy(self)
        made.encoder = copy.copy(self.encoder)
        assert isinstance(made.encoder, ExitingEncoder)
        made.encoder.open(thresholds)
        return made

    @property
    def exits(self) -> int:
        """How many exits it has."""
        return len(self._behind)

    def whole(self, tokens: Tokens, rows: Int64) -> Float32:
        """What all layers say of one micro-batch, float32, shape [rows, labels]."""
        assert isinstance(self.encoder, ExitingEncoder)
        return self.encoder.everywhere(tokens, rows, self.tokenizer.pad_id)[:, -1]

    def everywhere(self, texts: pa.Array, pairs: pa.Array | None = None) -> Float32:
        """What every exit and the whole say of texts, shape [rows, exits + 1, labels]."""
        encoder = self.encoder
        assert isinstance(encoder, ExitingEncoder)
        found = np.empty((len(texts), self.exits + 1, len(self.labels)), np.float32)
        for at in range(0, len(texts), _WINDOW):
            part = found[at : at + _WINDOW]
            both = [texts, *([] if pairs is None else [pairs])]
            tokens = self.tokenize(*(column.slice(at, _WINDOW) for column in both))

            def look(rows: Int64, tokens: Tokens = tokens, part: Float32 = part) -> None:
                part[rows] = encoder.everywhere(tokens, rows, self.tokenizer.pad_id)

            each_micro_batch(self, tokens, look)
        return found


def load(tier: TierConfig, compute: Compute) -> ExitingTransformer:
    """Loads a checkpoint with exits, to be left at `tier.exit_thresholds`.

    Raises:
      ValueError: it has no exits, or is no encoder that can be packed on this device.
    """
    model = transformer.load(tier, compute)
    int8 = model.precision == "int8"
    if model.device != "cpu" or not fits(model.network, int8=int8):
        raise ValueError(
            f"{tier.source}: expected an encoder like BERT on a processor for exit_thresholds, "
            f"found {type(model.network).__name__} on {model.device}"
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
