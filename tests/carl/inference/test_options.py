from __future__ import annotations

import subprocess
import sys

import pytest

from carl.errors import CarlError
from carl.inference.options import ComputeOptions


def test_unknown_options_are_refused() -> None:
    assert ComputeOptions("auto", "turbo").speed == "turbo"
    with pytest.raises(CarlError, match="'fast' is not a speed: choose exact, turbo"):
        ComputeOptions("auto", "fast")  # type: ignore[arg-type]
    with pytest.raises(CarlError, match="'half' is not a precision: choose auto, float32, bf16"):
        ComputeOptions("half", "exact")  # type: ignore[arg-type]


def test_options_are_imported_without_pytorch() -> None:
    code = "import sys, carl.inference.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
