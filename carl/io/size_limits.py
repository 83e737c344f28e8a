"""Checks of the sizes that files state, before memory is reserved for them."""

from __future__ import annotations

import os
from pathlib import Path

from carl.errors import CarlError, CubeError

_UNCHECKED_BYTES = 128 << 20
"""Arrays up to this size are decoded whatever their ratio: a blank image compresses well."""
_COPIES = 2
"""Arrays that decoding holds at the same time: that of the decoder and the result."""
MAX_CUBE_RATIO = 100
"""Largest ratio of decoded to stored bytes of large arrays of pixels. The noise of a camera limits
it to about 10, or to 100 where 98 % of the pixels are empty."""
MAX_IMAGE_PIXELS = 1 << 30
"""Most pixels of an image that is decoded whole."""
MAX_IMAGE_RATIO = 8 * 1032
"""Largest ratio of any image that is stored bit by bit with the format "deflate", which reaches
1032, and decoded to bytes. Blank label maps come close to it."""


def check_decoded_size(
    path: Path,
    n_bytes: int,
    n_stored: int,
    *,
    max_ratio: float = MAX_CUBE_RATIO,
    error_type: type[CarlError] = CubeError,
) -> None:
    """Check that an array that is decoded whole is plausible and fits into the memory.

    Args:
        path: the file.
        n_bytes: size of the decoded array that the file states.
        n_stored: size of the compressed array in the file, bytes.
        max_ratio: largest plausible ratio of the two.
        error_type: type of the error.

    Raises:
        error_type: the array is larger than its stored bytes can hold, or than the free memory.
    """
    check_ratio(path, n_bytes, n_stored, max_ratio, error_type)
    free, needed = available_memory(), _COPIES * n_bytes
    if n_bytes > _UNCHECKED_BYTES and free is not None and needed > free:
        raise error_type(
            f"{path.name} needs {needed / 1e9:.1f} GB of memory to be decoded and "
            f"{free / 1e9:.1f} GB are free: close other programs, or save it without compression."
        )


def check_ratio(
    path: Path,
    n_bytes: int,
    n_stored: int,
    max_ratio: float,
    error_type: type[CarlError] = CubeError,
) -> None:
    """Check that an array is not much larger than its stored bytes; arguments as above.

    Raises:
        error_type: it is.
    """
    if n_bytes > max(_UNCHECKED_BYTES, max_ratio * n_stored):
        raise error_type(
            f"{path.name} states {n_bytes / 1e9:.1f} GB of pixels and stores "
            f"{n_stored / 1e6:.1f} MB for them, too few to be a recording: it is damaged, or made "
            "to fill the memory."
        )


def check_pixels(path: Path, n_pixels: int, error_type: type[CarlError] = CubeError) -> None:
    """Check the number of pixels of an image that is decoded whole.

    Raises:
        error_type: it has too many.
    """
    if n_pixels > MAX_IMAGE_PIXELS:
        raise error_type(
            f"{path.name} states {n_pixels / 1e6:.0f} million pixels, more than the "
            f"{MAX_IMAGE_PIXELS / 1e6:.0f} million that an image may have: it is damaged, or made "
            "to fill the memory."
        )


def available_memory() -> int | None:
    """Return the memory that programs can use without swapping, bytes.

    Where the system does not report it, that is all memory of the machine, or None if unknown.
    """
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows
        return None
