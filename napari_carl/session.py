"""State of one viewer: cubes, classes, strokes, features and the segmentation.

An evented model without Qt and napari: views connect to its signals and call its methods. After
each change of state, `napari_carl.scheduling` decides which background jobs run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from carl.cube import SpectralCube
from carl.io import DEFAULT_CONTENTS, ExportContent
from carl.progress import Progress
from napari_carl import exports, feature_jobs, pictures, segmentation
from napari_carl.classes import ClassTable
from napari_carl.exports import Exported
from napari_carl.feature_jobs import EmbeddedCube, FineTuningRun, Network
from napari_carl.jobs import JobKind, Jobs, Runner
from napari_carl.pictures import ClassSpectrum, DisplayMode, Picture
from napari_carl.scheduling import FeatureLevel, SchedulingState, wanted_jobs
from napari_carl.segmentation import LabelImage, SegmentationResult, Viewport

if TYPE_CHECKING:
    from carl.learning import CubeFeatures, FineTuneResult, Predictor, Tune

_INDEPENDENT_OF_CUBE = {JobKind.OPENING, JobKind.PRELOADING, JobKind.AUTOSAVING}
"""Jobs that continue when another cube is selected."""


class Session:
    """State of one viewer, and the commands that change it.

    Args:
        runner: runs background jobs.
        model_name: network to start with, as `carl.load_model` takes it.
        device: device for networks, as `carl.load_model` takes it.

    Attributes:
        jobs: the running background jobs.
        classes: the table of classes.
        cubes: the cubes in the viewer, in the order in which they were added.
        cube: the current cube, or None.
        automatic: whether the cube is segmented whenever the strokes change.
        viewport: visible part of the current cube, set by the view; None if nothing is visible.
        display_mode: how the current cube is displayed.
        band: index of the band displayed in single-band mode.
        composition: indices of the bands displayed as red, green and blue.
        picture: the newest picture, or None.
        network: the chosen network.
        features: features of the current cube, or of a reduced copy until those are computed.
        embedding: the newest embedding, which may be a preview; None until there is one.
        strokes: (H, W) strokes on the current cube, 0 = unlabelled; None until set.
        counts: number of labelled pixels by class value.
        spectra: mean and deviation of the spectra under the strokes, by class value.
        segmentation: the newest segmentation of the current cube, or None.
        fine_tuning: the newest run of fine-tuning on the current cube, or None.
        exported_files: files written by the last export of the current cube.
    """

    cubes_changed = Signal()
    cube_changed = Signal()  # another cube is current, or its bands were edited
    opened = Signal(object)  # LayerData of a cube read from a file
    cube_replaced = Signal(object, object)  # SpectralCube before and after an edit of its bands
    strokes_changed = Signal()
    display_mode_changed = Signal()
    band_changed = Signal(int)
    picture_changed = Signal()
    cursor_changed = Signal(object)  # (C,) spectrum under the cursor
    spectra_changed = Signal()
    features_changed = Signal()  # network, features or embedding
    segmentation_changed = Signal()
    segmentation_refined = Signal()  # more labels of the same segmentation were predicted
    fine_tuning_changed = Signal()
    exported = Signal()
    predictor_saved = Signal(object)  # Path
    failed = Signal(object)  # exception; a CarlError is meant for the user, any other is a defect

    def __init__(self, runner: Runner, model_name: str = "carl-nano", device: str = "auto") -> None:
        self.jobs = Jobs(runner)
        self.jobs.failed.connect(self._on_job_failed)
        self.jobs.changed.connect(self._on_job)
        self.classes = ClassTable()
        self.cubes: tuple[SpectralCube, ...] = ()
        self.cube: SpectralCube | None = None
        self.automatic = True
        self.display_mode = DisplayMode.TRUE_COLOUR
        self.band = 0
        self.composition = (0, 0, 0)
        self.viewport: Viewport | None = None
        self._versions = count(1)
        self.network = Network(model_name, next(self._versions))
        self._device = device
        self._scheduled: dict[JobKind, tuple[Any, ...]] = {}
        self._reset()

    def _reset(self) -> None:
        """Cancel the jobs on the current cube and drop everything that belongs to it."""
        self.jobs.cancel(*(set(JobKind) - _INDEPENDENT_OF_CUBE))
        self._cube_version = 0
        self._picture_request = 0
        self._strokes_version = 0
        self._embedding_version = 0
        self._segmentation_request = 0
        self._predictor_path: Path | None = None
        self._filter_bank_features: CubeFeatures | None = None
        self._features_network = 0
        self.features: CubeFeatures | None = None
        self.embedding: EmbeddedCube | None = None
        self.strokes: LabelImage | None = None
        self.counts: dict[int, int] = {}
        self.picture: Picture | None = None
        self.spectra: Mapping[int, ClassSpectrum] = {}
        self.segmentation: SegmentationResult | None = None
        self.fine_tuning: FineTuningRun | None = None
        self.exported_files: tuple[Path, ...] = ()

    # ---- scheduling

    @property
    def has_wavelengths(self) -> bool:
        """Whether there is a current cube with known wavelengths."""
        return self.cube is not None and self.cube.wavelengths is not None

    @property
    def can_segment(self) -> bool:
        """Whether the current cube has wavelengths and strokes of two classes."""
        return self.has_wavelengths and len(self.counts) >= 2

    @property
    def can_fine_tune(self) -> bool:
        """Whether the cube can be segmented and has features of the chosen network."""
        return self.can_segment and self._features_network == self.network.version

    @property
    def scheduling_state(self) -> SchedulingState:
        """The part of the state that decides which jobs run."""
        return SchedulingState(
            cube=self._cube_version,
            has_wavelengths=self.has_wavelengths,
            display_mode=self.display_mode,
            picture_request=self._picture_request,
            embedding=self._embedding_version,
            strokes=self._strokes_version,
            can_segment=self.can_segment,
            segmentation_request=self._segmentation_request,
            predictor_path=self._predictor_path,
            features=self._feature_level,
            features_network=self._features_network,
            network=self.network.version,
        )

    @property
    def _feature_level(self) -> FeatureLevel:
        if self.features is None:
            return FeatureLevel.NONE
        if self.features.cube is not self.cube:
            return FeatureLevel.PREVIEW
        if self.features.embedding is None:
            return FeatureLevel.FILTER_BANK
        is_turbo = self.features.embedding.speed == "turbo"
        return FeatureLevel.TURBO if is_turbo else FeatureLevel.EXACT

    def _schedule(self) -> None:
        """Start the jobs that the state calls for, and cancel those it no longer does.

        A job that has run is not started again for the same key, even if it failed or was
        cancelled by the user.
        """
        before = self._scheduled
        self._scheduled = {job.kind: job.key for job in wanted_jobs(self.scheduling_state)}
        self.jobs.cancel(*(before.keys() - self._scheduled.keys()))
        start = {
            JobKind.PICTURE: self._start_picture,
            JobKind.SPECTRA: self._start_spectra,
            JobKind.PRECOMPUTING: self._start_precomputing,
            JobKind.EMBEDDING: self._start_embedding,
            JobKind.SEGMENTING: self._start_segmenting,
        }
        for kind, key in self._scheduled.items():
            if before.get(kind) != key and self.cube is not None:
                start[kind](self.cube)

    # ---- cubes

    def open_cube(self, path: Path) -> None:
        """Read a cube from a file; `opened` is emitted with the layer to show."""
        self.jobs.start(
            JobKind.OPENING,
            lambda progress: pictures.open_cube(path, progress),
            self.opened.emit,
        )

    def add_cube(self, cube: SpectralCube) -> None:
        """Add a cube that was added to the viewer, and select it."""
        if not any(known is cube for known in self.cubes):
            self.cubes = (*self.cubes, cube)
            self.cubes_changed.emit()
        self.select_cube(cube)

    def remove_cube(self, cube: SpectralCube) -> None:
        """Remove a cube; if it was current, the last of the others is selected."""
        self.cubes = tuple(known for known in self.cubes if known is not cube)
        self.cubes_changed.emit()
        if self.cube is cube:
            self.select_cube(self.cubes[-1] if self.cubes else None)

    def select_cube(self, cube: SpectralCube | None) -> None:
        """Make a cube current; its picture and its features are computed in the background."""
        if cube is self.cube:
            return
        self._reset()
        self.cube = cube
        if cube is not None:
            self._cube_version = next(self._versions)
            self.composition = pictures.default_bands(cube)
            self.band = min(self.band, cube.n_bands - 1)
        self.cube_changed.emit()
        self.show_true_colour()

    def edit_cube(self, edit: Callable[[SpectralCube], SpectralCube]) -> None:
        """Edit the bands of the current cube; strokes stay, features are computed again.

        Args:
            edit: a function of `napari_carl.bands`.

        Raises:
            CarlError: that of `edit`; nothing changes.
        """
        before, strokes = self.cube, self.strokes
        if before is None:
            return
        after = edit(before)
        self.cubes = tuple(after if known is before else known for known in self.cubes)
        self.cube_replaced.emit(before, after)
        self.cubes_changed.emit()
        self.select_cube(after)
        if strokes is not None:
            self.set_strokes(strokes)

    # ---- pictures and spectra

    def show_true_colour(self) -> None:
        """Display the cube in the colours seen by eye."""
        self._display(DisplayMode.TRUE_COLOUR)

    def show_bands(self, red: int, green: int, blue: int) -> None:
        """Display three bands, given by index, as red, green and blue."""
        self.composition = (red, green, blue)
        self._display(DisplayMode.THREE_BANDS)

    def show_band(self, band: int) -> None:
        """Display a single band, given by index."""
        self._display(DisplayMode.SINGLE_BAND)
        if band != self.band:
            self.band = band
            self.band_changed.emit(band)

    def show_embedding(self) -> None:
        """Display the principal components of the embedding, if there is one."""
        if self.embedding is not None:
            self._display(DisplayMode.EMBEDDING)

    def _display(self, mode: DisplayMode) -> None:
        changed, self.display_mode = mode != self.display_mode, mode
        self._picture_request = next(self._versions)
        if changed:
            self.display_mode_changed.emit()
        self._schedule()

    def _start_picture(self, cube: SpectralCube) -> None:
        mode, bands, embedded = self.display_mode, self.composition, self.embedding

        def compute(progress: Progress) -> Iterator[Picture]:
            if mode is DisplayMode.THREE_BANDS:
                return pictures.picture_bands(cube, bands, progress)
            if mode is DisplayMode.EMBEDDING and embedded is not None:
                return pictures.picture_embedding(embedded.embedding, embedded.step, progress)
            return pictures.picture_true_colour(cube, progress)

        self.jobs.stream(JobKind.PICTURE, compute, self._set_picture)

    def set_picture(self, picture: Picture) -> None:
        """Display a finished picture in place of the one that is being computed."""
        self.jobs.cancel(JobKind.PICTURE)
        self._set_picture(picture)

    def _set_picture(self, picture: Picture) -> None:
        self.picture = picture
        self.picture_changed.emit()

    def read_spectrum(self, row: int, column: int) -> None:
        """Read the spectrum of a pixel; `cursor_changed` is emitted unless it is outside."""
        cube = self.cube
        if cube is not None and 0 <= row < cube.shape[0] and 0 <= column < cube.shape[1]:
            self.jobs.start(
                JobKind.CURSOR,
                lambda progress: pictures.pixel_spectrum(cube, row, column, progress),
                self.cursor_changed.emit,
            )

    # ---- strokes

    def set_strokes(self, labels: NDArray[Any]) -> None:
        """Set the strokes on the current cube; fast, and without effect if nothing has changed.

        Args:
            labels: (H, W) integers, 0 = unlabelled; copied.
        """
        before = np.zeros((), np.uint8) if self.strokes is None else self.strokes
        if (labels == before).all():
            return
        self.strokes = np.array(labels)
        self._strokes_version = next(self._versions)
        n_pixels = np.bincount(self.strokes[self.strokes > 0])
        self.counts = {int(value): int(n_pixels[value]) for value in np.flatnonzero(n_pixels)}
        self.classes.include(self.counts)
        self.strokes_changed.emit()
        if self.automatic:
            self._request_segmentation()
        elif not self.can_segment and self._predictor_path is None:
            self._segmentation_request = 0
        self._schedule()

    def _start_spectra(self, cube: SpectralCube) -> None:
        strokes = self.strokes
        assert strokes is not None  # the state has a version of them
        self.jobs.start(
            JobKind.SPECTRA,
            lambda progress: pictures.class_spectra(cube, strokes, progress),
            self._set_spectra,
        )

    def _set_spectra(self, spectra: Mapping[int, ClassSpectrum]) -> None:
        self.spectra = spectra
        self.spectra_changed.emit()

    # ---- features

    def choose_network(self, name: str) -> None:
        """Choose another network; until its features are computed, the filter bank is used."""
        self.jobs.cancel(JobKind.FINE_TUNING)
        self.network = Network(name, next(self._versions))
        self.features, self._features_network = self._filter_bank_features or self.features, 0
        self.embedding, self._embedding_version = None, 0
        self.features_changed.emit()
        self._schedule()

    def _start_precomputing(self, cube: SpectralCube) -> None:
        self.jobs.stream(
            JobKind.PRECOMPUTING,
            lambda progress: feature_jobs.precompute(cube, progress),
            self._set_filter_bank_features,
        )

    def _set_filter_bank_features(self, features: CubeFeatures) -> None:
        self.features = features
        if features.cube is self.cube:
            self._filter_bank_features = features
        self.features_changed.emit()
        self._schedule()

    def _start_embedding(self, cube: SpectralCube) -> None:
        features, network, device = self._filter_bank_features, self.network, self._device
        assert features is not None  # the state has them
        self.jobs.stream(
            JobKind.EMBEDDING,
            lambda progress: feature_jobs.embed_cube(features, network, device, progress),
            self._set_embedding,
        )

    def _set_embedding(self, embedded: EmbeddedCube) -> None:
        self.network = embedded.network
        if embedded.features is not None:
            self.features, self._features_network = embedded.features, self.network.version
        if embedded.features is not None or not self._features_network:
            self.embedding, self._embedding_version = embedded, next(self._versions)
        self.features_changed.emit()
        self._schedule()

    # ---- segmentation

    def set_automatic(self, automatic: bool) -> None:
        """Segment whenever the strokes change, or only when `segment` is called."""
        self.automatic = automatic
        if automatic:
            self.segment()

    def segment(self) -> None:
        """Segment the cube from the strokes; the segmentation so far stays until then.

        With the features of a reduced cube the label map is a preview; with those of the filter
        bank or an approximate embedding it is predicted again when better ones are computed.
        """
        self._request_segmentation()
        self._schedule()

    def _request_segmentation(self) -> None:
        if self.can_segment:
            self._segmentation_request, self._predictor_path = next(self._versions), None

    def load_predictor(self, path: Path) -> None:
        """Segment the current cube with a saved segmenter or a trained head.

        Its classes replace those of the table. The next stroke segments from strokes alone again.
        """
        if self.cube is not None:
            self._segmentation_request, self._predictor_path = next(self._versions), path
            self._schedule()

    def _start_segmenting(self, cube: SpectralCube) -> None:
        features, strokes, path = self.features, self.strokes, self._predictor_path
        classes, device = tuple(self.classes), self._device
        level = self._feature_level
        before = None if self.segmentation is None else self.segmentation.labels

        def segment(progress: Progress) -> Iterator[SegmentationResult]:
            if path is not None:
                return segmentation.segment_with_file(
                    path, cube, device, self._get_viewport, progress
                )
            assert features is not None  # the state has them, and strokes
            assert strokes is not None
            if level is FeatureLevel.PREVIEW:
                return segmentation.segment_preview(features, strokes, classes, progress)
            return segmentation.segment(
                features, strokes, classes, before, self._get_viewport, progress
            )

        self.jobs.stream(JobKind.SEGMENTING, segment, self._set_segmentation)

    def _get_viewport(self) -> Viewport | None:
        """Return the current viewport; called from job threads."""
        return self.viewport

    def _set_segmentation(self, result: SegmentationResult) -> None:
        """Take a new segmentation, or announce that more of the current one was predicted."""
        if result is self.segmentation:
            self.segmentation_refined.emit()
            return
        if self._predictor_path is not None:
            self.classes.replace(result.predictor.classes)
            self.classes.include(self.counts)
        self.segmentation = result
        self.segmentation_changed.emit()

    # ---- files

    @property
    def predictor(self) -> Predictor | None:
        """The predictor of the segmentation; None if there is none or only a preview."""
        result = self.segmentation
        return None if result is None or result.is_preview else result.predictor

    def export(self, folder: Path, contents: Collection[ExportContent] = DEFAULT_CONTENTS) -> None:
        """Write the label map of the current cube.

        Args:
            folder: output folder.
            contents: what to write.
        """
        cube, result, classes = self.cube, self.segmentation, tuple(self.classes)
        if cube is not None and result is not None and not result.is_preview:
            self.jobs.start(
                JobKind.EXPORTING,
                lambda progress: exports.export_segmentation(
                    folder, cube, result, classes, contents, progress
                ),
                self._set_exported,
            )

    def export_folder(
        self, cubes: Path, folder: Path, contents: Collection[ExportContent] = DEFAULT_CONTENTS
    ) -> None:
        """Segment every cube in a folder with the current predictor and write the label maps.

        Args:
            cubes: folder with the cubes.
            folder: output folder, which may be the same.
            contents: what to write of each cube.
        """
        predictor, classes = self.predictor, tuple(self.classes)
        if predictor is not None:
            self.jobs.start(
                JobKind.EXPORTING,
                lambda progress: exports.export_folder(
                    folder, cubes, predictor, classes, contents, progress
                ),
                self._set_exported,
            )

    def _set_exported(self, exported: Exported) -> None:
        self.exported_files = exported.files
        self.exported.emit()
        for failure in exported.failures:
            self.failed.emit(failure)

    def save_predictor(self, path: Path) -> None:
        """Save the predictor, including its network, for other cubes and for the command line."""
        predictor = self.predictor
        if predictor is not None:
            self.jobs.start(
                JobKind.SAVING,
                lambda _: predictor.save(path),
                lambda _: self.predictor_saved.emit(path),
            )

    # ---- fine-tuning

    def fine_tune(self, tune: Tune, steps: int = feature_jobs.N_TUNING_STEPS) -> None:
        """Train part of the network on the strokes for so many steps, in the background."""
        features, strokes = self.features, self.strokes
        if features is not None and strokes is not None and self.can_fine_tune:
            run = self.fine_tuning = FineTuningRun(tune)
            self.jobs.start(
                JobKind.FINE_TUNING,
                lambda progress: feature_jobs.fine_tune(
                    features, strokes, tune, steps, run.steps.append, progress
                ),
                self._set_fine_tuned,
            )

    def _set_fine_tuned(self, result: FineTuneResult) -> None:
        if self.fine_tuning is not None:
            self.fine_tuning = replace(self.fine_tuning, result=result)
        if result.kept:
            version = next(self._versions)
            self.network = replace(self.network, model=result.model, version=version, is_tuned=True)
            self.features_changed.emit()
            self._schedule()

    def _on_job_failed(self, kind: JobKind, error: BaseException) -> None:
        self.failed.emit(error)

    def _on_job(self, kind: str) -> None:
        if kind == JobKind.FINE_TUNING:
            self.fine_tuning_changed.emit()
