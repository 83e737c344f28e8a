"""Simulation of the cube that another camera would have recorded of the same scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.errors import WavelengthError
from carl.lazy_array import Block, LazyArray
from carl.simulation.camera import (
    FWHM,
    SimulatedCamera,
    band_spacing,
    gaussian_weights,
    known_camera,
    tabulated_weights,
)
from carl.simulation.chromophores import Spectrum
from carl.wavelengths import Camera

_MIN_KNOWN = 0.5
"""Smallest fraction of a filter's weight on known values for which its value is known."""
_PER_BAND_METADATA = ("band_names", "band names")


def simulate(
    cube: SpectralCube,
    camera: SimulatedCamera | Camera | str | Path,
    *,
    drop_uncovered: bool = False,
) -> SpectralCube:
    """Simulate how another camera records the scene of a cube.

    The cube's own filters have blurred its spectra already. Gaussian filters therefore only apply
    the additional blur, and interpolate where they are narrower; measured filters are applied
    unchanged. A value is missing (NaN) if more than half of its filter's weight is on missing
    values.

    Args:
        cube: with known wavelengths; its bad bands are not used.
        camera: the camera to simulate: one of `carl.cameras`, its name, a CSV with a wavelength and
            a width (FWHM) per band in nm, or a `carl.simulation.SimulatedCamera`.
        drop_uncovered: leave out bands of the camera that the cube does not cover.

    Returns:
        a lazy cube of float32 physical values.

    Raises:
        WavelengthError: the wavelengths of the cube are unknown, the camera is unknown, or the cube
            does not cover all bands of the camera (with `drop_uncovered`: any band).

    Examples:
        >>> import numpy as np
        >>> from carl import SpectralCube, simulate
        >>> cube = SpectralCube(np.full((2, 2, 31), 0.5, np.float32), np.arange(400, 710, 10))
        >>> simulate(cube, "srgb")
        <SpectralCube 'cube as srgb': 2 × 2 pixels, 3 bands, 460–620 nm>
    """
    if not isinstance(camera, SimulatedCamera):
        camera = known_camera(camera)
    source = cube.usable_bands()
    wavelengths = source.require_wavelengths()
    covered = covered_bands(source, camera)
    if drop_uncovered and covered.any() and not covered.all():
        camera = camera.choose(np.flatnonzero(covered))
    elif not covered.all():
        missing = camera.wavelengths[~covered]
        listed = ", ".join(f"{nm:.0f}" for nm in missing[:6]) + (", …" if missing.size > 6 else "")
        raise WavelengthError(
            f"{cube.name} has bands from {wavelengths.min():.0f} to {wavelengths.max():.0f} nm and "
            f"none where {camera.name} has {missing.size} of its {camera.n_bands} ({listed} nm): "
            "choose a camera inside this range, or leave these bands out."
        )
    metadata = {key: value for key, value in cube.metadata.items() if key not in _PER_BAND_METADATA}
    return replace(
        cube,
        data=_FilteredPixels(source, _weights(source, camera)),
        wavelengths=camera.wavelengths,
        fwhm=camera.fwhm,
        good_bands=np.ones(camera.n_bands, bool),
        name=f"{cube.name} as {camera.name}",
        metadata=metadata,
        scale=1.0,
        offset=0.0,
        nodata=None,
    )


def covered_bands(cube: SpectralCube, camera: SimulatedCamera) -> NDArray[np.bool_]:
    """Return which bands of a camera the bands of a cube cover, (C,).

    A band is covered if the half-maximum range of its filter exceeds the range of the cube's bands
    by at most half a band's width and overlaps one of them. Unknown widths of the cube's bands are
    set to the distance between them.

    Raises:
        WavelengthError: the wavelengths of the cube are unknown.
    """
    nm, fwhm = cube.require_wavelengths(), _own_fwhm(cube)
    low, high = camera.wavelengths - camera.fwhm / 2, camera.wavelengths + camera.fwhm / 2
    inside = (low >= (nm - fwhm).min()) & (high <= (nm + fwhm).max())
    gap = np.abs(nm - camera.wavelengths[:, None]) - (fwhm + camera.fwhm[:, None]) / 2
    return np.asarray(inside & (gap.min(axis=1) <= 0))


def _own_fwhm(cube: SpectralCube) -> Spectrum:
    if cube.fwhm is not None:
        return cube.fwhm
    spacing = band_spacing(cube.require_wavelengths())
    return np.minimum(spacing, np.median(spacing))  # not across gaps


def _weights(cube: SpectralCube, camera: SimulatedCamera) -> Float32Array:
    """Compute weights from the bands of a cube to those of a camera.

    Bands of the cube with equal wavelengths share the weight.
    """
    nm, first, index, counts = np.unique(
        cube.require_wavelengths(), return_index=True, return_inverse=True, return_counts=True
    )
    if camera.responses is not None:
        weights = tabulated_weights(nm, *camera.responses)
    else:
        own = np.interp(camera.wavelengths, nm, _own_fwhm(cube)[first])
        added = np.sqrt(np.maximum(camera.fwhm**2 - own**2, 0))
        weights = gaussian_weights(nm, camera.wavelengths, added * (1 / FWHM))
    return np.asarray((weights / counts[:, None])[index], np.float32)


class _FilteredPixels(LazyArray):
    """(H, W, C) physical values of a cube, weighted by the filters of another camera."""

    def __init__(self, cube: SpectralCube, weights: Float32Array) -> None:
        super().__init__((*cube.shape[:2], weights.shape[1]), np.float32)
        self._cube = cube
        self._weights = weights

    def _read_block(self, block: Block) -> Float32Array:
        rows, columns, bands = block
        return _apply(self._cube.read(rows, columns), self._weights[:, bands])


def _apply(spectra: Float32Array, weights: Float32Array) -> Float32Array:
    """Multiply (..., N) spectra by (N, C) weights, normalised to the values that are known."""
    if np.isfinite(spectra.sum()):
        return spectra @ weights
    known = np.isfinite(spectra)
    known_weight = known.astype(np.float32) @ weights
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(known, spectra, 0) @ weights / known_weight
    return np.where(known_weight >= _MIN_KNOWN, values, np.float32(np.nan))
