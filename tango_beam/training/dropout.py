"""Dropout for training without padding."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional


class Dropout:
    """Dropout from a random byte for each number; torch's draws took an eighth of a step.

    A GPU draws by itself. On a processor the share that is dropped is a multiple of 1/256, 0.1016
    for 0.1, and what is drawn follows torch's own random state, which a training that goes on after
    a kill has back. To be made by one thread at a time, and used by one.

    Args:
      active: whether it drops out anything at all.
    """

    def __init__(self, *, active: bool) -> None:
        self._drawn = np.random.SFC64(int(torch.randint(1 << 62, ()))) if active else None

    def __call__(self, states: torch.Tensor, share: float) -> torch.Tensor:
        """The states, a share of them drawn to be 0 and the others made larger for it."""
        dropped = round(share * 256)
        if self._drawn is None or not dropped:
            return states
        if states.device.type != "cpu":
            return functional.dropout(states, share)
        count = states.numel()
        drawn = self._drawn.random_raw(-(-count // 8)).view(np.uint8)[:count]
        kept = torch.from_numpy(drawn).view(states.shape) >= dropped
        return states * kept.to(states.dtype).mul_(256 / (256 - dropped))
