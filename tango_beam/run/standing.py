"""How a run stands: ended, under way or cut short, with all that is committed of it so far."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from tango_beam.errors import RefusedError
from tango_beam.io import plan
from tango_beam.run import lease, receipts
from tango_beam.run.commit import summarize
from tango_beam.run.layout import MANIFEST, RECEIPTS, RUN_FILE
from tango_beam.run.manifest import Manifest, read_manifest
from tango_beam.run.receipts import READ, Receipt
from tango_beam.run.run_file import Run, load_run
from tango_beam.run.store import Store

COMPLETE, TOO_MANY_DEAD = "complete", "failed: too many dead rows"
UNDER_WAY, CUT_SHORT = "under way", "cut short"
# A run that ends while it is looked at takes its receipts away; then its manifest is there.
_LOOKS = 3


@dataclass(frozen=True)
class Standing:
    """How a run stands.

    Attributes:
      state: one of `COMPLETE`, `TOO_MANY_DEAD`, `UNDER_WAY` and `CUT_SHORT`.
      manifest: as stored; before the end, what it would be if the run ended with what is committed.
      input_done: share of the input, by bytes, whose last checkpoint is committed.
      checkpoints: that are committed; None once the run has ended.
    """

    state: str
    manifest: Manifest
    input_done: float = 1.0
    checkpoints: int | None = None

    @property
    def ended(self) -> bool:
        """Whether the manifest is the one that is stored."""
        return self.state in (COMPLETE, TOO_MANY_DEAD)

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        return {**vars(self), "manifest": self.manifest.to_json()}


def look(store: Store) -> Standing:
    """Looks at a run without disturbing it.

    Raises:
      RefusedError: there is none.
    """
    for _ in range(_LOOKS):
        manifest, failed = read_manifest(store)
        if manifest is not None:
            return Standing(TOO_MANY_DEAD if failed else COMPLETE, manifest)
        if not store.read_json(RUN_FILE):
            raise RefusedError(
                f"{store.url}: expected the output directory of pipelines.classify, found neither "
                f"{MANIFEST} nor a {RUN_FILE} of a run that has begun"
            )
        with contextlib.suppress(FileNotFoundError):
            standing = _so_far(store, load_run(store))
            if not store.has_ended():
                return standing
    raise RefusedError(f"{store.url}: expected a run, found one that is replaced at this moment")


def _so_far(store: Store, run: Run) -> Standing:
    state = UNDER_WAY if lease.is_held(store) else CUT_SHORT
    names = store.names(RECEIPTS)
    done = receipts.committed(names)
    counted = receipts.load(store, receipts.of_attempts(names, done))
    return Standing(state, summarize(run, counted), _input_done(run, counted), len(done))


def _input_done(run: Run, counted: list[Receipt]) -> float:
    items = run.items()
    ends = (one.checkpoint for one in counted if one.step == READ and one.last)
    ended = {plan.item_of(checkpoint)[0] for checkpoint in ends}
    weight = sum(item.weight for item in items)
    return sum(items[number].weight for number in ended) / weight if weight else 0.0
