"""What a format has to offer, and what it tells of a file: no more than the file itself says.

Everything formats have in common (which axis is the bands, whose wavelengths count, what is too odd
to believe) is decided once, in `carl.io.assembly`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from carl.errors import CarlError, CubeError, is_out_of_memory
from carl.lazy_array import ArraySource


@dataclass(frozen=True, eq=False)
class FileContents:
    """A cube as its file holds it.

    Attributes:
        data: the three-dimensional pixels, axes in the order of the file.
        band_axis: the axis the file says its bands lie along, or None if it does not tell.
        band_axis_in_doubt: the axis to take when nothing else tells.
        wavelengths: band centres as written, in `wavelength_unit`, or None.
        wavelength_unit: unit of `wavelengths` and `fwhm` as written, or None.
        fwhm: widths as written, or None.
        good_bands: marks of good bands as written, or None.
        scale: factor from stored numbers to physical values, one number or one per band.
        offset: added after scaling, one number or one per band.
        nodata: the stored number that means "no data", or None.
        metadata: what else is worth keeping.
        notes: sentences the user should read.
    """

    data: ArraySource
    band_axis: int | None = None
    band_axis_in_doubt: int = 2
    wavelengths: ArrayLike | None = None
    wavelength_unit: str | None = None
    fwhm: ArrayLike | None = None
    good_bands: ArrayLike | None = None
    scale: ArrayLike = 1.0
    offset: ArrayLike = 0.0
    nodata: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """One file format.

    Attributes:
        name: the format's name, for people.
        suffixes: file name endings, lower case, with their dot; a file without one has "".
        sniff: whether a file with such an ending is of this format; looks at a few bytes at most.
        read: reads the file; the second argument names the variable wanted, where a file has many.
            It raises a `CubeError` where it knows what is wrong. Whatever else it raises, the
            registry takes for a damaged file.
    """

    name: str
    suffixes: tuple[str, ...]
    sniff: Callable[[Path], bool]
    read: Callable[[Path, str | None], FileContents]


@contextmanager
def decoding_errors(path: Path, what: str, kind: type[CarlError] = CubeError) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into one clear sentence.

    Decoders raise nearly every type there is when bytes are flipped (struct.error, zlib.error,
    KeyError, RecursionError, MemoryError...), so all of them are caught; keep the body to decoding.

    Args:
        path: the file.
        what: what it is read as.
        kind: the error to raise.

    Raises:
        CarlError: of that kind, instead of any exception that is none.
    """
    try:
        yield
    except CarlError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise kind(
                f"{path.name} needs more memory than there is to be read as {what}: close other "
                "programs, or copy it again if it should not be so large."
            ) from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise kind(
            f"{path.name} cannot be read as {what} ({reason}): "
            "it is damaged, cut off or no such file."
        ) from error


def starts_with(path: Path, *signatures: bytes) -> bool:
    """Whether the file begins with one of these bytes; False if it cannot be opened."""
    try:
        with path.open("rb") as file:
            head = file.read(max(len(signature) for signature in signatures))
    except OSError:
        return False
    return head.startswith(signatures)
