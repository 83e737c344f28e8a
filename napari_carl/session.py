"""State of one viewer: cubes, classes, strokes, features and the segmentation.

An evented model without Qt and napari: views connect to its signals and call its methods. After
each change of state, `napari_carl.scheduling` decides which background jobs run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from carl.cube import SpectralCube
from carl.errors import CarlError, LabelError
from carl.io import DEFAULT_CONTENTS, ExportContent, LabelClass
from carl.progress import Progress
from carl.wavelengths.coverage import Coverage, coverage
from napari_carl import bands, exports, feature_jobs, pictures, segmentation
from napari_carl.annotation import Annotation, AnnotationState, LoadedModel
from napari_carl.classes import ClassTable
from napari_carl.connections import Connections
from napari_carl.exports import Exported, ExportRequest
from napari_carl.feature_jobs import EmbeddedCube, FineTuningRun, Network
from napari_carl.foreign_labels import disagree
from napari_carl.jobs import JobKind, Jobs, Runner
from napari_carl.pictures import ClassSpectrum, DisplayMode, Picture
from napari_carl.scheduling import FeatureLevel, SchedulingState, wanted_jobs
from napari_carl.segmentation import SegmentationResult, Viewport

if TYPE_CHECKING:
    from carl.learning import CubeFeatures, FineTuneResult, Predictor, Refinement, Tune
    from carl.spectra.wavelength_doctor import Finding

_INDEPENDENT_OF_CUBE = {
    JobKind.OPENING,
    JobKind.PRELOADING,
    JobKind.RESTORING,
    JobKind.AUTOSAVING,
    JobKind.EXPORTING,
    JobKind.SAVING,
}
"""Jobs that continue when another cube is selected."""


class _ExportSource(NamedTuple):
    """What is exported; another cube may be selected meanwhile."""

    cube: SpectralCube
    result: SegmentationResult
    predictor: Predictor
    classes: tuple[LabelClass, ...]


class Session:
    """State of one viewer, and the commands that change it.

    Args:
        runner: runs background jobs.
        model_name: network to start with, as `carl.load_model` takes it.
        device: device for networks, as `carl.load_model` takes it.

    Attributes:
        jobs: the running background jobs.
        cubes: the cubes in the viewer, in the order in which they were added.
        cube: the current cube, or None.
        annotation: strokes and classes of the current cube; of no pixels if there is none.
        automatic: whether the cube is segmented whenever the strokes change.
        viewport: visible part of the current cube, set by the view; None if nothing is visible.
        display_mode: how the current cube is displayed.
        band: index of the band displayed in single-band mode.
        composition: indices of the bands displayed as red, green and blue.
        picture: the newest picture, or None.
        network: the chosen network.
        features: features of the current cube, or of a reduced copy until those are computed.
        embedding: the newest embedding, which may be a preview; None until there is one.
        counts: number of labelled pixels by class value.
        spectra: mean and deviation of the spectra under the strokes, by class value.
        segmentation: the newest segmentation of the current cube; None if there is none or there
            is nothing any more that it could be computed from.
        pending_model: loaded model whose classes differ from those of the strokes, until the user
            has decided how to combine them; None otherwise.
        fine_tuning: the newest run of fine-tuning on the current cube, or None.
        exported_files: files written by the last export of the current cube.
        export_question: the last export, if the user must decide about existing files; else None.
        findings: what the examination found wrong with the wavelengths of the current cube; None
            before it was asked for.
    """

    cubes_changed = Signal()
    cube_changed = Signal()  # another cube is current, or its bands were edited
    opened = Signal(object)  # LayerData of a cube read from a file
    cube_replaced = Signal(object, object)  # SpectralCube before and after an edit of its bands
    strokes_changed = Signal()  # also when another cube is current
    strokes_repainted = Signal()  # the strokes were changed other than in their layer
    classes_changed = Signal()  # also when another cube is current
    class_chosen = Signal(int)  # value of the class that the brush paints now
    history_changed = Signal()  # another edit can be undone or redone
    model_changed = Signal()  # a model was loaded or unloaded, or waits for a decision
    display_mode_changed = Signal()
    band_changed = Signal(int)
    picture_changed = Signal()
    findings_changed = Signal()  # the wavelengths were examined, or are other ones
    cursor_changed = Signal(object)  # (C,) spectrum under the cursor
    spectra_changed = Signal()
    features_changed = Signal()  # network, features or embedding
    automatic_changed = Signal(bool)
    segmentation_changed = Signal()
    segmentation_refined = Signal()  # more labels of the same segmentation were predicted
    fine_tuning_changed = Signal()
    exported = Signal(object)  # Exported
    export_question_changed = Signal()
    predictor_saved = Signal(object)  # Path
    failed = Signal(object)  # exception; a CarlError is meant for the user, any other is a defect

    def __init__(self, runner: Runner, model_name: str = "carl-nano", device: str = "auto") -> None:
        self.jobs = Jobs(runner)
        self.jobs.failed.connect(self._on_job_failed)
        self.jobs.changed.connect(self._on_job)
        self.annotation = Annotation()
        self._annotations: WeakKeyDictionary[SpectralCube, Annotation] = WeakKeyDictionary()
        self._annotation_connections = Connections()
        self._unedited: WeakKeyDictionary[SpectralCube, SpectralCube] = WeakKeyDictionary()
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
        self._follow(self.annotation)

    def _reset(self) -> None:
        """Cancel the jobs on the current cube and drop everything that belongs to it."""
        self.jobs.cancel(*(set(JobKind) - _INDEPENDENT_OF_CUBE))
        self._cube_version = 0
        self._picture_request = 0
        self._strokes_version = 0
        self._embedding_version = 0
        self._segmentation_request = 0
        self._model_version = 0
        self._segmented: AnnotationState | None = None
        self._refinement: Refinement | None = None
        self._filter_bank_features: CubeFeatures | None = None
        self._features_network = 0
        self.features: CubeFeatures | None = None
        self.embedding: EmbeddedCube | None = None
        self.counts: dict[int, int] = {}
        self.pending_model: LoadedModel | None = None
        self.picture: Picture | None = None
        self.spectra: Mapping[int, ClassSpectrum] = {}
        self.segmentation: SegmentationResult | None = None
        self.fine_tuning: FineTuningRun | None = None
        self.exported_files: tuple[Path, ...] = ()
        self.export_question: Exported | None = None
        self._asking_export: _ExportSource | None = None
        self.findings: tuple[Finding, ...] | None = None

    # ---- scheduling

    @property
    def has_wavelengths(self) -> bool:
        """Whether there is a current cube with known wavelengths."""
        return self.cube is not None and self.cube.wavelengths is not None

    @property
    def classes(self) -> ClassTable:
        """The table of classes of the current cube."""
        return self.annotation.classes

    @property
    def strokes(self) -> NDArray[np.uint8]:
        """(H, W) strokes on the current cube, 0 = unlabelled; never changed in place."""
        return self.annotation.state.strokes

    @property
    def model(self) -> LoadedModel | None:
        """The loaded model that the strokes on the current cube correct, or None."""
        return self.annotation.state.model

    @property
    def can_segment(self) -> bool:
        """Whether the cube has wavelengths, and strokes of two classes or a loaded model."""
        return self.has_wavelengths and (len(self.counts) >= 2 or self.model is not None)

    @property
    def can_fine_tune(self) -> bool:
        """Whether the cube can be segmented and has features of the chosen network."""
        return (
            self.has_wavelengths
            and len(self.counts) >= 2
            and self._features_network == self.network.version
        )

    @property
    def segmentation_is_current(self) -> bool:
        """Whether the label map belongs to the strokes and the model as they are now.

        It is complete, or still being predicted.
        """
        result, made_from, now = self.segmentation, self._segmented, self.annotation.state
        if result is None or made_from is None:
            return False
        is_running = self.jobs.state(JobKind.SEGMENTING) is not None
        is_same = made_from.strokes is now.strokes and made_from.model is now.model
        return is_same and (result.complete.is_set() or is_running)

    @property
    def segmentation_is_outdated(self) -> bool:
        """Whether the label map shown is an earlier one, and no newer one is being computed."""
        is_waiting = self._segmentation_request and self.jobs.state(JobKind.PRECOMPUTING)
        is_computing = is_waiting or self.jobs.state(JobKind.SEGMENTING) is not None
        return self.can_segment and not self.segmentation_is_current and not is_computing

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
            model=self._model_version,
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

    def add_cube(self, cube: SpectralCube, annotation: Annotation | None = None) -> None:
        """Add a cube that was added to the viewer, and select it.

        Args:
            cube: any.
            annotation: its strokes and classes; by default it has no strokes, and a table of its
                own that starts with the classes of the current cube.
        """
        if annotation is not None:
            self._annotations[cube] = annotation
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
        self.annotation.publish()
        self._reset()
        self.cube = cube
        if cube is not None:
            self._cube_version = next(self._versions)
            self.composition = pictures.default_bands(cube)
            self.band = min(self.band, cube.n_bands - 1)
        self._follow(Annotation() if cube is None else self.annotation_of(cube))
        self.cube_changed.emit()
        self.findings_changed.emit()
        self._on_model()
        self._on_strokes()
        self.show_true_colour()

    def annotation_of(self, cube: SpectralCube) -> Annotation:
        """Return the strokes and classes of a cube in the viewer."""
        if cube not in self._annotations:
            self._annotations[cube] = Annotation(cube.shape[:2], self.classes)
        return self._annotations[cube]

    def _follow(self, annotation: Annotation) -> None:
        """Make the annotation of the current cube the current one."""
        self._annotation_connections.close()
        self.annotation = annotation
        annotation.publish()  # what was edited in its layer while no session followed it
        for signal, slot in (
            (annotation.strokes_changed, self._on_strokes),
            (annotation.model_changed, self._on_model),
            (annotation.repainted, self.strokes_repainted.emit),
            (annotation.history_changed, self.history_changed.emit),
            (annotation.classes.changed, self.classes_changed.emit),
            (annotation.classes.current_changed, self.class_chosen.emit),
        ):
            self._annotation_connections.connect(signal, slot)
        self.classes_changed.emit()
        self.class_chosen.emit(self.classes.current)
        self.history_changed.emit()

    def close(self) -> None:
        """Disconnect from the annotation of the current cube, which stays with its layer."""
        self._annotation_connections.close()

    def edit_cube(self, edit: Callable[[SpectralCube], SpectralCube]) -> None:
        """Edit the bands of the current cube; strokes stay, features are computed again.

        Args:
            edit: a function of `napari_carl.bands`.

        Raises:
            CarlError: that of `edit`; nothing changes.
        """
        before = self.cube
        if before is not None:
            after = edit(before)
            self._unedited[after] = before
            self._replace_cube(before, after)

    @property
    def can_undo_edit(self) -> bool:
        """Whether the bands of the current cube were edited."""
        return self.cube is not None and self.cube in self._unedited

    def undo_edit(self) -> None:
        """Undo the last edit of the bands of the current cube; strokes stay."""
        cube = self.cube
        if cube is not None and cube in self._unedited:
            self._replace_cube(cube, self._unedited.pop(cube))

    def _replace_cube(self, before: SpectralCube, after: SpectralCube) -> None:
        self.cubes = tuple(after if known is before else known for known in self.cubes)
        self._annotations[after] = self.annotation
        self.cube_replaced.emit(before, after)
        self.cubes_changed.emit()
        self.select_cube(after)

    def examine_wavelengths(self) -> None:
        """Examine the wavelengths of the current cube, in the background."""
        cube = self.cube
        if cube is not None:
            self.jobs.start(JobKind.EXAMINING, lambda _: bands.examine(cube), self._set_findings)

    def _set_findings(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        self.findings_changed.emit()

    @property
    def coverage(self) -> Coverage | None:
        """The bands of the cube beside those of the loaded model's or the network's training.

        None if there is no cube with wavelengths, or the training is unknown.
        """
        if self.cube is None or self.cube.wavelengths is None:
            return None
        if self.model is not None:
            trained, source = self.model.predictor.trained_wavelengths, self.model.path.name
        else:
            network = self.network.model
            limits = None if network is None else network.wavelength_range_um
            trained = None if limits is None else 1e3 * np.asarray(limits)
            source = self.network.name
        return None if trained is None else coverage(self.cube.wavelengths, trained, source)

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
        """Replace the strokes on the current cube; without effect if nothing has changed.

        Args:
            labels: (H, W) values 0..255, 0 = unlabelled; copied.

        Raises:
            LabelError: the size differs from the cube's, or a value is above 255.
        """
        self.annotation.set_strokes(labels)

    def _on_strokes(self) -> None:
        n_pixels = np.bincount(self.strokes[self.strokes > 0])
        self.counts = {int(value): int(n_pixels[value]) for value in np.flatnonzero(n_pixels)}
        self._strokes_version = next(self._versions) if self.counts else 0
        self.strokes_changed.emit()
        if not self.counts:
            self._set_spectra({})
        self._update_segmentation(requested=self.automatic)

    def _start_spectra(self, cube: SpectralCube) -> None:
        strokes = self.strokes
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
        if automatic == self.automatic:
            return
        self.automatic = automatic
        self.automatic_changed.emit(automatic)
        if automatic:
            self.segment()

    def segment(self) -> None:
        """Segment the cube from the strokes; the segmentation so far stays until then.

        With the features of a reduced cube the label map is a preview; with those of the filter
        bank or an approximate embedding it is predicted again when better ones are computed.
        """
        self.annotation.publish()
        self._update_segmentation(requested=True)

    def _update_segmentation(self, *, requested: bool) -> None:
        """Request a segmentation, or drop the present one if there is nothing to segment from."""
        if not self.can_segment:
            self._segmentation_request = 0
            if self.segmentation is not None:
                self.segmentation = self._segmented = None
                self.segmentation_changed.emit()
        elif requested:
            self._segmentation_request = next(self._versions)
        self._schedule()

    def load_predictor(self, path: Path) -> None:
        """Load a saved segmenter or a trained head, segment the cube with it, and correct it.

        Its classes replace those of the table, and the strokes on the cube correct it. If strokes
        exist whose classes differ, it becomes `pending_model`: call `accept_model`. All of it can
        be undone.
        """
        if self.cube is not None:
            device = self._device
            self.jobs.start(
                JobKind.LOADING,
                lambda progress: segmentation.load_model(path, device, progress),
                self._set_loaded,
            )

    def _set_loaded(self, model: LoadedModel) -> None:
        if not disagree(self.annotation.labelled_classes(), model.predictor.classes):
            self.annotation.load_model(model)
        else:
            self.pending_model = model
            self.model_changed.emit()

    def accept_model(self, *, by_name: bool) -> None:
        """Take over the model that waits for a decision.

        Args:
            by_name: strokes of a class that the model knows by name get the model's value, other
                strokes stay classes of their own; otherwise strokes take the model's class of the
                same value.
        """
        model, self.pending_model = self.pending_model, None
        if model is None:
            return
        try:
            self.annotation.load_model(model, by_name=by_name)
        except LabelError as error:
            self.failed.emit(error)
            self.model_changed.emit()

    def reject_model(self) -> None:
        """Drop the model that waits for a decision."""
        self.pending_model = None
        self.model_changed.emit()

    def unload_model(self) -> None:
        """Segment from the strokes alone again."""
        self.annotation.unload_model()

    def _on_model(self) -> None:
        """Segment with another model, or without one; it was chosen, so always at once."""
        self._refinement = None
        self._model_version = 0 if self.model is None else next(self._versions)
        self.model_changed.emit()
        self._update_segmentation(requested=self.automatic or self.model is not None)

    def _start_segmenting(self, cube: SpectralCube) -> None:
        features, level, state = self.features, self._feature_level, self.annotation.state
        refinement, classes = self._refinement, state.classes
        before = None if self.segmentation is None else self.segmentation.labels

        def segment(progress: Progress) -> Iterator[SegmentationResult]:
            if state.model is not None:
                return segmentation.segment_with_model(
                    cube, state, refinement, before, self._get_viewport, progress
                )
            assert features is not None  # the scheduled state has them
            if level is FeatureLevel.PREVIEW:
                return segmentation.segment_preview(features, state.strokes, classes, progress)
            return segmentation.segment(
                features, state.strokes, classes, before, self._get_viewport, progress
            )

        self.jobs.stream(JobKind.SEGMENTING, segment, partial(self._set_segmentation, state))

    def _get_viewport(self) -> Viewport | None:
        """Return the current viewport; called from job threads."""
        return self.viewport

    def _set_segmentation(self, state: AnnotationState, result: SegmentationResult) -> None:
        """Take a new segmentation, or announce that more of the current one was predicted."""
        if result is self.segmentation:
            self.segmentation_refined.emit()
            return
        self.segmentation, self._segmented = result, state
        self._refinement = result.refinement
        self.segmentation_changed.emit()

    # ---- files

    @property
    def predictor(self) -> Predictor | None:
        """The predictor of the current strokes; None if there is none yet or only a preview."""
        result = self.segmentation
        if result is None or result.is_preview or not self.segmentation_is_current:
            return None
        return result.predictor

    def export(self, folder: Path, contents: Collection[ExportContent] = DEFAULT_CONTENTS) -> None:
        """Write the label map of the current cube; existing files are asked about first.

        Args:
            folder: output folder.
            contents: what to write.
        """
        self._start_export(ExportRequest(folder, tuple(contents)))

    def export_folder(
        self, cubes: Path, folder: Path, contents: Collection[ExportContent] = DEFAULT_CONTENTS
    ) -> None:
        """Segment every cube in a folder with the current predictor and write the label maps.

        Args:
            cubes: folder with the cubes.
            folder: output folder, which may be the same.
            contents: what to write of each cube.
        """
        self._start_export(ExportRequest(folder, tuple(contents), cubes))

    def answer_export(self, *, overwrite: bool) -> None:
        """Repeat the export that found existing files: overwrite them, or choose other names."""
        if self.export_question is not None and self._asking_export is not None:
            request, existing = self.export_question.request, self.export_question.existing
            self._run_export(
                request.overwriting(existing) if overwrite else request.keeping_existing(),
                self._asking_export,
            )

    def drop_export_question(self) -> None:
        """Drop the export that found existing files."""
        self._set_export_question(None)

    def _start_export(self, request: ExportRequest) -> None:
        cube, result, predictor = self.cube, self.segmentation, self.predictor
        if cube is not None and result is not None and predictor is not None:
            self._run_export(request, _ExportSource(cube, result, predictor, tuple(self.classes)))

    def _run_export(self, request: ExportRequest, source: _ExportSource) -> None:
        self._set_export_question(None)
        cube, result, predictor, classes = source

        def export(progress: Progress) -> Exported:
            if request.cubes is not None:
                return exports.export_folder(request, predictor, classes, progress)
            return exports.export_segmentation(request, cube, result, classes, progress)

        self.jobs.start(JobKind.EXPORTING, export, partial(self._set_exported, source))

    def _set_exported(self, source: _ExportSource, exported: Exported) -> None:
        if exported.existing:
            self._set_export_question(exported, source)
            return
        if source.cube is self.cube:
            self.exported_files = exported.files
        self.exported.emit(exported)
        for _, failure in exported.failures:
            if not isinstance(failure, CarlError):
                self.failed.emit(failure)

    def _set_export_question(
        self, exported: Exported | None, source: _ExportSource | None = None
    ) -> None:
        self.export_question, self._asking_export = exported, source
        self.export_question_changed.emit()

    def save_predictor(self, path: Path) -> None:
        """Save the predictor, including its network, for other cubes and for the command line."""
        predictor, classes = self.predictor, tuple(self.classes)
        if predictor is not None:
            self.jobs.start(
                JobKind.SAVING,
                lambda _: predictor.with_class_names(classes).save(path),
                lambda _: self.predictor_saved.emit(path),
            )

    # ---- fine-tuning

    def fine_tune(self, tune: Tune, steps: int = feature_jobs.N_TUNING_STEPS) -> None:
        """Train part of the network on the strokes for so many steps, in the background."""
        features, strokes = self.features, self.strokes
        if features is not None and self.can_fine_tune:
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
