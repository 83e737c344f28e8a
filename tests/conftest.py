"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from carl.model import CARLConfig

# Examples take as long as the machine takes; in CI they are the same in every run.
settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("project")

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def _home_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what fixtures wider than a test compute out of the folders of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARL_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def carl_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of downloads and of computed features, a new one for every test."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CARL_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def quick_config() -> CARLConfig:
    """Of a network that learns in seconds."""
    from carl.model.config import CARLConfig, SpatialEncoderConfig, SpectralEncoderConfig

    return CARLConfig(
        patch_size=4,
        spec_encoder_kwargs=SpectralEncoderConfig(
            embed_dim=16, n_queries=2, depth=2, num_heads=2, layer_scale=None
        ),
        spat_encoder_kwargs=SpatialEncoderConfig(
            "vit_tiny_patch16_224", 2, {"embed_dim": 24, "num_heads": 2, "depth": 2}
        ),
    )


@pytest.fixture(scope="session")
def carl_reference() -> Path:
    """Folder of small checkpoints with inputs and outputs of the original implementation."""
    return DATA / "carl_reference"


@pytest.fixture(scope="session")
def real_cubes() -> Path:
    """Folder of small real files that may be redistributed."""
    return DATA / "cubes"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real files too large to ship or without a licence to; skip without it."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder 'shared' beside the checkout: large or unlicensed real files")
    return SHARED
