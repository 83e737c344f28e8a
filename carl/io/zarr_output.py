"""Writer of cubes as OME-Zarr images (OME-NGFF 0.4 or 0.5) of one resolution.

The image has the axes c, y, x. Viewers show the wavelengths as labels of the channels; widths, bad
bands, scale, offset and no-data value, which OME-NGFF does not have, are in the attribute ``carl``,
so that `carl.io.zarr_files` reads the same cube again.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from carl.cube import SpectralCube
from carl.errors import OutputError
from carl.files import atomic_folder
from carl.io.zarr_files import UNITS, is_zarr

SUFFIX = ".zarr"
_CHUNK_SIDE = 128
"""Rows and columns of a chunk."""
_CHUNK_BANDS = 32
"""Bands of a chunk: few enough to show one band, and enough to read spectra."""
_BLOCK_VALUES = 1 << 24
"""Most values that are held in memory."""

Version = Literal["0.4", "0.5"]


def write(path: str | Path, cube: SpectralCube, *, version: Version = "0.4") -> tuple[Path]:
    """Write a cube as an OME-Zarr image, block by block. The stored numbers are not changed.

    An existing Zarr folder of this name is replaced when the new one is complete.

    Args:
        path: the folder.
        cube: the cube.
        version: of OME-NGFF; 0.4 is read by more programs, and 0.5 uses format 3 of Zarr.

    Returns:
        Path of the folder.

    Raises:
        OutputError: the folder cannot be written, or something else has its name.
    """
    import zarr

    path = Path(path)
    if path.exists() and not is_zarr(path):
        raise OutputError(f"{path} exists and is no Zarr folder: give the output another name.")
    with atomic_folder(path.parent) as staging:
        zarr_format: Literal[2, 3] = 2 if version == "0.4" else 3
        group = zarr.open_group(staging / path.name, mode="w", zarr_format=zarr_format)
        _write_pixels(group, cube)
        group.attrs.update(_attributes(cube, version))
    return (path,)


def _write_pixels(group: Any, cube: SpectralCube) -> None:
    height, width, n_bands = cube.shape
    array = group.create_array(
        "0",
        shape=(n_bands, height, width),
        chunks=(min(n_bands, _CHUNK_BANDS), min(height, _CHUNK_SIDE), min(width, _CHUNK_SIDE)),
        dtype=np.dtype(cube.data.dtype).newbyteorder("="),
        **({"dimension_names": ["c", "y", "x"]} if group.metadata.zarr_format == 3 else {}),
    )
    n_together = max(1, _BLOCK_VALUES // (_CHUNK_SIDE * n_bands) // _CHUNK_SIDE)
    lengths = (_CHUNK_SIDE, _CHUNK_SIDE * n_together)
    starts = (range(0, n, step) for n, step in zip((height, width), lengths, strict=True))
    for top, left in product(*starts):
        rows, columns = slice(top, top + lengths[0]), slice(left, left + lengths[1])
        block = np.asarray(cube.data[rows, columns])
        array[:, rows, columns] = np.moveaxis(block, -1, 0)


def _attributes(cube: SpectralCube, version: Version) -> dict[str, Any]:
    unit = {symbol: name for name, symbol in UNITS.items()}.get(cube.metadata.get("pixel_unit", ""))
    size = cube.metadata.get("pixel_size") if unit else None
    step = (1.0, 1.0) if size is None else (float(size[0]), float(size[1]))
    space = {"type": "space"} if size is None else {"type": "space", "unit": unit}
    transformation = {"type": "scale", "scale": [1.0, *step]}
    image = {
        "name": cube.name,
        "axes": [{"name": "c", "type": "channel"}, {"name": "y", **space}, {"name": "x", **space}],
        "datasets": [{"path": "0", "coordinateTransformations": [transformation]}],
    }
    own = {"carl": _own(cube)}
    channels = {} if cube.wavelengths is None else {"omero": {"channels": _channels(cube)}}
    if version == "0.4":
        return {"multiscales": [{"version": version, **image}], **channels, **own}
    return {"ome": {"version": version, "multiscales": [image], **channels}, **own}


def _channels(cube: SpectralCube) -> list[dict[str, Any]]:
    """Return a label and a window of intensities for each band, as viewers need them."""
    dtype = np.dtype(cube.data.dtype)
    low, high = (0, 1) if dtype.kind in "fb" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    window = {"min": int(low), "max": int(high), "start": int(low), "end": int(high)}
    nm = cube.require_wavelengths()
    return [
        {"label": f"{centre:g} nm", "color": "FFFFFF", "active": band == 0, "window": window}
        for band, centre in enumerate(nm)
    ]


def _own(cube: SpectralCube) -> dict[str, Any]:
    """Return what describes the bands and the stored numbers, by names of `FileContents`."""
    stated: dict[str, Any] = {
        "scale": np.asarray(cube.scale).tolist(),
        "offset": np.asarray(cube.offset).tolist(),
        "good_bands": cube.good_bands.astype(int).tolist(),
    }
    if cube.wavelengths is not None:
        stated |= {"wavelengths": cube.wavelengths.tolist(), "wavelength_unit": "nm"}
    if cube.fwhm is not None:
        stated["fwhm"] = cube.fwhm.tolist()
    if cube.nodata is not None and np.isfinite(cube.nodata):  # NaN needs no mark
        stated["nodata"] = cube.nodata
    return stated
