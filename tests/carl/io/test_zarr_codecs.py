"""Streams of compressed chunks that hold more than a chunk."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr

from carl.errors import CubeError
from carl.io import read_cube
from carl.io.zarr_codecs import _zstd_frames

BOMB = bytes(1 << 23)
"""Bytes of which every compressor makes a thousandth."""


@pytest.mark.parametrize(
    "codec",
    [numcodecs.Blosc(), numcodecs.Zstd(), numcodecs.LZ4(), numcodecs.Zlib(), numcodecs.GZip(),
     numcodecs.BZ2(), numcodecs.LZMA(preset=0)],
    ids=lambda codec: codec.codec_id,
)  # fmt: skip
def test_bombs_of_format_2_are_refused(tmp_path: Path, codec: Any):
    path = tmp_path / "scan.zarr"
    options = {"zarr_format": 2, "compressors": codec}
    array = zarr.create_array(path, data=np.ones((4, 5, 6), "u1"), **options)
    (path / array.metadata.encode_chunk_key((0, 0, 0))).write_bytes(codec.encode(BOMB))
    with pytest.raises(CubeError, match=r"a chunk (states|is cut off, or larger)"):
        read_cube(path).read()


@pytest.mark.parametrize("name", ["blosc", "zstd", "gzip"])
@pytest.mark.parametrize("shards", [None, (8, 5, 6)])
def test_bombs_of_format_3_are_refused(tmp_path: Path, name: str, shards: Any):
    codec: Any = {
        "blosc": zarr.codecs.BloscCodec(),
        "zstd": zarr.codecs.ZstdCodec(),
        "gzip": zarr.codecs.GzipCodec(),
    }[name]
    encoded = numcodecs.get_codec({"id": name}).encode(BOMB)
    path = tmp_path / "scan.zarr"
    options = {"chunks": (4, 5, 6), "compressors": codec}
    array = zarr.create_array(path, data=np.ones((8, 5, 6), "u1"), shards=shards, **options)
    chunk = path / array.metadata.encode_chunk_key((0, 0, 0))
    if shards is None:
        chunk.write_bytes(encoded)
    else:
        described = json.loads((path / "zarr.json").read_text())
        described["codecs"][0]["configuration"]["index_codecs"].pop()  # the checksum of the index
        (path / "zarr.json").write_text(json.dumps(described))
        index = struct.pack("<4Q", 0, len(encoded), 0, len(encoded))
        chunk.write_bytes(encoded + index)
    with pytest.raises(CubeError, match=r"a chunk (states|is cut off, or larger)"):
        read_cube(path).read(slice(0, 4))


@pytest.mark.parametrize("n_bytes", [0, 1, 255, 256, 70_000, 1 << 20])
def test_sizes_of_zstandard_frames(n_bytes: int):
    content = np.random.default_rng(0).bytes(n_bytes)
    one = bytes(numcodecs.Zstd(checksum=True).encode(content))
    skipped = struct.pack("<II", 0x184D2A50, 3) + b"abc"
    assert list(_zstd_frames(memoryview(one + skipped + one))) == [
        (n_bytes, True), (2 * n_bytes, True),
    ]  # fmt: skip


def test_zstandard_frames_without_a_stated_size():
    raw = (
        struct.pack("<I", 0xFD2FB528)
        + bytes([0, 0x58])
        + (3 << 3 | 1).to_bytes(3, "little")
        + b"abc"
    )
    repeated = raw[:6] + ((1 << 17) << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"a"
    assert list(_zstd_frames(memoryview(raw))) == [(3, False)]
    assert list(_zstd_frames(memoryview(repeated))) == [(1 << 17, False)]
    with pytest.raises(ValueError, match="cut off"):
        list(_zstd_frames(memoryview(raw[:8])))
