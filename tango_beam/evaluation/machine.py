"""What the times of a report were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from tango_beam.summary import cores


def facts(device: str, precision: str) -> dict[str, Any]:
    """Processor, cores, versions and load, as JSON holds them.

    Args:
      device: `cpu` or `cuda`, where the tiers computed.
      precision: `fp32` or `bf16`.
    """
    import torch

    return {
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "accelerator": torch.cuda.get_device_name() if device == "cuda" else None,
        "device": device,
        "precision": precision,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    """The processor's name; Linux tells it in /proc only."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
