from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from carl.errors import CubeError, WavelengthError
from carl.io import LabelClass, read_labels
from napari_carl import bands, computations, segmentation
from napari_carl.display import DisplayMode
from napari_carl.jobs import JobKind
from napari_carl.steps import Step, step_state


@pytest.fixture
def failures(session):
    told = []
    session.failed.connect(told.append)
    return told


def test_a_cube_with_wavelengths_is_pictured_and_embedded_by_itself(session, runner, make_cube):
    cube = make_cube()
    session.add_cube(cube)
    assert {job.task for job in runner.jobs} == {JobKind.PICTURE, JobKind.PRECOMPUTING}

    runner.go_all()

    assert session.cube is cube
    assert session.picture.pixels.shape == (12, 16, 3)
    assert session.network.features.embedding.cube is cube


def test_nothing_is_guessed_for_a_cube_without_wavelengths(session, runner, make_cube, strokes):
    session.add_cube(make_cube(known=False))
    session.set_strokes(strokes)
    runner.go_all()

    assert session.network.features is session.segmentation is None
    assert not session.can_learn
    assert "missing" in step_state(session, Step.CUBE).line
    assert not step_state(session, Step.LEARN).ready


def test_wavelengths_given_by_hand_start_what_waited_for_them(session, runner, make_cube, strokes):
    before = make_cube(known=False)
    replaced = []
    session.cube_replaced.connect(lambda old, new: replaced.append((old, new)))
    session.add_cube(before)
    session.set_strokes(strokes)

    session.edit_cube(lambda cube: bands.with_range(cube, "450:520:10"))
    runner.go_all()

    assert replaced == [(before, session.cube)]
    assert session.cubes == (session.cube,)
    np.testing.assert_array_equal(session.cube.wavelengths, np.arange(450, 521, 10))
    assert session.network.features.embedding.cube is session.cube
    assert session.segmentation is not None


@pytest.mark.parametrize("text", ["450:520", "450:520:100", "violet to red"])
def test_wavelengths_that_do_not_fit_are_refused_and_change_nothing(
    session, failures, make_cube, text
):
    cube = make_cube(known=False)
    session.add_cube(cube)

    session.edit_cube(lambda cube: bands.with_range(cube, text))

    assert [type(error) for error in failures] == [WavelengthError]
    assert session.cube is cube


def test_wavelengths_from_a_file(session, make_cube, tmp_path, failures):
    session.add_cube(make_cube(known=False, bands=3))
    table = tmp_path / "bands.csv"
    table.write_text("wavelength,fwhm\n450,10\n550,12\n650,14\n")

    session.edit_cube(lambda cube: bands.with_table(cube, table))
    assert session.cube.wavelengths.tolist() == [450, 550, 650]
    assert session.cube.fwhm.tolist() == [10, 12, 14]

    session.edit_cube(lambda cube: bands.with_table(cube, tmp_path / "nowhere.csv"))
    assert len(failures) == 1
    assert "nowhere.csv" in str(failures[0])


def test_cameras_are_offered_by_their_number_of_bands(session, make_cube, failures):
    session.add_cube(make_cube(known=False, bands=3))
    fitting = bands.fitting_cameras(session.cube)
    assert {known.n_bands for known in fitting} == {3}

    session.edit_cube(lambda cube: bands.with_camera(cube, fitting[0].name))
    assert session.cube.wavelengths.tolist() == fitting[0].wavelengths.tolist()

    session.edit_cube(lambda cube: bands.with_camera(cube, "no such camera"))
    assert [type(error) for error in failures] == [WavelengthError]


def test_strokes_of_two_classes_make_a_map(session, runner, make_cube, strokes):
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


def test_the_first_map_does_not_wait_for_the_network(session, runner, make_cube, strokes):
    session.add_cube(make_cube())
    session.set_strokes(strokes)
    runner.go(JobKind.PRECOMPUTING)
    runner.go(JobKind.SEGMENTING)
    assert not session.segmentation.has_network

    runner.go(JobKind.EMBEDDING)
    runner.go(JobKind.SEGMENTING)
    assert session.segmentation.has_network


def test_the_map_is_made_with_approximate_features_and_again_with_exact_ones(
    session, runner, make_cube, strokes, monkeypatch
):
    def compute_features(cube, *_):
        for speed in ("turbo", "exact"):
            embedding = SimpleNamespace(speed=speed, fidelity=0.995)
            yield computations.Features(SimpleNamespace(), "CPU", embedding, speed=speed)

    def learn(cube, strokes, features, *_):
        used.append(features.speed)
        fidelity = features.embedding.fidelity if features.is_approximate else None
        yield segmentation.SegmentationResult(None, strokes, 0.9, True, 0.1, fidelity=fidelity)

    used: list[str] = []
    monkeypatch.setattr(computations, "compute_features", compute_features)
    monkeypatch.setattr(segmentation, "learn", learn)
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    session.set_strokes(strokes)
    embedding = runner.of(JobKind.EMBEDDING)[0]
    pieces = []
    embedding.run(lambda *_: None, pieces.append)

    embedding.arrived(pieces[0])
    runner.go(JobKind.SEGMENTING)
    assert "network in turbo (0.995), exact to follow" in step_state(session, Step.LEARN).line
    embedding.arrived(pieces[1])
    runner.go(JobKind.SEGMENTING)
    assert "turbo" not in step_state(session, Step.LEARN).line
    assert used == ["turbo", "exact"]


def test_a_coarse_map_comes_first_and_the_whole_one_takes_its_place(
    session, runner, make_cube, strokes, monkeypatch, tmp_path
):
    cube, small = make_cube(), make_cube("small")
    asked = []

    def look(cube, progress):
        yield small
        yield cube

    def preview(of, strokes, classes, progress):
        asked.append(of)
        yield segmentation.SegmentationResult(None, strokes, None, False, 0.1, is_preview=True)

    monkeypatch.setattr(segmentation, "look", look)
    monkeypatch.setattr(segmentation, "preview", preview)
    session.add_cube(cube)
    session.set_strokes(strokes)
    assert runner.of(JobKind.SEGMENTING) == []  # nothing is known of the cube yet

    runner.of(JobKind.PRECOMPUTING)[0].arrived(small)
    runner.go(JobKind.SEGMENTING)
    assert asked == [small]
    assert session.segmentation.is_preview
    assert not step_state(session, Step.EXPORT).ready
    session.exports.write(tmp_path)
    assert runner.of(JobKind.EXPORTING) == []

    runner.of(JobKind.PRECOMPUTING)[0].arrived(cube)
    runner.go(JobKind.SEGMENTING)
    assert not session.segmentation.is_preview
    assert step_state(session, Step.EXPORT).ready


def test_a_map_that_gets_sharper_is_told_once_as_new(
    session, runner, make_cube, strokes, monkeypatch
):
    told = []

    def learn(cube, strokes, *_):
        learned = segmentation.SegmentationResult(None, np.array(strokes), None, False, 0.1)
        for row in range(3):
            learned.labels[row] = 1
            yield learned

    monkeypatch.setattr(segmentation, "learn", learn)
    session.segmentation_changed.connect(lambda: told.append("new"))
    session.segmentation_refined.connect(lambda: told.append("sharper"))
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    session.set_strokes(strokes)
    runner.go(JobKind.SEGMENTING)

    assert told == ["new", "sharper", "sharper"]


def test_a_first_impression_of_the_network_is_for_pictures_only(
    session, runner, make_cube, monkeypatch
):
    coarse, exact = SimpleNamespace(speed="turbo"), SimpleNamespace(speed="exact")
    shown = []

    def compute_features(cube, *_):
        yield computations.Features(SimpleNamespace(), "CPU", coarse, step=4)
        yield computations.Features(SimpleNamespace(), "CPU", exact)

    def picture(features, progress):
        shown.append(features.embedding)
        yield computations.Picture("PCA", np.zeros((12, 16, 3), np.uint8))

    monkeypatch.setattr(computations, "compute_features", compute_features)
    monkeypatch.setattr(computations, "picture_embedding", picture)
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    embedding = runner.of(JobKind.EMBEDDING)[0]
    pieces = []
    embedding.run(lambda *_: None, pieces.append)

    embedding.arrived(pieces[0])
    assert session.network.features is None
    session.show_embedding()
    runner.go(JobKind.PICTURE)
    assert shown == [coarse]

    embedding.arrived(pieces[1])
    assert session.network.features.embedding is exact
    runner.go(JobKind.PICTURE)  # the picture that is shown follows
    assert shown == [coarse, exact]


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


def test_late_map_of_older_strokes_never_replaces_the_newer(session, runner, make_cube, strokes):
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    session.set_strokes(strokes)
    newer = strokes.copy()
    newer[10, 2:6] = 3
    session.set_strokes(newer)
    first, second = runner.of(JobKind.SEGMENTING)

    second.go()
    learned = session.segmentation
    first.go()

    assert session.segmentation is learned
    assert learned.labels.max() == 3


def test_old_map_stays_until_the_new_one_is_there(session, runner, make_cube, strokes):
    session.add_cube(make_cube())
    session.set_strokes(strokes)
    runner.go_all()
    old = session.segmentation

    strokes[10] = 1
    session.set_strokes(strokes)
    assert session.segmentation is old

    runner.go_all()
    assert session.segmentation is not old


def test_without_automatic_the_map_waits_for_the_button(session, runner, make_cube, strokes):
    session.add_cube(make_cube())
    runner.go(JobKind.PRECOMPUTING)
    session.set_automatic(False)
    session.set_strokes(strokes)
    assert runner.of(JobKind.SEGMENTING) == []

    session.learn()
    runner.go(JobKind.SEGMENTING)
    assert session.segmentation is not None


def test_painted_values_without_a_class_get_one(session, make_cube, strokes):
    session.add_cube(make_cube())
    strokes[5, 5] = 6

    session.set_strokes(strokes)

    assert [known.value for known in session.classes] == [1, 2, 6]


def test_another_cube_starts_anew_and_calls_the_work_on_the_first_off(
    session, runner, make_cube, strokes
):
    session.add_cube(make_cube("first"))
    runner.go(JobKind.PRECOMPUTING)
    session.set_strokes(strokes)
    late = runner.of(JobKind.SEGMENTING)[0]

    session.add_cube(make_cube("second"))
    late.go()

    assert late.cancelled
    assert session.segmentation is None
    assert session.strokes is None


def test_removing_the_current_cube_falls_back_to_the_one_before(session, make_cube):
    first, second = make_cube("first"), make_cube("second")
    session.add_cube(first)
    session.add_cube(second)

    session.remove_cube(second)
    assert session.cube is first

    session.remove_cube(first)
    assert session.cube is None
    assert session.cubes == ()
    assert not step_state(session, Step.EXPLORE).ready


def test_views_ask_for_their_pictures(session, runner, make_cube):
    session.add_cube(make_cube())
    session.show_bands(7, 3, 0)
    runner.go_all()
    assert session.display_mode is DisplayMode.THREE_BANDS
    assert session.picture.name == "Three bands"
    assert session.composition == (7, 3, 0)

    told = []
    session.band_changed.connect(told.append)
    session.show_band(5)
    session.show_band(5)
    assert session.display_mode is DisplayMode.SINGLE_BAND
    assert told == [5]


def test_class_spectra_follow_the_strokes(session, runner, make_cube, strokes):
    cube = make_cube()
    session.add_cube(cube)
    session.set_strokes(strokes)
    runner.go(JobKind.SPECTRA)

    painted = cube.to_numpy()[strokes == 1]
    assert set(session.spectra) == {1, 2}
    np.testing.assert_allclose(session.spectra[1].mean, painted.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(session.spectra[1].deviation, painted.std(axis=0), rtol=1e-4)


def test_spectrum_under_the_cursor(session, runner, make_cube):
    cube = make_cube()
    session.add_cube(cube)
    told = []
    session.cursor_changed.connect(told.append)

    session.point_at(3, 4)
    runner.go(JobKind.CURSOR)
    session.point_at(12, 4)  # outside

    assert len(runner.of(JobKind.CURSOR)) == 1
    np.testing.assert_array_equal(told[0], cube.spectrum(3, 4))


@pytest.mark.parametrize("whole", [True, False])
def test_only_a_map_that_is_not_there_yet_is_made_for_the_export(
    session, runner, make_cube, strokes, tmp_path, monkeypatch, whole
):
    predicted = []

    def predict(cube, progress):
        predicted.append(cube)
        return SimpleNamespace(labels=np.full(cube.shape[:2], 2, np.uint8))

    def learn(cube, strokes, *_):
        segmenter = SimpleNamespace(predict=predict)
        learned = segmentation.SegmentationResult(
            segmenter, np.ones_like(strokes), None, False, 0.1
        )
        if whole:
            learned.drawn.set()
        yield learned

    monkeypatch.setattr(segmentation, "learn", learn)
    cube = make_cube()
    session.add_cube(cube)
    session.set_strokes(strokes)
    runner.go_all()
    session.exports.write(tmp_path)
    runner.go_all()
    assert predicted == ([] if whole else [cube])
    exported = read_labels(tmp_path / "tissue_labels.tif").labels
    assert np.unique(exported).tolist() == ([1] if whole else [2])


def test_export_writes_the_map(session, runner, make_cube, strokes, tmp_path):
    session.add_cube(make_cube())
    session.exports.write(tmp_path)
    assert runner.of(JobKind.EXPORTING) == []

    session.set_strokes(strokes)
    runner.go_all()
    session.exports.write(tmp_path)
    runner.go_all()

    assert session.exports.files
    assert all(path.parent == tmp_path and path.is_file() for path in session.exports.files)
    assert {"tissue_labels.tif", "tissue_labels.png", "tissue_classes.csv"} <= {
        path.name for path in session.exports.files
    }


def test_opening_a_bad_file_tells_why_and_leaves_the_session_alone(
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
    """A result of fine-tuning."""

    def __init__(self, model, kept):
        self.model, self.kept, self.score_before, self.score_after = model, kept, 0.8, 0.9


@pytest.fixture
def ready(session, runner, make_cube, strokes):
    """A session with features and a map."""
    session.add_cube(make_cube())
    session.set_strokes(strokes)
    runner.go_all()
    return session


@pytest.mark.parametrize("kept", [True, False])
def test_a_tuned_network_takes_over_only_if_it_is_kept(ready, runner, monkeypatch, kept):
    before, tuned = ready.network.features.model, object()
    monkeypatch.setattr(
        computations, "fine_tune", lambda *_: Tuned(tuned if kept else before, kept), raising=True
    )

    ready.fine_tune("head")
    runner.go_all()

    assert ready.network.features.model is (tuned if kept else before)
    assert ready.segmentation.segmenter.model is ready.network.features.model
    assert ready.fine_tuning.result.kept is kept


def test_the_curve_of_fine_tuning_grows_with_its_progress(ready, runner, monkeypatch):
    def fine_tune(cube, strokes, model, tune, on_step, progress):
        for step in range(3):
            on_step(step)
            progress(step / 3, "Training")
        return Tuned(model, False)

    monkeypatch.setattr(computations, "fine_tune", fine_tune)
    lengths = []
    ready.fine_tuning_changed.connect(lambda: lengths.append(len(ready.fine_tuning.steps)))

    ready.fine_tune("lora")
    runner.go_all()

    assert lengths == [0, 1, 2, 3, 3]
    assert ready.fine_tuning.tune == "lora"


def test_cancelled_fine_tuning_changes_nothing(ready, runner, monkeypatch):
    model = ready.network.features.model
    monkeypatch.setattr(computations, "fine_tune", lambda *_: Tuned(object(), True))
    ready.fine_tune("head")

    ready.jobs.cancel(JobKind.FINE_TUNING)
    runner.go_all()

    assert ready.network.features.model is model
    assert ready.fine_tuning.result is None


def test_a_loaded_segmenter_brings_its_map_and_its_classes(ready, runner, monkeypatch, tmp_path):
    classes = (LabelClass(1, "stroma", (1, 2, 3)), LabelClass(4, "blood", (4, 5, 6)))
    loaded = segmentation.SegmentationResult(
        SimpleNamespace(classes=classes), np.ones((12, 16)), None, True, 0.1
    )
    monkeypatch.setattr(segmentation, "segment_with_file", lambda *_: iter([loaded]))

    ready.load_predictor(tmp_path / "model.carl")
    runner.go(JobKind.SEGMENTING)

    assert ready.segmentation is loaded
    assert [(known.value, known.name) for known in ready.classes] == [
        (1, "stroma"),
        (2, "Class 2"),  # painted, though the segmenter does not know it
        (4, "blood"),
    ]


def test_a_loaded_map_is_not_replaced_when_the_network_comes(
    session, runner, make_cube, strokes, monkeypatch, tmp_path
):
    loaded = segmentation.SegmentationResult(
        SimpleNamespace(classes=()), np.ones((12, 16)), None, True, 0.1
    )
    monkeypatch.setattr(segmentation, "segment_with_file", lambda *_: iter([loaded]))
    session.add_cube(make_cube())
    session.set_strokes(strokes)
    session.load_predictor(tmp_path / "model.carl")

    runner.go_all()

    assert session.network.features is not None
    assert session.segmentation is loaded
