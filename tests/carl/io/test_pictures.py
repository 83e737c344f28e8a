"""Pictures: colours of 8 and 16 bits, transparency, palettes, grey ones."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carl.errors import CubeError
from carl.io import is_label_map, is_readable, read_cube, read_labels, write_labels

COLOURS = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype(np.uint8)


def png_of_16_bits(colours: np.ndarray) -> bytes:
    """Return a PNG of (H, W, 3 or 4) uint16, which Pillow reads but cannot write."""
    height, width, channels = colours.shape
    rows = colours.astype(">u2").reshape(height, -1).view(np.uint8)
    left = np.concatenate([np.zeros((height, 2 * channels), np.uint8), rows], axis=1)
    filtered = rows - left[:, : rows.shape[1]]  # filter 1, "Sub"
    stream = b"".join(b"\1" + row.tobytes() for row in filtered)
    kind = {3: 2, 4: 6}[channels]

    def chunk(name: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(stream))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".PNG"])
def test_a_colour_picture_is_a_cube_of_three_bands(tmp_path: Path, suffix: str):
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(COLOURS).save(path)
    cube = read_cube(path)
    np.testing.assert_array_equal(cube.to_numpy(), COLOURS)
    np.testing.assert_array_equal(cube.wavelengths, [620, 550, 460])
    assert cube.metadata["wavelength_source"] == "the camera srgb"
    assert "three bands" in cube.metadata["notes"][0]
    assert not is_readable(path)  # no cube among the files of a folder


def test_a_jpeg_is_a_cube_of_three_bands(tmp_path: Path):
    Image.new("RGB", (20, 10), (200, 100, 50)).save(tmp_path / "a.jpg", quality=95)
    cube = read_cube(tmp_path / "a.jpg")
    assert cube.shape == (10, 20, 3)
    np.testing.assert_allclose(cube.spectrum(5, 5), [200, 100, 50], atol=3)


@pytest.mark.parametrize("channels", [3, 4])
def test_all_16_bits_of_a_picture_are_read(tmp_path: Path, channels: int):
    deep = np.random.default_rng(1).integers(0, 1 << 16, (5, 6, channels)).astype(np.uint16)
    (tmp_path / "deep.png").write_bytes(png_of_16_bits(deep))
    cube = read_cube(tmp_path / "deep.png")
    assert cube.data.dtype == np.uint16
    np.testing.assert_array_equal(cube.to_numpy(), deep[..., :3])
    assert any("alpha" in note for note in cube.metadata["notes"]) == (channels == 4)


def test_transparency_is_left_out_and_palettes_become_colours(tmp_path: Path):
    alpha = np.dstack([COLOURS, np.full((7, 9), 9, np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    cube = read_cube(tmp_path / "alpha.png")
    np.testing.assert_array_equal(cube.to_numpy(), COLOURS)
    assert "alpha" in cube.metadata["notes"][1]
    Image.fromarray(COLOURS // 128 * 255).quantize().save(tmp_path / "palette.png")
    cube = read_cube(tmp_path / "palette.png")
    np.testing.assert_array_equal(cube.to_numpy(), COLOURS // 128 * 255)
    assert "palette" in cube.metadata["notes"][1]


def test_wavelengths_of_the_caller_replace_those_of_the_screen(tmp_path: Path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    cube = read_cube(tmp_path / "a.png", wavelengths=[850, 660, 560])
    np.testing.assert_array_equal(cube.wavelengths, [850, 660, 560])


@pytest.mark.parametrize(
    ("mode", "message"), [("L", "two-dimensional"), ("1", "two-dimensional"), ("CMYK", "CMYK")]
)
def test_other_pictures_are_refused(tmp_path: Path, mode: str, message: str):
    path = tmp_path / f"a{'.jpg' if mode == 'CMYK' else '.png'}"
    Image.fromarray(COLOURS).convert(mode).save(path)
    with pytest.raises(CubeError, match=message):
        read_cube(path)


def test_damaged_pictures_are_refused(tmp_path: Path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)).save(
        tmp_path / "a.png"
    )
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(CubeError, match=r"a\.png cannot be read as a picture"):
        read_cube(tmp_path / "a.png").to_numpy()


def test_label_maps_stay_labels(tmp_path: Path):
    path = write_labels(tmp_path / "map_labels.png", [[0, 1], [2, 2]])
    assert is_label_map(path)
    np.testing.assert_array_equal(read_labels(path).labels, [[0, 1], [2, 2]])
