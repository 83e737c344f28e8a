from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carl.errors import OutputError
from carl.inference.tile_store import TileFolder

VALUES = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
SETTINGS = {"cube": "a", "model": "b"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a tile and a value."""
    with TileFolder(tmp_path / "x.partial", SETTINGS) as tiles:
        assert not tiles.changed
        tiles["tile-0"] = VALUES
        assert tiles.get_or_compute("value", lambda: [0.1, None]) == [0.1, None]
    return tmp_path / "x.partial"


def computed_again() -> Any:
    raise AssertionError("a stored value is not computed again")


def test_tiles_and_values_of_an_earlier_run_are_used(folder: Path) -> None:
    with TileFolder(folder, SETTINGS) as tiles:
        assert "tile-0" in tiles
        assert "tile-1" not in tiles
        np.testing.assert_array_equal(tiles["tile-0"], VALUES)
        assert tiles.get_or_compute("value", computed_again) == [0.1, None]
        assert tiles.nbytes > VALUES.nbytes
        tiles.remove()
    assert not folder.exists()


def test_other_settings_start_over(folder: Path) -> None:
    with TileFolder(folder, SETTINGS | {"model": "c"}) as tiles:
        assert tiles.changed == ["model"]
        assert "tile-0" not in tiles
        assert tiles.get_or_compute("value", lambda: 2) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"settings": 3}', b"\xff", b"[" * 9999])
def test_a_damaged_manifest_starts_over(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with TileFolder(folder, SETTINGS) as tiles:
        assert "tile-0" not in tiles
    assert json.loads((folder / "manifest.json").read_text())["values"] == {}


@pytest.mark.parametrize("n_bytes", [0, 50, 200])
def test_tiles_damaged_by_a_crash_are_removed(folder: Path, n_bytes: int) -> None:
    whole = (folder / "tile-0.npy").read_bytes()
    assert len(whole) > 200
    (folder / "tile-1.npy").write_bytes(whole[:n_bytes])
    (folder / ".unfinished-tile-2.npy").write_bytes(whole)
    with TileFolder(folder, SETTINGS) as tiles:
        assert "tile-0" in tiles
        assert "tile-1" not in tiles
    assert sorted(path.name for path in folder.glob("*.npy")) == ["tile-0.npy"]


def test_a_tile_with_a_changed_byte_is_removed(folder: Path) -> None:
    whole = (folder / "tile-0.npy").read_bytes()
    for position in (3, 30, 200, len(whole) - 1):
        broken = bytearray(whole)
        broken[position] ^= 4
        (folder / "tile-0.npy").write_bytes(broken)
        with TileFolder(folder, SETTINGS) as tiles:
            assert "tile-0" not in tiles
            assert tiles.get_or_compute("value", computed_again) == [0.1, None]


def test_a_changed_byte_of_the_manifest_changes_nothing_or_starts_over(folder: Path) -> None:
    manifest, tile = ((folder / name).read_bytes() for name in ("manifest.json", "tile-0.npy"))
    random, n_used = np.random.default_rng(0), 0
    for position in range(len(manifest)):
        broken = bytearray(manifest)
        broken[position] ^= 1 << int(random.integers(8))
        (folder / "manifest.json").write_bytes(broken)
        (folder / "tile-0.npy").write_bytes(tile)
        with TileFolder(folder, SETTINGS) as tiles:
            value = tiles.get_or_compute("value", lambda: 2)
            assert value == ([0.1, None] if "tile-0" in tiles else 2)
            n_used += "tile-0" in tiles
    assert n_used < 30  # changed white space


def test_a_folder_whose_process_was_killed_at_its_first_file_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "x.partial"
    for name in ("in-use.lock", ".unfinished-manifest.json"):
        folder.mkdir(exist_ok=True)
        (folder / name).touch()
        with TileFolder(folder, SETTINGS) as tiles:
            assert tiles.is_empty
            tiles.remove()


def test_two_runs_do_not_share_a_folder(folder: Path) -> None:
    with (
        TileFolder(folder, SETTINGS),
        pytest.raises(OutputError, match="in use by another run"),
        TileFolder(folder, SETTINGS),
    ):
        pass
    with TileFolder(folder, SETTINGS) as tiles:
        assert "tile-0" in tiles


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "x.partial").mkdir()
    (tmp_path / "x.partial" / "thesis.tex").touch()
    (tmp_path / "y.partial").touch()
    for name in ("x.partial", "y.partial"):
        with (
            pytest.raises(OutputError, match=rf"{name} exists and holds other files"),
            TileFolder(tmp_path / name, SETTINGS),
        ):
            pass
    assert (tmp_path / "x.partial" / "thesis.tex").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits of file sizes")
def test_a_full_disk_is_reported_and_no_tile_is_lost(folder: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with TileFolder(folder, SETTINGS) as tiles:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            with pytest.raises(OutputError, match=r"File too large\): free some space and start"):
                tiles["tile-1"] = np.zeros((3000, 1, 1), np.float32)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "tile-1" not in tiles
    assert sorted(path.name for path in folder.glob("*.npy")) == ["tile-0.npy"]
