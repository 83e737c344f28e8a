"""Decoding of the chunks of Zarr arrays in bounded memory.

The codecs of numcodecs decompress as much as the compressed bytes state, whatever the size of a
chunk, and one of them loads pickles. Here only codecs of numbers are allowed, and each stream is
checked or cut off before it is decompressed.
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from zarr import Array, AsyncArray
from zarr.abc.codec import BytesBytesCodec, Codec
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

_PLAIN_FILTERS = (
    "adler32", "astype", "bitround", "crc32", "crc32c", "delta", "fixedscaleoffset", "fletcher32",
    "quantize", "shuffle",
)  # fmt: skip
"""Filters of format 2 whose result is as large as their input, or at most eight times larger."""
_SLACK_BYTES = 1024
"""Bytes that a stream may hold beside the chunk: checksums, or the header of another stream."""
_ZSTD_BLOCK = 1 << 17
"""Largest number of bytes that a compressed block of Zstandard holds."""
_ZSTD_LOOSENESS = 16
"""Factor by which the bound of a Zstandard stream without a stated size may exceed its chunk: a
block may hold much less than `_ZSTD_BLOCK`."""


def bounded(array: Array[Any]) -> Array[Any]:
    """Return an array whose chunks are decompressed to the size of a chunk at most.

    Raises:
        ValueError: it uses a codec that is not allowed; the message names it.
    """
    metadata = array.metadata
    if metadata.zarr_format == 2:
        for each in metadata.filters or ():
            if each.codec_id not in _PLAIN_FILTERS:
                raise ValueError(f"the codec {each.codec_id} is not supported")
        limit = math.prod(metadata.chunks) * metadata.dtype.to_native_dtype().itemsize
        compressor = metadata.compressor and _BoundedNumcodec(metadata.compressor, 8 * limit)
        metadata = replace(metadata, compressor=compressor)
    else:
        metadata = replace(metadata, codecs=tuple(map(_bounded_codec, metadata.codecs)))
    source = array.async_array
    return Array(AsyncArray(metadata, source.store_path, source.config))


def _bounded_codec(codec: Codec) -> Codec:
    """Return a codec of format 3 that decompresses no more than a chunk."""
    if isinstance(codec, ShardingCodec):
        return replace(
            codec,
            codecs=tuple(map(_bounded_codec, codec.codecs)),
            index_codecs=tuple(map(_bounded_codec, codec.index_codecs)),
        )
    if isinstance(codec, BloscCodec | GzipCodec | ZstdCodec):
        return _BoundedCodec(codec)
    if isinstance(codec, BytesCodec | Crc32cCodec | TransposeCodec):
        return codec
    raise ValueError(f"the codec {type(codec).__name__} is not supported")


class _BoundedNumcodec:
    """A compressor of format 2 that decompresses at most a number of bytes.

    Raises:
        ValueError: the compressor is not known.
    """

    codec_id = "carl.bounded"

    def __init__(self, codec: Any, limit: int) -> None:
        self._codec = codec
        self._limit = limit
        if codec.codec_id not in (*_CHECKS, *_DECOMPRESSORS):
            raise ValueError(f"the codec {codec.codec_id} is not supported")

    def decode(self, buf: Any, out: Any | None = None) -> Any:
        content, kind = memoryview(buf).cast("B"), self._codec.codec_id
        if kind in _DECOMPRESSORS:
            return _decompressed(kind, content, self._limit)
        _CHECKS[kind](content, self._limit + _SLACK_BYTES)
        return self._codec.decode(buf, out)

    def encode(self, buf: Any) -> Any:
        return self._codec.encode(buf)

    def get_config(self) -> Any:
        return self._codec.get_config()

    @classmethod
    def from_config(cls, config: Any) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class _BoundedCodec(BytesBytesCodec):
    """A compressor of format 3 that decompresses no more than a chunk."""

    codec: BloscCodec | GzipCodec | ZstdCodec

    is_fixed_size = False

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        raise NotImplementedError

    def evolve_from_array_spec(self, array_spec: Any) -> _BoundedCodec:
        return _BoundedCodec(self.codec.evolve_from_array_spec(array_spec))

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        limit = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
        content = memoryview(chunk_data.as_numpy_array()).cast("B")
        if isinstance(self.codec, GzipCodec):
            return chunk_spec.prototype.buffer.from_bytes(_decompressed("gzip", content, limit))
        check = _check_blosc if isinstance(self.codec, BloscCodec) else _check_zstd
        check(content, limit + _SLACK_BYTES)
        return await self.codec._decode_single(chunk_data, chunk_spec)


def _decompressed(kind: str, content: memoryview, limit: int) -> bytes:
    """Decompress streams that follow each other, to a number of bytes at most."""
    parts: list[bytes] = []
    remaining = limit + _SLACK_BYTES
    rest: bytes | memoryview = content
    while rest:
        stream = _DECOMPRESSORS[kind]()
        parts.append(stream.decompress(rest, remaining))
        if not stream.eof:
            raise ValueError("a chunk is cut off, or larger than stated")
        remaining -= len(parts[-1])
        rest = stream.unused_data if remaining > 0 else b""
    return b"".join(parts)


def _check_blosc(content: memoryview, limit: int) -> None:
    """Check the size in bytes 4 to 8 of the header of Blosc."""
    _check_size(int.from_bytes(content[4:8], "little"), limit)


def _check_lz4(content: memoryview, limit: int) -> None:
    """Check the size that numcodecs writes before a block of LZ4."""
    _check_size(int.from_bytes(content[:4], "little"), limit)


def _check_zstd(content: memoryview, limit: int) -> None:
    """Check the sizes of the frames of Zstandard (RFC 8878, section 3.1.1)."""
    for size, is_stated in _zstd_frames(content):
        _check_size(size, limit if is_stated else _ZSTD_LOOSENESS * (limit + _ZSTD_BLOCK))


def _zstd_frames(content: memoryview) -> Iterator[tuple[int, bool]]:
    """Yield the sum of the sizes up to each frame, and whether the frame states its size.

    Else the size is an upper bound, from the sizes of its blocks.
    """
    at = total = 0
    while at < len(content):
        magic = int.from_bytes(content[at : at + 4], "little")
        if magic >> 4 == 0x184D2A5:  # a frame to skip
            at += 8 + int.from_bytes(content[at + 4 : at + 8], "little")
            continue
        if magic != 0xFD2FB528 or at + 5 > len(content):
            raise ValueError("a chunk is not compressed with Zstandard")
        flags = content[at + 4]
        has_window = not flags & 0x20
        n_size = (0 if has_window else 1, 2, 4, 8)[flags >> 6]
        at += 5 + has_window + (0, 1, 2, 4)[flags & 3]
        stated = int.from_bytes(content[at : at + n_size], "little") + 256 * (n_size == 2)
        at += n_size
        held, is_last = 0, False
        while not is_last:
            if at + 3 > len(content):
                raise ValueError("a chunk is cut off")
            header = int.from_bytes(content[at : at + 3], "little")
            is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            held += _ZSTD_BLOCK if kind == 2 else size
            at += 3 + (1 if kind == 1 else size)
        at += 4 if flags & 4 else 0
        total += stated if n_size else held
        yield total, n_size > 0


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"a chunk states {size} bytes and has {limit} at most")


_CHECKS: dict[str, Callable[[memoryview, int], None]] = {
    "blosc": _check_blosc,
    "lz4": _check_lz4,
    "zstd": _check_zstd,
}
"""Checks of streams whose size is stated."""
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "bz2": bz2.BZ2Decompressor,
    "gzip": partial(zlib.decompressobj, 31),
    "lzma": partial(lzma.LZMADecompressor, memlimit=1 << 28),
    "zlib": zlib.decompressobj,
}
"""Decompressors of streams that do not state their size."""
