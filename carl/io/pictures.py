"""Pictures, PNG, JPEG and BMP: colour ones as cubes of three bands, grey ones as single bands.

A picture is decoded whole when the first of its pixels is read. The values are those of the file:
encoded for a screen, not linear, and not reflectances.

Pillow reduces colours of 16 bits to their upper 8 bits. Its unpacking "16B" returns the first byte
of each number and "16L" the second one, so both are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.errors import CubeError
from carl.io.chunked import ChunkedArray, Position
from carl.io.reader import FileContents, Reader, decoding_errors, starts_with
from carl.io.size_limits import MAX_IMAGE_RATIO, check_decoded_size, check_pixels

_PNG, _JPEG, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
_GREY_MODES = {"1": np.bool_, "L": np.uint8, "I;16": np.uint16, "I": np.int32}
"""Pillow's modes of pictures with one number per pixel, and the types of the numbers."""
_COLOUR_MODES = ("RGB", "RGBA", "RGBX", "P", "LA", "PA")
"""Modes that are converted to red, green and blue, without transparency."""
CAMERA = "srgb"
"""Name of the camera whose wavelengths colour pictures have."""


def sniff(path: Path) -> bool:
    """Return whether a file starts with the signature of a picture."""
    return starts_with(path, _PNG, _JPEG, _BMP)


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read a picture: (H, W, 3) if it is in colour, (H, W) if it is grey.

    Raises:
        CubeError: the picture is damaged, too large, or in other colours than red, green and blue.
    """
    with _opened(path) as image:
        size, mode, is_deep = (image.height, image.width), image.mode, _is_deep(image)
    if mode in _GREY_MODES:
        data = _pixels(path, size, np.dtype(_GREY_MODES[mode]))
        return FileContents(data, metadata={"format": "picture"})
    data = _pixels(path, (*size, 3), np.dtype(np.uint16 if is_deep else np.uint8))
    notes = [
        f"{path.name} is a picture, opened as a cube of three bands: red, green and blue. Their "
        "wavelengths are nominal, and the values are colours of a screen, not reflectances."
    ]
    if mode in ("RGBA", "LA", "PA"):
        notes.append("The transparency (alpha channel) of the picture was left out.")
    if mode in ("P", "PA"):
        notes.append("The numbers of the picture's palette were replaced by their colours.")
    return FileContents(
        data,
        band_axis=2,
        camera=CAMERA,
        metadata={"format": "picture"},
        notes=tuple(notes),
    )


def read_as_grey(path: Path) -> FileContents:
    """Read a colour picture whose three colours are equal as (H, W), as some programs save bands.

    Reading its pixels raises a `CubeError` if the colours differ.
    """
    found = read(path)
    if len(found.data.shape) == 2:
        return found
    shape = found.data.shape[:2]

    def load(position: Position) -> NDArray[Any]:
        values = np.asarray(found.data[...])
        if np.any(values != values[..., :1]):
            raise CubeError(f"{path.name} is a colour picture: a band is grey.")
        return np.ascontiguousarray(values[..., 0])

    data = ChunkedArray(shape, shape, found.data.dtype, load)
    return FileContents(data, metadata=found.metadata)


def _opened(path: Path) -> Any:
    """Open a picture with Pillow, after checks of its size and its colours."""
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    # Not by Image.open, which refuses any picture of more than 179 million pixels.
    is_png, is_jpeg = starts_with(path, _PNG), starts_with(path, _JPEG)
    image: Any = (PngImageFile if is_png else JpegImageFile if is_jpeg else BmpImageFile)(path)
    try:
        n_pixels = image.width * image.height
        check_pixels(path, n_pixels)
        n_bytes = n_pixels * (6 if _is_deep(image) else 4)
        check_decoded_size(path, n_bytes, path.stat().st_size, max_ratio=MAX_IMAGE_RATIO)
        if image.mode not in _GREY_MODES and image.mode not in _COLOUR_MODES:
            raise CubeError(
                f"{path.name} is a picture in {image.mode} colours: save it in grey or RGB."
            )
        if _is_deep(image) and not _raw_mode(image).startswith("RGB"):
            raise CubeError(
                f"{path.name} is grey with 16 bits and transparency: save it without transparency."
            )
    except BaseException:
        image.close()
        raise
    return image


def _pixels(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ChunkedArray:
    """Return the pixels of a picture as an array that is decoded when it is read."""

    def load(position: Position) -> NDArray[Any]:
        with decoding_errors(path, "a picture"):
            values = _decoded(path, len(shape) == 3)
            if values.shape != shape or values.dtype != dtype:
                raise CubeError(f"{path.name} was changed since it was opened: open it again.")
            return values

    return ChunkedArray(shape, shape, dtype, load)


def _decoded(path: Path, is_colour: bool) -> NDArray[Any]:
    """Return the pixels of a picture, (H, W) or (H, W, 3)."""
    with _opened(path) as image:
        if not is_colour:
            return np.array(image)
        if not _is_deep(image):
            return np.array(image.convert("RGB"))
        upper = np.array(image)[..., :3]
    with _opened(path) as image:
        (tile,) = image.tile
        image.tile = [tile._replace(args=tile.args.replace("16B", "16L"))]
        lower = np.array(image)[..., :3]
    return np.asarray(upper.astype(np.uint16) << 8 | lower)


def _is_deep(image: Any) -> bool:
    """Return whether the colours of a picture have 16 bits."""
    return image.mode not in _GREY_MODES and _raw_mode(image).endswith(";16B")


def _raw_mode(image: Any) -> str:
    """Return Pillow's name for the numbers of a PNG as they are stored; empty for others."""
    if image.format != "PNG" or not image.tile:
        return ""
    return str(image.tile[0].args)


READER = Reader("picture", (".png", ".jpg", ".jpeg", ".bmp"), read, sniff)
