"""What comes back of rows that an endpoint was asked for, and what it took."""

from __future__ import annotations

from dataclasses import dataclass

from tango_beam.arrays import Float32
from tango_beam.errors import JobError


class EndpointError(JobError):
    """The endpoint answers nobody, or refuses everybody: the run stops, and can go on later."""


@dataclass(frozen=True, eq=False)
class Reply:
    """What an endpoint said of one row; either a label or an error is there.

    Attributes:
      label: one of the endpoint's.
      probabilities: of the labels, float32, shape [labels]; 1 and 0 where the server gives none.
      error: why there is no label.
      calls: requests that were sent for it; 0 where it is cached.
      tokens_in: of the prompts that its answer took, once upon a time where it comes from the
        cache; 0 where an equal row was asked for at the same time, which has them.
      tokens_out: of the answers, likewise.
      cached: it was asked for earlier, or for an equal row at the same time: nothing is to pay.
    """

    label: str | None = None
    probabilities: Float32 | None = None
    error: str | None = None
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cached: bool = False


@dataclass(frozen=True)
class Totals:
    """What a client has done so far.

    Attributes:
      calls: requests that were sent.
      tokens_in: of prompts, by what the server says.
      tokens_out: of answers.
      cached: rows that took no request.
      retries: requests that were sent for a row after its first one.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    retries: int = 0
