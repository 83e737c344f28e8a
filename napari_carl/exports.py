"""What leaves a session as files: maps of one cube or of many, and the segmenter itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from carl.cube import SpectralCube
from carl.errors import Cancelled, CarlError, CubeError
from carl.io import (
    DEFAULT_CONTENTS,
    ExportContent,
    LabelClass,
    export_results,
    is_readable,
    read_cube,
)
from carl.progress import Progress, subprogress
from napari_carl.jobs import JobKind

if TYPE_CHECKING:
    from napari_carl.segmentation import Labels, Trained
    from napari_carl.session import Session


@dataclass(frozen=True)
class Exported:
    """The files an export has written, and what kept it from writing more."""

    files: tuple[Path, ...]
    failures: tuple[CarlError, ...] = ()


class Exports:
    """Writes the results of a session.

    Attributes:
        files: those last written.
    """

    changed = Signal()
    saved = Signal(object)  # Path of a segmenter or a trained head

    def __init__(self, session: Session) -> None:
        self._session = session
        self.forget()

    def forget(self) -> None:
        """Drop what belongs to one cube."""
        self.files: tuple[Path, ...] = ()

    @property
    def segmenter(self) -> Trained | None:
        """What makes the map; None as long as there is none or a preview only."""
        learned = self._session.segmentation
        return None if learned is None or learned.is_preview else learned.segmenter

    def write(self, folder: Path, contents: Collection[ExportContent] = DEFAULT_CONTENTS) -> None:
        """Write the map of the current cube.

        Args:
            folder: where to.
            contents: what to write of it.
        """
        cube, segmenter, learned = self._session.cube, self.segmenter, self._session.segmentation
        if cube is not None and segmenter is not None and learned is not None:
            classes = tuple(self._session.classes)
            drawn = learned.labels if learned.drawn.is_set() else None
            self._session.jobs.start(
                JobKind.EXPORTING,
                lambda progress: export_cube(
                    folder, cube, segmenter, classes, contents, progress, drawn=drawn
                ),
                self._set_exported,
            )

    def write_folder(
        self, cubes: Path, folder: Path, contents: Collection[ExportContent] = DEFAULT_CONTENTS
    ) -> None:
        """Map every cube in a folder and write the maps into another, which may be the same."""
        segmenter = self.segmenter
        if segmenter is not None:
            classes = tuple(self._session.classes)
            self._session.jobs.start(
                JobKind.EXPORTING,
                lambda progress: export_folder(
                    folder, cubes, segmenter, classes, contents, progress
                ),
                self._set_exported,
            )

    def _set_exported(self, exported: Exported) -> None:
        self.files = exported.files
        self.changed.emit()
        for failure in exported.failures:
            self._session.failed.emit(failure)

    def save_segmenter(self, path: Path) -> None:
        """Save what makes the map, network included, for other cubes and for the shell."""
        segmenter = self.segmenter
        if segmenter is not None:
            self._session.jobs.start(
                JobKind.SAVING, lambda _: segmenter.save(path), lambda _: self.saved.emit(path)
            )


def export_cube(
    folder: Path,
    cube: SpectralCube,
    segmenter: Trained,
    classes: Sequence[LabelClass],
    contents: Collection[ExportContent],
    progress: Progress,
    *,
    drawn: Labels | None = None,
) -> Exported:
    """Write what is wanted of the map of a cube; all files or none.

    Args:
        folder: where to.
        cube: of the map.
        segmenter: to make the map with.
        classes: names and colours.
        contents: what to write.
        progress: told often; cancels by raising.
        drawn: (H, W) the map, where it has been made already.
    """
    labels = drawn
    if labels is None:
        labels = segmenter.predict(cube, progress=subprogress(progress, 0.0, 0.5)).labels
    stem = cube.name.replace("/", "_")
    files = export_results(
        folder,
        stem,
        labels,
        classes,
        cube,
        contents=contents,
        progress=subprogress(progress, 0.5, 1.0),
    )
    return Exported(tuple(files))


def export_folder(
    folder: Path,
    cubes: Path,
    segmenter: Trained,
    classes: Sequence[LabelClass],
    contents: Collection[ExportContent],
    progress: Progress,
) -> Exported:
    """Map the cubes of a folder one after the other; one that cannot be mapped is passed over.

    Raises:
        CubeError: there is no cube in the folder.
    """
    paths = cubes_in(cubes)
    files: list[Path] = []
    failures: list[CarlError] = []
    for i, path in enumerate(paths):
        here = subprogress(progress, i / len(paths), (i + 1) / len(paths))
        here(0.0, f"{path.name}, {i + 1} of {len(paths)}")
        try:
            done = export_cube(folder, read_cube(path), segmenter, classes, contents, here)
        except Cancelled:
            raise
        except CarlError as error:
            failures.append(error)
        else:
            files += done.files
    return Exported(tuple(files), tuple(failures))


def cubes_in(folder: Path) -> list[Path]:
    """The cubes that lie in a folder, each by one of its files, in order of their names.

    Label maps that were exported into it are left out.

    Raises:
        CubeError: there is none.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        is_ours = path.name.startswith(".") or path.stem.endswith("_labels")
        if path.is_file() and not is_ours and is_readable(path):
            found.setdefault(path.stem, path)
    if not found:
        raise CubeError(f"{folder} holds no cubes that can be read: choose another folder.")
    return list(found.values())
