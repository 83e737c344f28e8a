from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from errno import EINVAL, EIO
from pathlib import Path

import pytest

from carl.errors import Cancelled, OutputError
from carl.files import (
    atomic_folder,
    atomic_write,
    claim_folder,
    read_json,
    release_folder,
    resource_path,
)


def test_a_file_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "map.tif"
    with atomic_write(target) as temporary:
        assert temporary.suffix == ".tif"
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["map.tif"]


def test_a_failed_write_leaves_the_old_file_only(tmp_path):
    target = tmp_path / "map.tif"
    target.write_text("old")

    def write_and_cancel() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("half")
            raise Cancelled

    with pytest.raises(Cancelled):
        write_and_cancel()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["map.tif"]


def test_a_folder_that_is_a_file_is_an_output_error(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with (
        pytest.raises(OutputError, match="choose another folder"),
        atomic_write(tmp_path / "taken" / "map.tif"),
    ):
        pass


def test_a_full_disk_is_an_output_error():
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full, a device that is always full")
    with (
        pytest.raises(OutputError, match="No space left"),
        atomic_write("map.tif"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")


@pytest.mark.parametrize("name", ["a" * 251 + ".tif", "🔬" * 62 + ".tif", "a." + "b" * 253])
def test_names_up_to_the_limit_of_the_disk_can_be_written(tmp_path, name):
    with atomic_write(tmp_path / name) as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path) == [name]


def test_a_name_too_long_for_the_disk_is_named(tmp_path):
    name = "a" * 252 + ".tif"
    message = f"The name {name} is too long for this disk: choose a shorter one."
    with pytest.raises(OutputError, match=message), atomic_write(tmp_path / name) as temporary:
        temporary.write_text("new")
    with pytest.raises(OutputError, match=message), atomic_folder(tmp_path) as staging:
        (staging / name).write_text("new")
    assert os.listdir(tmp_path) == []


def test_files_of_a_folder_appear_together(tmp_path):
    target = tmp_path / "new" / "results"
    with atomic_folder(target) as staging:
        (staging / "map.tif").write_text("map")
        (staging / "map.json").write_text("names")
        assert os.listdir(target) == [staging.parent.name]
    assert sorted(os.listdir(target)) == ["map.json", "map.tif"]


def test_a_failed_write_leaves_a_folder_unchanged(tmp_path):
    (tmp_path / "map.tif").write_text("old")

    def write_and_cancel(folder) -> None:
        with atomic_folder(folder) as staging:
            (staging / "map.tif").write_text("half")
            raise Cancelled

    for folder in (tmp_path, tmp_path / "new" / "results"):
        with pytest.raises(Cancelled):
            write_and_cancel(folder)
    assert os.listdir(tmp_path) == ["map.tif"]
    assert (tmp_path / "map.tif").read_text() == "old"


def test_no_file_is_moved_if_the_name_of_one_is_a_folder(tmp_path):
    (tmp_path / "map.tif").mkdir()

    def write_both() -> None:
        with atomic_folder(tmp_path) as staging:
            (staging / "map.json").write_text("names")
            (staging / "map.tif").write_text("map")

    with pytest.raises(OutputError, match=r"map\.tif is a folder"):
        write_both()
    assert os.listdir(tmp_path) == ["map.tif"]


def kill_while(writing: str, folder: Path) -> None:
    """Run a program that is killed while `writing` is open, and check that it left something."""
    program = f"""
import os, signal
from pathlib import Path
from carl.files import atomic_folder, atomic_write, claim_folder
folder = Path({str(folder)!r})
with {writing}:
    print("ready", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "ready\n"
    assert len(list(folder.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_what_a_killed_program_was_writing_is_removed_by_the_next_write(tmp_path: Path) -> None:
    for writing in ("atomic_write(folder / 'a.tif')", "atomic_folder(folder)"):
        kill_while(writing, tmp_path)
        with atomic_write(tmp_path / "map.tif") as temporary:
            temporary.write_text("map")
        assert os.listdir(tmp_path) == ["map.tif"]
        (tmp_path / "map.tif").unlink()


def test_folders_in_use_and_those_of_others_are_not_removed(tmp_path: Path) -> None:
    (tmp_path / ".carl-backup").mkdir()
    (tmp_path / ".carl-0123456789ab").mkdir()
    (tmp_path / ".carl-0123456789ab" / "thesis.tex").touch()
    (tmp_path / ".carl-0123456789ac").touch()
    (tmp_path / ".carl-0123456789ad").mkdir()  # of a process killed before it locked the folder
    used, lock = claim_folder(tmp_path, ".carl-")
    with atomic_write(tmp_path / "map.tif") as temporary:
        temporary.write_text("map")
    names = {used.name, ".carl-backup", ".carl-0123456789ab", ".carl-0123456789ac", "map.tif"}
    assert set(os.listdir(tmp_path)) == names
    release_folder(used, lock)
    assert set(os.listdir(tmp_path)) == names - {used.name}


def test_many_writers_of_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for _ in range(10):
            with atomic_write(tmp_path / f"{number % 4}.txt", sync=False) as temporary:
                temporary.write_text(str(number % 4))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f"{number}.txt": str(number) for number in range(4)
    }


def test_files_are_on_the_disk_before_they_replace_others(tmp_path, monkeypatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def fsync_and_note(number: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        calls.append(f"sync {path.name}")
        fsync(number)

    def replace_and_note(source: Path, target: Path) -> None:
        calls.append(f"replace {target.name}")
        replace(source, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", fsync_and_note)
    monkeypatch.setattr(os, "replace", replace_and_note)
    with atomic_write(tmp_path / "map.tif") as temporary:
        temporary.write_text("map")
    here = tmp_path.name
    assert calls == ["sync map.tif", "replace map.tif", f"sync {here}"]
    calls.clear()
    with atomic_folder(tmp_path) as staging:
        (staging / "a").write_text("a")
        (staging / "b").write_text("b")
    assert calls == ["sync a", "sync b", "replace a", "replace b", f"sync {here}"]


def test_a_failed_sync_is_an_output_error(tmp_path, monkeypatch) -> None:
    def fail(error: int) -> None:
        def raise_it(_: int) -> None:
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr(os, "fsync", raise_it)

    def write() -> None:
        with atomic_write(tmp_path / "map.tif") as temporary:
            temporary.write_text("map")

    fail(EIO)
    with pytest.raises(OutputError, match=os.strerror(EIO)):
        write()
    assert os.listdir(tmp_path) == []
    fail(EINVAL)  # a file system that cannot
    write()
    assert os.listdir(tmp_path) == ["map.tif"]


def test_resource_path_finds_shipped_files():
    assert resource_path("cameras", "tivita.csv").is_file()


def test_a_named_pipe_is_refused_without_waiting(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(OSError, match="not a regular file"):
        read_json(tmp_path / "a.json")
