"""Opening of files as cubes: the choice among several, label maps beside a cube, registration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psygnal import Signal

from carl.cube import SpectralCube
from carl.io import ChoiceError, read_labels
from carl.progress import Progress
from carl.spectra.registration import register_bands
from napari_carl import pictures
from napari_carl.jobs import JobKind
from napari_carl.layer_data import LayerData, cube_layer, label_layer
from napari_carl.session import Session


@dataclass(frozen=True, eq=False)
class PendingChoice:
    """A file that may be several cubes, of which the user has to choose one.

    Attributes:
        path: the file or the folder.
        error: what can be chosen.
        chosen: arguments of `carl.read_cube` that were chosen before.
    """

    path: Path
    error: ChoiceError
    chosen: Mapping[str, Any] = field(default_factory=dict)


class Opening:
    """Opens files of which something has to be chosen, and what belongs to an opened cube.

    Attributes:
        pending: the choice that is asked for, or None.
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        self.pending: PendingChoice | None = None
        self._session = session

    def open(self, path: Path, **chosen: Any) -> None:
        """Read a cube in the background; asks for a choice if the file may be several cubes.

        Args:
            path: file or folder.
            chosen: arguments of `carl.read_cube`.
        """
        self._ask(None)
        self._session.jobs.start(
            JobKind.OPENING,
            lambda progress: _open(path, chosen, progress),
            self._on_opened,
        )

    def ask(self, path: Path, error: ChoiceError) -> None:
        """Ask which of several cubes a file is to be opened as."""
        self._ask(PendingChoice(path, error))

    def choose(self, index: int) -> None:
        """Open the file as one of the cubes that it may be."""
        if self.pending is not None:
            path, error, chosen = self.pending.path, self.pending.error, self.pending.chosen
            self.open(path, **{**chosen, error.argument: error.choices[index].value})

    def cancel(self) -> None:
        """Do not open the file."""
        self._ask(None)

    def open_labels(self, variable: str) -> None:
        """Add a label map that the file of the current cube holds as a layer."""
        cube = self._session.cube
        if cube is not None:
            self._session.jobs.start(
                JobKind.READING_LABELS,
                lambda _: _open_labels(cube, variable),
                self._session.opened.emit,
            )

    def register(self) -> None:
        """Shift the bands of the current cube so that they fit each other, as a further cube."""
        cube = self._session.cube
        if cube is not None:
            self._session.jobs.start(
                JobKind.OPENING,
                lambda progress: cube_layer(register_bands(cube, progress=progress)),
                self._session.opened.emit,
            )

    def _ask(self, pending: PendingChoice | None) -> None:
        if pending is not self.pending:
            self.pending = pending
            self.changed.emit()

    def _on_opened(self, opened: LayerData | PendingChoice) -> None:
        if isinstance(opened, PendingChoice):
            self._ask(opened)
        else:
            self._session.opened.emit(opened)


def _open(path: Path, chosen: Mapping[str, Any], progress: Progress) -> LayerData | PendingChoice:
    """Return the layer of a cube, or the choice that is missing: it is no error of the job."""
    try:
        return pictures.open_cube(path, progress, **chosen)
    except ChoiceError as error:
        return PendingChoice(path, error, chosen)


def _open_labels(cube: SpectralCube, variable: str) -> LayerData:
    label_map = read_labels(cube.metadata["path"], cube.shape, variable)
    return label_layer(f"{cube.name} {variable}", label_map)
