"""Cubes in the bands of another camera."""

from __future__ import annotations

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.errors import WavelengthError
from carl.simulation.camera import gaussian_camera, tabulated_camera
from carl.simulation.resampled import covered_bands, simulate

NM = np.arange(400.0, 901.0, 10.0)
BROAD = gaussian_camera([480, 560, 650, 800], [60, 40, 80, 30], name="broad")


def cube_of(values: np.ndarray, nm: np.ndarray = NM, **known) -> SpectralCube:
    return SpectralCube(np.ascontiguousarray(values, np.float32), nm, name="source", **known)


@pytest.fixture
def cube() -> SpectralCube:
    return cube_of(np.random.default_rng(0).random((6, 5, NM.size)))


def test_flat_and_straight_spectra_do_not_change():
    seen = simulate(cube_of(np.full((2, 2, NM.size), 0.4)), BROAD).to_numpy()
    np.testing.assert_allclose(seen, 0.4, rtol=1e-5)
    seen = simulate(cube_of(np.broadcast_to(NM, (2, 2, NM.size))), BROAD).to_numpy()
    np.testing.assert_allclose(seen[0, 0], BROAD.wavelengths, atol=0.5)


def test_the_same_camera_gives_the_same_cube(cube: SpectralCube):
    for fwhm in (None, np.full(NM.size, 12.0)):
        source = cube.with_wavelengths(NM, fwhm)
        same = gaussian_camera(NM, 10.0 if fwhm is None else fwhm)
        np.testing.assert_allclose(simulate(source, same).to_numpy(), cube.to_numpy(), atol=1e-6)


def test_only_the_additional_blur_is_applied():
    """A line recorded with 20 nm filters is 60 nm wide for 60 nm filters."""
    nm = np.arange(400.0, 901.0, 2.0)
    own, target = 20.0, 60.0
    line = np.exp(-4 * np.log(2) * ((nm - 650) / own) ** 2)
    source = cube_of(line[None, None], nm, fwhm=np.full(nm.size, own))
    camera = gaussian_camera(np.arange(500.0, 801.0, 2.0), target)
    seen = simulate(source, camera).to_numpy()[0, 0]
    expected = own / target * np.exp(-4 * np.log(2) * ((camera.wavelengths - 650) / target) ** 2)
    np.testing.assert_allclose(seen, expected, atol=0.002)


def test_order_and_repetition_of_bands_do_not_matter(cube: SpectralCube):
    expected = simulate(cube, BROAD).to_numpy()
    order = np.random.default_rng(1).permutation(NM.size)
    shuffled = cube_of(cube.to_numpy()[..., order], NM[order])
    np.testing.assert_allclose(simulate(shuffled, BROAD).to_numpy(), expected, atol=1e-6)
    twice = cube_of(np.repeat(cube.to_numpy(), 2, axis=-1), np.repeat(NM, 2), fwhm=np.full(102, 10))
    np.testing.assert_allclose(simulate(twice, BROAD).to_numpy(), expected, atol=1e-6)


def test_blocks_are_read_lazily(cube: SpectralCube):
    seen = simulate(cube, BROAD)
    whole = seen.to_numpy()
    assert seen.shape == (6, 5, 4)
    np.testing.assert_allclose(
        seen.read(slice(2, 4), slice(1, 3), slice(1, 3)), whole[2:4, 1:3, 1:3], rtol=1e-5
    )
    np.testing.assert_allclose(seen.data[-1, 2], whole[-1, 2], rtol=1e-5)
    np.testing.assert_allclose(seen.data[:, :, 3], whole[..., 3], rtol=1e-5)
    np.testing.assert_allclose(seen.spectrum(0, 0), whole[0, 0], rtol=1e-5)


def test_values_are_physical_values(cube: SpectralCube):
    stored = np.rint(cube.to_numpy() * 1e4).astype(np.uint16)
    scaled = SpectralCube(stored, NM, scale=1e-4)
    np.testing.assert_allclose(
        simulate(scaled, BROAD).to_numpy(),
        simulate(cube, BROAD).to_numpy(),
        atol=1e-4,
    )


def test_missing_values_are_interpolated_or_stay_missing(cube: SpectralCube):
    values = cube.to_numpy().copy()
    values[0, 0] = np.nan
    values[1, 1, 16] = np.nan  # 560 nm
    seen = simulate(cube_of(values), BROAD).to_numpy()
    assert np.isnan(seen[0, 0]).all()
    assert np.isfinite(seen[1, 1]).all()
    assert np.isfinite(seen).mean() == pytest.approx(29 / 30)


def test_bad_bands_are_not_used(cube: SpectralCube):
    values = cube.to_numpy().copy()
    values[..., 16] = 1e6
    good = np.ones(NM.size, bool)
    good[16] = False
    seen = simulate(cube_of(values, good_bands=good), BROAD)
    assert seen.to_numpy().max() < 1
    assert seen.good_bands.all()


def test_measured_filters_are_applied_unchanged(cube: SpectralCube):
    camera = tabulated_camera([500, 501, 600, 601], [[0.0], [1], [1], [0]], "box")
    seen = simulate(cube, camera).to_numpy()[..., 0]
    np.testing.assert_allclose(seen, cube.to_numpy()[..., 10:21].mean(axis=-1), atol=0.05)


def test_bands_that_the_cube_does_not_cover_are_refused(cube: SpectralCube):
    beyond = gaussian_camera([500, 950, 1200], 20, name="beyond")
    np.testing.assert_array_equal(covered_bands(cube, beyond), [True, False, False])
    with pytest.raises(WavelengthError, match=r"400 to 900 nm .* 2 of its 3 \(950, 1200 nm\)"):
        simulate(cube, beyond)
    selected = beyond.choose(np.flatnonzero(covered_bands(cube, beyond)))
    assert simulate(cube, selected).n_bands == 1


def test_gaps_between_bands_are_not_covered(cube: SpectralCube):
    selected = (NM < 600) | (NM > 700)
    gappy = cube_of(cube.to_numpy()[..., selected], NM[selected])
    camera = gaussian_camera([550, 650, 750], 10)
    np.testing.assert_array_equal(covered_bands(gappy, camera), [True, False, True])


def test_unknown_wavelengths_are_an_error(cube: SpectralCube):
    with pytest.raises(WavelengthError, match="has no wavelengths"):
        simulate(SpectralCube(cube.to_numpy()), BROAD)


def test_metadata_of_the_cube_are_copied(cube: SpectralCube):
    source = cube_of(cube.to_numpy(), metadata={"path": "a.hdr", "band_names": ["x"] * NM.size})
    seen = simulate(source, BROAD)
    assert dict(seen.metadata) == {"path": "a.hdr"}
    assert seen.name == "source as broad"
    np.testing.assert_array_equal(seen.fwhm, BROAD.fwhm)
