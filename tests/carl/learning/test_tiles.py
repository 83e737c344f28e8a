"""Tiles say of every pixel what the whole cube says."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from carl.cube import SpectralCube
from carl.errors import Cancelled
from carl.inference import embed_to_file, upsampled_cube
from carl.learning import Segmenter, store, tiles
from carl.model import CARL
from carl.progress import no_progress

NM = np.linspace(450, 700, 10)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that a few hundred pixels are several of them, and a large, not a small cube."""
    monkeypatch.setattr(tiles, "_ROWS", 48)
    monkeypatch.setattr(tiles, "_COLUMNS", 60)
    monkeypatch.setattr(store, "_SMALL_PIXELS", 1000)
    monkeypatch.setattr(upsampled_cube, "_MOST_PIXELS", 1000)


def mixture(height: int = 450, width: int = 230, seed: int = 0) -> SpectralCube:
    """Smooth mixtures of three spectra, with some noise."""
    generator = np.random.default_rng(seed)
    spectra = np.exp(-(((NM - np.array([[480], [560], [650]])) / 60) ** 2))
    amounts = np.abs(ndimage.gaussian_filter(generator.normal(size=(height, width, 3)), (6, 6, 0)))
    data = 0.2 + 6 * amounts @ spectra + generator.normal(size=(height, width, NM.size)) * 0.01
    return SpectralCube(data.astype(np.float32), wavelengths=NM, name="mixture")


def strokes(cube: SpectralCube) -> np.ndarray:
    """Along the rows, by which of two bands is the brighter one."""
    labels = np.zeros(cube.shape[:2], np.uint8)
    ratio = np.asarray(cube.data)[::20, :, 1] / np.asarray(cube.data)[::20, :, 8]
    labels[::20] = np.where(ratio > np.median(ratio), 1, 2)
    return labels


def together(segmenter: Segmenter, cube: SpectralCube, scratch: Path) -> tuple[np.ndarray, ...]:
    """Scores and labels from tiles, and how often each pixel was in one."""
    found = np.full((*cube.shape[:2], len(segmenter.classes)), np.nan, np.float32)
    labels = np.zeros(cube.shape[:2], np.uint8)
    times = np.zeros(cube.shape[:2], int)
    for region, prediction in segmenter.predict_tiles(cube, scratch):
        found[region], labels[region] = prediction.scores, prediction.labels
        times[region] += 1
    assert (times == 1).all()
    return found, labels


@pytest.mark.parametrize("shape", [(450, 230), (70, 400), (21, 40)])
@pytest.mark.parametrize("with_network", [False, True])
def test_tiles_make_the_map_of_the_whole(
    tmp_path: Path, tiny_model: CARL, shape: tuple[int, int], with_network: bool
) -> None:
    cube = mixture(*shape)
    segmenter = Segmenter(tiny_model if with_network else None, precision="float32")
    segmenter.fit(cube, strokes(cube))
    whole = segmenter.predict(cube)
    scores, labels = together(segmenter, cube, tmp_path / "scratch.npz")
    np.testing.assert_allclose(scores, whole.scores, atol=1e-4 * np.abs(whole.scores).max())
    assert np.array_equal(labels, whole.labels)


def test_pixels_without_data_are_left_out_of_tiles_too(tmp_path: Path) -> None:
    cube = mixture()
    segmenter = Segmenter().fit(cube, strokes(cube))
    data = np.array(cube.data)
    data[130:170, 40:90] = np.nan
    holey = SpectralCube(data, wavelengths=NM)
    _, labels = together(segmenter, holey, tmp_path / "scratch.npz")
    whole = segmenter.predict(holey)
    assert np.array_equal(labels, whole.labels)
    assert (labels[130:170, 40:90] == 0).all()


def test_every_pixel_is_read_once_for_its_components(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = mixture()
    segmenter = Segmenter().fit(cube, strokes(cube))
    read: list[tuple[int, int]] = []
    look = tiles.ComponentReader.read

    def noting(self: tiles.ComponentReader, rows: slice, *rest: object) -> object:
        read.append((rows.start, rows.stop))
        return look(self, rows, *rest)

    monkeypatch.setattr(tiles.ComponentReader, "read", noting)
    together(segmenter, cube, tmp_path / "scratch.npz")
    assert [row for rows in read for row in range(*rows)] == list(range(450))


def test_the_work_can_be_called_off_in_the_middle(tmp_path: Path) -> None:
    cube = mixture()
    segmenter = Segmenter().fit(cube, strokes(cube))
    told: list[float] = []

    def progress(share: float, message: str) -> None:
        told.append(share)
        if share > 0.5:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        for _ in segmenter.predict_tiles(cube, tmp_path / "scratch.npz", progress=progress):
            pass
    assert told == sorted(told)
    assert len(told) > 10


def test_a_mapped_embedding_is_cropped_without_a_copy_of_the_whole(
    tmp_path: Path, tiny_model: CARL
) -> None:
    cube = mixture(96, 64)
    embedding = embed_to_file(cube, tiny_model, tmp_path / "a.npz", progress=no_progress)
    size = embedding.patch_size
    part = tiles._cropped(embedding, slice(8 * size, 12 * size), slice(4 * size, 64))
    assert part is not None
    assert np.array_equal(part.spatial, embedding.spatial[8:12, 4:])
    assert part.shape == (4 * size, 64 - 4 * size)
    assert not isinstance(part.spatial, np.memmap)


def test_memory_does_not_grow_with_the_cube(tmp_path: Path) -> None:
    cube = mixture()
    segmenter = Segmenter().fit(cube, strokes(cube))

    def peak(n_times: int) -> int:
        rows = np.tile(np.arange(450), n_times)
        long = SpectralCube(_Repeated(np.asarray(cube.data), rows), wavelengths=NM)
        tracemalloc.start()
        for _ in segmenter.predict_tiles(long, tmp_path / "scratch.npz"):
            pass
        _, at_most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return at_most

    assert peak(4) < 1.1 * peak(1)


class _Repeated:
    """Rows of an array, many times over."""

    def __init__(self, values: np.ndarray, rows: np.ndarray) -> None:
        self.values, self.rows = values, rows
        self.shape, self.dtype = (len(rows), *values.shape[1:]), values.dtype

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        return self.values[self.rows[key[0]]][:, key[1], key[2]]
