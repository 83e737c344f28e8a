"""Pixels of TIFF files: read lazily if contiguous, else decoded strip by strip.

tifffile decodes whole pages. This module reads the strips or tiles of a block only, from any
thread, and caches decoded ones.
"""

from __future__ import annotations

import lzma
import math
import zlib
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carl.errors import CubeError
from carl.io.chunked import ChunkedArray, Position
from carl.io.reader import decoding_errors
from carl.io.size_limits import MAX_IMAGE_RATIO, check_decoded_size, check_ratio
from carl.lazy_array import ArraySource
from carl.mapped_files import SharedFile, open_array

if TYPE_CHECKING:
    import tifffile

_PLAIN_BYTES = 1 << 18
"""Bytes of the rows that are read together from an uncompressed page."""
_JPEG = (6, 7, 33007, 34892)
"""Codes of JPEG compressions, whose tables are stored apart from the strips."""
_NO_COMPRESSION = 1
_DECOMPRESSORS: dict[int, Callable[[], Any]] = {
    8: zlib.decompressobj,
    32946: zlib.decompressobj,
    34925: lzma.LZMADecompressor,
}
"""Decompressors of streams that may be thousands of times longer than their compressed bytes."""

Decode = Callable[[bytes, int, int], NDArray[Any]]
"""Decodes the bytes of a strip, given the numbers of its page and of the strip within it, to
(depth, rows, columns, samples)."""


@dataclass(frozen=True, eq=False)
class _Layout:
    """Division of pages into strips or tiles."""

    shape: tuple[int, ...]  # of the axes (page, separate sample, depth, rows, columns, sample)
    chunk: tuple[int, ...]  # lengths of a strip along these axes
    offsets: NDArray[np.int64]  # (pages, strips) positions in the file, bytes
    sizes: NDArray[np.int64]  # (pages, strips) in bytes; 0 for omitted strips
    decode: Decode
    fill: np.generic  # value of the pixels of omitted strips


def read_pixels(file: tifffile.TiffFile, series: Any, shape: tuple[int, ...]) -> ArraySource:
    """Return the pixels of a series of pages, read lazily.

    Series that only tifffile can assemble, such as images in several files, are loaded whole.

    The result has the given shape, with as many values as the series. The file may be closed
    afterwards.

    Raises:
        CubeError: the file is cut off, or compressed with an unsupported method.
    """
    if series.dataoffset is not None:
        dtype = series.dtype.newbyteorder(file.byteorder)
        return open_array(Path(file.filehandle.path), dtype, series.dataoffset, shape)
    path = Path(file.filehandle.path)
    check_ratio(path, series.nbytes, path.stat().st_size, MAX_IMAGE_RATIO)
    pages, keyframe = list(series.pages), series.keyframe
    axes = _axes_of(shape, (len(pages), *keyframe.shaped))
    alike = all(page is not None and page.keyframe.hash == keyframe.hash for page in pages)
    try:
        if axes is None or not alike or series.is_multifile or series.transform is not None:
            stored = sum(sum(page.databytecounts) for page in pages if page is not None)
            check_decoded_size(path, series.nbytes, stored)
            loaded: NDArray[Any] = series.asarray()
            return loaded.reshape(shape)
        cut = _rows_of_plain if keyframe.is_final else _strips_of
        strips = _StripReader(path, cut(file, pages, keyframe), axes)
        strips.check()
    except (ValueError, ImportError) as error:
        if isinstance(error, ValueError) and "imagecodecs" not in str(error):
            raise
        compression = getattr(keyframe.compression, "name", keyframe.compression)
        raise CubeError(
            f"{file.filename} is compressed with {compression}, which needs one more package: "
            "pip install imagecodecs, or save the file with deflate or without compression."
        ) from error
    dtype = np.dtype(keyframe.dtype).newbyteorder("=")

    def load(position: Position) -> NDArray[Any]:
        with decoding_errors(strips.path, "TIFF"):
            return strips.load(position)

    return ChunkedArray(shape, strips.chunk_shape, dtype, load)


def _axes_of(shape: tuple[int, ...], whole: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the axis of `whole` that each axis of a cube is; None if they do not correspond."""
    long = [axis for axis, length in enumerate(whole) if length != 1]
    if [whole[axis] for axis in long] != [length for length in shape if length != 1]:
        return None
    remaining = iter(long)
    short = iter([axis for axis, length in enumerate(whole) if length == 1])
    return tuple(next(short if length == 1 else remaining) for length in shape)


def _strips_of(file: tifffile.TiffFile, pages: Sequence[Any], keyframe: Any) -> _Layout:
    """Return the strips or tiles of a file; raises a `CubeError` if some are missing."""
    _, _, height, width, samples = keyframe.shaped
    strip = (
        (keyframe.tiledepth, keyframe.tilelength, keyframe.tilewidth)
        if keyframe.is_tiled
        else (1, min(keyframe.rowsperstrip, height), width)
    )
    n_strips = math.prod(keyframe.chunked)
    if any(min(len(page.dataoffsets), len(page.databytecounts)) < n_strips for page in pages):
        raise CubeError(f"{file.filename} is damaged: some of its strips or tiles are missing.")
    offsets, sizes = (
        np.array([getattr(page, name)[:n_strips] for page in pages], np.int64)
        for name in ("dataoffsets", "databytecounts")
    )
    options: list[dict[str, Any]] = [{}] * len(pages)
    if keyframe.compression in _JPEG:
        header = keyframe.jpegheader
        options = [{"jpegtables": page.jpegtables, "jpegheader": header} for page in pages]
    dtype = np.dtype(keyframe.dtype)
    n_bytes = math.prod(strip) * samples * dtype.itemsize
    check_decoded_size(Path(file.filehandle.path), n_bytes, int(sizes.max()))
    decompress, undo = _decoder_of(keyframe)

    def decode(content: bytes, page: int, number: int) -> NDArray[Any]:
        return np.asarray(undo(decompress(content, n_bytes), number, **options[page])[0])

    shape = (len(pages), *keyframe.shaped)
    fill = dtype.type(keyframe.nodata)
    return _Layout(shape, (1, 1, *strip, samples), offsets, sizes, decode, fill)


def _decoder_of(keyframe: Any) -> tuple[Callable[[bytes, int], bytes], Callable[..., Any]]:
    """Return the decompression of strips, limited to a number of bytes, and what tifffile undoes.

    tifffile decompresses a strip whole, however many bytes it contains.
    """
    decompressor = _DECOMPRESSORS.get(int(keyframe.compression))
    if decompressor is None:
        return (lambda content, n_bytes: content), keyframe.decode
    plain = copy(keyframe)
    plain.compression = _NO_COMPRESSION
    return partial(_decompress, decompressor), plain.decode


def _decompress(decompressor: Callable[[], Any], content: bytes, n_bytes: int) -> bytes:
    """Decompress a strip to at most a number of bytes; raises a ValueError if it is cut off."""
    stream = decompressor()
    # One byte more than needed, so that the checksum after the last one is read as well.
    values: bytes = stream.decompress(content, n_bytes + 1)
    if len(values) <= n_bytes and not stream.eof:
        raise ValueError("a compressed strip is cut off")
    return values[:n_bytes] if len(values) > n_bytes else values


def _rows_of_plain(file: tifffile.TiffFile, pages: Sequence[Any], keyframe: Any) -> _Layout:
    """Divide uncompressed, contiguous pages into blocks of rows of a good size for reading."""
    n_planes, depth, height, width, samples = keyframe.shaped
    dtype = np.dtype(keyframe.dtype).newbyteorder(file.byteorder)
    row = width * samples * dtype.itemsize
    step = min(height, max(1, _PLAIN_BYTES // row))
    tops = np.arange(0, height, step)
    planes = np.arange(n_planes * depth)[:, None] * height
    starts = np.array([[page.dataoffsets[0]] for page in pages], np.int64)
    offsets = starts + ((planes + tops) * row).ravel()
    sizes = np.tile(np.minimum(step, height - tops) * row, n_planes * depth)

    def decode(content: bytes, page: int, number: int) -> NDArray[Any]:
        return np.frombuffer(content, dtype).reshape(1, -1, width, samples)

    shape = (len(pages), *keyframe.shaped)
    chunk = (1, 1, 1, step, width, samples)
    sizes = np.broadcast_to(sizes, offsets.shape)
    return _Layout(shape, chunk, offsets, sizes, decode, dtype.type(0))


class _StripReader:
    """Strips or tiles of a file as the chunks of a cube. Safe to share between threads.

    `axes` are the axes of the layout that are those of the cube; all others have the length one.
    """

    def __init__(self, path: Path, layout: _Layout, axes: tuple[int, ...]) -> None:
        self.path = path
        self.chunk_shape = tuple(layout.chunk[axis] for axis in axes)
        self._layout = layout
        self._axes = axes
        self._grid = [-(-n // c) for n, c in zip(layout.shape, layout.chunk, strict=True)]
        self._file = SharedFile(path)

    def check(self) -> None:
        """Check that all strips are within the file, and that the first one can be decoded."""
        offsets, sizes = self._layout.offsets, self._layout.sizes
        ends = np.where(sizes > 0, offsets + sizes, 0)
        if min(offsets.min(), sizes.min()) < 0 or ends.max() > self._file.size:
            raise CubeError(f"{self.path.name} is cut off or damaged: pixels of it are missing.")
        self.load((0,) * len(self._axes))

    def load(self, position: Position) -> NDArray[Any]:
        """Return the chunk at a position in the grid of chunks of the cube."""
        layout = self._layout
        at = [0] * len(layout.shape)
        for axis, number in zip(self._axes, position, strict=True):
            at[axis] = number
        page, strip = at[0], int(np.ravel_multi_index(at[1:], self._grid[1:]))
        lengths = [
            min(chunk, length - number * chunk)
            for chunk, length, number in zip(layout.chunk, layout.shape, at, strict=True)
        ]
        shape = [lengths[axis] for axis in self._axes]
        size = int(layout.sizes[page, strip])
        if size == 0:
            return np.full(shape, layout.fill)
        content = self._file.read(int(layout.offsets[page, strip]), size)
        inside = tuple(slice(length) for length in lengths[2:])
        pixels = layout.decode(content, page, strip)[inside].reshape(shape)
        return np.ascontiguousarray(pixels)  # without the padding of a tile at the border
