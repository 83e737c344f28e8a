"""Order in which windows are predicted, and agreement with the library."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.cube import SpectralCube
from carl.errors import Cancelled
from carl.io import LabelClass
from carl.learning import Segmenter, compute_features, cube_features
from carl.learning.features import grid_windows
from carl.learning.head_training import TrainedHead
from carl.model import CARLConfig, build_model
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig
from carl.model.heads import HeadConfig, build_head
from carl.progress import no_progress
from napari_carl import feature_jobs, segmentation
from napari_carl.annotation import AnnotationState
from napari_carl.segmentation import Viewport


@pytest.fixture
def large(monkeypatch):
    """A cube of two tissues that counts as large, strokes on it, and the true labels."""
    monkeypatch.setattr(feature_jobs, "_PREVIEW_PIXELS", 500)
    monkeypatch.setattr(cube_features, "_WINDOW", 16)
    monkeypatch.setattr(segmentation, "_DISPLAY_INTERVAL", 0.0)
    generator = np.random.default_rng(0)
    truth = np.ones((50, 70), np.uint8)
    truth[:, 33:] = 2
    spectra = np.array([np.linspace(0.2, 0.8, 8), np.linspace(0.8, 0.3, 8)])[truth - 1]
    pixels = spectra + 0.02 * generator.standard_normal(spectra.shape)
    cube = SpectralCube(pixels.astype(np.float32), np.linspace(450, 660, 8))
    strokes = np.zeros_like(truth)
    strokes[10:16, 4:20], strokes[30:36, 45:60] = 1, 2
    return cube, strokes, truth


def segment(cube, strokes, *, before=None, viewport=lambda: None, progress=no_progress):
    features = compute_features(cube)
    return segmentation.segment(features, strokes, (), before, viewport, progress)


@pytest.fixture
def preview(large):
    """Features of the reduced cube."""
    return next(feature_jobs.precompute(large[0], no_progress))


def test_a_preview_is_coarse_and_covers_the_cube(large, preview):
    _, strokes, truth = large

    (result,) = segmentation.segment_preview(preview, strokes, (), no_progress)

    assert result.is_preview
    assert result.labels.shape == truth.shape
    assert (result.labels == truth).mean() > 0.95


def test_strokes_too_fine_for_the_reduced_cube_make_no_preview(large, preview):
    thin = np.zeros_like(large[1])
    thin[10, 10], thin[10, 11] = 1, 2  # under one pixel of the reduced cube

    assert list(segmentation.segment_preview(preview, thin, (), no_progress)) == []


def test_the_complete_label_map_is_that_of_the_segmenter(large):
    cube, strokes, _ = large
    *_, result = segment(cube, strokes, viewport=lambda: Viewport((5, 30), (40, 70), 2))

    expected = Segmenter(None).fit(cube, strokes).predict(cube).labels
    np.testing.assert_array_equal(result.labels, expected)
    assert not result.is_preview
    assert result.accuracy == "one stroke each: cannot be judged yet"


def test_the_visible_part_comes_first_and_the_rest_stays_meanwhile(large):
    cube, strokes, truth = large
    before = np.full(truth.shape, 9, np.uint8)
    results = segment(cube, strokes, before=before, viewport=lambda: Viewport((20, 40), (30, 60)))

    first = next(results)
    assert not first.complete.is_set()
    labels = first.labels
    predicted = labels != 9
    assert predicted[20:40, 30:60].all()
    assert predicted.sum() == 20 * 30
    assert (before == 9).all()  # the displayed label map is not changed

    *_, last = results
    assert last.labels is labels
    assert last.complete.is_set()
    assert (labels == truth).mean() > 0.95


def test_a_first_label_map_starts_coarse_everywhere(large):
    cube, strokes, truth = large
    labels = next(segment(cube, strokes)).labels

    assert (labels > 0).all()
    assert (labels == truth).mean() > 0.9


def test_the_view_may_move_meanwhile(large):
    cube, strokes, truth = large
    views = [Viewport((0, 10), (0, 10))]
    before = np.full(truth.shape, 9, np.uint8)
    results = segment(cube, strokes, before=before, viewport=lambda: views[0])
    next(results)

    views[0] = Viewport((40, 50), (60, 70))
    labels = next(results).labels

    assert (labels[40:48, 64:70] != 9).all()
    assert (labels[:10, 30:] == 9).all()


def test_segmenting_can_be_cancelled_between_two_windows(large):
    cube, strokes, _ = large
    is_cancelled = False

    def progress(fraction, message):
        if is_cancelled:
            raise Cancelled("Cancelled.")

    results = segment(cube, strokes, progress=progress)
    next(results)
    is_cancelled = True
    with pytest.raises(Cancelled):
        list(results)


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A file with an untrained head for tiles of 16 pixels."""
    config = CARLConfig(
        patch_size=4,
        spec_encoder_kwargs=SpectralEncoderConfig(
            embed_dim=16, n_queries=2, depth=1, num_heads=2, layer_scale=None
        ),
        spat_encoder_kwargs=SpatialEncoderConfig(
            "vit_tiny_patch16_224", 1, {"embed_dim": 24, "num_heads": 2, "depth": 1}
        ),
    )
    classes = tuple(LabelClass(value, f"tissue {value}", (value, 2, 3)) for value in (1, 2, 5))
    sizes = HeadConfig("linear")
    network = build_head(sizes, build_model(config), len(classes))
    path = tmp_path_factory.mktemp("head") / "tissues.carl"
    TrainedHead(network.eval(), sizes, classes, 16, {"scores": {"miou": 0.876}}).save(path)
    return path


def loaded(path, cube):
    """An annotation without strokes of a cube for which a model was loaded."""
    model = segmentation.load_model(path, "cpu", no_progress)
    return AnnotationState(np.zeros(cube.shape[:2], np.uint8), model.predictor.classes, model)


def test_the_label_map_of_a_trained_head_starts_at_the_view(large, head):
    cube = large[0]
    view = Viewport((34, 50), (54, 70))
    results = segmentation.segment_with_model(
        cube, loaded(head, cube), None, None, lambda: view, no_progress
    )

    labels = next(results).labels
    assert labels[34:48, 54:].all()
    assert not labels[:, :48].any()

    *_, last = results
    expected = TrainedHead.load(head, "cpu").predict(cube).labels
    np.testing.assert_array_equal(last.labels, expected)
    assert (last.origin, last.accuracy) == ("linear, held-out mIoU 0.88", "")
    assert [each.value for each in last.predictor.classes] == [1, 2, 5]


def test_a_saved_segmenter_is_loaded_by_the_same_call(large, tmp_path):
    cube, strokes, _ = large
    fitted = Segmenter(None).fit(cube, strokes)
    fitted.save(tmp_path / "strokes.carl")

    state = loaded(tmp_path / "strokes.carl", cube)
    *_, last = segmentation.segment_with_model(cube, state, None, None, lambda: None, no_progress)

    np.testing.assert_array_equal(last.labels, fitted.predict(cube).labels)
    assert not last.predictor.uses_network
    assert last.origin == fitted.description


@given(st.integers(1, 60), st.integers(1, 60), st.booleans(), st.booleans(), st.data())
def test_every_pixel_is_predicted(height, width, is_first, is_precomputed, data):
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    view = Viewport((row, height), (column, width), data.draw(st.integers(1, 5)))
    bound = SimpleNamespace(
        windows=grid_windows((height, width), 16), is_precomputed=is_precomputed
    )
    covered = np.zeros((height, width), int)
    for region in segmentation._windows_in_order(bound, (height, width), is_first, lambda: view):
        if region[0].step in (None, 1):
            covered[region] += 1
    assert covered.min() >= 1
