"""Pixels of HDF5 files: read from the file without the HDF5 library where that is possible.

The library fills the missing end of a file that became shorter with zeros, and decompresses a
chunk whole, however many bytes its stream holds. Contiguous arrays, and chunks that are plain,
shuffled or compressed with deflate, are therefore read by this module; the library only finds
them. All others are read by the library, between checks.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.errors import CubeError
from carl.io.chunked import ChunkedArray, Position
from carl.io.reader import decoding_errors
from carl.io.size_limits import check_decoded_size
from carl.lazy_array import Block, LazyArray
from carl.mapped_files import SharedFile, became_shorter, open_array

_DEFLATE, _SHUFFLE, _FLETCHER32, _SZIP, _NBIT, _SCALE_OFFSET = 1, 2, 3, 4, 5, 6
"""Codes of the filters of HDF5."""
_LARGE_CHUNK_BYTES = 1 << 16
"""Smallest chunk that is read by a call of its own; HDF5 reads many smaller ones faster."""
_MAX_UNCHECKED_BYTES = 1 << 19
"""Stored bytes of a chunk that the library may decompress unchecked: deflate expands them to 512 MB
at most."""


def read_pixels(dataset: Any, path: Path, sources: Sequence[Any] = ()) -> LazyArray:
    """Return a dataset of an open file as a lazy array, which caches decoded chunks if large.

    HDF5 itself caches a few megabytes of each dataset. In a file whose chunks are bands, that is
    less than the chunks one row of pixels touches, so that each row would decode all of them.

    Args:
        dataset: without external storage.
        path: of the file.
        sources: datasets that a virtual dataset consists of.

    Raises:
        CubeError: the dataset has no pixels, or they cannot be decoded in bounded memory.
    """
    import h5py

    for part in sources or [dataset]:
        _check_filters(part, path)
        if part.id.get_storage_size() == 0:
            raise CubeError(f"{part.name} in {path.name} has no pixels: nothing was written to it.")
    layout = dataset.id.get_create_plist().get_layout()
    is_plain = dataset.dtype.kind in "iuf" and dataset.id.get_type().equal(
        h5py.h5t.py_create(dataset.dtype)
    )
    if is_plain and layout == h5py.h5d.CONTIGUOUS:
        return open_array(path, dataset.dtype, dataset.id.get_offset(), dataset.shape)
    if layout != h5py.h5d.CHUNKED or _chunk_bytes(dataset) < _LARGE_CHUNK_BYTES:
        for part in sources or [dataset]:
            _check_stored_chunks(part, path)
        return _Dataset(dataset, path)
    chunks = _Chunks(dataset, path, is_plain)
    return ChunkedArray(dataset.shape, dataset.chunks, dataset.dtype, chunks.load)


class _Dataset(LazyArray):
    """A dataset that the HDF5 library reads."""

    def __init__(self, dataset: Any, path: Path) -> None:
        super().__init__(dataset.shape, dataset.dtype)
        self._dataset = dataset
        self._file = SharedFile(path)
        self._n_bytes = self._file.size

    def _read_block(self, block: Block) -> NDArray[Any]:
        with decoding_errors(self._file.path, "HDF5"):
            values = np.asarray(self._dataset[block])
        # Afterwards, as the file may become shorter meanwhile; what is missing was read as 0.
        if self._file.size < self._n_bytes:
            raise became_shorter(self._file.path)
        return values


class _Chunks:
    """The chunks of a dataset, each decoded by itself.

    Args:
        dataset: any that is chunked.
        path: of its file.
        is_plain: whether the stored numbers are those of the dtype.
    """

    def __init__(self, dataset: Any, path: Path, is_plain: bool) -> None:
        self._dataset = dataset
        self._by_library = _Dataset(dataset, path)
        self._file = SharedFile(path)
        self._n_bytes = _chunk_bytes(dataset)
        self._filters = _filters(dataset)
        self._is_simple = is_plain and set(self._filters) <= {_SHUFFLE, _DEFLATE}

    def load(self, position: Position) -> NDArray[Any]:
        """Return the chunk at a position in the grid of chunks."""
        path, shape = self._file.path, self._dataset.chunks
        start = tuple(n * length for n, length in zip(position, shape, strict=True))
        with decoding_errors(path, "HDF5"):
            stored = self._dataset.id.get_chunk_info_by_coord(start)
            if stored.byte_offset is None:
                return np.asarray(np.full(shape, self._dataset.fillvalue, self._dataset.dtype))
            check_decoded_size(path, self._n_bytes, stored.size)
            content = self._file.read(stored.byte_offset, stored.size)
            if self._is_simple:
                values = np.frombuffer(self._decoded(content, stored.filter_mask), np.uint8)
                return np.asarray(values.view(self._dataset.dtype)).reshape(shape)
            if _DEFLATE in self._filters and stored.size > _MAX_UNCHECKED_BYTES:
                self._decoded(content, ~(1 << self._filters.index(_DEFLATE)))
        ends = (at + length for at, length in zip(start, shape, strict=True))
        return np.asarray(self._by_library[tuple(map(slice, start, ends))])

    def _decoded(self, content: bytes, skipped: int) -> bytes:
        """Undo the filters, without those whose bit is set in `skipped`."""
        for number, code in reversed([*enumerate(self._filters)]):
            if skipped >> number & 1:
                continue
            if code == _DEFLATE:
                stream = zlib.decompressobj()
                # One byte more than needed: reading up to it also checks the checksum at the end.
                content = stream.decompress(content, self._n_bytes + 1)
                if not stream.eof:
                    raise ValueError("a chunk is cut off, or larger than stated")
            else:
                size = self._dataset.dtype.itemsize
                content = np.frombuffer(content, np.uint8).reshape(size, -1).T.tobytes()
        return content


def _chunk_bytes(dataset: Any) -> int:
    return int(math.prod(dataset.chunks) * dataset.dtype.itemsize)


def _filters(dataset: Any) -> list[int]:
    """Return the codes of the filters in the order in which they were applied."""
    options = dataset.id.get_create_plist()
    return [options.get_filter(n)[0] for n in range(options.get_nfilters())]


def _check_filters(dataset: Any, path: Path) -> None:
    """Check that the filters of a dataset give no more bytes than a chunk has."""
    options, filters = dataset.id.get_create_plist(), _filters(dataset)
    allowed_last = ([_DEFLATE], [_DEFLATE, _FLETCHER32])
    if _DEFLATE in filters and filters[filters.index(_DEFLATE) :] not in allowed_last:
        raise _damaged(dataset, path, "its filters are not in a usual order")
    for number, code in enumerate(filters):
        stated = options.get_filter(number)[2]
        if code in (_NBIT, _SCALE_OFFSET) and stated[2:3] != (math.prod(dataset.chunks),):
            raise _damaged(dataset, path, "the size of its chunks is contradictory")


def _check_stored_chunks(dataset: Any, path: Path) -> None:
    """Check that no chunk is so large that it would fill the memory if the library decoded it."""
    if not _filters(dataset):
        return
    sizes: list[int] = []
    dataset.id.chunk_iter(lambda stored: sizes.append(stored.size))
    if max(sizes, default=0) > _MAX_UNCHECKED_BYTES:
        raise _damaged(dataset, path, "a chunk of it has more bytes than it can need")


def _damaged(dataset: Any, path: Path, reason: str) -> CubeError:
    return CubeError(
        f"{dataset.name} in {path.name} cannot be decoded ({reason}): it is damaged, or made to "
        "fill the memory."
    )
