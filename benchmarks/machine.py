"""Describe the machine and the versions a table was measured with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine_line() -> str:
    """Return processor, cores, and the versions of Python and of the libraries."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line
            for line in info.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        processor = names[0].split(":")[1].strip() if names else processor
    libraries = " · ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "timm"))
    return f"{processor}, {os.cpu_count()} cores · Python {platform.python_version()} · {libraries}"
