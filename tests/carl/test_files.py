from __future__ import annotations

import os

import pytest

from carl.errors import Cancelled, OutputError
from carl.files import atomic_folder, atomic_write, resource_path


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
        assert os.listdir(target) == [staging.name]
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


def test_resource_path_finds_shipped_files():
    assert resource_path("cameras", "tivita.csv").is_file()
