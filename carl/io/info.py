"""Describe a cube: size, bands, wavelengths and the range of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.display import RowsDisplay
from carl.io.formats import read_cube
from carl.spectra.normalise import sample_pixels


@dataclass(frozen=True, eq=False, repr=False)
class CubeInfo(RowsDisplay):
    """Description of a cube; printing it shows one property per line.

    Attributes:
        name: of the cube.
        shape: (height, width, bands).
        dtype: type of the values as stored.
        wavelengths: (C,) band centres in nm, or None if unknown.
        fwhm: (C,) full widths at half maximum in nm, or None if unknown.
        good_bands: (C,) bool; False for bands that are marked as bad.
        scale: physical value = stored value × scale + offset; a number or (C,).
        offset: see `scale`; a number or (C,).
        nodata: stored value that means "no data", or None.
        low: 1st percentile of a sample of the physical values; NaN if all are missing.
        high: 99th percentile of the same sample.
        missing: fraction of missing values (NaN or no data) in the sample, 0..1.
        metadata: of the file.

    Examples:
        >>> import numpy as np
        >>> from carl import SpectralCube, info
        >>> description = info(SpectralCube(np.full((2, 3, 4), 0.5), [500, 550, 600, 650]))
        >>> description.shape, description.high
        ((2, 3, 4), 0.5)
        >>> description
        name         cube
        size         2 × 3 pixels (height × width)
        bands        4
        data type    float64
        values       0.5 to 0.5 (1st to 99th percentile of a sample)
        wavelengths  500–650 nm
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    wavelengths: Float64Array | None
    fwhm: Float64Array | None
    good_bands: NDArray[np.bool_]
    scale: float | Float64Array
    offset: float | Float64Array
    nodata: float | None
    low: float
    high: float
    missing: float
    metadata: Mapping[str, Any]

    @property
    def assumptions(self) -> tuple[str, ...]:
        """How the file was understood, a sentence for each decision, and what may be wrong."""
        return (*self.metadata.get("assumptions", ()), *self.metadata.get("notes", ()))

    def rows(self) -> dict[str, str]:
        """Return the properties as text, by their names."""
        height, width, n_bands = self.shape
        rows = {
            "name": self.name,
            "size": f"{height} × {width} pixels (height × width)",
            "bands": str(n_bands),
            "data type": str(self.dtype),
            "values": f"{self.low:.4g} to {self.high:.4g} (1st to 99th percentile of a sample)",
            "wavelengths": "unknown" if self.wavelengths is None else _range(self.wavelengths),
        }
        if self.missing:
            rows["missing"] = f"{self.missing:.2%} of the values of a sample"
        if self.fwhm is not None:
            rows["width (FWHM)"] = _range(self.fwhm)
        if not self.good_bands.all():
            rows["bad bands"] = str(int((~self.good_bands).sum()))
        for number, sentence in enumerate(self.assumptions, start=1):
            rows[f"assumption {number}"] = sentence
        return rows


def info(
    cube: SpectralCube | str | Path,
    *,
    wavelengths: str | None = None,
    camera: str | None = None,
    variable: str | None = None,
    frame: int | str | None = None,
    height: int | None = None,
    register: bool = False,
) -> CubeInfo:
    """Describe a cube. Reads a sample of its pixels.

    Args:
        cube: a cube, or the path of its file.
        wavelengths: for a file without wavelengths, as in `carl.read_cube`.
        camera: for a file without wavelengths, as in `carl.read_cube`.
        variable: for a file with several arrays, as in `carl.read_cube`.
        frame: for a file with a time or z axis, as in `carl.read_cube`.
        height: for a flattened table, as in `carl.read_cube`.
        register: register the bands, as in `carl.read_cube`.

    Raises:
        CubeError: the file cannot be read as a cube.
        WavelengthError: the wavelengths or the camera do not fit the cube.
    """
    if not isinstance(cube, SpectralCube):
        cube = read_cube(
            cube,
            wavelengths=wavelengths,
            camera=camera,
            variable=variable,
            frame=frame,
            height=height,
            register=register,
        )
    sample = sample_pixels(cube)
    finite = np.isfinite(sample)
    low, high = np.percentile(sample[finite], (1, 99)) if finite.any() else (np.nan, np.nan)
    return CubeInfo(
        cube.name,
        cube.shape,
        np.dtype(cube.data.dtype),
        cube.wavelengths,
        cube.fwhm,
        cube.good_bands,
        cube.scale,
        cube.offset,
        cube.nodata,
        float(low),
        float(high),
        float(1 - finite.mean()),
        cube.metadata,
    )


def _range(nm: Float64Array) -> str:
    return f"{nm.min():g}–{nm.max():g} nm"
