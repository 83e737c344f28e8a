"""Maps in pieces: what comes first, and that the whole is what the library says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.cube import SpectralCube
from carl.errors import Cancelled
from carl.io import LabelClass
from carl.learning import Segmenter
from carl.learning.head_training import TrainedHead
from carl.model import CARLConfig, build_model
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig
from carl.model.heads import HeadConfig, build_head
from carl.progress import no_progress
from napari_carl import segmentation
from napari_carl.segmentation import Viewport


@pytest.fixture
def large(monkeypatch):
    """A cube of two tissues that counts as large, and strokes on it."""
    monkeypatch.setattr(segmentation, "_COARSE_PIXELS", 500)
    monkeypatch.setattr(segmentation, "_TILE", 16)
    monkeypatch.setattr(segmentation, "_SECONDS_BETWEEN_PIECES", 0.0)
    generator = np.random.default_rng(0)
    truth = np.ones((50, 70), np.uint8)
    truth[:, 33:] = 2
    spectra = np.array([np.linspace(0.2, 0.8, 8), np.linspace(0.8, 0.3, 8)])[truth - 1]
    pixels = spectra + 0.02 * generator.standard_normal(spectra.shape)
    cube = SpectralCube(pixels.astype(np.float32), np.linspace(450, 660, 8))
    strokes = np.zeros_like(truth)
    strokes[10:16, 4:20], strokes[30:36, 45:60] = 1, 2
    return cube, strokes, truth


def learn(cube, strokes, *, before=None, viewport=lambda: None, progress=no_progress):
    return segmentation.learn(cube, strokes, None, (), before, viewport, progress)


def test_a_large_cube_is_looked_at_coarsely_first(large):
    cube = large[0]
    small, whole = segmentation.look(cube, no_progress)

    assert small.shape == (17, 24, 8)
    np.testing.assert_array_equal(small.data, cube.data[::3, ::3])
    assert whole is cube


def test_a_preview_is_coarse_and_covers_the_cube(large):
    cube, strokes, truth = large
    small = next(segmentation.look(cube, no_progress))

    (learned,) = segmentation.preview(small, strokes, (), no_progress)

    assert learned.is_preview
    assert learned.labels.shape == truth.shape
    assert (learned.labels == truth).mean() > 0.95


def test_strokes_too_fine_for_a_preview_make_none(large):
    cube, strokes, _ = large
    small = next(segmentation.look(cube, no_progress))
    thin = np.zeros_like(strokes)
    thin[10, 10], thin[10, 11] = 1, 2  # under one pixel of the reduced cube

    assert list(segmentation.preview(small, thin, (), no_progress)) == []


def test_the_map_in_the_end_is_that_of_the_segmenter(large):
    cube, strokes, _ = large
    *_, learned = learn(cube, strokes, viewport=lambda: Viewport((5, 30), (40, 70), 2))

    expected = Segmenter(None).fit(cube, strokes).predict(cube).labels
    np.testing.assert_array_equal(learned.labels, expected)
    assert not learned.is_preview
    assert learned.accuracy > 0.9


def test_what_is_seen_comes_first_and_the_rest_stays_until_its_turn(large):
    cube, strokes, truth = large
    before = np.full(truth.shape, 9, np.uint8)
    pieces = learn(cube, strokes, before=before, viewport=lambda: Viewport((20, 40), (30, 60)))

    first = next(pieces)
    assert not first.drawn.is_set()
    labels = first.labels
    drawn = labels != 9
    assert drawn[20:40, 30:60].all()
    assert drawn.sum() == 20 * 30
    assert (before == 9).all()  # what is shown until now is not touched

    *_, last = pieces
    assert last.labels is labels
    assert last.drawn.is_set()
    assert (labels == truth).mean() > 0.95


def test_a_first_map_begins_coarse_everywhere(large):
    cube, strokes, truth = large
    labels = next(learn(cube, strokes)).labels

    assert (labels > 0).all()
    assert (labels == truth).mean() > 0.9


def test_the_view_may_move_meanwhile(large):
    cube, strokes, truth = large
    seen = [Viewport((0, 10), (0, 10))]
    before = np.full(truth.shape, 9, np.uint8)
    pieces = learn(cube, strokes, before=before, viewport=lambda: seen[0])
    next(pieces)

    seen[0] = Viewport((40, 50), (60, 70))
    labels = next(pieces).labels

    assert (labels[48:50, 64:70] != 9).all()
    assert (labels[:10, 30:] == 9).all()


def test_drawing_is_called_off_between_two_pieces(large):
    cube, strokes, _ = large
    is_enough = False

    def progress(fraction, message):
        if is_enough:
            raise Cancelled("Enough.")

    pieces = learn(cube, strokes, progress=progress)
    next(pieces)
    is_enough = True
    with pytest.raises(Cancelled):
        list(pieces)


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A file with a head that was not trained, which looks at tiles of 16 pixels."""
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


def test_the_map_of_a_trained_head_begins_where_one_looks(large, head):
    cube = large[0]
    pieces = segmentation.segment_with_file(
        head, cube, "cpu", lambda: Viewport((34, 50), (54, 70)), no_progress
    )

    labels = next(pieces).labels
    assert labels[40:, 60:].all()
    assert not labels[:30].any()

    *_, last = pieces
    expected = TrainedHead.load(head, "cpu").predict(cube).labels
    np.testing.assert_array_equal(last.labels, expected)
    assert (last.origin, last.accuracy) == ("linear, held-out mIoU 0.88", None)
    assert [each.value for each in last.segmenter.classes] == [1, 2, 5]


def test_a_saved_segmenter_is_loaded_by_the_same_call(large, tmp_path):
    cube, strokes, _ = large
    fitted = Segmenter(None).fit(cube, strokes)
    fitted.save(tmp_path / "strokes.carl")

    pieces = segmentation.segment_with_file(
        tmp_path / "strokes.carl", cube, "cpu", lambda: None, no_progress
    )

    *_, last = pieces
    np.testing.assert_array_equal(last.labels, fitted.predict(cube).labels)
    assert (last.has_network, last.origin) == (False, "saved model")


@given(st.integers(1, 60), st.integers(1, 60), st.booleans(), st.data())
def test_every_pixel_has_its_turn(height, width, is_first, data):
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    seen = Viewport((row, height), (column, width), data.draw(st.integers(1, 5)))
    covered = np.zeros((height, width), int)
    for region in segmentation._in_order((height, width), is_first, lambda: seen):
        if region[0].step in (None, 1):
            covered[region] += 1
    assert covered.min() >= 1
