"""Keeps resident memory flat: what the C library and oneDNN hold on to is bounded."""

from __future__ import annotations

import ctypes
import os
from functools import cache

KERNELS = "128"


def bound_kernels() -> None:
    """Bounds the kernels that oneDNN keeps, unless the environment says how many already.

    It compiles one for every shape of a product and keeps 1,024: micro-batches come in ever other
    shapes, which took 350 MB over two million rows. To be called before torch's first product.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KERNELS)


def give_back() -> None:
    """Returns free pages to the system, where the C library can (glibc's `malloc_trim`).

    Micro-batches come in ever other shapes, so the allocator's heap fills with holes that fit
    none of the next: 100,000 rows of SST-2 in fp32 left 500 MB of them. A call takes milliseconds.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> ctypes._NamedFuncPointer | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None  # musl, macOS, Windows
