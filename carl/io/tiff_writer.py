"""Writer of cubes as TIFF: bands as pages with JSON, as one GeoTIFF image, or as OME-TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from carl.cube import SpectralCube
from carl.files import atomic_write
from carl.io.georeference import geotiff_tags, pixel_size_in, resolution

_OME_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")


def write(path: str | Path, cube: SpectralCube) -> tuple[Path]:
    """Write a cube as TIFF, without compression and block by block.

    A name that ends in ``.ome.tif`` gives an OME-TIFF with the wavelengths of its channels and the
    size of a pixel, but neither widths, bad bands, scale nor no-data value: stored numbers that
    need them are converted to float32 physical values, with NaN for no data. Other files hold the
    stored numbers, and all metadata as JSON in the description of the image. Those of a cube with a
    georeference are one image of many samples with the tags of GeoTIFF, which is what programs for
    maps read; otherwise each band is a page.

    Args:
        path: the file.
        cube: the cube.

    Returns:
        Path of the file.

    Raises:
        OutputError: the folder cannot be written.
    """
    import tifffile

    path = Path(path)
    is_ome = path.name.lower().endswith((".ome.tif", ".ome.tiff"))
    native = np.dtype(cube.data.dtype).newbyteorder("=")
    is_plain = native.name in _OME_TYPES and not np.any(cube.offset) and np.all(cube.scale == 1)
    as_stored = not is_ome or (bool(is_plain) and cube.nodata is None)
    dtype = (native if native.kind != "b" else np.dtype(np.uint8)) if as_stored else np.dtype("f4")
    height, width, n_bands = cube.shape
    options: dict[str, Any] = {"photometric": "minisblack", **resolution(cube)}
    if is_ome:
        options |= {"ome": True, "metadata": _ome_metadata(cube)}
    else:
        tags = geotiff_tags(cube)
        options |= {"metadata": {"axes": "CYX", **_json_metadata(cube)}, "extratags": tags}
        if tags and n_bands > 1:
            options["planarconfig"] = "separate"
            options["metadata"]["axes"] = "SYX"
    with atomic_write(path) as temporary:
        written: Any = tifffile.imwrite(
            temporary,
            shape=(n_bands, height, width),
            dtype=dtype,
            byteorder="<",
            returnoffset=True,
            **options,
        )
        _write_bands(temporary, written[0], cube, dtype.newbyteorder("<"), as_stored)
    return (path,)


def _write_bands(
    path: Path, offset: int, cube: SpectralCube, dtype: np.dtype[Any], as_stored: bool
) -> None:
    """Write the values of a cube at an offset of a file, one band after the other."""
    height, width, n_bands = cube.shape
    row_bytes = width * dtype.itemsize
    with path.open("r+b") as file:
        for rows in cube.row_blocks():
            block = np.asarray(cube.data[rows]) if as_stored else cube.read(rows)
            for band in range(n_bands):
                file.seek(offset + (band * height + rows.start) * row_bytes)
                file.write(np.ascontiguousarray(block[..., band], dtype).tobytes())


def _json_metadata(cube: SpectralCube) -> dict[str, Any]:
    """Return what `carl.io.tiff` reads from the description of an image."""
    found: dict[str, Any] = {"description": cube.name}
    if cube.wavelengths is not None:
        found |= {"wavelengths": cube.wavelengths.tolist(), "wavelength_unit": "nm"}
    if cube.fwhm is not None:
        found["fwhm"] = cube.fwhm.tolist()
    if not cube.good_bands.all():
        found["good_bands"] = cube.good_bands.astype(int).tolist()
    if np.any(cube.scale != 1):
        found["scale"] = np.asarray(cube.scale).tolist()
    if np.any(cube.offset):
        found["offset"] = np.asarray(cube.offset).tolist()
    if cube.nodata is not None:
        found["nodata"] = cube.nodata
    if "pixel_size" in cube.metadata and "georeference" not in cube.metadata:
        found["pixel_size"] = [float(length) for length in cube.metadata["pixel_size"]]
        found["pixel_unit"] = str(cube.metadata.get("pixel_unit", ""))
    return found


def _ome_metadata(cube: SpectralCube) -> dict[str, Any]:
    found: dict[str, Any] = {"axes": "CYX", "Name": cube.name}
    if cube.wavelengths is not None:
        centres = [float(centre) for centre in cube.wavelengths]
        found["Channel"] = {
            "Name": [f"{centre:g} nm" for centre in centres],
            "EmissionWavelength": centres,
            "EmissionWavelengthUnit": ["nm"] * cube.n_bands,
        }
    size = pixel_size_in(cube, "µm")
    if size is not None:
        found |= {
            "PhysicalSizeY": size[0],
            "PhysicalSizeX": size[1],
            "PhysicalSizeYUnit": "µm",
            "PhysicalSizeXUnit": "µm",
        }
    return found
