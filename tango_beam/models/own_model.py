"""This package's own families: what they share, and their checkpoints.

A checkpoint is a folder with config.json, model.safetensors, and maybe a tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from tango_beam.config import Compute, TierConfig
from tango_beam.models.protocol import Classifier
from tango_beam.models.tokens import TextTokenizer, read_backend


class OwnModel(Classifier):
    """A classifier with its tokenizer, ready to answer and to be trained.

    Args:
      config: its shape, a dataclass.
      network: on the processor, in float32.
      tokenizer: makes the tokens.
      tier: what the cascade says of it: max_length, batch_tokens, threads.
      compute: device and precision, both settled.

    Attributes:
      model_type: the family's name in config.json.
    """

    model_type: str

    def __init__(
        self,
        config: Any,
        network: torch.nn.Module,
        tokenizer: Tokenizer,
        tier: TierConfig | None = None,
        compute: Compute = Compute("cpu", "fp32"),  # noqa: B008 - frozen
    ) -> None:
        tier = tier or TierConfig("")
        super().__init__(
            config.labels,
            _text_tokenizer(tokenizer, config, tier.max_length),
            network,
            device=compute.device,
            precision=compute.precision,
            batch_tokens=tier.batch_tokens,
            threads=tier.threads or 1,
        )
        self.config = config
        dtype = torch.bfloat16 if compute.precision == "bf16" else torch.float32
        self.network: Any = network.to(device=compute.device, dtype=dtype).eval()

    def save(
        self, folder: Path, dtype: torch.dtype = torch.float32, *, tokenizer: bool = True
    ) -> None:
        """Writes config.json, model.safetensors and (if asked) the tokenizer into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        stated = {"model_type": self.model_type, **asdict(self.config)}
        (folder / "config.json").write_text(json.dumps(stated, indent=2) + "\n")
        weights = self.network.state_dict().items()
        save_file({n: w.to(dtype).contiguous() for n, w in weights}, folder / "model.safetensors")
        if tokenizer:
            self.tokenizer.save(folder)


M = TypeVar("M", bound=OwnModel)


def load(
    family: type[M],
    shape: Callable[..., Any],
    network: Callable[[Any], torch.nn.Module],
    tier: TierConfig,
    compute: Compute,
) -> M:
    """Loads what `OwnModel.save` wrote.

    Args:
      family: what it becomes.
      shape: makes its config of the fields in config.json.
      network: makes its network of that.
      tier: its source is a folder of this machine; `tokenizer` names the folder of tokenizer.json
        for a student that reads its teacher's pieces; a larger max_length than the config's is
        passed over.
      compute: device and precision, both settled; there is no int8.

    Raises:
      ValueError: weights that do not fit the config; both are shown.
      FileNotFoundError: a file is missing; its path is in the message.
    """
    folder = Path(tier.source)
    config = _read_config(folder, shape)
    made, weights = network(config), load_file(folder / "model.safetensors")
    try:
        made.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except RuntimeError as error:
        raise ValueError(f"{folder}: weights do not fit config.json: {error}") from error
    return family(config, made, _read_tokenizer(tier), tier, compute)


def load_tokenizer(tier: TierConfig) -> TextTokenizer:
    """The tokenizer that a tier's model is given; no weights are read.

    Raises:
      FileNotFoundError: a file is missing; its path is in the message.
    """
    config = _read_config(Path(tier.source), SimpleNamespace)
    return _text_tokenizer(_read_tokenizer(tier), config, tier.max_length)


def _read_config(folder: Path, shape: Callable[..., Any]) -> Any:
    fields = json.loads((folder / "config.json").read_text())
    fields.pop("model_type")
    return shape(**{**fields, "labels": tuple(fields["labels"])})


def _read_tokenizer(tier: TierConfig) -> Tokenizer:
    return read_backend(Path(tier.tokenizer or tier.source))


def _text_tokenizer(backend: Tokenizer, config: Any, max_length: int | None) -> TextTokenizer:
    limit = min(max_length or config.max_length, config.max_length)
    return TextTokenizer(backend, limit, config.pad_id)
