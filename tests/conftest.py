"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and reference numbers, beside the project where it exists."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder 'shared' beside the project: real cubes, reference numbers")
    return SHARED
