"""A training's state on disk, so that one that was killed goes on from where it was saved last."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tango_beam import machine
from tango_beam.errors import RefusedError
from tango_beam.training.options import TrainingOptions

logger = logging.getLogger(__name__)

STATE_FILE = "_training.safetensors"
LOGITS_FOLDER = "_teacher_logits"
TEXTS_FOLDER, STATES_FOLDER = "_augmented", "_first_states"
_FOLDERS = (LOGITS_FOLDER, TEXTS_FOLDER, STATES_FOLDER)
STAGES = ("general", "layers")
# What lies in --output while a training lasts.
KEPT = (STATE_FILE, *_FOLDERS, *(f"_{stage}.safetensors" for stage in STAGES))
EVERY_SECONDS = 300.0
_RANDOM, _RANDOM_GPU = "random", "random_gpu"


class State:
    """What a training needs to go on: weights, the optimizer's, random numbers, how far it is.

    Args:
      options: name the output directory, in which the state lies while the training lasts.
      network: in training.
      optimizer: over its parameters.
      more: tensors that the training keeps besides, in place.
      steps: of the whole training; another number is another training.
      stage: of a training in several, the last of which has no name.

    Raises:
      RefusedError: the state on disk is of a training with other options.
    """

    def __init__(
        self,
        options: TrainingOptions,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        more: Sequence[torch.Tensor],
        steps: int,
        stage: str = "",
    ) -> None:
        moved = dict.fromkeys(("resume", "output", "teacher_logits"))
        stated = {**asdict(options), **moved, "steps": steps, "stage": stage}
        text = json.dumps(stated, sort_keys=True)
        self._fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._path = Path(options.output) / STATE_FILE
        self._network, self._optimizer, self._more = network, optimizer, more
        self._on_gpu = next(network.parameters()).is_cuda
        self._saved = time.monotonic()
        self.step, self.history, self.losses = 0, list[dict[str, float]](), list[float]()
        if options.resume and self._path.is_file():
            self._load()

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, value in self._network.state_dict().items():
            yield f"network.{name}", value
        for number, kept in self._optimizer.state_dict()["state"].items():
            yield from ((f"optimizer.{number}.{name}", value) for name, value in kept.items())
        yield from ((f"more.{number}", value) for number, value in enumerate(self._more))
        yield _RANDOM, torch.get_rng_state()
        if self._on_gpu:
            yield _RANDOM_GPU, torch.cuda.get_rng_state()

    def save(self) -> None:
        """Writes the state, where the last time was minutes ago."""
        if time.monotonic() - self._saved < EVERY_SECONDS:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        reached = {"step": self.step, "history": self.history, "losses": self.losses}
        partial = self._path.with_suffix(".partial")
        # Tied weights are one tensor under two names, which the format does not hold.
        tensors = {name: value.detach().clone() for name, value in self._tensors()}
        stated = {"fingerprint": self._fingerprint, "reached": json.dumps(reached)}
        save_file(tensors, partial, stated)
        partial.replace(self._path)
        machine.give_back_memory()
        self._saved = time.monotonic()

    @torch.no_grad()
    def _load(self) -> None:
        with safe_open(self._path, "pt") as stored:
            stated = stored.metadata()
            if stated["fingerprint"] != self._fingerprint:
                raise RefusedError(
                    f"--resume: expected the options that {self._path} was begun with, found "
                    "others; give an empty --output to begin anew"
                )
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        self._network.load_state_dict(_below("network", tensors))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _below("optimizer", tensors).items():
            parameter, what = name.split(".", 1)
            moments.setdefault(int(parameter), {})[what] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        for number, value in enumerate(self._more):
            value.copy_(tensors[f"more.{number}"])
        torch.set_rng_state(tensors[_RANDOM])
        if self._on_gpu and _RANDOM_GPU in tensors:
            torch.cuda.set_rng_state(tensors[_RANDOM_GPU])
        reached: dict[str, Any] = json.loads(stated["reached"])
        self.step, self.history, self.losses = (
            reached[name] for name in ("step", "history", "losses")
        )
        logger.info("goes on behind step %s", f"{self.step:,}")


class Stage:
    """One of a training's stages, and the weights that it ends with.

    Args:
      options: name the output directory, in which the weights lie while the training lasts.
      name: one of `STAGES`.
    """

    def __init__(self, options: TrainingOptions, name: str) -> None:
        self._folder = Path(options.output)
        self._path = self._folder / f"_{name}.safetensors"
        self.name, self._resumed = name, options.resume

    def load(self, network: torch.nn.Module) -> bool:
        """Whether the stage was done before; its weights are then in the network."""
        if not self._resumed or not self._path.is_file():
            return False
        network.load_state_dict(load_file(self._path))
        return True

    def done(self, network: torch.nn.Module) -> None:
        """Keeps the weights, and drops the state within the stage."""
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        weights = network.state_dict().items()
        save_file({name: weight.contiguous() for name, weight in weights}, partial)
        partial.replace(self._path)
        (self._folder / STATE_FILE).unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Removes what a training that is done needs no more."""
    for name in KEPT:
        if name not in _FOLDERS:
            (folder / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    start = f"{prefix}."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}
