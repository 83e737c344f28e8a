"""A spectral cube: pixels, the wavelengths of its bands, and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.errors import CubeError, WavelengthError
from carl.lazy_array import ArraySource, Block, LazyArray
from carl.mapped_files import read_mapped
from carl.wavelengths import check_wavelengths


@dataclass(frozen=True, eq=False, repr=False)
class SpectralCube:
    """A cube of (height, width, bands) pixels, read from its file as they are asked for.

    `data` holds the numbers as stored. `read`, `spectrum` and `to_numpy` give physical values:
    stored number × `scale` + `offset`, and NaN where the file says there is no data.

    Attributes:
        data: (H, W, C) array-like, lazy where the format allows.
        wavelengths: (C,) band centres in nm, or None if the file does not tell: never guessed.
        fwhm: (C,) widths at half maximum in nm, or None.
        good_bands: (C,) False for bands the file or the user marks as bad; all True by default.
        name: what to call it, usually the stem of its file.
        metadata: what else the file says; ``metadata["path"]`` is the file.
        scale: factor from stored numbers to physical values, one number or (C,).
        offset: added after scaling, one number or (C,).
        nodata: the stored number that means "no data", or None.
    """

    data: ArraySource
    wavelengths: NDArray[np.float64] | None = None
    fwhm: NDArray[np.float64] | None = None
    good_bands: NDArray[np.bool_] = None  # type: ignore[assignment]  # filled in __post_init__
    name: str = "cube"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    scale: float | NDArray[np.float64] = 1.0
    offset: float | NDArray[np.float64] = 0.0
    nodata: float | None = None

    def __post_init__(self) -> None:
        """Check that everything fits together.

        Raises:
            CubeError: `data` is not three-dimensional and of real numbers, or has no pixels.
            WavelengthError: wavelengths, fwhm or good_bands do not fit the bands.
        """
        shape = tuple(int(n) for n in self.data.shape)
        if len(shape) != 3 or 0 in shape:
            raise CubeError(
                f"{self.name} has the shape {shape}: a cube has height, width and bands, none of "
                "them 0."
            )
        if np.dtype(self.data.dtype).kind not in "biuf":
            raise CubeError(f"{self.name} holds {self.data.dtype} values: a cube has real numbers.")
        n_bands = shape[2]
        set_ = object.__setattr__  # the dataclass is frozen for everyone else
        if self.wavelengths is not None:
            set_(self, "wavelengths", check_wavelengths(self.wavelengths, n_bands))
        if self.fwhm is not None:
            set_(self, "fwhm", _per_band(self.fwhm, n_bands, np.float64, "widths"))
        good = np.ones(n_bands, bool) if self.good_bands is None else self.good_bands
        set_(self, "good_bands", _per_band(good, n_bands, np.bool_, "marks of good bands"))

    def __repr__(self) -> str:
        height, width, bands = self.shape
        nm = self.wavelengths
        known = "unknown wavelengths" if nm is None else f"{nm.min():g}–{nm.max():g} nm"
        return f"<SpectralCube {self.name!r}: {height} × {width} pixels, {bands} bands, {known}>"

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
    ) -> NDArray[np.float32]:
        """A block of physical values, (rows, columns, bands) float32; NaN means no data."""
        stored = read_mapped(np.asarray(self.data[rows, columns, bands]))
        values: NDArray[np.float32] = stored.astype(np.float32)
        scale, offset = np.asarray(self.scale), np.asarray(self.offset)
        values *= (scale[bands] if scale.ndim else scale).astype(np.float32)
        values += (offset[bands] if offset.ndim else offset).astype(np.float32)
        if self.nodata is not None:
            values[stored == self.nodata] = np.nan
        return values

    def to_numpy(self) -> NDArray[np.float32]:
        """The whole cube in memory: (H, W, C) float32 physical values; NaN means no data."""
        return self.read()

    def row_blocks(self, max_values: int = 1 << 23) -> list[slice]:
        """Return slices of rows that cover the cube, to read it in bounded memory.

        Args:
            max_values: largest number of values of a block; a block has at least one row.
        """
        height, width, n_bands = self.shape
        step = max(1, max_values // (width * n_bands))
        return [slice(top, min(top + step, height)) for top in range(0, height, step)]

    def spectrum(self, row: int, column: int) -> NDArray[np.float32]:
        """The (C,) spectrum of one pixel, in physical values."""
        block = self.read(slice(row, row + 1), slice(column, column + 1))
        return block.reshape(-1)

    def require_wavelengths(self) -> NDArray[np.float64]:
        """The wavelengths.

        Raises:
            WavelengthError: they are not known.
        """
        if self.wavelengths is None:
            raise WavelengthError(
                f"{self.name} does not tell its wavelengths: give a camera, a range such as "
                "380:770:10, or a CSV with one per band."
            )
        return self.wavelengths

    def with_wavelengths(self, nm: ArrayLike, fwhm: ArrayLike | None = None) -> SpectralCube:
        """The same cube with these band centres (and widths) in nm.

        Raises:
            WavelengthError: they do not fit the bands.
        """
        widths = None if fwhm is None else np.asarray(fwhm, np.float64)
        return replace(self, wavelengths=check_wavelengths(nm, self.n_bands), fwhm=widths)

    def usable_bands(self) -> SpectralCube:
        """The cube without its bad bands; itself where all are good.

        Raises:
            CubeError: no band is good.
        """
        if self.good_bands.all():
            return self
        keep = np.flatnonzero(self.good_bands)
        if keep.size == 0:
            raise CubeError(f"All bands of {self.name} are marked as bad: none is left to use.")

        def chosen(values: Any) -> Any:
            return values[keep] if values is not None and np.ndim(values) else values

        return replace(
            self,
            data=_SelectedBands(self.data, keep),
            wavelengths=chosen(self.wavelengths),
            fwhm=chosen(self.fwhm),
            good_bands=np.ones(keep.size, bool),
            scale=chosen(self.scale),
            offset=chosen(self.offset),
        )


class _SelectedBands(LazyArray):
    """Some of the bands of an array.

    Args:
        source: (H, W, C) array.
        bands: increasing indices of the selected bands.
    """

    def __init__(self, source: ArraySource, bands: NDArray[np.intp]) -> None:
        super().__init__((*source.shape[:2], bands.size), source.dtype)
        self._source = source
        self._bands = bands

    def _read_block(self, block: Block) -> NDArray[Any]:
        rows, columns, bands = block
        selected = self._bands[bands]
        first, last = int(selected[0]), int(selected[-1])
        # Sources are indexed by slices only: read the covering range and select in memory.
        covering = read_mapped(np.asarray(self._source[rows, columns, first : last + 1]))
        return covering[..., selected - first]


def _per_band(values: ArrayLike, n_bands: int, dtype: type, what: str) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(values, dtype=dtype)
    if array.shape != (n_bands,):
        raise WavelengthError(
            f"{array.size} {what} were given for {n_bands} bands: give one per band."
        )
    return array
