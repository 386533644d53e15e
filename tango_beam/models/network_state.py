"""Networks that keep something of one call for the next: BigBird's kind of attention, rotations."""

from __future__ import annotations

import threading
from typing import Any


class Fresh:
    """A context in which such a network computes alone, and as if it had never computed before.

    Otherwise a text's scores would hang on those that were scored before it. Networks without such
    state are not held up.

    Args:
      network: a model of transformers, just loaded.
    """

    def __init__(self, network: Any) -> None:
        modules = list(network.modules())
        # BigBird leaves sparse attention for good at the first short text.
        sparse = getattr(network.config, "attention_type", None) == "block_sparse"
        self._sparse = [m for m in modules if sparse and hasattr(m, "set_attention_type")]
        # Dynamic rotations stretch with the longest text so far.
        stretched = (m for m in modules if hasattr(m, "max_seq_len_cached"))
        self._rotations = [(m, m.max_seq_len_cached, _buffers(m)) for m in stretched if _grows(m)]
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if self._sparse or self._rotations:
            self._lock.acquire()
        for module in self._sparse:
            module.set_attention_type("block_sparse")
        for module, longest, buffers in self._rotations:
            module.max_seq_len_cached = longest
            for name, buffer in buffers.items():
                setattr(module, name, buffer.clone().to(getattr(module, name).device))

    def __exit__(self, *_: object) -> None:
        if self._sparse or self._rotations:
            self._lock.release()


def _buffers(module: Any) -> dict[str, Any]:
    return {name: buffer.clone() for name, buffer in module.named_buffers(recurse=False)}


def _grows(module: Any) -> bool:
    kinds = getattr(module, "rope_type", None)
    stated = {*kinds.values()} if isinstance(kinds, dict) else {kinds}
    return bool(stated & STRETCHED)


# Kinds of rotary positions that hang on the longest text.
STRETCHED = {"dynamic", "longrope"}
