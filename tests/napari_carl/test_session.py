from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from carl.errors import CubeError, LabelError, WavelengthError
from carl.io import LabelClass, read_labels
from napari_carl import bands, feature_jobs, pictures, segmentation
from napari_carl.annotation import LoadedModel
from napari_carl.feature_jobs import EmbeddedCube
from napari_carl.jobs import JobKind
from napari_carl.pictures import DisplayMode
from napari_carl.segmentation import SegmentationResult
from napari_carl.steps import Step, step_state


@pytest.fixture
def failures(session):
    reported = []
    session.failed.connect(reported.append)
    return reported


def test_a_new_cube_is_displayed_and_embedded(session, runner, make_cube):
    cube = make_cube()
    session.add_cube(cube)
    assert {job.kind for job in runner.jobs} == {JobKind.PICTURE, JobKind.PRECOMPUTING}

    runner.go_all()

    assert session.cube is cube
    assert session.picture.pixels.shape == (12, 16, 3)
    assert session.features.cube is cube
    assert session.features.embedding is session.embedding.embedding
    assert session.network.device == "CPU"


def test_no_features_are_computed_without_wavelengths(session, runner, make_cube, strokes):
    session.add_cube(make_cube(known=False))
    session.set_strokes(strokes)
    runner.go_all()

    assert session.features is session.segmentation is None
    assert not session.can_segment
    assert "missing" in step_state(session, Step.CUBE).line
    assert not step_state(session, Step.LEARN).ready


def test_entering_wavelengths_starts_the_waiting_jobs(session, runner, make_cube, strokes):
    before = make_cube(known=False)
    replaced = []
    session.cube_replaced.connect(lambda old, new: replaced.append((old, new)))
    session.add_cube(before)
    session.set_strokes(strokes)

    session.edit_cube(lambda cube: bands.with_bands(cube, bands.bands_of_text(cube, "450:520:10")))
    runner.go_all()

    assert replaced == [(before, session.cube)]
    assert session.cubes == (session.cube,)
    np.testing.assert_array_equal(session.cube.wavelengths, np.arange(450, 521, 10))
    assert session.features.cube is session.cube
    assert session.segmentation is not None


@pytest.mark.parametrize("text", ["450:520:1", "450:520:100", "violet to red"])
def test_invalid_wavelengths_are_refused_and_change_nothing(session, make_cube, text):
    cube = make_cube(known=False)
    session.add_cube(cube)

    with pytest.raises(WavelengthError):
        session.edit_cube(lambda cube: bands.with_bands(cube, bands.bands_of_text(cube, text)))

    assert session.cube is cube


def test_wavelengths_from_a_file(session, make_cube, tmp_path):
    session.add_cube(make_cube(known=False, bands=3))
    table = tmp_path / "bands.csv"
    table.write_text("wavelength,fwhm\n450,10\n550,12\n650,14\n")

    session.edit_cube(lambda cube: bands.with_bands(cube, bands.bands_of_table(cube, table)))
    assert session.cube.wavelengths.tolist() == [450, 550, 650]
    assert session.cube.fwhm.tolist() == [10, 12, 14]

    with pytest.raises(WavelengthError, match=r"nowhere\.csv"):
        bands.bands_of_table(session.cube, tmp_path / "nowhere.csv")


def test_cameras_are_found_by_their_number_of_bands(session, make_cube):
    session.add_cube(make_cube(known=False, bands=3))
    fitting = bands.fitting_cameras(session.cube)
    assert {known.n_bands for known in fitting} == {3}

    session.edit_cube(lambda cube: bands.with_bands(cube, bands.bands_of_camera(fitting[0].name)))
    assert session.cube.wavelengths.tolist() == fitting[0].wavelengths.tolist()

    with pytest.raises(WavelengthError):
        bands.bands_of_camera("no such camera")


def test_strokes_of_two_classes_start_a_segmentation(session, runner, make_cube, strokes):
    session.add_cube(make_cube())
    session.set_strokes(np.where(strokes == 1, strokes, 0))
    runner.go_all()
    assert session.segmentation is None
    assert "second class" in step_state(session, Step.ANNOTATE).line

    session.set_strokes(strokes)
    runner.go_all()

    assert session.counts == {1: 6, 2: 4}
    assert session.segmentation.labels.shape == (12, 16)
    assert step_state(session, Step.EXPORT).ready


def test_the_first_segmentation_does_not_wait_for_the_network(session, runner, make_cube, strokes):
    session.add_cube(make_cube())
    session.set_strokes(strokes)
    runner.go(JobKind.PRECOMPUTING)
    runner.go(JobKind.SEGMENTING)
    assert not session.segmentation.predictor.uses_network

    runner.go(JobKind.EMBEDDING)
    runner.go(JobKind.SEGMENTING)
    assert session.segmentation.predictor.uses_network
    assert len(runner.of(JobKind.PRECOMPUTING)) == 1


def test_a_further_stroke_computes_no_features(session, runner, make_cube, strokes):
    session.add_cube(make_cube())
    session.set_strokes(strokes)
    runner.go_all()
    features = session.features

    strokes[10, 2:6] = 2
    session.set_strokes(strokes)

    assert {job.kind for job in runner.jobs} == {JobKind.SPECTRA, JobKind.SEGMENTING}
    runner.go_all()
    assert session.features is features


def test_segmentation_with_the_approximate_embedding_is_repeated_with_the_exact_one(
    session, runner, make_cube, strokes, monkeypatch, fakes
):
    def embed_cube(features, network, *_):
        for speed in ("turbo", "exact"):
            embedding = SimpleNamespace(speed=speed, fidelity=0.995)
            embedded = replace(features, model=object(), embedding=embedding)
            yield EmbeddedCube(network, embedding, features=embedded)

    def segment(features, strokes, *_):
        used.append(features.embedding.speed)
        fidelity = features.embedding.fidelity if used[-1] == "turbo" else None
        predictor = fakes.Predictor(model=features.model)
        accuracy = "90 % right on held-out strokes"
        result = SegmentationResult(predictor, None, strokes, accuracy, 0.1, fidelity=fidelity)
        result.complete.set()
        yield result

    used: list[str] = []
    monkeypatch.setattr(feature_jobs, "embed_cube", embed_cube)
    monkeypatch.setattr(segmentation, "segment", segment)
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    session.set_strokes(strokes)
    embedding = runner.of(JobKind.EMBEDDING)[0]
    results = []
    embedding.run(lambda *_: None, results.append)

    embedding.arrived(results[0])
    runner.go(JobKind.SEGMENTING)
    assert "fidelity 0.995" in step_state(session, Step.LEARN).line
    assert "90 % right on held-out strokes" in step_state(session, Step.LEARN).line
    embedding.arrived(results[1])
    runner.go(JobKind.SEGMENTING)
    assert "fidelity" not in step_state(session, Step.LEARN).line
    assert used == ["turbo", "exact"]
    assert not embedding.cancelled


def test_a_coarse_segmentation_comes_first_and_the_full_one_replaces_it(
    session, runner, make_cube, strokes, monkeypatch, tmp_path, fakes
):
    cube, small = make_cube(), make_cube("small")
    used = []

    def precompute(cube, progress):
        yield fakes.Features(small)
        yield fakes.Features(cube)

    def segment_preview(features, strokes, classes, progress):
        used.append(features.cube)
        yield SegmentationResult(fakes.Predictor(), None, strokes, is_preview=True)

    monkeypatch.setattr(feature_jobs, "precompute", precompute)
    monkeypatch.setattr(segmentation, "segment_preview", segment_preview)
    session.add_cube(cube)
    session.set_strokes(strokes)
    assert runner.of(JobKind.SEGMENTING) == []  # no features yet

    runner.of(JobKind.PRECOMPUTING)[0].arrived(fakes.Features(small))
    runner.go(JobKind.SEGMENTING)
    assert used == [small]
    assert session.segmentation.is_preview
    assert not step_state(session, Step.EXPORT).ready
    session.export(tmp_path)
    assert runner.of(JobKind.EXPORTING) == []

    runner.of(JobKind.PRECOMPUTING)[0].arrived(fakes.Features(cube))
    runner.go(JobKind.SEGMENTING)
    assert not session.segmentation.is_preview
    assert step_state(session, Step.EXPORT).ready


def test_further_labels_of_a_segmentation_are_announced_as_a_refinement(
    session, runner, make_cube, strokes, monkeypatch, fakes
):
    announced = []

    def segment(features, strokes, *_):
        result = SegmentationResult(fakes.Predictor(), None, np.array(strokes))
        for row in range(3):
            result.labels[row] = 1
            yield result

    monkeypatch.setattr(segmentation, "segment", segment)
    session.segmentation_changed.connect(lambda: announced.append("new"))
    session.segmentation_refined.connect(lambda: announced.append("refined"))
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    session.set_strokes(strokes)
    runner.go(JobKind.SEGMENTING)

    assert announced == ["new", "refined", "refined"]


def test_a_preview_of_the_embedding_is_used_for_the_picture_only(
    session, runner, make_cube, monkeypatch
):
    coarse, exact = SimpleNamespace(speed="turbo"), SimpleNamespace(speed="exact")
    shown = []

    def embed_cube(features, network, *_):
        yield EmbeddedCube(network, coarse, 4)
        yield EmbeddedCube(network, exact, features=replace(features, embedding=exact))

    def picture(embedding, step, progress):
        shown.append((embedding, step))
        yield pictures.Picture("PCA", np.zeros((12, 16, 3), np.uint8))

    monkeypatch.setattr(feature_jobs, "embed_cube", embed_cube)
    monkeypatch.setattr(pictures, "picture_embedding", picture)
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    embedding = runner.of(JobKind.EMBEDDING)[0]
    results = []
    embedding.run(lambda *_: None, results.append)

    embedding.arrived(results[0])
    assert session.features.embedding is None
    session.show_embedding()
    runner.go(JobKind.PICTURE)
    assert shown == [(coarse, 4)]

    embedding.arrived(results[1])
    assert session.features.embedding is exact
    runner.go(JobKind.PICTURE)  # the displayed picture is updated
    assert shown == [(coarse, 4), (exact, 1)]


def test_unchanged_strokes_start_nothing(session, runner, make_cube, strokes):
    session.add_cube(make_cube())
    session.set_strokes(strokes)
    n_jobs = len(runner.jobs)

    session.set_strokes(strokes.copy())

    assert len(runner.jobs) == n_jobs


def test_strokes_are_copied(session, make_cube, strokes):
    session.add_cube(make_cube())
    session.set_strokes(strokes)

    strokes[:] = 2

    assert session.counts == {1: 6, 2: 4}
    assert (session.strokes == 1).sum() == 6


def test_a_late_segmentation_never_replaces_a_newer_one(session, runner, make_cube, strokes):
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    session.set_strokes(strokes)
    newer = strokes.copy()
    newer[10, 2:6] = 3
    session.set_strokes(newer)
    first, second = runner.of(JobKind.SEGMENTING)

    second.go()
    result = session.segmentation
    first.go()

    assert session.segmentation is result
    assert result.labels.max() == 3


def test_the_segmentation_stays_until_the_next_one_is_computed(session, runner, make_cube, strokes):
    session.add_cube(make_cube())
    session.set_strokes(strokes)
    runner.go_all()
    old = session.segmentation

    strokes[10] = 1
    session.set_strokes(strokes)
    assert session.segmentation is old

    runner.go_all()
    assert session.segmentation is not old


def test_without_automatic_mode_the_segmentation_waits_for_the_button(
    session, runner, make_cube, strokes
):
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    session.set_automatic(False)
    session.set_strokes(strokes)
    assert runner.of(JobKind.SEGMENTING) == []

    session.segment()
    runner.go(JobKind.SEGMENTING)
    assert session.segmentation is not None

    session.set_strokes(np.where(strokes == 1, strokes, 0))  # one class is erased
    session.set_strokes(strokes)
    assert len(runner.of(JobKind.SEGMENTING)) == 1

    session.set_automatic(True)
    assert len(runner.of(JobKind.SEGMENTING)) == 2


def test_erasing_a_class_cancels_the_segmentation(session, runner, make_cube, strokes):
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    session.set_strokes(strokes)

    session.set_strokes(np.where(strokes == 1, strokes, 0))

    assert runner.of(JobKind.SEGMENTING)[0].cancelled


def test_a_cancelled_segmentation_is_repeated_only_on_request(session, runner, make_cube, strokes):
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    session.set_strokes(strokes)

    session.jobs.cancel(JobKind.SEGMENTING)
    session.show_band(2)
    assert len(runner.of(JobKind.SEGMENTING)) == 1

    session.segment()
    assert len(runner.of(JobKind.SEGMENTING)) == 2


def test_a_failed_job_is_reported_once_and_not_repeated(
    session, runner, make_cube, strokes, failures, monkeypatch
):
    def precompute(cube, progress):
        raise CubeError("tissue has no usable values: check the file.")
        yield

    monkeypatch.setattr(feature_jobs, "precompute", precompute)
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    session.set_strokes(strokes)

    assert [type(error) for error in failures] == [CubeError]
    assert len(runner.of(JobKind.PRECOMPUTING)) == 1


def test_labels_without_a_class_get_one(session, make_cube, strokes):
    session.add_cube(make_cube())
    strokes[5, 5] = 6

    session.set_strokes(strokes)

    assert [known.value for known in session.classes] == [1, 2, 6]


def test_selecting_another_cube_cancels_the_jobs_on_the_first(session, runner, make_cube, strokes):
    session.add_cube(make_cube("first"))
    runner.go(JobKind.PRECOMPUTING)
    session.set_strokes(strokes)
    late = runner.of(JobKind.SEGMENTING)[0]

    session.add_cube(make_cube("second"))
    late.go()

    assert late.cancelled
    assert session.segmentation is None
    assert not session.strokes.any()
    assert not session.counts
    assert session.features is None


def test_removing_the_current_cube_selects_the_one_before(session, make_cube):
    first, second = make_cube("first"), make_cube("second")
    session.add_cube(first)
    session.add_cube(second)

    session.remove_cube(second)
    assert session.cube is first

    session.remove_cube(first)
    assert session.cube is None
    assert session.cubes == ()
    assert not step_state(session, Step.EXPLORE).ready


def test_display_modes_request_their_pictures(session, runner, make_cube):
    session.add_cube(make_cube())
    session.show_bands(7, 3, 0)
    runner.go_all()
    assert session.display_mode is DisplayMode.THREE_BANDS
    assert session.picture.name == "Three bands"
    assert session.composition == (7, 3, 0)

    changes = []
    session.band_changed.connect(changes.append)
    session.show_band(5)
    session.show_band(5)
    assert session.display_mode is DisplayMode.SINGLE_BAND
    assert changes == [5]


def test_class_spectra_are_computed_from_the_strokes(session, runner, make_cube, strokes):
    cube = make_cube()
    session.add_cube(cube)
    session.set_strokes(strokes)
    runner.go(JobKind.SPECTRA)

    labelled = cube.to_numpy()[strokes == 1]
    assert set(session.spectra) == {1, 2}
    np.testing.assert_allclose(session.spectra[1].mean, labelled.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(session.spectra[1].deviation, labelled.std(axis=0), rtol=1e-4)


def test_spectrum_under_the_cursor(session, runner, make_cube):
    cube = make_cube()
    session.add_cube(cube)
    spectra = []
    session.cursor_changed.connect(spectra.append)

    session.read_spectrum(3, 4)
    runner.go(JobKind.CURSOR)
    session.read_spectrum(12, 4)  # outside

    assert len(runner.of(JobKind.CURSOR)) == 1
    np.testing.assert_array_equal(spectra[0], cube.spectrum(3, 4))


@pytest.mark.parametrize("complete", [True, False])
def test_an_export_predicts_only_an_incomplete_label_map(
    session, runner, make_cube, strokes, tmp_path, monkeypatch, complete, fakes
):
    cube = make_cube()
    bound = fakes.Bound(cube, value=2)

    def segment(features, strokes, *_):
        result = SegmentationResult(fakes.Predictor(), bound, np.ones_like(strokes))
        if complete:
            result.complete.set()
        yield result

    monkeypatch.setattr(segmentation, "segment", segment)
    session.add_cube(cube)
    session.set_strokes(strokes)
    runner.go(JobKind.PRECOMPUTING)
    segmenting = runner.of(JobKind.SEGMENTING)[-1]
    segmenting.run(segmenting.progressed, segmenting.arrived)
    if complete:
        segmenting.finished(None)
    session.export(tmp_path)
    runner.go(JobKind.EXPORTING)
    assert bound.n_predicted == (0 if complete else len(bound.windows))
    exported = read_labels(tmp_path / "tissue_labels.tif").labels
    assert np.unique(exported).tolist() == ([1] if complete else [2])


def test_export_writes_the_label_map(session, runner, make_cube, strokes, tmp_path):
    session.add_cube(make_cube())
    session.export(tmp_path)
    assert runner.of(JobKind.EXPORTING) == []

    session.set_strokes(strokes)
    runner.go_all()
    session.export(tmp_path)
    runner.go_all()

    assert session.exported_files
    assert all(path.parent == tmp_path and path.is_file() for path in session.exported_files)
    assert {"tissue_labels.tif", "tissue_labels.png", "tissue_classes.csv"} <= {
        path.name for path in session.exported_files
    }


def test_an_export_continues_when_another_cube_is_selected(ready, runner, make_cube, tmp_path):
    exported = []
    ready.exported.connect(exported.append)
    ready.export(tmp_path)
    ready.add_cube(make_cube("leaf"))
    runner.go(JobKind.EXPORTING)

    assert exported[0].files
    assert exported[0].cubes == ("tissue",)
    assert not ready.exported_files  # of the cube that is current now


def test_an_export_that_asked_is_repeated_with_the_cube_it_was_of(
    ready, runner, make_cube, tmp_path
):
    ready.export(tmp_path)
    runner.go(JobKind.EXPORTING)
    written = {path: path.read_bytes() for path in tmp_path.iterdir()}
    ready.export(tmp_path)
    ready.add_cube(make_cube("leaf"))
    runner.go(JobKind.EXPORTING)
    ready.answer_export(overwrite=False)
    runner.go(JobKind.EXPORTING)

    assert {path: path.read_bytes() for path in written} == written
    assert {path.name.split("_")[0] for path in tmp_path.iterdir()} == {"tissue"}
    assert len(list(tmp_path.iterdir())) == 2 * len(written)


def test_opening_a_bad_file_is_reported_and_changes_nothing(
    session, runner, failures, make_cube, tmp_path
):
    session.add_cube(make_cube())
    bad = tmp_path / "notes.tif"
    bad.write_text("not an image")

    session.open_cube(bad)
    runner.go(JobKind.OPENING)

    assert [type(error) for error in failures] == [CubeError]
    assert "notes.tif" in str(failures[0])
    assert session.cube.name == "tissue"


class Tuned:
    """Stands in for `FineTuneResult`."""

    def __init__(self, model, kept):
        self.model, self.kept, self.score_before, self.score_after = model, kept, 0.8, 0.9


@pytest.fixture
def ready(session, runner, make_cube, strokes):
    """A session with features of the network and a segmentation."""
    session.add_cube(make_cube())
    session.set_strokes(strokes)
    runner.go_all()
    return session


def test_choosing_another_network_uses_the_filter_bank_meanwhile(ready, runner):
    ready.choose_network("carl-base")

    assert ready.features.embedding is ready.embedding is None
    assert not ready.can_fine_tune
    assert {job.kind for job in runner.jobs} == {JobKind.EMBEDDING, JobKind.SEGMENTING}

    runner.go_all()
    assert ready.features.model.name == "carl-base"
    assert ready.segmentation.predictor.model is ready.features.model


@pytest.mark.parametrize("kept", [True, False])
def test_a_tuned_network_is_used_only_if_it_is_kept(ready, runner, monkeypatch, kept):
    before, tuned = ready.network.model, object()
    monkeypatch.setattr(
        feature_jobs, "fine_tune", lambda *_: Tuned(tuned if kept else before, kept)
    )

    ready.fine_tune("last_blocks")
    runner.go_all()

    assert ready.features.model is (tuned if kept else before)
    assert ready.segmentation.predictor.model is ready.features.model
    assert ready.fine_tuning.result.kept is kept
    assert ready.network.is_tuned is kept


def test_the_old_features_stay_until_those_of_a_tuned_network_are_computed(
    ready, runner, monkeypatch
):
    features, result = ready.features, ready.segmentation
    monkeypatch.setattr(feature_jobs, "fine_tune", lambda *_: Tuned(object(), True))

    ready.fine_tune("lora")
    runner.go(JobKind.FINE_TUNING)

    assert ready.features is features
    assert ready.segmentation is result
    assert not ready.can_fine_tune
    assert runner.of(JobKind.SEGMENTING) == []


def test_the_curve_of_fine_tuning_grows_with_its_progress(ready, runner, monkeypatch):
    def fine_tune(features, strokes, tune, steps, on_step, progress):
        for step in range(3):
            on_step(step)
            progress(step / 3, "Training")
        return Tuned(features.model, False)

    monkeypatch.setattr(feature_jobs, "fine_tune", fine_tune)
    lengths = []
    ready.fine_tuning_changed.connect(lambda: lengths.append(len(ready.fine_tuning.steps)))

    ready.fine_tune("lora")
    runner.go_all()

    assert lengths == [0, 1, 2, 3, 3]
    assert ready.fine_tuning.tune == "lora"


def test_cancelled_fine_tuning_changes_nothing(ready, runner, monkeypatch):
    model = ready.network.model
    monkeypatch.setattr(feature_jobs, "fine_tune", lambda *_: Tuned(object(), True))
    ready.fine_tune("last_blocks")

    ready.jobs.cancel(JobKind.FINE_TUNING)
    runner.go_all()

    assert ready.network.model is model
    assert ready.fine_tuning.result is None


@pytest.fixture
def load(monkeypatch, tmp_path, fakes):
    """A function that loads a model with given classes into a session."""

    def load(session, *classes):
        model = LoadedModel(tmp_path / "model.carl", fakes.Predictor(classes))
        monkeypatch.setattr(segmentation, "load_model", lambda *_: model)
        session.load_predictor(model.path)
        jobs = session.jobs._runner.jobs
        (loading,) = session.jobs._runner.of(JobKind.LOADING)
        jobs.remove(loading)
        loading.go()
        return model

    def segment(cube, state, features, before, viewport, progress):
        result = SegmentationResult(state.model.predictor, None, np.ones(cube.shape[:2]))
        result.complete.set()
        yield result

    monkeypatch.setattr(segmentation, "segment_with_model", segment)
    return load


STROMA, BLOOD = LabelClass(1, "stroma", (1, 2, 3)), LabelClass(4, "blood", (4, 5, 6))


def names(session):
    return {known.value: known.name for known in session.classes}


def test_a_loaded_model_brings_its_label_map_and_its_classes(ready, runner, load):
    model = load(ready, STROMA, BLOOD)
    runner.go_all()

    assert ready.segmentation.predictor is model.predictor
    # Class 2 has strokes, though the model does not know it.
    assert names(ready) == {1: "stroma", 2: "Class 2", 4: "blood"}


def test_loading_a_model_can_be_undone(ready, runner, load):
    before = ready.segmentation
    load(ready, STROMA, BLOOD)
    runner.go_all()

    ready.annotation.undo()
    runner.go_all()

    assert ready.model is None
    assert names(ready) == {1: "Class 1", 2: "Class 2"}
    np.testing.assert_array_equal(ready.segmentation.labels, before.labels)


def test_a_stroke_keeps_the_loaded_model(session, runner, make_cube, strokes, load):
    session.add_cube(make_cube())
    model = load(session, STROMA, BLOOD)
    runner.go_all()
    alone = session.segmentation

    session.set_strokes(np.where(strokes == 1, strokes, 0))
    assert not session.segmentation_is_current
    runner.go_all()

    assert session.model is model
    assert session.segmentation is not alone
    assert session.segmentation_is_current
    session.annotation.undo()
    runner.go_all()
    assert session.model is model
    assert session.segmentation_is_current


def test_strokes_of_other_classes_wait_for_a_decision(ready, runner, load):
    ready.classes.rename(1, "nerve")
    ready.classes.rename(2, "stroma")
    load(ready, STROMA, BLOOD)
    strokes = ready.strokes

    assert ready.model is None
    assert ready.pending_model is not None
    ready.accept_model(by_name=True)
    assert names(ready) == {1: "stroma", 2: "nerve", 4: "blood"}
    np.testing.assert_array_equal(ready.strokes == 2, strokes == 1)
    np.testing.assert_array_equal(ready.strokes == 1, strokes == 2)

    ready.annotation.undo()
    load(ready, STROMA, BLOOD)
    ready.accept_model(by_name=False)
    assert names(ready)[1] == "stroma"
    np.testing.assert_array_equal(ready.strokes == 1, strokes == 1)

    ready.annotation.undo()
    load(ready, STROMA, BLOOD)
    ready.reject_model()
    assert ready.model is ready.pending_model is None
    assert names(ready) == {1: "nerve", 2: "stroma"}


def test_a_class_of_the_loaded_model_cannot_be_removed(session, runner, make_cube, load):
    session.add_cube(make_cube())
    load(session, STROMA, BLOOD)

    with pytest.raises(LabelError, match="unload"):
        session.annotation.remove_class(4)

    session.unload_model()
    session.annotation.remove_class(4)
    assert names(session) == {1: "stroma"}


def test_a_loaded_segmentation_is_not_replaced_when_the_embedding_is_computed(
    session, runner, make_cube, load
):
    session.add_cube(make_cube())
    model = load(session, STROMA, BLOOD)

    runner.go_all()

    assert session.features.embedding is not None
    assert session.segmentation.predictor is model.predictor


def test_a_label_map_is_dropped_with_the_last_strokes(ready, runner, tmp_path):
    assert ready.segmentation_is_current

    ready.annotation.clear()

    assert ready.segmentation is None
    assert "two classes" in step_state(ready, Step.LEARN).line
    assert not step_state(ready, Step.EXPORT).ready
    ready.export(tmp_path)
    assert not runner.of(JobKind.EXPORTING)
    ready.annotation.undo()
    runner.go_all()
    assert ready.segmentation_is_current


def test_an_outdated_label_map_is_not_exported(ready, runner, tmp_path):
    ready.set_automatic(False)
    ready.annotation.remove_class(2)
    ready.annotation.undo()
    ready.segment()
    runner.go_all()
    ready.set_strokes(np.where(ready.strokes == 2, 1, 2 * ready.strokes).astype(np.uint8))
    runner.go_all()

    assert ready.segmentation_is_outdated
    assert "out of date" in step_state(ready, Step.LEARN).line
    assert "out of date" in step_state(ready, Step.EXPORT).line
    ready.export(tmp_path)
    ready.export_folder(tmp_path, tmp_path)
    ready.save_predictor(tmp_path / "model.carl")
    assert not runner.of(JobKind.EXPORTING) + runner.of(JobKind.SAVING)

    ready.segment()
    runner.go_all()
    assert step_state(ready, Step.EXPORT).ready


def test_exact_features_are_announced_only_while_they_are_computed(
    session, runner, make_cube, strokes
):
    session.add_cube(make_cube())
    session.set_strokes(strokes)
    runner.go(JobKind.PRECOMPUTING)
    runner.go(JobKind.SEGMENTING)
    assert "network features follow" in step_state(session, Step.LEARN).line

    session.jobs.cancel(JobKind.EMBEDDING)

    assert "follow" not in step_state(session, Step.LEARN).line


def test_each_cube_has_its_own_strokes_and_classes(session, runner, make_cube, strokes):
    first, second = make_cube("first"), make_cube("second")
    session.add_cube(first)
    session.classes.rename(1, "lumen")
    session.set_strokes(strokes)
    session.add_cube(second)
    assert session.classes[1].name == "lumen"  # a copy
    assert not session.counts
    session.classes.rename(1, "leaf")
    session.annotation.remove_class(2)

    session.select_cube(first)

    assert names(session) == {1: "lumen", 2: "Class 2"}
    assert session.counts == {1: 6, 2: 4}
