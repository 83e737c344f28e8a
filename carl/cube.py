"""Spectral cube: pixels, wavelengths of the bands and metadata of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.arrays import Float32Array, Float64Array
from carl.display import html_table
from carl.errors import CubeError, WavelengthError
from carl.lazy_array import ArraySource, Block, LazyArray
from carl.mapped_files import unmapped
from carl.wavelengths import check_wavelengths


@dataclass(frozen=True, eq=False, repr=False)
class SpectralCube:
    """A cube of (height, width, bands) pixels, which may be read lazily from a file.

    `data` holds the stored numbers. `read`, `spectrum` and `to_numpy` return physical values: the
    stored number × `scale` + `offset`, and NaN for the no-data value.

    Examples:
        >>> pixels = np.full((2, 3, 4), 1000, np.uint16)
        >>> cube = SpectralCube(pixels, wavelengths=[450, 550, 650, 750], scale=0.001, name="leaf")
        >>> cube
        <SpectralCube 'leaf': 2 × 3 pixels, 4 bands, 450–750 nm>
        >>> cube.spectrum(row=0, column=1)
        array([1., 1., 1., 1.], dtype=float32)

    Attributes:
        data: (H, W, C) array-like of stored numbers, lazy where the format allows. A memory map for
            reading becomes a `LazyArray`, which reads the file without mapping it.
        wavelengths: (C,) band centres in nm; None if unknown, they are never guessed.
        fwhm: (C,) full widths at half maximum in nm, or None.
        good_bands: (C,) False for bands that the file or the user marks as bad.
        name: display name, usually the stem of the file name.
        metadata: further metadata of the file; ``metadata["path"]`` is its path.
        scale: factor from stored numbers to physical values, a number or (C,).
        offset: added after scaling, a number or (C,).
        nodata: stored number that means "no data", or None.
    """

    data: ArraySource
    wavelengths: Float64Array | None = None
    fwhm: Float64Array | None = None
    good_bands: NDArray[np.bool_] = None  # type: ignore[assignment]  # set in __post_init__
    name: str = "cube"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    scale: float | Float64Array = 1.0
    offset: float | Float64Array = 0.0
    nodata: float | None = None

    def __post_init__(self) -> None:
        """Check that the fields fit each other.

        Raises:
            CubeError: `data` is not three-dimensional, not of real numbers, or empty.
            WavelengthError: wavelengths, fwhm or good_bands do not fit the number of bands.
        """
        shape = tuple(int(n) for n in self.data.shape)
        if len(shape) != 3 or 0 in shape:
            raise CubeError(
                f"{self.name} has the shape {shape}: a cube needs (height, width, bands), none of "
                "them 0."
            )
        object.__setattr__(self, "data", unmapped(self.data))
        if np.dtype(self.data.dtype).kind not in "biuf":
            raise CubeError(
                f"{self.name} holds {self.data.dtype} values: a cube needs real numbers."
            )
        n_bands = shape[2]
        set_field = object.__setattr__  # the dataclass is frozen
        if self.wavelengths is not None:
            set_field(self, "wavelengths", check_wavelengths(self.wavelengths, n_bands))
        if self.fwhm is not None:
            set_field(self, "fwhm", _per_band(self.fwhm, n_bands, np.float64, "widths"))
        good = np.ones(n_bands, bool) if self.good_bands is None else self.good_bands
        set_field(self, "good_bands", _per_band(good, n_bands, np.bool_, "flags of good bands"))

    def __repr__(self) -> str:
        height, width, bands = self.shape
        return (
            f"<SpectralCube {self.name!r}: {height} × {width} pixels, {bands} bands, "
            f"{self._wavelength_range}>"
        )

    def _repr_html_(self) -> str:
        """Return a table of the cube's properties, as notebooks show it."""
        height, width, bands = self.shape
        n_bad = bands - int(self.good_bands.sum())
        properties = {
            "Size": f"{height} × {width} pixels",
            "Bands": f"{bands}, {n_bad} of them bad" if n_bad else str(bands),
            "Wavelengths": self._wavelength_range,
            "Type": str(np.dtype(self.data.dtype)),
            "File": str(self.metadata.get("path", "none")),
        }
        return html_table(properties, self.name)

    @property
    def _wavelength_range(self) -> str:
        nm = self.wavelengths
        return "unknown wavelengths" if nm is None else f"{nm.min():g}–{nm.max():g} nm"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, bands)."""
        height, width, bands = self.data.shape
        return int(height), int(width), int(bands)

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return self.shape[2]

    def read(
        self, rows: slice = slice(None), columns: slice = slice(None), bands: slice = slice(None)
    ) -> Float32Array:
        """Read a block of physical values.

        Returns:
            (rows, columns, bands) float32; NaN where there is no data.
        """
        stored = np.asarray(self.data[rows, columns, bands])
        values: Float32Array = stored.astype(np.float32)
        scale, offset = np.asarray(self.scale), np.asarray(self.offset)
        values *= (scale[bands] if scale.ndim else scale).astype(np.float32)
        values += (offset[bands] if offset.ndim else offset).astype(np.float32)
        if self.nodata is not None:
            values[stored == self.nodata] = np.nan
        return values

    def to_numpy(self) -> Float32Array:
        """Read the whole cube as (H, W, C) float32 physical values; NaN where there is no data."""
        return self.read()

    def row_blocks(self, max_values: int = 1 << 23) -> list[slice]:
        """Return slices of rows that cover the cube, to read it in bounded memory.

        Args:
            max_values: largest number of values of a block; a block has at least one row.
        """
        height, width, n_bands = self.shape
        step = max(1, max_values // (width * n_bands))
        return [slice(top, min(top + step, height)) for top in range(0, height, step)]

    def spectrum(self, row: int, column: int) -> Float32Array:
        """Read the (C,) spectrum of one pixel, in physical values."""
        block = self.read(slice(row, row + 1), slice(column, column + 1))
        return block.reshape(-1)

    def require_wavelengths(self) -> Float64Array:
        """Return the wavelengths.

        Raises:
            WavelengthError: they are unknown.
        """
        if self.wavelengths is None:
            raise WavelengthError(
                f"{self.name} has no wavelengths: give a camera, a range such as 380:770:10, or a "
                "CSV with one per band."
            )
        return self.wavelengths

    def with_wavelengths(self, nm: ArrayLike, fwhm: ArrayLike | None = None) -> SpectralCube:
        """Return the cube with other band centres (and widths) in nm.

        Raises:
            WavelengthError: they do not fit the number of bands.
        """
        widths = None if fwhm is None else np.asarray(fwhm, np.float64)
        return replace(self, wavelengths=check_wavelengths(nm, self.n_bands), fwhm=widths)

    def usable_bands(self) -> SpectralCube:
        """Return the cube without its bad bands; the cube itself if all bands are good.

        Raises:
            CubeError: no band is good.
        """
        if self.good_bands.all():
            return self
        good = np.flatnonzero(self.good_bands)
        if good.size == 0:
            raise CubeError(f"All bands of {self.name} are marked as bad: none is left to use.")

        def selected(values: Any) -> Any:
            return values[good] if values is not None and np.ndim(values) else values

        return replace(
            self,
            data=_SelectedBands(self.data, good),
            wavelengths=selected(self.wavelengths),
            fwhm=selected(self.fwhm),
            good_bands=np.ones(good.size, bool),
            scale=selected(self.scale),
            offset=selected(self.offset),
        )


class _SelectedBands(LazyArray):
    """The bands of an (H, W, C) array with given, increasing indices."""

    def __init__(self, source: ArraySource, bands: NDArray[np.intp]) -> None:
        super().__init__((*source.shape[:2], bands.size), source.dtype)
        self._source = source
        self._bands = bands

    def _read_block(self, block: Block) -> NDArray[Any]:
        rows, columns, bands = block
        selected = self._bands[bands]
        first, last = int(selected[0]), int(selected[-1])
        # Sources are indexed by slices only: read the covering range and select in memory.
        covering = np.asarray(self._source[rows, columns, first : last + 1])
        return covering[..., selected - first]


def _per_band(values: ArrayLike, n_bands: int, dtype: type, what: str) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(values, dtype=dtype)
    if array.shape != (n_bands,):
        raise WavelengthError(
            f"{array.size} {what} were given for {n_bands} bands: give one per band."
        )
    return array
