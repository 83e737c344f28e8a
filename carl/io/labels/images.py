"""Label maps as images: TIFF, PNG and NumPy files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.io import numpy_files, tiff
from carl.io.georeference import geotiff_tags, resolution
from carl.io.labels.label_format import LabelFormat, Shape, StoredLabels
from carl.io.labels.label_map import LabelMap, default_colour
from carl.io.size_limits import MAX_IMAGE_RATIO, check_decoded_size, check_pixels

_PNG_BYTES = {"P": 1, "L": 1, "1": 1, "I": 4, "I;16": 2}
"""Bytes of a decoded pixel by the modes of Pillow for one number per pixel."""


def read_tiff(path: Path, shape: Shape | None = None) -> StoredLabels:
    """Read the first image of a TIFF file."""
    return StoredLabels(tiff.read_image(path))


def write_tiff(path: Path, label_map: LabelMap, cube: SpectralCube | None) -> None:
    """Write a TIFF file, with the georeference or the size of a pixel if the cube has one."""
    import tifffile

    tifffile.imwrite(
        path,
        label_map.labels,
        photometric="minisblack",
        compression="zlib",
        metadata=None,
        extratags=geotiff_tags(cube),
        **resolution(cube),
    )


def read_npy(path: Path, shape: Shape | None = None) -> StoredLabels:
    """Read a NumPy file."""
    return StoredLabels(np.asarray(numpy_files.read(path).data[...]))


def write_npy(path: Path, label_map: LabelMap, cube: SpectralCube | None) -> None:
    """Write a NumPy file."""
    np.save(path, label_map.labels)


def read_png(path: Path, shape: Shape | None = None) -> StoredLabels:
    """Read a PNG file in grey or with a palette.

    Raises:
        LabelError: it is a colour picture, or too large.
    """
    from PIL.PngImagePlugin import PngImageFile

    # Not by Image.open, which refuses any picture of more than 179 million pixels.
    with PngImageFile(path) as image:
        n_pixels = image.width * image.height
        check_pixels(path, n_pixels, LabelError)
        n_bytes = n_pixels * _PNG_BYTES.get(image.mode, 1)
        check_decoded_size(
            path, n_bytes, path.stat().st_size, max_ratio=MAX_IMAGE_RATIO, error_type=LabelError
        )
        if image.mode not in _PNG_BYTES:
            raise LabelError(
                f"{path.name} is a colour picture ({image.mode}): a label map has one number per "
                "pixel, so save it in grey or with a palette."
            )
        return StoredLabels(np.array(image))


def write_png(path: Path, label_map: LabelMap, cube: SpectralCube | None) -> None:
    """Write a PNG file; with up to 255 classes, it has their colours as its palette."""
    from PIL import Image

    image = Image.fromarray(label_map.labels)
    if label_map.labels.dtype == np.uint8:
        palette = np.array([(0, 0, 0), *map(default_colour, range(1, 256))], np.uint8)
        for each in label_map.classes:
            if 0 < each.value < 256:
                palette[each.value] = each.colour
        image.putpalette(palette.tobytes())  # changes the mode from "L" to "P", not the values
    image.save(path, format="PNG", optimize=True)


TIFF = LabelFormat(
    "TIFF", (".tif", ".tiff"), (".tif", ".tiff"), read_tiff, write_tiff, lists_classes=False
)
PNG = LabelFormat("PNG", (".png",), (".png",), read_png, write_png, lists_classes=False)
NUMPY = LabelFormat("NumPy", (".npy",), (".npy",), read_npy, write_npy, lists_classes=False)
