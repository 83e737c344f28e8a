from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from carl.cube import SpectralCube
from carl.errors import CubeError, WavelengthError
from carl.learning import filter_bank as module
from carl.learning.filter_bank import SIGMAS, FilterBank

NM = np.linspace(450, 700, 12)


def cube(height: int = 60, width: int = 70, nm: np.ndarray = NM, seed: int = 0) -> SpectralCube:
    """Smooth mixtures of three smooth spectra, with a little noise."""
    generator = np.random.default_rng(seed)
    spectra = np.exp(-(((nm - np.array([[480], [560], [650]])) / 60) ** 2))
    amounts = np.abs(ndimage.gaussian_filter(generator.normal(size=(height, width, 3)), (4, 4, 0)))
    data = 0.2 + 4 * amounts @ spectra + generator.normal(size=(height, width, nm.size)) * 0.002
    return SpectralCube(data.astype(np.float32), wavelengths=nm, name="mixture")


def group(bank: FilterBank, of: SpectralCube, name: str) -> np.ndarray:
    return next(each.values for each in bank.stack(of).maps if each.name == name)


def local_mean(values: np.ndarray, sigma: float) -> np.ndarray:
    """Mean under a Gaussian over the pixels that are there."""

    def smooth(each: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(each, (sigma, sigma, 0), mode="constant", truncate=3)

    return smooth(values) / smooth(np.ones_like(values))


def test_texture_is_gaussian_mean_and_standard_deviation():
    of = cube()
    bank, _ = FilterBank.fit([of])
    raw = replace(bank, centre=0 * bank.centre, scale=0 * bank.scale + 1)
    own = group(raw, of, "spectrum").astype(np.float64)
    texture = group(raw, of, "texture 3 px")
    k = own.shape[2]
    mean, second = local_mean(own, 3), local_mean(own**2, 3)
    np.testing.assert_allclose(texture[..., :k], mean, atol=1e-4)
    np.testing.assert_allclose(texture[..., k:] ** 2, np.maximum(second - mean**2, 0), atol=1e-3)


def test_coarse_cells_approximate_a_wide_neighbourhood():
    own = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(150, 160, 1)), (1, 1, 0))
    own = (own / own.std()).astype(np.float32)
    coarse = module._neighbourhood(own, None, 12.0, None)
    assert coarse.cell == 4
    exact = local_mean(own, 12)
    rows, columns = (each.ravel() for each in np.indices((150, 160)))
    mean = coarse.at(rows, columns)[:, 0].reshape(150, 160)
    error = np.abs(mean - exact[..., 0]) / exact.std()
    assert error.max() < 0.25  # in the corners, beyond the outermost centres of cells
    assert error[10:-10, 10:-10].max() < 0.1


def test_scales_fit_the_image():
    for of, sigmas in (
        (cube(60, 200), (1.5, 3.0)),
        (cube(8, 8), SIGMAS[:1]),
        (cube(400, 400), SIGMAS),
    ):
        assert FilterBank.fit([of])[0].sigmas.tolist() == list(sigmas)


def test_exposure_does_not_matter():
    of = cube()
    bank, _ = FilterBank.fit([of])
    counts = SpectralCube(of.data * 4000, wavelengths=NM)
    np.testing.assert_allclose(
        group(bank, counts, "spectrum"), group(bank, of, "spectrum"), atol=1e-3
    )


def test_order_of_bands_does_not_matter():
    of = cube()
    shuffled = np.random.default_rng(0).permutation(NM.size)
    other = SpectralCube(of.data[..., shuffled], wavelengths=NM[shuffled])
    bank, _ = FilterBank.fit([of])
    np.testing.assert_allclose(
        group(bank, other, "spectrum"), group(bank, of, "spectrum"), atol=1e-3
    )


def test_pixels_without_data_do_not_affect_their_neighbours():
    of = cube()
    data = of.data.copy()
    data[20:30, 20:30] = np.nan
    bank, _ = FilterBank.fit([of])
    holes = bank.stack(SpectralCube(data, wavelengths=NM))
    assert holes.valid is not None
    assert (~holes.valid).sum() == 100
    for each, whole in zip(holes.maps, bank.stack(of).maps, strict=True):
        assert np.isfinite(each.values).all()
        far = each.values[45:, 45:] - whole.values[45:, 45:]
        assert np.abs(far).max() < 0.05


def test_another_camera_gives_the_same_components():
    rich = cube(nm=np.linspace(450, 700, 40))
    bank, _ = FilterBank.fit([rich])
    few = np.array([470.0, 500, 540, 580, 620, 660])
    poor = SpectralCube(
        np.stack([rich.data[..., np.abs(rich.wavelengths - nm).argmin()] for nm in few], axis=2),
        wavelengths=few,
    )
    own, other = group(bank, rich, "spectrum"), group(bank, poor, "spectrum")
    error_variance = bank.stack(poor).maps[0].error_variance
    assert error_variance is not None
    trusted = np.flatnonzero(error_variance < 0.1)
    assert trusted.size >= 2
    for i in trusted:
        assert np.corrcoef(own[..., i].ravel(), other[..., i].ravel())[0, 1] > 0.9


def test_a_camera_of_another_range_is_refused():
    bank, _ = FilterBank.fit([cube()])
    infrared = cube(nm=np.linspace(900, 1700, 12))
    with pytest.raises(WavelengthError, match="900 to 1700 nm, but the classes were learned from"):
        bank.stack(infrared)


@pytest.mark.parametrize("fill", [np.nan, 0.0, -1.0])
def test_an_empty_cube_is_refused(fill):
    empty = SpectralCube(np.full((20, 20, 12), fill), wavelengths=NM, name="blank.hdr")
    with pytest.raises(CubeError, match=r"blank\.hdr"):
        FilterBank.fit([empty])


def test_a_uniform_cube_gives_finite_features():
    flat = SpectralCube(np.full((30, 30, 12), 0.5), wavelengths=NM)
    _, (stack,) = FilterBank.fit([flat])
    assert all(np.isfinite(each.values).all() for each in stack.maps)


def test_fit_returns_the_features_of_stack():
    of = cube()
    bank, (stack,) = FilterBank.fit([of])
    for one, other in zip(stack.maps, bank.stack(of).maps, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-5)
    rows, columns = (each.ravel() for each in np.indices(of.shape[:2]))
    features = stack.at(rows, columns)[:, : bank.centre.size]
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=0.05)
    k = stack.maps[0].width
    np.testing.assert_allclose(
        features.std(axis=0),
        np.tile(features[:, :k].std(axis=0), 2 * len(bank.sigmas) + 1),
        rtol=0.1,
    )
