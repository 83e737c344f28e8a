from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import safetensors
from safetensors.numpy import load_file, save_file

import carl
from carl.cube import SpectralCube
from carl.errors import Cancelled, CubeError, LabelError, ModelError, WavelengthError
from carl.files import resource_path
from carl.io import LabelClass
from carl.learning import Segmenter, compute_features
from carl.learning.segmenter import mixture_components
from carl.metrics import evaluate
from carl.model import CARL, load_model

NM = np.linspace(450, 700, 16)


def scene(seed: int = 0, nm: np.ndarray = NM) -> tuple[SpectralCube, np.ndarray]:
    """Return three kinds of tissue in thirds of the image, with different spectra."""
    generator = np.random.default_rng(seed)
    spectra = 1 - 0.6 * np.exp(-(((nm - np.array([[500], [560], [640]])) / 40) ** 2))
    truth = np.repeat(np.arange(1, 4), 20)[None].repeat(48, axis=0)
    data = spectra[truth - 1] + generator.normal(size=(48, 60, nm.size)) * 0.05
    return SpectralCube(data.astype(np.float32), wavelengths=nm, name="scene"), truth


def strokes(truth: np.ndarray) -> np.ndarray:
    labelled = np.zeros(truth.shape, np.uint8)
    for row in (8, 38):
        labelled[row, 5::20] = labelled[row, 6::20] = 1
    return np.where(labelled > 0, truth, 0).astype(np.uint8)


@pytest.mark.parametrize("with_model", [False, True])
def test_a_few_strokes_segment_a_cube(with_model, tiny_model):
    cube, truth = scene()
    segmenter = Segmenter(tiny_model if with_model else None).fit(cube, strokes(truth))
    prediction = segmenter.predict(cube)
    assert prediction.labels.dtype == np.uint8
    assert evaluate(prediction.labels, truth).miou > 0.95
    assert prediction.probabilities.shape == (48, 60, 3)
    np.testing.assert_allclose(prediction.probabilities.sum(axis=2), 1, rtol=1e-5)
    assert prediction.confidence.max() <= 1
    report = segmenter.report
    assert sum(report.component_weights.values()) == pytest.approx(1)
    assert (report.network_weight > 0) == with_model
    assert segmenter.uses_network == with_model
    assert repr(prediction).startswith("<Prediction: 48 × 60 pixels; class 1 3")
    assert prediction._repr_html_().count("<tr>") == 3


@pytest.mark.parametrize("trained", [False, True])
def test_components_use_the_bank_with_and_without_the_network_and_the_network_alone(trained):
    columns = {
        "spectrum": slice(0, 2), "texture": slice(2, 6),
        "CARL spectral": slice(6, 8), "CARL spatial": slice(8, 9),
    }  # fmt: skip
    names, masks, prior = mixture_components(columns, trained)
    assert sum(prior) == pytest.approx(1)
    assert len(names) == len(masks) == len(prior) == 9
    alone = masks[names.index("CARL")]
    assert alone.tolist() == [False] * 6 + [True] * 3
    with_network = masks[:, 6:].any(axis=1)
    assert (np.sum(prior, where=with_network) > 0.5) == trained
    assert mixture_components({"spectrum": slice(0, 2)}, trained)[0] == ("spectrum",)


def test_class_values_names_and_colours_survive():
    cube, truth = scene()
    blood = LabelClass(7, "blood", (255, 0, 0))
    labelled = np.array([0, 2, 7, 300], np.uint16)[strokes(truth)]
    segmenter = Segmenter(None, classes=[blood]).fit(cube, labelled)
    labels = segmenter.predict(cube).labels
    assert labels.dtype == np.uint16
    assert set(np.unique(labels)) == {2, 7, 300}
    assert [each.value for each in segmenter.classes] == [2, 7, 300]
    assert segmenter.classes[1] == blood


def test_predicting_other_cubes_and_cameras():
    cube, truth = scene()
    segmenter = Segmenter(None).fit(cube, strokes(truth))
    for seed, nm in ((5, NM), (6, np.linspace(450, 700, 9)), (7, np.linspace(440, 720, 50))):
        other, other_truth = scene(seed, nm)
        assert evaluate(segmenter.predict(other).labels, other_truth).miou > 0.9


def test_fitting_to_several_cubes():
    (one, truth), (other, _) = scene(0), scene(1)
    first, second = strokes(truth), strokes(truth)
    first[first == 3] = 0
    second[second == 1] = 0
    segmenter = Segmenter(None).fit([one, other], [first, second])
    assert evaluate(segmenter.predict(one).labels, truth).miou > 0.9


def test_pixels_without_data_get_no_label():
    cube, truth = scene()
    data = cube.data.copy()
    data[:5, :7] = np.nan
    holey = SpectralCube(data, wavelengths=NM)
    labels = Segmenter(None).fit(holey, strokes(truth)).predict(holey).labels
    assert (labels[:5, :7] == 0).all()
    assert (labels == 0).sum() == 35


def test_dead_bands_and_stray_missing_values_do_no_harm():
    cube, truth = scene()
    data = cube.data.copy()
    data[..., 4] = np.nan
    data[np.random.default_rng(0).random(data.shape) < 0.05] = np.nan
    holey = SpectralCube(data, wavelengths=NM)
    labels = Segmenter(None).fit(holey, strokes(truth)).predict(holey).labels
    assert evaluate(labels, truth).miou > 0.95


@pytest.mark.parametrize("with_model", [False, True])
def test_a_loaded_segmenter_predicts_the_same(tmp_path, with_model, tiny_model):
    cube, truth = scene()
    segmenter = Segmenter(tiny_model if with_model else None).fit(cube, strokes(truth))
    segmenter.save(tmp_path / "tissue.carl")
    loaded = Segmenter.load(tmp_path / "tissue.carl", device="cpu")
    np.testing.assert_allclose(
        loaded.predict(cube).scores, segmenter.predict(cube).scores, atol=1e-4
    )
    assert loaded.classes == segmenter.classes
    assert loaded.report == segmenter.report


def shifted_scene(seed: int = 3) -> tuple[SpectralCube, np.ndarray]:
    """Return a scene of another camera whose third tissue is mistaken for the second."""
    cube, truth = scene(seed, np.linspace(450, 700, 9))
    data = np.asarray(cube.data).copy()
    second = data[truth == 2].mean(axis=0)
    third = data[truth == 3].mean(axis=0)
    data[truth == 3] += 0.75 * (second - third)
    return SpectralCube(data, wavelengths=cube.wavelengths, name="shifted"), truth


def one_stroke(truth: np.ndarray, value: int, row: int = 20) -> np.ndarray:
    """Return a stroke of 10 pixels of a class."""
    labels = np.zeros_like(truth)
    columns = np.flatnonzero(truth[row] == value)[3:13]
    labels[row, columns] = value
    return labels


@pytest.fixture
def loaded(tmp_path: Path) -> Segmenter:
    cube, truth = scene()
    Segmenter(None).fit(cube, strokes(truth)).save(tmp_path / "tissue.carl")
    return Segmenter.load(tmp_path / "tissue.carl")


def without_pixels(path: Path) -> Path:
    """Rewrite a saved segmenter as earlier versions wrote it."""
    later = ("pixels.", "head.mode_classes", "head.accuracies")
    tensors = {n: t for n, t in load_file(path).items() if not n.startswith(later)}
    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata()
    header = json.loads(metadata["carl_segmenter"])
    del header["description"]
    old = path.with_name("old.carl")
    save_file(tensors, old, {"carl_segmenter": json.dumps(header)})
    return old


def test_one_stroke_of_one_class_corrects_a_loaded_segmenter(loaded):
    cube, truth = shifted_scene()
    before = loaded.predict(cube)
    assert (before.labels == truth)[truth == 3].mean() < 0.5
    correction = one_stroke(truth, 3)
    refined = loaded.refine(cube, correction)
    after = refined.predict(cube).labels
    assert (after == 3)[correction > 0].all()
    assert evaluate(after, truth).miou > 0.9
    assert refined.classes == loaded.classes
    assert refined.description == "few-stroke segmenter, refined"
    np.testing.assert_array_equal(loaded.predict(cube).scores, before.scores)


def test_a_correction_leaves_the_rest_of_the_map_as_it_was(loaded):
    cube, truth = scene(4)
    before = loaded.predict(cube).labels
    wrong = np.zeros_like(truth)
    wrong[40:44, 5:9] = 2  # in the middle of class 1, and like it
    after = loaded.refine(cube, wrong).predict(cube).labels
    assert (after == before)[:, 20:].mean() > 0.97


def test_a_stroke_of_a_new_class_extends_a_loaded_segmenter(loaded):
    cube, truth = scene(4)
    data = np.asarray(cube.data).copy()
    data[30:, :20] *= np.linspace(0.2, 0.9, NM.size)
    truth[30:, :20] = 9
    cube = SpectralCube(data, wavelengths=NM)
    vessel = LabelClass(9, "vessel", (1, 2, 3))
    refined = loaded.refine(cube, one_stroke(truth, 9, row=40), classes=[vessel])
    assert refined.classes == (*loaded.classes, vessel)
    assert evaluate(refined.predict(cube).labels, truth).miou > 0.9


def test_refining_is_near_to_fitting_to_the_union_of_the_labels(loaded):
    one, truth = scene()
    other, other_truth = scene(8)
    further = strokes(other_truth)
    union = Segmenter(None).fit([one, other], [strokes(truth), further])
    refined = loaded.refine(other, further)
    third, _ = scene(9)
    agreement = np.mean(refined.predict(third).labels == union.predict(third).labels)
    assert agreement > 0.98


def test_every_refinement_starts_from_the_loaded_segmenter(loaded):
    cube, truth = shifted_scene()
    bound = loaded.bind(cube, precompute=True)
    refinement = bound.prepare_refinement()
    first = refinement.fit(one_stroke(truth, 3)).predict(cube)
    both = one_stroke(truth, 3) + one_stroke(truth, 1, row=30)
    refinement.fit(both)
    again = refinement.fit(one_stroke(truth, 3)).predict(cube)
    np.testing.assert_array_equal(first.scores, again.scores)


def test_a_refined_segmenter_is_saved_and_refined_again(loaded, tmp_path):
    cube, truth = shifted_scene()
    refined = loaded.refine(cube, one_stroke(truth, 3))
    refined.save(tmp_path / "refined.carl")
    again = Segmenter.load(tmp_path / "refined.carl")
    np.testing.assert_allclose(again.predict(cube).scores, refined.predict(cube).scores, atol=1e-4)
    assert (again.description, again.report) == (refined.description, refined.report)
    twice = again.refine(cube, one_stroke(truth, 1, row=30))
    assert evaluate(twice.predict(cube).labels, truth).miou > 0.9


def test_a_cube_too_large_to_hold_is_refined_as_well(loaded):
    cube, truth = shifted_scene()
    correction = one_stroke(truth, 3)
    streamed = loaded.bind(cube).prepare_refinement().fit(correction)
    held = loaded.refine(cube, correction)
    np.testing.assert_allclose(streamed.predict(cube).scores, held.predict(cube).scores, atol=1e-4)


def test_a_file_of_an_earlier_version_is_read_and_refined(loaded, tmp_path):
    old = Segmenter.load(without_pixels(tmp_path / "tissue.carl"))
    cube, truth = shifted_scene()
    np.testing.assert_array_equal(old.predict(cube).scores, loaded.predict(cube).scores)
    assert old.description == "few-stroke segmenter"
    assert old.report.held_out_accuracy == pytest.approx(loaded.report.held_out_accuracy)
    correction = one_stroke(truth, 3)
    refined = old.refine(cube, correction)
    after = refined.predict(cube).labels
    assert "holds no training pixels" in refined.description
    assert (after == 3)[correction > 0].all()
    assert evaluate(after, truth).miou > 0.9
    absent, absent_truth = scene(5)
    only_first = SpectralCube(np.asarray(absent.data)[:, :20].copy(), wavelengths=NM)
    kept = old.refine(only_first, one_stroke(absent_truth[:, :20], 1))
    assert kept.classes == old.classes  # also those that this cube does not show


def test_strokes_that_are_no_correction_are_refused(loaded):
    cube, truth = scene(4)
    with pytest.raises(LabelError, match="Nothing is labelled"):
        loaded.refine(cube, np.zeros_like(truth))
    with pytest.raises(LabelError, match="48 × 60"):
        loaded.refine(cube, np.ones((5, 5), int))


def test_cancelling_a_refinement(loaded):
    cube, truth = scene(4)

    def stop(fraction: float, message: str) -> None:
        if message == "Refining the model":
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        loaded.refine(cube, one_stroke(truth, 3), progress=stop)


def test_the_training_pixels_in_the_file_are_few(tmp_path):
    cube, truth = scene()
    path = tmp_path / "dense.carl"
    segmenter = Segmenter(None).fit(cube, truth)
    segmenter.save(path)
    pixels = load_file(path)["pixels.features"]
    assert pixels.dtype == np.float32
    assert len(pixels) <= 8 * 3 * 4  # 8 of each class in each of 4 blocks
    assert path.stat().st_size < 100_000


def test_the_accuracy_names_the_classes_that_strokes_can_judge():
    cube, truth = scene()
    single = sum(one_stroke(truth, value) for value in (1, 2, 3))
    report = Segmenter(None).fit(cube, single).report
    assert np.isnan(report.held_out_accuracy)
    assert report.judged_classes == ()
    assert report.accuracy_text == "one stroke each: cannot be judged yet"
    report = Segmenter(None).fit(cube, single + one_stroke(truth, 2, row=40)).report
    assert (report.judged_classes, report.other_classes) == (("class 2",), ("class 1", "class 3"))
    assert report.accuracy_text.endswith("% right on held-out strokes of class 2")
    report = Segmenter(None).fit(cube, strokes(truth)).report
    assert report.accuracy_text == "100 % right on held-out strokes"


def test_threads_predict_while_another_fits():
    cube, truth = scene()
    two = np.where(strokes(truth) == 3, 0, strokes(truth))
    segmenter = Segmenter(None).fit(cube, two)
    features = segmenter.training_features[0]
    done, mixed = Event(), []

    def predict() -> None:
        while not done.is_set():
            prediction = segmenter.predict(features)
            if prediction.scores.shape[2] != len(prediction.classes):
                mixed.append(prediction.scores.shape)

    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(predict) for _ in range(2)]
        for number in range(30):
            segmenter.fit(features, two if number % 2 else strokes(truth))
        done.set()
        for each in running:
            each.result()
    assert mixed == []


def test_the_file_is_safetensors_with_a_json_header(tmp_path):
    cube, truth = scene()
    Segmenter(None).fit(cube, strokes(truth)).save(tmp_path / "tissue.carl")
    with safetensors.safe_open(tmp_path / "tissue.carl", framework="np") as file:
        header = json.loads(file.metadata()["carl_segmenter"])
    assert [value for value, *_ in header["classes"]] == [1, 2, 3]


def broken_files(tmp_path: Path) -> list[Path]:
    cube, truth = scene()
    good = tmp_path / "good.carl"
    Segmenter(None).fit(cube, strokes(truth)).save(good)
    content = good.read_bytes()
    files = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "text": b"not a segmenter",
        "flipped": content[:20] + b"\xff\xff" + content[22:],
    }
    for name, data in files.items():
        (tmp_path / f"{name}.carl").write_bytes(data)
    tensors = load_file(good)
    save_file(tensors, tmp_path / "headless.carl")
    with safetensors.safe_open(good, framework="np") as file:
        metadata = file.metadata()
    del metadata["crc32"]  # as in files of earlier versions
    save_file(
        {n: t for n, t in tensors.items() if "grid" not in n}, tmp_path / "partial.carl", metadata
    )
    tensors["head.means"] = tensors["head.means"][:, :3].copy()
    save_file(tensors, tmp_path / "contradiction.carl", metadata)
    names = [*files, "headless", "partial", "contradiction", "missing"]
    return [tmp_path / f"{name}.carl" for name in names]


def test_damaged_files_are_refused_in_one_sentence(tmp_path):
    for path in broken_files(tmp_path):
        with pytest.raises(ModelError, match=path.name):
            Segmenter.load(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cube, truth = scene()
    path = tmp_path_factory.mktemp("saved") / "scene.carl"
    Segmenter(None).fit(cube, strokes(truth)).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("head.scatter", np.zeros_like),
        ("head.scatter", lambda values: values * np.nan),
        ("head.temperatures", lambda values: values[1:]),
        ("head.mode_classes", lambda values: values[::-1]),
        ("head.mode_classes", np.zeros_like),
        ("head.accuracies", lambda values: values[1:]),
        ("pixels.features", lambda values: values * np.nan),
        ("pixels.features", lambda values: values[:, 1:]),
        ("pixels.classes", lambda values: values[::-1]),
        ("pixels.modes", lambda values: values + 1),
        ("pixels.blocks", lambda values: values[1:]),
        ("pixels.strokes", lambda values: values - 9),
        ("pixels.strokes", lambda values: values.astype(np.float32)),
        ("pixels.weights", lambda values: -values),
        ("head.seen", np.zeros_like),
        ("head.seen", lambda values: values.astype(np.float32)),
        ("space.bank.grid", lambda values: values[::-1]),
        ("space.bank.sigmas", lambda values: values * 1e6),
        ("space.bank.scale", lambda values: values[None]),
        ("space.spectra.basis", lambda values: values[1:]),
        ("space.spectra.residual", lambda values: values[:, 1:]),
    ],
)
def test_arrays_that_make_no_segmenter_are_refused(saved, tmp_path, name, change):
    tensors = load_file(saved)
    with safetensors.safe_open(saved, "np") as file:
        metadata = {key: text for key, text in file.metadata().items() if key != "crc32"}
    tensors[name] = np.ascontiguousarray(change(tensors[name]))
    save_file(tensors, tmp_path / "changed.carl", metadata)
    with pytest.raises(ModelError, match=r"changed\.carl"):
        Segmenter.load(tmp_path / "changed.carl")


@pytest.mark.parametrize(
    "change",
    [
        {"classes": []},
        {"classes": [[10**400, "a", [0, 0, 0]]] * 3},
        {"classes": [[1, "a", [0, 0, 10**400]], [2, "b", [0, 0, 0]], [3, "c", [0, 0, 0]]]},
        {"classes": [[1, "a", [0, 0, 0]], [1, "b", [0, 0, 0]], [3, "c", [0, 0, 0]]]},
        {"classes": [[1, "\ud800", [0, 0, 0]], [2, "b", [0, 0, 0]], [3, "c", [0, 0, 0]]]},
        {"experts": ["spectrum"]},
        {"precision": []},
        {"accuracy": "high"},
    ],
)
def test_headers_that_make_no_segmenter_are_refused(saved, tmp_path, change):
    with safetensors.safe_open(saved, "np") as file:
        (key,) = set(file.metadata()) - {"crc32"}
        header = json.loads(file.metadata()[key]) | change
    save_file(load_file(saved), tmp_path / "changed.carl", {key: json.dumps(header)})
    with pytest.raises(ModelError, match=r"changed\.carl"):
        Segmenter.load(tmp_path / "changed.carl")


def test_unusable_labels_are_refused_with_the_reason():
    cube, truth = scene()
    cases = {
        "48 × 60": np.zeros((20, 20), np.uint8),
        "whole numbers": strokes(truth) * 0.5,
        "two classes": (strokes(truth) == 1).astype(np.uint8),
        "below 0": -strokes(truth).astype(np.int16),
    }
    for words, labels in cases.items():
        with pytest.raises(LabelError, match=words):
            Segmenter(None).fit(cube, labels)
    with pytest.raises(LabelError, match="2 label maps were given for 1 cubes"):
        Segmenter(None).fit(cube, [strokes(truth), strokes(truth)])


def test_a_cube_without_wavelengths_is_refused():
    cube, truth = scene()
    with pytest.raises(WavelengthError, match="give a camera"):
        Segmenter(None).fit(SpectralCube(cube.data, name="anonymous"), strokes(truth))


def test_nothing_is_predicted_or_saved_before_fitting(tmp_path):
    segmenter = Segmenter(None)
    for use in (lambda: segmenter.predict(scene()[0]), lambda: segmenter.save(tmp_path / "x.carl")):
        with pytest.raises(ModelError, match="fit it to labelled pixels first"):
            use()
    assert not list(tmp_path.iterdir())


def test_cancelling_a_fit_keeps_the_previous_one(tiny_model):
    cube, truth = scene()
    segmenter = Segmenter(tiny_model).fit(cube, strokes(truth))
    before = segmenter.predict(cube).labels

    def stop(fraction: float, message: str) -> None:
        raise Cancelled("stopped")

    other, _ = scene(11)
    with pytest.raises(Cancelled):
        segmenter.fit(other, strokes(truth), progress=stop)
    np.testing.assert_array_equal(segmenter.predict(cube).labels, before)


def test_progress_rises_to_the_end(tiny_model: CARL):
    reported: list[float] = []
    cube, truth = scene(21)
    Segmenter(tiny_model).fit(cube, strokes(truth), progress=lambda f, _: reported.append(f))
    assert reported == sorted(reported)
    assert reported[-1] == 1


def test_the_sample_from_twenty_pixels_a_class():
    folder = resource_path("sample")
    cube = carl.read_cube(folder / "bladder.tif")
    labels = carl.read_labels(folder / "bladder_labels.png").labels
    generator = np.random.default_rng(0)
    labelled = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        labelled.flat[generator.choice(np.flatnonzero(labels == value), 20, replace=False)] = value
    predicted = Segmenter(None).fit(cube, labelled).predict(cube).labels
    assert evaluate(predicted, np.where(labelled > 0, 0, labels)).miou > 0.95


def test_windows_and_steps_give_the_labels_of_the_whole():
    cube, truth = scene()
    segmenter = Segmenter(None).fit(cube, strokes(truth))
    whole = segmenter.predict(cube).labels
    bound = segmenter.bind(cube)
    for region in (np.s_[::4, ::4], np.s_[10:30, 7:60]):
        np.testing.assert_array_equal(bound.predict_window(region).labels, whole[region])


def test_a_cube_of_one_patch_has_finite_probabilities() -> None:
    values = np.random.default_rng(0).random((2, 2, 8), np.float32)
    cube = SpectralCube(values, np.linspace(450, 800, 8))
    segmenter = Segmenter(load_model("carl-nano")).fit(cube, np.array([[1, 1], [2, 2]]))
    prediction = segmenter.predict(cube)
    assert np.allclose(prediction.probabilities.sum(axis=-1), 1)
    assert np.array_equal(prediction.labels, [[1, 1], [2, 2]])


def test_a_cube_with_one_pixel_is_refused() -> None:
    values = np.full((4, 4, 3), np.nan, np.float32)
    values[1, 2] = 0.5
    with pytest.raises(CubeError, match="dot has one pixel with data"):
        compute_features(SpectralCube(values, np.array([450.0, 550.0, 650.0]), name="dot"))


def test_a_renamed_segmenter_predicts_the_same_labels():
    cube, truth = scene()
    segmenter = Segmenter().fit(cube, strokes(truth))

    renamed = segmenter.with_class_names([LabelClass(2, "vessel", (9, 8, 7))])

    assert [each.name for each in renamed.classes][:2] == ["class 1", "vessel"]
    assert [each.name for each in segmenter.classes][:2] == ["class 1", "class 2"]
    np.testing.assert_array_equal(renamed.predict(cube).labels, segmenter.predict(cube).labels)
