from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

import carl
from carl.cube import SpectralCube
from carl.inference.upsampled_cube import embed_finely, upsample_cube, upsampling_factor
from carl.model import CARL, CARLConfig
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig

NM = np.linspace(450, 700, 4)


@pytest.mark.parametrize(
    ("shape", "patch_size", "factor"),
    [
        ((100, 101), 8, 4),
        ((150, 2000), 8, 1),  # too many pixels at any larger size
        ((200, 300), 8, 2),
        ((676, 844), 8, 1),
        ((40, 40), 14, 2),  # 4 does not divide 14
        ((40, 40), 4, 4),
        ((1, 1), 8, 4),
    ],
)
def test_small_cubes_are_upsampled(shape: tuple[int, int], patch_size: int, factor: int) -> None:
    assert upsampling_factor((*shape, 5), patch_size) == factor


def cube() -> SpectralCube:
    values = np.random.default_rng(0).integers(1, 99, (9, 7, 4)).astype(np.uint8)
    values[2, 3] = 0
    return SpectralCube(values, wavelengths=NM, scale=0.1, nodata=0, name="small")


def test_an_upsampled_cube_is_interpolated_between_pixel_centres() -> None:
    large = upsample_cube(cube(), 4)
    assert large.shape == (36, 28, 4)
    values = np.nan_to_num(cube().to_numpy())
    expected = ndimage.zoom(values, (4, 4, 1), order=1, grid_mode=True, mode="nearest")
    known = np.isfinite(large.to_numpy())
    np.testing.assert_allclose(large.to_numpy()[known], expected[known], rtol=1e-5)
    assert not known[8:12, 12:16].any()
    assert known[:4].all()


def test_an_upsampled_cube_is_indexed_like_an_array() -> None:
    data = upsample_cube(cube(), 2).data
    whole = np.asarray(data[:, :, :])
    np.testing.assert_array_equal(data[3:9, 2:4, 1:3], whole[3:9, 2:4, 1:3])
    np.testing.assert_array_equal(data[5, -1, :], whole[5, -1])
    assert data[0, 0, -1] == whole[0, 0, -1]


def test_the_embedding_of_a_small_cube_has_smaller_patches() -> None:
    torch.manual_seed(0)
    config = CARLConfig(
        patch_size=8,
        spec_encoder_kwargs=SpectralEncoderConfig(embed_dim=16, n_queries=2, depth=2, num_heads=2),
        spat_encoder_kwargs=SpatialEncoderConfig(
            "vit_tiny_patch16_224", 1, {"embed_dim": 24, "num_heads": 2, "depth": 1}
        ),
    )
    model = CARL(config).eval()
    small = cube()
    fine = embed_finely(
        small, 8, lambda upsampled: carl.embed(upsampled, model, precision="float32")
    )
    direct = carl.embed(upsample_cube(small, 4), model, precision="float32")
    assert (fine.shape, fine.patch_size) == ((9, 7), 2)
    np.testing.assert_array_equal(fine.spatial, direct.spatial)
    assert fine.pca(3).shape == (9, 7, 3)
