"""The state of one viewer: its cubes, its classes, its strokes and what was made of them.

No Qt and no napari. Views listen to the signals and call the methods. Long work goes to an injected
runner, see `napari_carl.jobs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from carl.cube import SpectralCube
from carl.errors import CarlError
from carl.progress import Progress
from napari_carl import computations, segmentation
from napari_carl.classes import ClassTable
from napari_carl.computations import ClassSpectrum, Labels, Picture, Tune
from napari_carl.display import DisplayMode, FineTuning
from napari_carl.exports import Exports
from napari_carl.jobs import JobKind, Jobs, Runner
from napari_carl.network import Network
from napari_carl.segmentation import SegmentationResult, Viewport

if TYPE_CHECKING:
    from carl.learning.finetune import FineTuneResult


_OF_NO_CUBE = {JobKind.OPENING, JobKind.PRELOADING, JobKind.AUTOSAVING}


class Session:
    """Everything one viewer knows, and what can be done with it.

    Attributes:
        tasks: the long work that is running.
        classes: the classes one paints.
        cubes: the cubes in the viewer, in order of arrival.
        cube: the one that is worked on, or None.
        automatic: whether the map follows the strokes by itself.
        viewport: what of the cube is seen on the screen; whoever shows it sets it.
        network: the network and what it says about the current cube.
        strokes: (H, W) strokes on the current cube as last seen, 0 = unlabelled; or None.
        counts: painted pixels by class value.
        view: what the cube is shown as.
        band: index of the band that is shown as a single band.
        composition: indices of the bands that are shown as red, green and blue.
        picture: the last picture that was made, or None.
        spectra: mean and deviation of the spectra under the strokes, by class value.
        learned: the segmenter and its map of the current cube, or None.
        fine_tuning: the last run of fine-tuning, or None.
        exports: what is written of all this.
    """

    cubes_changed = Signal()
    cube_changed = Signal()  # another cube, or the same one with other bands
    opened = Signal(object)  # LayerData of a cube from a file, for the viewer to show
    cube_replaced = Signal(object, object)  # SpectralCube before and after an edit
    strokes_changed = Signal()
    display_mode_changed = Signal()
    band_changed = Signal(int)
    picture_changed = Signal()
    cursor_changed = Signal(object)  # (C,) spectrum under the cursor
    spectra_changed = Signal()
    segmentation_changed = Signal()
    segmentation_refined = Signal()  # more of the same map has been drawn
    fine_tuning_changed = Signal()
    failed = Signal(object)  # exception: a CarlError is for the user, any other a defect

    def __init__(self, runner: Runner, model_name: str = "carl-nano", device: str = "auto") -> None:
        self.jobs = Jobs(runner)
        self.jobs.failed.connect(self.failed.emit)
        self.jobs.changed.connect(self._on_task)
        self.classes = ClassTable()
        self.cubes: tuple[SpectralCube, ...] = ()
        self.cube: SpectralCube | None = None
        self.automatic = True
        self.display_mode = DisplayMode.TRUE_COLOUR
        self.band = 0
        self.composition = (0, 0, 0)
        self.viewport: Viewport | None = None
        self.network = Network(self.jobs, model_name, device)
        self.network.changed.connect(self._on_network)
        self.network.embedded.connect(self._learn_again)
        self._device = device
        self.exports = Exports(self)
        self._forget()

    def _forget(self) -> None:
        """Drop everything that belongs to one cube."""
        self.jobs.cancel(*(set(JobKind) - _OF_NO_CUBE))
        self.network.forget()
        self._looked_at: SpectralCube | None = None
        self._map_is_of_strokes = False
        self.strokes: Labels | None = None
        self.counts: dict[int, int] = {}
        self.picture: Picture | None = None
        self.spectra: Mapping[int, ClassSpectrum] = {}
        self.segmentation: SegmentationResult | None = None
        self.fine_tuning: FineTuning | None = None
        self.exports.forget()

    # ---- cubes

    def open_cube(self, path: Path) -> None:
        """Read a cube from its file; `opened` brings the layer to show it with."""
        self.jobs.start(
            JobKind.OPENING,
            lambda progress: computations.open_cube(path, progress),
            self.opened.emit,
        )

    def add_cube(self, cube: SpectralCube) -> None:
        """Take in a cube that has appeared in the viewer, and work on it."""
        if not any(known is cube for known in self.cubes):
            self.cubes = (*self.cubes, cube)
            self.cubes_changed.emit()
        self.select_cube(cube)

    def remove_cube(self, cube: SpectralCube) -> None:
        """Forget a cube that has left the viewer; the last one that is left takes its place."""
        self.cubes = tuple(known for known in self.cubes if known is not cube)
        self.cubes_changed.emit()
        if self.cube is cube:
            self.select_cube(self.cubes[-1] if self.cubes else None)

    def select_cube(self, cube: SpectralCube | None) -> None:
        """Work on this cube; its picture and its features begin by themselves."""
        if cube is self.cube:
            return
        self._forget()
        self.cube = cube
        self.composition = (0, 0, 0) if cube is None else computations.first_composition(cube)
        self.cube_changed.emit()
        self.show_true_colour()
        self._look()

    def edit_cube(self, edit: Callable[[SpectralCube], SpectralCube]) -> None:
        """Say something else of the current cube's bands; strokes stay, features begin anew.

        Args:
            edit: one of `napari_carl.bands`; what it raises is told, and nothing is changed.
        """
        before, strokes = self.cube, self.strokes
        if before is None:
            return
        try:
            after = edit(before)
        except CarlError as error:
            self.failed.emit(error)
            return
        self.cubes = tuple(after if known is before else known for known in self.cubes)
        self.cube_replaced.emit(before, after)
        self.cubes_changed.emit()
        self.select_cube(after)
        if strokes is not None:
            self.set_strokes(strokes)

    # ---- pictures and spectra

    def show_true_colour(self) -> None:
        """Show the cube as an eye would see it."""
        self._show(DisplayMode.TRUE_COLOUR, computations.picture_true_colour)

    def show_bands(self, red: int, green: int, blue: int) -> None:
        """Show three bands, given by index, as red, green and blue."""
        bands = self.composition = (red, green, blue)
        self._show(
            DisplayMode.THREE_BANDS,
            lambda cube, progress: computations.picture_bands(cube, bands, progress),
        )

    def show_band(self, band: int) -> None:
        """Show a single band, given by index."""
        self.jobs.cancel(JobKind.PICTURE)
        self._set_display_mode(DisplayMode.SINGLE_BAND)
        if band != self.band:
            self.band = band
            self.band_changed.emit(band)

    def show_embedding(self) -> None:
        """Show the principal components of the embedding, coarsely until all of it is there."""
        features = self.network.preview_features
        if features is not None:
            self._show(
                DisplayMode.EMBEDDING,
                lambda _, progress: computations.picture_embedding(features, progress),
            )

    def _show(
        self, view: DisplayMode, draw: Callable[[SpectralCube, Progress], Iterator[Picture]]
    ) -> None:
        cube = self.cube
        if cube is not None:
            self._set_display_mode(view)
            self.jobs.stream(
                JobKind.PICTURE, lambda progress: draw(cube, progress), self._set_picture
            )

    def _set_display_mode(self, view: DisplayMode) -> None:
        if view != self.display_mode:
            self.display_mode = view
            self.display_mode_changed.emit()

    def set_picture(self, picture: Picture) -> None:
        """Take a picture that is there already in the place of the one being made."""
        self.jobs.cancel(JobKind.PICTURE)
        self._set_picture(picture)

    def _set_picture(self, picture: Picture) -> None:
        self.picture = picture
        self.picture_changed.emit()

    def point_at(self, row: int, column: int) -> None:
        """Ask for the spectrum of a pixel; `cursor_changed` brings it. Outside, nothing happens."""
        cube = self.cube
        if cube is not None and 0 <= row < cube.shape[0] and 0 <= column < cube.shape[1]:
            self.jobs.start(
                JobKind.CURSOR,
                lambda progress: computations.cursor_spectrum(cube, row, column, progress),
                self.cursor_changed.emit,
            )

    # ---- strokes

    def set_strokes(self, labels: NDArray[Any]) -> None:
        """Take note of the strokes as they are now; cheap and silent if nothing has changed.

        Args:
            labels: (H, W) integers, 0 = unlabelled; copied, so that painting may go on.
        """
        before = np.zeros((), np.uint8) if self.strokes is None else self.strokes
        if (labels == before).all():
            return
        self.strokes = np.array(labels)
        painted = np.bincount(self.strokes[self.strokes > 0])
        self.counts = {int(value): int(painted[value]) for value in np.flatnonzero(painted)}
        self.classes.include(self.counts)
        self.strokes_changed.emit()
        self._ask_for_spectra(self.strokes)
        if self.automatic:
            self.learn()

    def _ask_for_spectra(self, strokes: Labels) -> None:
        cube = self.cube
        if cube is not None:
            self.jobs.start(
                JobKind.SPECTRA,
                lambda progress: computations.class_spectra(cube, strokes, progress),
                self._set_spectra,
            )

    def _set_spectra(self, spectra: Mapping[int, ClassSpectrum]) -> None:
        self.spectra = spectra
        self.spectra_changed.emit()

    # ---- network and map

    @property
    def can_learn(self) -> bool:
        """Whether there is a cube with wavelengths and strokes of two classes on it."""
        return self.has_wavelengths and len(self.counts) >= 2

    @property
    def has_wavelengths(self) -> bool:
        """Whether there is a cube whose wavelengths are known."""
        return self.cube is not None and self.cube.wavelengths is not None

    def _look(self) -> None:
        """Make ready for strokes: spectra and textures at once, then the network, which is slow."""
        cube = self.cube
        if cube is not None and self.has_wavelengths:
            self.jobs.stream(
                JobKind.PRECOMPUTING,
                lambda progress: segmentation.look(cube, progress),
                self._set_looked_at,
            )

    def _set_looked_at(self, looked_at: SpectralCube) -> None:
        self._looked_at = looked_at
        self._learn_again()
        if looked_at is self.cube:
            self.network.embed(looked_at)

    def choose_network(self, name: str) -> None:
        """Take another network; the map is made without its features until they are there."""
        self.network.choose(name)
        self._learn_again()
        if self.cube is not None and self._looked_at is self.cube:
            self.network.embed(self.cube)

    def _on_network(self) -> None:
        if self.display_mode is DisplayMode.EMBEDDING:
            self.show_embedding()

    def _learn_again(self) -> None:
        """Make the map again from the same strokes, as more is known now."""
        if self._map_is_of_strokes:
            self.learn()

    def _on_task(self, task: str) -> None:
        if task == JobKind.FINE_TUNING:
            self.fine_tuning_changed.emit()

    def set_automatic(self, automatic: bool) -> None:
        """Let the map follow the strokes by itself, or only when `learn` is called."""
        self.automatic = automatic
        if automatic:
            self.learn()

    def learn(self) -> None:
        """Make a map from the strokes; the one from before stays until the new one is there.

        As long as the cube is being looked at, the map is a coarse preview, and as long as the
        network is at work, it is made without its features; it is made again when they are there,
        approximate ones first.
        """
        cube, strokes, looked_at = self.cube, self.strokes, self._looked_at
        if cube is None or strokes is None or not self.can_learn:
            self.jobs.cancel(JobKind.SEGMENTING)
            return
        self._map_is_of_strokes = True
        if looked_at is None:
            return
        classes = tuple(self.classes)
        if looked_at is not cube:
            self.jobs.stream(
                JobKind.SEGMENTING,
                lambda progress: segmentation.preview(looked_at, strokes, classes, progress),
                self._set_segmentation,
            )
            return
        features = self.network.features
        before = None if self.segmentation is None else self.segmentation.labels
        self.jobs.stream(
            JobKind.SEGMENTING,
            lambda progress: segmentation.learn(
                cube, strokes, features, classes, before, self._seen, progress
            ),
            self._set_segmentation,
        )

    def _seen(self) -> Viewport | None:
        """What is seen now; asked from other threads."""
        return self.viewport

    def _set_segmentation(self, learned: SegmentationResult) -> None:
        """Take a map, or note that more of the one that is known has been drawn."""
        if learned is self.segmentation:
            self.segmentation_refined.emit()
        else:
            self.segmentation = learned
            self.segmentation_changed.emit()

    def fine_tune(self, tune: Tune) -> None:
        """Train the network itself on the strokes, beside everything else."""
        cube, strokes, model = self.cube, self.strokes, self.network.model
        if cube is not None and strokes is not None and model is not None and self.can_learn:
            run = FineTuning(tune)
            self.fine_tuning = run
            self.jobs.start(
                JobKind.FINE_TUNING,
                lambda progress: computations.fine_tune(
                    cube, strokes, model, tune, run.steps.append, progress
                ),
                self._set_fine_tuned,
            )

    def _set_fine_tuned(self, result: FineTuneResult) -> None:
        if self.fine_tuning is not None:
            self.fine_tuning = replace(self.fine_tuning, result=result)
        if result.kept:
            self.network.take(result.model)
            if self.cube is not None:
                self.network.embed(self.cube)

    def load_predictor(self, path: Path) -> None:
        """Map the current cube with a saved segmenter or a trained head.

        Its classes replace those of the table. Painting begins anew with them, from strokes alone.
        """
        if (cube := self.cube) is not None:
            self._map_is_of_strokes = False
            self.jobs.stream(
                JobKind.SEGMENTING,
                lambda progress: segmentation.segment_with_file(
                    path, cube, self._device, self._seen, progress
                ),
                self._set_loaded,
            )

    def _set_loaded(self, loaded: SegmentationResult) -> None:
        if loaded is not self.segmentation:
            self.classes.replace(loaded.segmenter.classes)
            self.classes.include(self.counts)
        self._set_segmentation(loaded)
