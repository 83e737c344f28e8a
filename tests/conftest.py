"""Fixtures for all tests."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from pytestqt.qtbot import QtBot

if TYPE_CHECKING:
    from carl.model import CARLConfig
    from napari_carl.jobs import JobKind
    from napari_carl.session import Session

# Examples take as long as the machine takes; in CI they are the same in every run.
settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("project")

WAIT_MS = 600_000
"""Longest wait for a condition: so long that it is reached only where something is broken, however
busy the machine is."""

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


class EventBot(QtBot):
    """pytest-qt's bot, whose waits end with an event and never by the clock."""

    def waitUntil(  # noqa: N802 - pytest-qt's name
        self, callback: Callable[[], object], *, timeout: int = WAIT_MS
    ) -> None:
        """Process Qt events until a function returns True, or asserts nothing that fails."""
        super().waitUntil(callback, timeout=timeout)

    def wait_for_jobs(self, session: Session, *kinds: JobKind) -> None:
        """Wait until no job of these kinds runs (of any kind, if none is given).

        The results are delivered by then, and what they have caused.
        """
        self.waitUntil(lambda: not any(session.jobs.state(kind) for kind in kinds or _job_kinds()))
        self.deliver_events()

    def wait_for_threads(self, *kinds: JobKind) -> None:
        """Wait until no thread of a job of these kinds runs, and deliver what they have sent."""
        names = {f"carl {kind}" for kind in kinds or _job_kinds()}
        self.waitUntil(lambda: not names & {thread.name for thread in threading.enumerate()})
        self.deliver_events()

    def deliver_events(self) -> None:
        """Deliver all Qt events that are pending, and those that their delivery causes.

        A timer without interval fires when no other event is pending. Three in a row, because a
        window that is laid out anew sends events that cause others.
        """
        from qtpy.QtCore import QTimer

        for _ in range(3):
            fired: list[bool] = []
            QTimer.singleShot(0, lambda fired=fired: fired.append(True))
            self.waitUntil(lambda fired=fired: bool(fired))


def _job_kinds() -> tuple[JobKind, ...]:
    from napari_carl.jobs import JobKind

    return tuple(JobKind)


@pytest.fixture
def qtbot(qapp: object, request: pytest.FixtureRequest) -> EventBot:
    """Sends events to widgets and waits for what they cause."""
    return EventBot(request)
