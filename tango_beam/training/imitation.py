"""What a student's layers learn from a teacher's: TinyBERT's losses, and MiniLM's relations.

Jiao et al., "TinyBERT" (2020), equations 7 to 10; Wang et al., "MiniLMv2" (2021), section 3, where
attention heads cannot be matched. Pure functions of torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from tango_beam.training.packed_network import product
from tango_beam.training.shown_encoder import Shown

# Relation heads are no narrower than this.
_RELATION_WIDTH = 8


def layer_map(teacher: int, student: int) -> list[int]:
    """The teacher's layer that each of the student's learns from, counted from 0.

    Evenly spaced, the last from the last: 12 to 4 are 2, 5, 8, 11; 6 to 4 are 1, 2, 4, 5.

    Args:
      teacher: its number of layers.
      student: its number of layers.

    Raises:
      ValueError: a student that is deeper.
    """
    if not 1 <= student <= teacher:
        raise ValueError(f"expected 1 to {teacher} layers, as the teacher has, found {student}")
    return [math.ceil((number + 1) * teacher / student) - 1 for number in range(student)]


def relation_heads(teacher: int, student: int) -> int:
    """Heads that queries, keys and values of two hidden sizes can both be cut in.

    Args:
      teacher: its hidden size.
      student: its hidden size.
    """
    shared = math.gcd(teacher, student)
    wide = [n for n in range(1, shared + 1) if shared % n == 0 and student // n >= _RELATION_WIDTH]
    return max(wide, default=1)


class Imitation(nn.Module):
    """How far a student's layers are from a teacher's, with the projections that compare them.

    Args:
      student: its hidden size.
      teacher: its hidden size.
      layers: the teacher's layer of each of the student's, counted from 0.
      heads: the student's heads and the teacher's, which are compared where they are as many.
    """

    def __init__(
        self, student: int, teacher: int, layers: Sequence[int], heads: tuple[int, int]
    ) -> None:
        super().__init__()
        self.layers = list(layers)
        # One for the embeddings, one for each layer (equations 8 and 9).
        self._projections = [nn.Linear(student, teacher) for _ in range(len(self.layers) + 1)]
        self.projections = nn.ModuleList(self._projections)
        self._matched = heads[0] == heads[1]
        self._relations = relation_heads(teacher, student)

    def forward(self, student: Shown, teacher: Shown) -> torch.Tensor:
        """The loss of a batch: of embeddings, of states, and of scores or relations."""
        pairs = [(student.embeddings, teacher.embeddings)]
        pairs += [(student.states[own], teacher.states[of]) for own, of in enumerate(self.layers)]
        total = torch.zeros((), device=student.embeddings.device)
        for projection, (states, aim) in zip(self._projections, pairs, strict=True):
            projected = product(states, [projection])
            total = total + functional.mse_loss(projected.float(), aim.float())
        if self._matched:
            for own, of in enumerate(self.layers):
                total = total + attention_loss(student.scores[own], teacher.scores[of])
            return total
        last = len(self.layers) - 1
        asked = student.asked[last], teacher.asked[self.layers[last]]
        return total + relation_loss(*asked, self._relations)


def attention_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of scores before the softmax (equation 7)."""
    return functional.mse_loss(student.float(), teacher.float())


def relation_loss(
    student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], heads: int
) -> torch.Tensor:
    """Divergence of what queries, keys and values say of each other (MiniLMv2, equation 6).

    Args:
      student: queries, keys and values, shape [rows, tokens, hidden size] each.
      teacher: likewise; its hidden size may be another one.
      heads: that both are cut in.
    """
    total = torch.zeros((), device=student[0].device)
    for own, of in zip(student, teacher, strict=True):
        logs = _relations(own, heads).log_softmax(dim=-1)
        aim = _relations(of, heads).softmax(dim=-1)
        apart = functional.kl_div(logs, aim, reduction="none").sum(dim=-1)
        total = total + apart.mean()
    return total


def _relations(states: torch.Tensor, heads: int) -> torch.Tensor:
    """Scaled products of each token with each, float32, shape [rows, heads, tokens, tokens]."""
    cut = states.unflatten(-1, (heads, -1)).transpose(1, 2).float()
    return cut @ cut.transpose(2, 3) * cut.shape[-1] ** -0.5
