"""SpecCube files of the Tivita tissue camera.

A header of 12 bytes holds width, height and number of bands as big-endian int32. It is followed by
big-endian float32 reflectance: column by column from the left, each from bottom to top, with the
bands of a pixel together.
"""

from __future__ import annotations

import struct
from pathlib import Path

from carl.errors import CubeError
from carl.io.reader import FileContents, Reader
from carl.mapped_files import FileArray, SharedFile
from carl.wavelengths import camera

CAMERA = "tivita"
OTHER_CAMERA = "tivita-step5"

_HEADER_BYTES = 12
_NAME_ENDING = "_speccube.dat"
_LARGEST_SIDE = 100_000
"""Upper bound of width, height and number of bands: larger ones are not a SpecCube header."""


def sniff(path: Path) -> bool:
    """Return whether a file is named like a SpecCube or has the size stated in its header."""
    try:
        shape = _shape(path)
        size = path.stat().st_size
    except (OSError, struct.error):
        return False
    return path.name.lower().endswith(_NAME_ENDING) or size == _size_of(shape)


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the cube lazily.

    The file stores no wavelengths: a cube of 100 bands gets those of the camera "tivita", with a
    note that other wavelengths have been published as well.

    Raises:
        CubeError: the file does not have the size stated in its header.
    """
    width, height, n_bands = shape = _shape(path)
    size, actual = _size_of(shape), path.stat().st_size
    if size != actual:
        raise CubeError(
            f"{path.name} should hold {width} × {height} × {n_bands} numbers, {size} bytes, "
            f"but has {actual}: it is cut off or not a SpecCube."
        )
    pixel, column = 4 * n_bands, 4 * n_bands * height
    top_left = _HEADER_BYTES + column - pixel
    data = FileArray(
        SharedFile(path), ">f4", top_left, (height, width, n_bands), (-pixel, column, 4)
    )
    known = camera(CAMERA)
    fits = n_bands == known.n_bands
    return FileContents(
        data=data,
        band_axis=2,
        wavelengths=known.wavelengths if fits else None,
        wavelength_unit="nm",
        metadata={"format": "Tivita SpecCube"},
        notes=(
            f"Wavelengths are those of the camera {CAMERA}; those of {OTHER_CAMERA}, up to 5 nm "
            "away, have been published for such files as well.",
        )
        if fits
        else (),
    )


def _shape(path: Path) -> tuple[int, int, int]:
    """Read width, height and number of bands from the header."""
    with path.open("rb") as file:
        width, height, n_bands = struct.unpack(">3i", file.read(_HEADER_BYTES))
    return width, height, n_bands


def _size_of(shape: tuple[int, int, int]) -> int:
    """Return the size in bytes of a file with such a header; -1 if the shape is impossible."""
    if not all(0 < side < _LARGEST_SIDE for side in shape):
        return -1
    width, height, n_bands = shape
    return _HEADER_BYTES + 4 * width * height * n_bands


READER = Reader("Tivita SpecCube", (".dat",), read, sniff)
