from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from carl.cube import SpectralCube
from carl.learning.crops import IGNORED, StrokeCrops


def coded(height: int, width: int, n_bands: int = 6) -> tuple[SpectralCube, np.ndarray]:
    """Return a cube whose values encode position and band, and labels that encode the position."""
    rows, columns, bands = np.indices((height, width, n_bands))
    data = (rows * 1000 + columns * 10 + bands).astype(np.float32)
    labels = (rows + columns)[..., 0] % 5
    return SpectralCube(data, 400 + 10.0 * np.arange(n_bands)), labels.astype(np.uint8)


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(3, 30),
    width=st.integers(3, 30),
    size=st.sampled_from([8, 16]),
    seed=st.integers(0, 3),
)
def test_targets_match_their_pixels(height: int, width: int, size: int, seed: int) -> None:
    cube, labels = coded(height, width)
    if not (labels > 0).any():
        return
    crops = StrokeCrops(cube, labels, [1, 2, 3, 4], size, normalisation=(0.0, 1.0))
    crop = crops.draw(4, np.random.default_rng(seed))
    n_bands = len(crop.image)
    assert crop.image.shape == (n_bands, size, size)
    assert crop.target.shape == (size, size)
    assert 3 <= n_bands <= 4
    bands = ((crop.wavelengths_um * 1000 - 400) / 10).round()
    position = crop.image - bands[:, None, None]
    assert torch.equal(position.amin(0), position.amax(0))  # the same in all bands
    rows, columns = position[0].long() // 1000, position[0].long() % 1000 // 10
    expected = torch.from_numpy(labels.astype(np.int64))[rows, columns] - 1
    labelled = crop.target != IGNORED
    assert labelled.any()
    assert torch.equal(crop.target[labelled], expected[labelled])


def test_classes_are_drawn_with_equal_probability() -> None:
    cube, labels = coded(64, 64)
    labels[:] = 1
    labels[60, 60] = 2
    crops = StrokeCrops(cube, labels, [1, 2], 8, normalisation=(0.0, 1.0))
    random = np.random.default_rng(0)
    rare = sum(bool((crops.draw(3, random).target == 1).any()) for _ in range(200))
    assert 80 < rare < 130


def test_fixed_crops_contain_every_class_and_no_pixel_twice() -> None:
    cube, labels = coded(40, 40)
    labels[:] = 0
    labels[:, :3] = 1
    labels[38, 38] = 2
    crops = StrokeCrops(cube, labels, [1, 2], 16, normalisation=(0.0, 1.0))
    fixed = list(crops.fixed(10, 4))
    targets = torch.stack([crop.target for crop in fixed])
    assert (targets == 0).sum() == (labels == 1).sum()
    assert (targets == 1).sum() == 1
    few = torch.stack([crop.target for crop in crops.fixed(2, 4)])
    assert set(few.unique().tolist()) == {IGNORED, 0, 1}
    assert fixed[0].wavelengths_um.tolist() == pytest.approx([0.40, 0.42, 0.43, 0.45])


def test_values_are_normalised_and_missing_values_filled() -> None:
    data = np.full((8, 8, 3), 6.0, np.float32)
    data[0, 0, 1] = np.nan
    crops = StrokeCrops(
        SpectralCube(data, np.array([1.0, 2, 3])),
        np.ones((8, 8), np.uint8),
        [1],
        8,
        normalisation=(2.0, 4.0),
    )
    assert crops.draw(3, np.random.default_rng(0)).image.unique().tolist() == [1.0]
