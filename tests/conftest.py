"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Examples take as long as the machine takes; in CI they are the same in every run.
settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("project")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and reference numbers, beside the project where it exists."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder 'shared' beside the project: real cubes, reference numbers")
    return SHARED
