"""The network of a session: which one, and what it says about the current cube."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from carl.cube import SpectralCube
from napari_carl import computations
from napari_carl.computations import Features
from napari_carl.jobs import JobKind, Jobs

if TYPE_CHECKING:
    from carl.model import CARL


class Network:
    """A network by its name, loaded when it is first needed, and its features of one cube.

    Attributes:
        name: of the network, as `carl.load_model` takes it.
        model: the network itself once it is loaded, or None.
        device: the device it computes on, in words; empty before.
        features: what it says about the current cube, or None.
        preview_features: the same, or as long as they are not there, those of few pixels; or None.
        is_tuned: whether it has been fine-tuned to strokes.
    """

    changed = Signal()  # another network, or features have come or gone
    embedded = Signal()  # the features of the cube are there

    def __init__(self, tasks: Jobs, name: str = "carl-nano", device: str = "auto") -> None:
        self._jobs = tasks
        self._wanted_device = device
        self.name = name
        self.model: CARL | None = None
        self.device = ""
        self.is_tuned = False
        self.forget()

    def forget(self) -> None:
        """Drop what belongs to one cube."""
        self.features: Features | None = None
        self.preview_features: Features | None = None

    def choose(self, name: str) -> None:
        """Take another network; what the one before said is dropped."""
        self._jobs.cancel(JobKind.EMBEDDING, JobKind.FINE_TUNING)
        self.name, self.model, self.device, self.is_tuned = name, None, "", False
        self.forget()
        self.changed.emit()

    def take(self, tuned: CARL) -> None:
        """Put a network that was fine-tuned in the place of the one it comes from."""
        self.model, self.is_tuned = tuned, True

    def embed(self, cube: SpectralCube) -> None:
        """ViewportGetter at a cube; a first preview_features comes early."""
        model, name, device = self.model, self.name, self._wanted_device
        self._jobs.stream(
            JobKind.EMBEDDING,
            lambda progress: computations.compute_features(cube, model, name, device, progress),
            self._set_features,
        )

    def _set_features(self, features: Features) -> None:
        self.model, self.device = features.model, features.device
        if features.is_preview and self.features is not None:  # there is better
            return
        self.preview_features = features
        if not features.is_preview:
            self.features = features
        self.changed.emit()
        if not features.is_preview:
            self.embedded.emit()
