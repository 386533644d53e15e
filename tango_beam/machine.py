"""What this machine is: processor, cores, versions; and memory, which is handed back to it."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from tango_beam.json_record import JsonRecord

KERNELS = "128"
KERNELS_OF_A_THREAD = "128"
_PACKAGES = ("tango-beam", "apache-beam", "pyarrow", "torch", "transformers", "tokenizers")
_INT8_INSTRUCTIONS = {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
# Instructions that add products of uint8 and int8 up in 32 bits.
_EXACT_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


# What a process may grow by before it gives memory back.
SPARE_BYTES = 256 << 20
_least = 0  # bytes that it held when it last gave some back

# glibc's malloc.h: trim no heap under 2 GiB, map no block apart, one heap for all threads.
_KEEPING = ((-1, (1 << 31) - 1), (-4, 0), (-8, 1))


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _described(*keys: str) -> str:
    """The first value of one of these keys in /proc/cpuinfo; empty where there is none."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""


def int8_features() -> list[str]:
    """What decides how this processor computes int8 products; they round differently."""
    return [
        platform.machine(),
        *sorted(_INT8_INSTRUCTIONS & {*_described("flags", "Features").split()}),
    ]


def int8_saturates() -> bool:
    """Whether sums of products of uint8 and int8 saturate at 16 bits on this processor.

    One side must then be kept to seven bits for the sums to be exact.
    """
    return not _EXACT_INT8 & {*int8_features()}


@dataclass(frozen=True)
class Facts(JsonRecord):
    """What times were measured on: processor, cores, load before, accelerator, versions."""

    processor: str
    cores: int
    threads: int
    load_average: float | None
    accelerator: str | None
    device: str
    precision: str
    torch: str
    python: str
    system: str


def facts(device: str, precision: str) -> Facts:
    """What this machine is, and how busy.

    Args:
      device: `cpu` or `cuda`, where the tiers computed.
      precision: `fp32`, `bf16` or `int8`; `by tier` where each tier has one of its own.
    """
    import torch

    return Facts(
        processor=_described("model name") or platform.processor() or platform.machine(),
        cores=cores(),
        threads=torch.get_num_threads(),
        load_average=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        accelerator=torch.cuda.get_device_name() if device == "cuda" else None,
        device=device,
        precision=precision,
        torch=str(torch.__version__),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that move a result."""
    known = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            known[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return known


def bound_kernels() -> None:
    """Bounds the kernels that are kept, unless the environment says how many already.

    OneDNN compiles one for every shape of a product and keeps 1,024, and so does torch beside it,
    in each thread. Micro-batches have many shapes, so the kernels took 350 MB over two million
    rows, and another 430 MB in bf16. Call it before torch's first product.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KERNELS)
    os.environ.setdefault("LRU_CACHE_CAPACITY", KERNELS_OF_A_THREAD)


def give_back_memory() -> None:
    """Returns free pages to the system, where the C library can (glibc's `malloc_trim`).

    Micro-batches have many shapes, so the allocator's heap fills with holes that fit none of the
    next: 100,000 rows of SST-2 in fp32 left 500 MB of them. A call takes milliseconds.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


def bound_memory() -> None:
    """Gives memory back when the process has grown by 256 MiB since it last did.

    To be called between two batches: each finds the pages of the one before it, and no more than
    that is kept for nothing. Where the system does not say how large a process is, every call gives
    back.
    """
    global _least
    size = _resident()
    if size is None or size > _least + SPARE_BYTES:
        give_back_memory()
        _least = _resident() or 0
    else:
        _least = min(_least, size)


def _resident() -> int | None:
    """Bytes of memory that this process holds; None where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def keep_memory() -> None:
    """Lets a process keep the pages that it frees, where the C library can (glibc's `mallopt`).

    What a training's step or a micro-batch frees, the next one asks for: some hundred megabytes,
    which would be mapped again page by page. That took a sixth of a step, and half the time of a
    static first tier.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for setting, value in _KEEPING:
        mallopt(setting, value)


@cache
def _trim() -> ctypes._NamedFuncPointer | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None  # musl, macOS, Windows
