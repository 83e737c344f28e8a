from __future__ import annotations

import os
import shutil
import stat
import sys
from collections import namedtuple
from itertools import count
from pathlib import Path

import pytest

from carl import user_folders
from carl.errors import CarlError, OutputError
from carl.user_folders import CacheFolder, features_folder, weights_folder


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the times of files one second apart, as file systems may not resolve less."""
    touch, ticks = os.utime, count()

    def later(path: Path) -> None:
        touch(path, ns=(0, next(ticks) * 10**9))

    monkeypatch.setattr(os, "utime", later)


def put(folder: CacheFolder, key: str, n_bytes: int = 100) -> bool:
    """Add a file and mark it as used now."""
    added = folder.add(key, n_bytes, lambda path: path.write_bytes(bytes(n_bytes)) and None)
    folder.find(key)
    return added


def keys(folder: CacheFolder) -> set[str]:
    return {path.stem for path in folder.path.iterdir()}


@pytest.mark.usefixtures("clock")
def test_the_least_recently_used_files_are_removed(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path / "f", 300)
    for key in "abc":
        assert put(folder, key)
    assert folder.find("a") == tmp_path / "f" / "a.npz"
    put(folder, "d")
    assert keys(folder) == {"a", "c", "d"}
    assert (len(folder), folder.nbytes) == (3, 300)
    put(folder, "e", 150)
    assert keys(folder) == {"d", "e"}
    assert folder.find("a") is None


def test_the_largest_size_holds_even_while_a_file_is_written(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path / "f", 300)
    for key in "abc":
        put(folder, key)

    def write(path: Path) -> None:
        path.write_bytes(bytes(200))
        assert sum(each.stat().st_size for each in folder.path.rglob("*.npz")) <= 300

    folder.add("d", 200, write)
    assert folder.nbytes <= 300


def test_a_file_that_is_too_large_is_not_added_and_removes_nothing(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path / "f", 300)
    put(folder, "a")
    assert not put(folder, "b", 301)
    assert keys(folder) == {"a"}
    assert not put(CacheFolder(tmp_path / "none", 0), "a", 1)
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("clock")
def test_the_number_of_files_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_folders, "_MAX_FILES", 2)
    folder = CacheFolder(tmp_path / "f", 300)
    for key in "abcd":
        put(folder, key, 1)
    assert keys(folder) == {"c", "d"}


def test_a_folder_can_be_missing_and_cleared(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path / "f", 300)
    assert (len(folder), folder.nbytes, folder.find("a")) == (0, 0, None)
    folder.clear()
    put(folder, "a")
    folder.remove("a")
    folder.remove("a")
    put(folder, "b")
    folder.clear()
    assert keys(folder) == set()


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    folder = CacheFolder(tmp_path / "f", 300)
    with pytest.raises(OutputError, match="No space left"):
        folder.add("a", 100, fail)
    assert keys(folder) == set()


def test_what_a_killed_program_was_writing_is_removed(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path, 300)

    def leave() -> None:
        for name in (".carl-0123456789ab", ".carl-0123456789ac"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "in-use.lock").touch()
            (tmp_path / name / "a.npz").write_bytes(b"half")

    leave()
    assert folder.nbytes == 0
    put(folder, "c")
    assert keys(folder) == {"c"}
    leave()
    assert folder.load("c", Path.read_bytes) == bytes(100)
    assert keys(folder) == {"c"}
    leave()
    folder.clear()
    assert keys(folder) == set()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_the_folder_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path / "f", 300)
    put(folder, "a")
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_carl_home_sets_all_folders(carl_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights_folder() == carl_home / "weights"
    assert features_folder().path == carl_home / "features"
    monkeypatch.delenv("CARL_HOME")
    for path in (weights_folder(), features_folder().path):
        assert path.is_absolute()
        assert "napari-carl" in path.parts


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("0", 0), ("1000", 1000), ("4GB", 4 * 10**9), (" 1.5 mb ", 1_500_000), ("2k", 2000)],
)
def test_carl_cache_sets_the_largest_size(
    monkeypatch: pytest.MonkeyPatch, text: str, n_bytes: int
) -> None:
    monkeypatch.setenv("CARL_CACHE", text)
    assert features_folder().max_bytes == n_bytes


@pytest.mark.parametrize("text", ["much", "-1", "4 GB or so"])
def test_an_invalid_carl_cache_is_an_error(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CARL_CACHE", text)
    with pytest.raises(CarlError, match="CARL_CACHE"):
        features_folder()


@pytest.mark.parametrize(("free", "n_bytes"), [(10**12, 4 * 10**9), (10**9, 10**8), (0, 0)])
def test_the_default_size_leaves_most_of_the_disk_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, n_bytes: int
) -> None:
    usage = namedtuple("usage", "total used free")(10**12, 0, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert CacheFolder(tmp_path / "not" / "yet").max_bytes == n_bytes
