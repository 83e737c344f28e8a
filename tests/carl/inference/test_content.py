from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.errors import Cancelled
from carl.inference import content
from carl.inference.content import content_key
from carl.io import read_cube, write_cube

NM = np.array([450.0, 550, 650])


def cube() -> SpectralCube:
    data = np.random.default_rng(0).integers(0, 1000, (40, 16, 3)).astype(np.uint16)
    return SpectralCube(data, NM)


def test_any_difference_counts() -> None:
    base = cube()
    pixel = np.array(base.data)
    pixel[17, 3, 1] += 1
    others = [
        replace(base, data=pixel),
        replace(base, data=base.data[1:]),
        replace(base, data=np.asarray(base.data).reshape(16, 40, 3)),
        replace(base, data=np.asarray(base.data).view(np.int16)),
        replace(base, wavelengths=NM + 1),
        replace(base, wavelengths=None),
        replace(base, scale=0.5),
        replace(base, scale=np.array([1.0, 2, 3])),
        replace(base, offset=1.0),
        replace(base, nodata=0.0),
        replace(base, good_bands=np.array([True, True, False])),
    ]
    keys = {content_key(each) for each in [base, *others]}
    assert len(keys) == len(others) + 1


def test_names_places_and_times_do_not_count(tmp_path: Path) -> None:
    header, data = write_cube(tmp_path / "a.hdr", cube())
    before = content_key(read_cube(header))
    os.utime(data, ns=(1, 1))
    moved = tmp_path / "b"
    moved.mkdir()
    header, data = (path.rename(moved / path.name) for path in (header, data))
    assert content_key(read_cube(header)) == before
    assert content_key(replace(cube(), name="other", metadata={"path": "x"})) == content_key(cube())


def test_a_change_on_disk_counts_even_if_the_file_claims_to_be_the_same(tmp_path: Path) -> None:
    header, data = write_cube(tmp_path / "a.hdr", cube())
    before, stamp = content_key(read_cube(header)), data.stat()
    with data.open("r+b") as file:
        file.seek(stamp.st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(data, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert content_key(read_cube(header)) != before


@pytest.mark.parametrize("n_bytes", [1, 1000, 1 << 20])
def test_the_size_of_blocks_does_not_count(monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    before = content_key(cube())
    monkeypatch.setattr(content, "_BLOCK_BYTES", n_bytes)
    assert content_key(cube()) == before


def test_it_can_be_called_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(share: float, message: str) -> None:
        if share > 0.5:
            raise Cancelled("stopped")

    monkeypatch.setattr(content, "_BLOCK_BYTES", 1)
    with pytest.raises(Cancelled):
        content_key(cube(), stop)
