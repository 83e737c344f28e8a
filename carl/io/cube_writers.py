"""Registry of the formats that cubes are written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carl.cube import SpectralCube
from carl.errors import OutputError
from carl.io import envi, tiff_writer, zarr_output


@dataclass(frozen=True)
class CubeWriter:
    """A format.

    Attributes:
        name: display name.
        suffixes: endings of the names of its files, in lower case.
        write: writes a cube and returns the paths of all its files.

    Examples:
        >>> [each.name for each in CUBE_WRITERS if ".hdr" in each.suffixes]
        ['ENVI']
    """

    name: str
    suffixes: tuple[str, ...]
    write: Callable[[Path, SpectralCube], tuple[Path, ...]]


CUBE_WRITERS: tuple[CubeWriter, ...] = (
    CubeWriter("TIFF", (".tif", ".tiff"), tiff_writer.write),
    CubeWriter("OME-Zarr", (zarr_output.SUFFIX,), zarr_output.write),
    CubeWriter("ENVI", (".hdr", *envi.DATA_SUFFIXES), envi.write),
)
"""All formats; the first one whose suffix fits is written."""


def write_cube(path: str | Path, cube: SpectralCube) -> tuple[Path, ...]:
    """Write a cube, block by block.

    Examples:
        >>> import numpy as np
        >>> from carl import SpectralCube, write_cube
        >>> cube = SpectralCube(np.ones((2, 3, 4), np.uint16), [500, 550, 600, 650])
        >>> [path.name for path in write_cube("scan.hdr", cube)]
        ['scan.hdr', 'scan.dat']
        >>> [path.name for path in write_cube("scan.tif", cube)]
        ['scan.tif']

    Args:
        path: of the file; its suffix determines the format: .hdr (ENVI, with the data beside it),
            .tif (with metadata as JSON; GeoTIFF if the cube has a georeference), .ome.tif or .zarr
            (a folder, OME-Zarr).
        cube: the cube.

    Returns:
        Paths of all files; for ENVI the header and the data file.

    Raises:
        OutputError: the suffix is another one, or the folder cannot be written.
    """
    path = Path(path)
    return find_cube_writer(path).write(path, cube)


def find_cube_writer(path: Path) -> CubeWriter:
    """Return the format with the suffix of a path.

    Raises:
        OutputError: there is none.
    """
    name = path.name.lower()
    for writer in CUBE_WRITERS:
        if any(name.endswith(suffix) if suffix else not path.suffix for suffix in writer.suffixes):
            return writer
    raise OutputError(
        f"{path} must end in .hdr (ENVI), .tif or .zarr: give the output another name."
    )
