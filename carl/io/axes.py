"""Meaning of named axes: rows, columns and bands of a cube, and the axes of its frames.

Names are those of OME-NGFF, the CF conventions, xarray and products of satellites.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from carl.errors import CubeError
from carl.lazy_array import LazyArray

_ROWS = frozenset({
    "y", "row", "rows", "height", "line", "lines", "lat", "latitude", "northing", "downtrack",
    "number_of_lines", "number_of_scans", "along_track",
})  # fmt: skip
_COLUMNS = frozenset({
    "x", "column", "columns", "col", "cols", "width", "sample", "samples", "lon", "longitude",
    "easting", "crosstrack", "pixels_per_line", "ccd_pixels", "across_track",
})  # fmt: skip
_BANDS = frozenset({
    "c", "channel", "channels", "band", "bands", "wavelength", "wavelengths", "wavelength_3d",
    "wavelength_nm", "lambda", "wl", "wvl", "spectral", "spectral_band", "wavenumber",
    "number_of_bands", "frequency",
})  # fmt: skip
_FRAMES = frozenset({
    "t", "time", "z", "depth", "scene", "position", "rotation", "phase", "view", "illumination",
    "block",
})  # fmt: skip
"""Names of axes along which a file holds several images or cubes."""


def arrange(
    data: LazyArray, names: Sequence[str | None], path: Path
) -> tuple[LazyArray, int | None, tuple[str, ...]]:
    """Bring an array with named axes into the order rows, columns, bands.

    An array of several frames keeps the order of the file; `carl.io.selection` takes one of them.

    Args:
        data: the array.
        names: of its axes, in any case; None for those without one.
        path: of the file.

    Returns:
        the array without axes of frames of length 1; the axis of the bands, None if the names do
        not determine it, in which case the remaining axes have the order of the file; and the names
        of the axes if the array has several frames.

    Raises:
        CubeError: the array has several frames of fewer than three axes.
    """
    lower = [(name or "").lower() for name in names]
    frames = [axis for axis, name in enumerate(lower) if name in _FRAMES]
    section, names, n_several = _section(data, lower, frames, path)
    if n_several:
        return section, None, tuple(map(_common_name, names))
    where = [
        [axis for axis, name in enumerate(names) if name in group]
        for group in (_ROWS, _COLUMNS, _BANDS)
    ]
    if section.ndim == 3 and all(len(found) == 1 for found in where):
        return section.transpose([found[0] for found in where]), 2, ()
    bands = where[2]
    return section, bands[0] if section.ndim == 3 and len(bands) == 1 else None, ()


def _common_name(name: str) -> str:
    """Return the name of an axis in `carl.io.selection`."""
    groups = {"y": _ROWS, "x": _COLUMNS, "channel": _BANDS}
    return next((common for common, group in groups.items() if name in group), name)


def _section(
    data: LazyArray, names: Sequence[str], frames: Sequence[int], path: Path
) -> tuple[LazyArray, list[str], int]:
    """Return an array without frames of length 1, the names of its axes, and of how many frames.

    Raises:
        CubeError: there are several frames of fewer than three axes.
    """
    several = [axis for axis in frames if data.shape[axis] != 1]
    if several and data.ndim - len(frames) < 3:
        along = [f"{names[axis]} of length {data.shape[axis]}" for axis in several]
        raise CubeError(
            f"{path.name} holds several frames, along {' and '.join(along)}, which are images "
            "without bands: a cube needs height, width and bands."
        )
    dropped = [axis for axis in frames if axis not in several]
    remaining = [name for axis, name in enumerate(names) if axis not in dropped]
    return data.at({axis: 0 for axis in dropped}), remaining, len(several)
