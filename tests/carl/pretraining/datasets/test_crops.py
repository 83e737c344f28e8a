from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from carl.cube import SpectralCube
from carl.errors import CarlError, CubeError
from carl.pretraining.datasets.augment import (
    BandSampling,
    BandSubset,
    SimulatedBands,
    random_crop,
    random_flip,
    random_zoom,
    resize,
)
from carl.pretraining.datasets.batch_schedule import BatchPlan
from carl.pretraining.datasets.crops import CropDataset, ImageSource, PretrainingBatch, check_batch
from carl.pretraining.datasets.images import ImageWindow, OneCamera
from carl.pretraining.datasets.simulated import SimulatedOptions
from carl.pretraining.statistics_targets import N_PARAMETERS, N_TRUTHS
from carl.spectra.normalise import cube_statistics

RANDOM = np.random.default_rng(0)
NM = np.array([700.0, 500, 600, 400, 650, 550, 450, 750])
SPECTRA = np.float32([[490.0], [510.0]]).repeat(NM.size, axis=1)
"""Spectra with mean 500 and standard deviation 10."""


class Ramps(OneCamera):
    """Images whose values encode item, band, row and column."""

    def __init__(self, change: Callable[[np.ndarray], object] | None = None) -> None:
        super().__init__(NM)
        self.change = change
        self.declared = True

    def __len__(self) -> int:
        return 5

    def read(self, item: int, size: int, random: np.random.Generator) -> ImageWindow:
        rows, columns, bands = np.indices((20, 24, NM.size))
        values = (1000 * item + NM[bands] + rows / 100 + columns / 10000).astype(np.float32)
        if self.change is not None:
            self.change(values)
        return ImageWindow(values, SPECTRA, self.declared, f"file{item}")


def source(
    images: object = None, *, bands: BandSampling | None = None, fill: bool = False
) -> ImageSource:
    return ImageSource("ramps", images or Ramps(), bands or BandSampling(), fill, 1.0)  # type: ignore[arg-type]


def batch(*sources: ImageSource, items: tuple[int, ...] = (0, 3), **plan: int) -> PretrainingBatch:
    crops = CropDataset(list(sources) or [source()], size=8, seed=0)
    found = crops[BatchPlan(plan.get("position", 0), 0, items, plan.get("first", 0))]
    if isinstance(found, CarlError):
        raise found
    return found


def test_batch_is_normalised_and_in_order_of_wavelength() -> None:
    found = batch()
    assert found.image.shape == (2, 8, 8, 8)
    assert found.image.dtype == torch.float32
    assert found.wavelengths_um.tolist() == pytest.approx(sorted(NM / 1000))
    assert found.files == ("file0", "file3")
    bands = found.image[1].mean(dim=(1, 2)) * 10 + 500 - 3000
    assert bands.tolist() == pytest.approx(sorted(NM), abs=0.3)


def test_batches_do_not_depend_on_earlier_ones_or_on_the_number_of_processes() -> None:
    sampling = BandSampling((3, 6), contiguous=0.5)
    whole = batch(source(bands=sampling), items=(0, 1, 2, 3), position=7)
    again = batch(source(bands=sampling), items=(2, 3), position=7, first=2)
    assert torch.equal(again.image, whole.image[2:])
    assert torch.equal(again.wavelengths_um, whole.wavelengths_um)
    other = batch(source(bands=sampling), items=(0, 1, 2, 3), position=8)
    assert other.image.shape != whole.image.shape or not torch.equal(other.image, whole.image)


def test_bands_are_normalised_by_the_statistics_of_selected_bands() -> None:
    class Uneven(Ramps):
        def read(self, item: int, size: int, random: np.random.Generator) -> ImageWindow:
            window = super().read(item, size, random)
            return replace(window, spectra=window.values.reshape(-1, NM.size))

    for position in range(5):
        found = batch(source(Uneven(), bands=BandSampling((3, 4))), position=position)
        nm = found.wavelengths_um.numpy() * 1000
        values = Uneven().read(0, 8, RANDOM).values
        selected = [int(np.abs(NM - each).argmin()) for each in nm]
        mean, std = cube_statistics(SpectralCube(values[..., selected], nm))
        expected = (nm - mean) / std
        np.testing.assert_allclose(found.image[0].mean(dim=(1, 2)), expected, atol=0.02)


def test_crops_have_all_positions_and_orientations() -> None:
    corners, directions = set(), set()
    for position in range(200):
        image = batch(items=(0,), position=position).image[0, 0] * 10 + 500 - 400
        rows, columns = (image * 100).floor(), ((image * 10000) % 100).round()
        corners.add((int(rows.min()), int(columns.min())))
        down, right = (image[1, 0] - image[0, 0]).item(), (image[0, 1] - image[0, 0]).item()
        directions.add((np.sign(down), np.sign(right), abs(down) > abs(right)))
    assert len(directions) == 8
    assert len(corners) > 60


@given(
    height=st.integers(1, 30), width=st.integers(1, 30), size=st.integers(1, 40),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_crops_of_small_images_are_padded(height: int, width: int, size: int, seed: int) -> None:
    values = np.arange(height * width, dtype=np.float32).reshape(height, width, 1)
    random = np.random.default_rng(seed)
    crop = random_flip(random_crop(values, size, random), random)
    assert crop.shape == (size, size, 1)
    assert set(crop.ravel()) <= set(values.ravel())
    if size <= min(height, width):
        assert len(set(crop.ravel())) == size * size


@given(
    seed=st.integers(0, 10**6), low=st.integers(2, 10), more=st.integers(0, 10),
    contiguous=st.sampled_from([0.0, 1.0]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_band_subset_is_in_order_of_wavelength(
    seed: int, low: int, more: int, contiguous: float
) -> None:
    found = BandSampling((low, low + more), contiguous).draw(NM, np.random.default_rng(seed))
    assert isinstance(found, BandSubset)
    nm = found.wavelengths
    assert min(low, NM.size) <= nm.size <= min(low + more, NM.size)
    assert (np.diff(nm) > 0).all()
    np.testing.assert_array_equal(nm, NM[found.indices])
    if contiguous:
        assert nm[-1] - nm[0] == 50 * (nm.size - 1)


def test_simulated_bands_preserve_linear_spectra() -> None:
    own = np.linspace(400, 1000, 121)
    values = np.stack([own, 1500 - own])[None].astype(np.float32)  # linear in wavelength
    sampling, found = BandSampling((4, 30), other_cameras=1.0), []
    for seed in range(30):
        bands = sampling.draw(own, np.random.default_rng(seed))
        if isinstance(bands, SimulatedBands):
            found.append(bands)
            nm = bands.wavelengths
            assert 3 <= nm.size <= 30
            assert (np.diff(nm) >= 0).all()
            simulated = bands.select(values)
            assert simulated.shape == (1, 2, nm.size)
            inside = (nm > 500) & (nm < 900)
            np.testing.assert_allclose(simulated[0, 0, inside], nm[inside], atol=2)
            np.testing.assert_allclose(simulated[0, 1, inside], 1500 - nm[inside], atol=2)
    assert len(found) > 20
    assert len({bands.wavelengths.size for bands in found}) > 5


def holes(values: np.ndarray) -> None:
    values[::3, :, 2] = np.nan
    values[4, 4] = np.inf


def test_declared_gaps_are_filled_and_others_reported() -> None:
    images = Ramps(holes)
    found = batch(source(images))
    check_batch(found)
    images.declared = False
    invalid = batch(source(images))
    with pytest.raises(CubeError, match=r"'ramps' holds values that are not numbers \(in file0, f"):
        check_batch(invalid)
    check_batch(batch(source(images, fill=True)))


def test_images_with_few_known_values_are_skipped() -> None:
    def empty_but_last(values: np.ndarray) -> None:
        if values[0, 0, 0] < 4000:
            values[:] = np.nan

    found = batch(source(Ramps(empty_but_last)), items=(0, 1))
    assert found.files == ("file4", "file4")
    empty = Ramps(lambda values: values.fill(np.nan))
    with pytest.raises(CubeError, match=r"^The set 'ramps': file. and 9 other images hold hardly"):
        batch(source(empty))


def test_worker_processes_read_the_same_batches(tmp_path: Path) -> None:
    crops = CropDataset([source(bands=BandSampling((3, 6)))], size=8, seed=0)
    plans = [BatchPlan(position, 0, (0, 1), 0) for position in range(6)]
    loaded = DataLoader(crops, batch_size=None, sampler=plans, num_workers=2)
    for plan, found in zip(plans, loaded, strict=True):
        expected = crops[plan]
        assert isinstance(expected, PretrainingBatch)
        assert torch.equal(found.image, expected.image)
        assert found.position == plan.position


def test_each_batch_of_simulated_scenes_has_its_own_camera() -> None:
    scenes = SimulatedOptions(("organ", "land"), (3, 20), (400, 1000)).open()
    batches = [batch(source(scenes[0]), position=position) for position in range(6)]
    assert len({found.image.shape[1] for found in batches}) > 2
    for found in batches:
        check_batch(found)
        assert 3 <= found.image.shape[1] == found.wavelengths_um.numel() <= 20
        assert 0.4 <= found.wavelengths_um.min() <= found.wavelengths_um.max() <= 1.0
        assert not torch.equal(found.image[0], found.image[1])
    again = batch(source(scenes[0]), position=3)
    assert torch.equal(again.image, batches[3].image)


def test_zoom_is_drawn_within_its_limits() -> None:
    random = np.random.default_rng(0)
    zooms = [random_zoom((0.5, 4.0), random) for _ in range(200)]
    assert 0.5 <= min(zooms) < 0.6
    assert 3.5 < max(zooms) <= 4
    assert random_zoom((1.0, 1.0), random) == 1
    slopes = []
    for position in range(20):
        found = batch(replace(source(), zoom=(0.5, 4.0)), position=position)
        assert found.image.shape == (2, 8, 8, 8)
        steps = torch.stack([found.image.diff(dim=d).abs().amax(dim=(1, 2, 3)) for d in (2, 3)])
        slopes += steps.amax(dim=0).tolist()  # 0.01 a row of the image, over its deviation of 10
    assert 1e-3 / 4 <= min(slopes) < 0.5e-3
    assert 1.3e-3 < max(slopes) <= 2.2e-3


def test_resize_preserves_means_and_linear_ramps() -> None:
    rows, columns = np.indices((12, 12), dtype=np.float32)
    ramp = np.stack([rows, columns], axis=2)
    for size in (5, 24):
        small = resize(ramp, size)
        assert small.shape == (size, size, 2)
        np.testing.assert_allclose(small.mean(axis=(0, 1)), 5.5, atol=1e-4)
        np.testing.assert_allclose(small[..., 0], small[..., 1].T, atol=1e-5)
    assert resize(ramp, 12) is ramp


def test_crops_of_simulated_scenes_include_ground_truth() -> None:
    scenes = SimulatedOptions(("section",), (3, 8), (400, 700)).open()
    crops = CropDataset([source(scenes[0])], size=8, seed=0, patch_size=4)
    found = crops[BatchPlan(0, 0, (0, 1), 0)]
    assert isinstance(found, PretrainingBatch)
    assert found.truth is not None
    assert found.truth.shape == (2, N_TRUTHS, 2, 2)
    torch.testing.assert_close(found.truth[:, N_PARAMETERS:].sum(dim=1), torch.ones(2, 2, 2))
    unlabelled = CropDataset([source()], size=8, seed=0, patch_size=4)[BatchPlan(0, 0, (0, 1), 0)]
    assert isinstance(unlabelled, PretrainingBatch)
    assert unlabelled.truth is not None
    assert unlabelled.truth.isnan().all()
