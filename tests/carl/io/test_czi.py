"""Lambda stacks in CZI files, which no library writes: built from the layout of their segments."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from carl.errors import CubeError
from carl.io import is_readable, read_cube

pytest.importorskip("czifile")
BANDS_FIRST = np.arange(4 * 6 * 8, dtype="<u2").reshape(4, 6, 8)
EDGES = [(410, 419), (419, 428.5), (428.5, 438), (438, 447)]
RANGES = [f"<DetectionWavelength><Ranges>{a}-{b}</Ranges></DetectionWavelength>" for a, b in EDGES]
EMISSION = [f"<EmissionWavelength>{a}</EmissionWavelength>" for a, _ in EDGES]


def metadata(channels: list[str]) -> bytes:
    listed = "".join(
        f'<Channel Id="Channel:{n}">{each}</Channel>' for n, each in enumerate(channels)
    )
    distances = "".join(
        f'<Distance Id="{axis}"><Value>{metres}</Value></Distance>'
        for axis, metres in (("X", 2e-7), ("Y", 4e-7))
    )
    return (
        "<ImageDocument><Metadata><Information><Image><Dimensions><Channels>"
        f"{listed}</Channels></Dimensions></Image></Information>"
        f"<Scaling><Items>{distances}</Items></Scaling></Metadata></ImageDocument>"
    ).encode()


def segment(name: bytes, content: bytes) -> bytes:
    content += bytes(-len(content) % 32)
    return struct.pack("<16sqq", name, len(content), len(content)) + content


def entry(position: int, starts: dict[str, int], sizes: dict[str, int], compression: int) -> bytes:
    """Return an entry of the directory, with the axis X first."""
    axes = b"".join(
        struct.pack("<4siifi", axis.encode(), starts[axis], sizes[axis], 0.0, sizes[axis])
        for axis in sizes
    )
    return (
        struct.pack("<2siqiiBB4si", b"DV", 1, position, 0, compression, 0, 0, b"", len(sizes))
        + axes
    )


def write(
    path: Path,
    channels: list[str] = RANGES,
    *,
    n_times: int = 1,
    compression: int = 0,
    tile: int = 8,
) -> Path:
    """Write a file with blocks of some columns of each channel and time."""
    header_bytes = 32 + 512
    body, entries = b"", []
    for time in range(n_times):
        for channel, pixels in enumerate(BANDS_FIRST):
            for left in range(0, 8, tile):
                part = np.ascontiguousarray(pixels[:, left : left + tile])
                starts = {"X": left + 3, "Y": 5, "C": channel, "T": time}
                sizes = {"X": part.shape[1], "Y": 6, "C": 1, "T": 1}
                each = entry(header_bytes + len(body), starts, sizes, compression)
                entries.append(each)
                head = struct.pack("<iiq", 0, 0, part.nbytes) + each
                head += bytes(max(0, 256 - len(head)))
                body += segment(b"ZISRAWSUBBLOCK", head + part.tobytes())
    directory_at = header_bytes + len(body)
    directory = struct.pack("<i124x", len(entries)) + b"".join(entries)
    body += segment(b"ZISRAWDIRECTORY", directory)
    metadata_at = header_bytes + len(body)
    xml = metadata(channels)
    body += segment(b"ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml)
    guid = bytes(16)
    head = struct.pack(
        "<iiii16s16siqqiq", 1, 0, 0, 0, guid, guid, 0, directory_at, metadata_at, 0, 0
    )
    path.write_bytes(segment(b"ZISRAWFILE", head + bytes(512 - len(head))) + body)
    return path


@pytest.mark.parametrize("tile", [8, 3])
def test_channels_are_the_bands(tmp_path: Path, tile: int):
    path = write(tmp_path / "cells.czi", tile=tile)
    cube = read_cube(path)
    pixels = np.moveaxis(BANDS_FIRST, 0, -1)
    assert is_readable(path)
    assert np.array_equal(cube.data[...], pixels)
    assert np.array_equal(cube.data[1:5:2, ::-3, 1:], pixels[1:5:2, ::-3, 1:])
    assert cube.wavelengths.tolist() == [414.5, 423.75, 433.25, 442.5]
    assert cube.fwhm.tolist() == [9, 9.5, 9.5, 9]
    assert cube.metadata["pixel_size"] == pytest.approx((0.4, 0.2))
    assert cube.metadata["pixel_unit"] == "µm"


def test_emission_wavelengths_apply_without_ranges(tmp_path: Path):
    assert read_cube(write(tmp_path / "a.czi", EMISSION)).wavelengths.tolist() == [
        410,
        419,
        428.5,
        438,
    ]
    for channels in ([*EMISSION[:3], ""], [], ["<EmissionWavelength>x</EmissionWavelength>"] * 4):
        assert read_cube(write(tmp_path / "b.czi", channels)).wavelengths is None


def test_several_times_are_not_guessed(tmp_path: Path):
    with pytest.raises(CubeError, match=r"film\.czi is several cubes, with the axes time \(3\)"):
        read_cube(write(tmp_path / "film.czi", n_times=3))
    first, second = (read_cube(tmp_path / "film.czi", frame=number) for number in (0, 1))
    assert first.shape == second.shape


def test_compressed_files_are_refused(tmp_path: Path):
    with pytest.raises(CubeError, match=r"a\.czi is compressed"):
        read_cube(write(tmp_path / "a.czi", compression=4))


def test_images_that_are_mostly_gaps_are_refused(tmp_path: Path):
    path = write(tmp_path / "a.czi")
    directory = path.read_bytes().rindex(b"ZISRAWDIRECTORY") + 32 + 128
    with path.open("r+b") as file:
        file.seek(directory + 32 + 2 * 20 + 4)  # start of the first block along C
        file.write(struct.pack("<i", 1 << 30))
    with pytest.raises(CubeError, match=r"a\.czi states .* and holds few of them"):
        read_cube(path)


@pytest.mark.parametrize("length", [10, 100, 700, 2000])
def test_cut_off_files_are_errors(tmp_path: Path, length: int):
    path = write(tmp_path / "cells.czi")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CubeError, match=r"cells\.czi"):
        read_cube(path)


def test_a_missing_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "czifile", None)
    with pytest.raises(CubeError, match=r"cells\.czi needs .* pip install czifile"):
        read_cube(write(tmp_path / "cells.czi"))
