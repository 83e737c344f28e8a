"""Small files that state or decompress to very large arrays are refused before they are decoded."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from carl.errors import CarlError, CubeError, LabelError
from carl.io import read_cube, read_labels, size_limits

resource = pytest.importorskip("resource", reason="needs the limits of processes of Unix")

SIDE = 12_000
"""Rows and columns of one band: 144 MB of 8 bits, which deflate to 140 kB."""


def deflated(n_bytes: int) -> bytes:
    """Return a deflate stream of zeros."""
    stream = zlib.compressobj(9)
    pieces = [stream.compress(bytes(1 << 20)) for _ in range(n_bytes >> 20)]
    return b"".join([*pieces, stream.compress(bytes(n_bytes & 0xFFFFF)), stream.flush()])


def write_tiff(path: Path, height: int, width: int, strip: bytes) -> None:
    """Write two pages of one compressed strip."""
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 8),
        (277, 3, 1), (278, 4, height), (279, 4, len(strip)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, kind, value in tags)
    start = 8 + len(strip)
    page = struct.pack("<H", len(tags)) + entries
    second = start + len(page) + 4
    path.write_bytes(
        b"II*\0" + struct.pack("<I", start) + strip + page + struct.pack("<I", second) + page
        + struct.pack("<I", 0)
    )  # fmt: skip


def matlab_bomb(path: Path) -> None:
    flags = struct.pack("<IIII", 6, 8, 9, 0)
    dimensions = struct.pack("<IIiiii", 5, 12, SIDE, SIDE, 2, 0)
    name = struct.pack("<II8s", 1, 4, b"cube")
    n_bytes = 2 * SIDE * SIDE
    inner = flags + dimensions + name + struct.pack("<II", 2, n_bytes)
    stream = zlib.compressobj(9)
    packed = stream.compress(struct.pack("<II", 14, len(inner) + n_bytes) + inner)
    packed += b"".join(stream.compress(bytes(SIDE)) for _ in range(2 * SIDE)) + stream.flush()
    head = b"MATLAB 5.0".ljust(124) + struct.pack("<H2s", 0x0100, b"IM")
    path.write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)


def tiff_bomb(path: Path) -> None:
    write_tiff(path, SIDE, SIDE, deflated(SIDE * SIDE))


def npz_bomb(path: Path) -> None:
    np.savez_compressed(path, cube=np.zeros((SIDE, SIDE // 4, 8), np.uint8))


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.mat", matlab_bomb), ("a.tif", tiff_bomb), ("a.npz", npz_bomb)],
)
def test_a_small_file_of_a_huge_cube_is_refused(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    path = tmp_path / name
    write(path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(CubeError, match=r"a\.\w+ states 0\.[123] GB of pixels and stores 0\.\d MB"):
        read_cube(path)


def test_a_strip_is_decompressed_only_as_far_as_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiff(tmp_path / "a.tif", 100, 100, deflated(1 << 30))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cube = read_cube(tmp_path / "a.tif")
    assert not cube.to_numpy().any()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_compressed_strip_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    strip = zlib.compress(np.random.default_rng(0).bytes(10_000))
    write_tiff(tmp_path / "a.tif", 100, 100, strip[:5000])
    with pytest.raises(CubeError, match=r"a\.tif cannot be read.*cut off"):
        read_cube(tmp_path / "a.tif")


def test_an_array_larger_than_the_free_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size_limits, "_UNCHECKED_BYTES", 1000)
    monkeypatch.setattr(size_limits, "available_memory", lambda: 10_000)
    cube = np.random.default_rng(0).integers(0, 255, (20, 30, 12), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", cube=cube)
    with pytest.raises(CubeError, match=r"a\.npz needs 0\.0 GB of memory.*close other programs"):
        read_cube(tmp_path / "a.npz")


def test_the_available_memory_is_plausible() -> None:
    assert 1 << 27 < (size_limits.available_memory() or 1 << 30) < 1 << 46


def test_a_long_header_of_an_array_in_a_zip_file_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "cube.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 26) + bytes(1 << 26)
        )
    with pytest.raises(CubeError, match=r"header of an array has 67108864 bytes"):
        read_cube(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.csv", "a_wavelengths.txt", "a.json"])
def test_a_large_table_beside_a_cube_is_not_read(tmp_path: Path, name: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((7, 20, 30), np.uint8), metadata=None)
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 33)  # sparse: reading it whole would fill the memory
    (note,) = read_cube(tmp_path / "a.tif").metadata["notes"]
    assert name in note


def test_a_label_map_of_more_pixels_than_pillow_accepts_is_read(tmp_path: Path) -> None:
    labels = np.zeros((14_000, 14_000), np.uint8)
    labels[5] = 3
    Image.fromarray(labels).save(tmp_path / "a.png")
    assert np.array_equal(read_labels(tmp_path / "a.png").labels, labels)


def test_a_label_map_of_a_billion_pixels_is_refused(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", 1 << 15, (1 << 15) + 1, bytes(1 << 20))
    with pytest.raises(LabelError, match=r"a\.tif states \d+ million pixels, more than the 1074"):
        read_labels(tmp_path / "a.tif")


def test_a_label_map_larger_than_its_file_can_hold_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1 << 15, 1 << 15, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)
    with pytest.raises(LabelError, match=r"a\.png states 1\.1 GB of pixels and stores 0\.0 MB"):
        read_labels(tmp_path / "a.png")


JSON_ATTACKS = {
    "infinity": '{"classes": [{"value": Infinity, "name": "x"}], "wavelengths": [1e999, 400]}',
    "huge": json.dumps({"classes": [{"value": 10**400, "name": "x"}], "wavelengths": [10**400, 4]}),
    "digits": '{"classes": [{"value": %s, "name": "x"}]}' % ("9" * 5000),
    "depth": "[" * 200_000,
    "closed depth": "[" * 900 + "]" * 900,
    "surrogate": '{"classes": [{"value": 1, "name": "\\ud800"}], "unit": "\\udfff", "fwhm": 3}',
    "colour": '{"classes": [{"value": 1, "name": "x", "colour": [1e999, 0, 0]}]}',
    "widths": json.dumps({"wavelengths": [400, 410], "fwhm": [10**400, 3], "classes": 3}),
    "bytes": "\udcff",
    "empty": "",
}


@pytest.mark.parametrize("content", JSON_ATTACKS.values(), ids=JSON_ATTACKS.keys())
def test_invalid_numbers_text_and_nesting_of_json_raise_one_clear_error(
    tmp_path: Path, content: str
) -> None:
    np.save(tmp_path / "a.npy", np.ones((9, 8, 2), np.uint8))
    np.save(tmp_path / "b.npy", np.ones((9, 8), np.uint8))
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    nm = read_cube(tmp_path / "a.npy").wavelengths
    assert nm is None or nm.tolist() == [400, 410]  # those of valid wavelengths and invalid widths
    message = error_message(tmp_path / "b.npy")
    assert message == "" or message.startswith("b.json is not a list of classes")


def error_message(path: Path) -> str:
    """Return the error message of a label map; other exceptions are raised."""
    try:
        read_labels(path)
    except LabelError as error:
        return str(error)
    return ""


def test_a_long_description_of_a_page_is_not_parsed(tmp_path: Path) -> None:
    text = '{"shape": [2, 20, 30], "list": [' + "0," * (9 << 20) + "0]}"
    pages = np.zeros((2, 20, 30), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pages, description=text, metadata=None)
    with pytest.raises(CubeError, match=r"a\.tif is damaged: its page 1 cannot be read"):
        read_cube(tmp_path / "a.tif")


@pytest.mark.parametrize("read", [read_cube, read_labels])
def test_an_image_of_omitted_tiles_alone_is_refused(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    side, n_tiles = 1 << 15, 1 << 12
    tags = [
        (256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1),
        (277, 3, 1, 1), (322, 4, 1, 512), (323, 4, 1, 512), (324, 4, n_tiles, 200),
        (325, 4, n_tiles, 200),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    page = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    head = b"II*\0" + struct.pack("<I", 8) + page
    (tmp_path / "a.tif").write_bytes(head.ljust(200, b"\0") + bytes(4 * n_tiles))
    with pytest.raises(CarlError, match=r"a\.tif states 1\.1 GB|two-dimensional image"):
        read(tmp_path / "a.tif")
