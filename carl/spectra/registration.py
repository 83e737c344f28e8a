"""Registration of the bands of a cube that separate lenses or filters have shifted.

The shift of each band to a reference band is found by phase cross-correlation
(`skimage.registration`) of the edges in both, which resemble each other more than the values do.
Bands are shifted by whole pixels, so that the values stay those of the file, and the cube is
cropped to the part that all bands cover. Rotation, scale and lens distortion are not corrected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array, Float64Array
from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.lazy_array import ArraySource, Block, LazyArray
from carl.progress import Progress, no_progress

_UPSAMPLING = 10
"""Fractions of a pixel in which shifts are measured."""
_MAX_PIXELS = 1 << 22
"""Pixels of the images that are compared; of larger bands every n-th pixel is."""
_SMOOTHING = 1.5
"""Standard deviation of the Gaussian that suppresses noise before edges are found, pixels."""
_LARGEST_FRACTION = 0.25
"""Largest shift, as a fraction of the height and the width."""
_MIN_CORRELATION = 0.2
"""Smallest correlation of the edges after the shift; that of bands without common edges is about
0, and that of the lenses of a multispectral camera above 0.9."""


def register_bands(
    cube: SpectralCube, reference: int | None = None, progress: Progress = no_progress
) -> SpectralCube:
    """Shift the bands of a cube by whole pixels so that they fit a reference band.

    The measured shifts are in ``metadata["band_shifts"]``, (rows, columns) in pixels per band, and
    in a note. Bands that do not resemble the reference band are not shifted, and named in a note.

    Args:
        cube: any; its pixels are read when those of the result are.
        reference: index of the reference band; by default that of the median wavelength.
        progress: called with the fraction done.

    Raises:
        CubeError: the cube has one band, or is too small.
    """
    height, width, n_bands = cube.shape
    if n_bands < 2 or min(height, width) < 16:
        raise CubeError(
            f"{cube.name} is {height} × {width} pixels with {n_bands} bands: to register bands, it "
            "takes two and 16 × 16 pixels."
        )
    if reference is None:
        order = np.arange(n_bands) if cube.wavelengths is None else np.argsort(cube.wavelengths)
        reference = int(order[n_bands // 2])
    shifts, unmatched = measure_shifts(cube, reference, progress)
    whole = np.rint(shifts).astype(int)
    first = np.maximum(whole.max(axis=0), 0)
    last = np.array([height, width]) + np.minimum(whole.min(axis=0), 0)
    data = _ShiftedBands(cube.data, first - whole, last - first)
    outdated = cube.metadata.get("unregistered")
    notes = [note for note in cube.metadata.get("notes", ()) if note != outdated]
    names = [f"band {band + 1}" for band in range(n_bands)]
    if cube.wavelengths is not None:
        names = [f"{nm:g} nm" for nm in cube.wavelengths]
    listed = ", ".join(
        f"{name} ({rows:+.1f}, {columns:+.1f})"
        for band, (name, (rows, columns)) in enumerate(zip(names, shifts, strict=True))
        if band != reference
    )
    notes.append(
        f"The bands were registered to {names[reference]} by shifts of whole pixels; measured were "
        f"(rows, columns): {listed}. The image was cropped to {data.shape[0]} × {data.shape[1]}."
    )
    if unmatched:
        notes.append(
            f"These bands do not resemble {names[reference]} and were not shifted: "
            f"{', '.join(names[band] for band in unmatched)}."
        )
    metadata = {key: value for key, value in cube.metadata.items() if key != "unregistered"}
    metadata |= {"notes": tuple(notes), "band_shifts": shifts.tolist()}
    return replace(cube, data=data, metadata=metadata)


def measure_shifts(
    cube: SpectralCube, reference: int, progress: Progress = no_progress
) -> tuple[Float64Array, tuple[int, ...]]:
    """Measure the shift of each band that makes it fit a reference band.

    Returns:
        (C, 2) shifts along rows and columns in pixels, and the bands that do not resemble the
        reference band, whose shift is 0.
    """
    from skimage.registration import phase_cross_correlation

    height, width, n_bands = cube.shape
    step = max(1, ceil(sqrt(height * width / _MAX_PIXELS)))
    fixed = _edges(cube, reference, step)
    shifts = np.zeros((n_bands, 2))
    unmatched = []
    for band in range(n_bands):
        progress(band / n_bands, f"Registering band {band + 1} of {n_bands}")
        if band == reference:
            continue
        moving = _edges(cube, band, step)
        if not moving.any() or not fixed.any():  # of one value
            unmatched.append(band)
            continue
        shift, _, _ = phase_cross_correlation(
            fixed, moving, upsample_factor=_UPSAMPLING, normalization=None
        )
        is_near = bool(np.all(np.abs(shift) <= _LARGEST_FRACTION * np.array(fixed.shape)))
        if is_near and _correlation(fixed, moving, shift) >= _MIN_CORRELATION:
            shifts[band] = np.round(np.asarray(shift, np.float64) * step, 1)
        else:
            unmatched.append(band)
    return shifts, tuple(unmatched)


def _edges(cube: SpectralCube, band: int, step: int) -> Float32Array:
    """Return the strength of the edges of a band, fading out towards the border of the image."""
    from scipy import ndimage

    values = cube.read(slice(None, None, step), slice(None, None, step), slice(band, band + 1))
    image = ndimage.gaussian_filter(np.nan_to_num(values[..., 0]), _SMOOTHING)
    strength = np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1))
    strength = np.minimum(strength, np.percentile(strength, 99))
    window = np.outer(*(np.hanning(n) for n in strength.shape))
    scale = strength.std() or 1.0
    return np.asarray((strength - strength.mean()) / scale * window, np.float32)


def _correlation(fixed: Float32Array, moving: Float32Array, shift: NDArray[Any]) -> float:
    """Return the correlation of two images after a shift, where they overlap; 0 if undefined."""
    rows, columns = (int(each) for each in np.rint(shift))
    moved = np.roll(moving, (rows, columns), (0, 1))
    overlap = tuple(
        slice(max(0, by), length + min(0, by))
        for by, length in zip((rows, columns), fixed.shape, strict=True)
    )
    one, other = fixed[overlap].ravel(), moved[overlap].ravel()
    if not one.std() or not other.std():
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


class _ShiftedBands(LazyArray):
    """A part of an (H, W, C) array that begins at another pixel in each band.

    Args:
        source: (H, W, C).
        starts: (C, 2) first row and column of each band.
        size: height and width of the part.
    """

    def __init__(self, source: ArraySource, starts: NDArray[Any], size: Sequence[int]) -> None:
        super().__init__((*size, source.shape[2]), source.dtype)
        self._source = source
        self._starts = starts.tolist()

    def _read_block(self, block: Block) -> NDArray[Any]:
        rows, columns, bands = block
        lengths = [len(range(n)[part]) for n, part in zip(self.shape, block, strict=True)]
        values = np.empty(lengths, self.dtype)
        for index, band in enumerate(range(self.shape[2])[bands]):
            top, left = self._starts[band]
            values[..., index] = self._source[_moved(rows, top), _moved(columns, left), band]
        return values


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by, part.step)
