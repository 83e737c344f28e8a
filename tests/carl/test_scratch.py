from __future__ import annotations

import gc
import os
from errno import ENOSPC
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from carl.errors import OutputError
from carl.scratch import DiskArray, ScratchFolder


def test_a_folder_lives_as_long_as_its_object(tmp_path: Path) -> None:
    scratch = ScratchFolder(tmp_path)
    path = scratch.path
    (path / "data").write_bytes(b"1")
    del scratch
    gc.collect()
    assert not path.exists()


def test_folders_of_ended_processes_are_removed(tmp_path: Path) -> None:
    used = ScratchFolder(tmp_path)
    abandoned = tmp_path / "0123456789ab"
    abandoned.mkdir()
    for name in ("data", "in-use.lock"):
        (abandoned / name).write_bytes(b"1")
    other = ScratchFolder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {used.path.name, other.path.name}


def test_a_folder_is_removed_by_whichever_thread_frees_it(tmp_path: Path) -> None:
    folders = [ScratchFolder(tmp_path)]
    lock = folders[0].path / "in-use.lock"
    thread = Thread(target=folders.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert not any(str(lock) in os.readlink(each) for each in open_files())


def open_files() -> list[Path]:
    """Return the links to the open files of this process; empty where there are none."""
    links = Path("/proc/self/fd")
    return [each for each in links.iterdir() if each.is_symlink()] if links.exists() else []


def test_rectangles_are_read_back(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(7, 9, 3)).astype(np.float32)
    array = DiskArray(tmp_path / "a.raw", values.shape)
    for rows in (slice(0, 4), slice(4, 7)):
        for columns in (slice(5, 9), slice(0, 5)):
            array.write(rows, columns, values[rows, columns])
    mapped = array.mapped()
    np.testing.assert_array_equal(mapped, values)
    assert not mapped.flags.writeable


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = DiskArray(tmp_path / "a.raw", (2, 2, 1))

    def fail(*_: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(OutputError, match="the disk is full"):
        array.write(slice(0, 2), slice(0, 2), np.zeros((2, 2, 1), np.float32))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        ScratchFolder(tmp_path / "file")
