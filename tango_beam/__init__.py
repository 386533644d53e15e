"""TangoBERT's cascade of a small and a large model as an Apache Beam job: the table of contents.

    from tango_beam import Cascade, load_cascade

    batches | Cascade(load_cascade("sst2"))

Each name is imported when it is first used, so that Beam and torch are not loaded before.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tango_beam.cascade import Cascade
    from tango_beam.cascade_directory import load_cascade, save_cascade
    from tango_beam.config import CascadeConfig, Compute, TierConfig

__all__ = [
    "Cascade",
    "CascadeConfig",
    "Compute",
    "TierConfig",
    "load_cascade",
    "save_cascade",
]

_HOMES = {
    "Cascade": "tango_beam.cascade",
    "CascadeConfig": "tango_beam.config",
    "Compute": "tango_beam.config",
    "TierConfig": "tango_beam.config",
    "load_cascade": "tango_beam.cascade_directory",
    "save_cascade": "tango_beam.cascade_directory",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
