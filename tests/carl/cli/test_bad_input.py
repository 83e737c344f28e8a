"""Bad input: exit status 2, one line on stderr, nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

import carl
from carl.cube import SpectralCube
from carl.io import LabelClass, read_cube, read_labels, write_cube, write_labels

NM = np.linspace(450, 800, 8)  # of the cube in conftest.py
SHAPE = (40, 48)


def assert_fails(result: tuple[int, str, str], *words: str) -> None:
    """Assert that a command printed one line with these words and returned status 2."""
    status, out, err = result
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.endswith("\n")
    for word in words:
        assert word in err


def files_below(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_usage_errors_are_one_line(call):
    assert_fails(call("fit", "--pair", "only.hdr"), "--output")
    assert_fails(call("predikt"), "predict")
    assert_fails(call("info", "a", "b"), "b")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.hdr", None),
        ("text.tif", b"this is not an image"),
        ("empty.npy", b""),
        ("unknown.xyz", b"\0" * 100),
    ],
)
def test_files_that_are_not_cubes(call, tmp_path: Path, name: str, content: bytes | None):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = files_below(tmp_path)
    assert_fails(call("info", tmp_path / name), name)
    assert_fails(call("embed", tmp_path / name, "-o", tmp_path / "out.npz"), name)
    assert files_below(tmp_path) == before


def test_an_output_whose_name_is_too_long(call, cube_path: Path, tmp_path: Path):
    before = files_below(tmp_path)
    output = tmp_path / ("x" * 252 + ".npz")
    assert_fails(call("embed", cube_path, "-o", output), "x.npz is too long", "a shorter one")
    assert files_below(tmp_path) == before


def test_a_truncated_cube(call, cube_path: Path, segmenter_path: Path, tmp_path: Path):
    data = next(p for p in tmp_path.iterdir() if p.stem == "two" and p.suffix in (".dat", ".img"))
    data.write_bytes(data.read_bytes()[:1000])
    before = files_below(tmp_path)
    assert_fails(
        call("predict", cube_path, "--model", segmenter_path, "-o", tmp_path / "out"), "two"
    )
    assert files_below(tmp_path) == before


def test_labels_of_another_size(call, cube_path: Path, tmp_path: Path):
    write_labels(tmp_path / "small.png", np.ones((5, 5), np.uint8))
    before = files_below(tmp_path)
    pair = ("--pair", cube_path, tmp_path / "small.png")
    assert_fails(call("fit", *pair, "-o", tmp_path / "x.carl"), "small.png", "5 × 5", "40 × 48")
    assert files_below(tmp_path) == before


def test_no_wavelengths(call, segmenter_path: Path, labels_path: Path, tmp_path: Path):
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).random((*SHAPE, 8), np.float32))
    before = files_below(tmp_path)
    plain = tmp_path / "plain.npy"
    assert_fails(
        call("embed", plain, "-o", tmp_path / "x.npz"), "plain", "wavelengths", "380:770:10"
    )
    assert_fails(
        call("fit", "--pair", plain, labels_path, "-o", tmp_path / "x.carl"), "wavelengths"
    )
    assert_fails(call("predict", plain, "--model", segmenter_path, "-o", tmp_path), "wavelengths")
    assert files_below(tmp_path) == before


def test_cube_without_finite_values(call, tmp_path: Path):
    np.save(tmp_path / "void.npy", np.full((*SHAPE, 8), np.nan, np.float32))
    assert_fails(call("info", tmp_path / "void.npy"), "void", "NaN")
    command = ("embed", tmp_path / "void.npy", "--wavelengths", "400:470:10")
    assert_fails(call(*command, "-o", tmp_path / "x.npz"), "void", "NaN")
    assert not (tmp_path / "x.npz").exists()


def test_two_cubes_with_the_same_name(call, cube_path: Path, segmenter_path: Path, tmp_path: Path):
    out = tmp_path / "out"
    twice = (cube_path, cube_path.with_suffix(".dat"))
    assert_fails(call("predict", *twice, "--model", segmenter_path, "-o", out), "two_labels.tif")
    assert not out.exists()


def test_a_cube_is_never_replaced_by_a_result(
    call, cube_path: Path, segmenter_path: Path, tmp_path: Path
):
    tifffile.imwrite(
        tmp_path / "two_labels.tif", read_cube(cube_path).to_numpy(), photometric="minisblack"
    )
    before = files_below(tmp_path)
    command = ("predict", cube_path, tmp_path / "two_labels.tif", "--model", segmenter_path)
    assert_fails(call(*command, "-o", tmp_path), "two_labels.tif", "another folder")
    assert files_below(tmp_path) == before


def test_nothing_is_written_if_one_cube_fails(
    call, cube_path: Path, segmenter_path: Path, tmp_path: Path, monkeypatch
):
    other = tmp_path / "other"
    other.mkdir()
    write_cube(other / "wide.hdr", SpectralCube(np.ones((9, 9, 8), np.float32), NM))
    bind = carl.Segmenter.bind

    def fail_for_one(self, cube, **options):
        if cube.name == "wide":
            raise carl.CarlError("wide cannot be segmented: give another.")
        return bind(self, cube, **options)

    monkeypatch.setattr(carl.Segmenter, "bind", fail_for_one)
    out = tmp_path / "deep" / "out"
    both = (cube_path, other / "wide.hdr")
    assert_fails(call("predict", *both, "--model", segmenter_path, "-o", out), "wide cannot")
    assert not out.parent.exists()


def test_damaged_segmenter(call, cube_path: Path, segmenter_path: Path, tmp_path: Path):
    segmenter_path.write_bytes(segmenter_path.read_bytes()[:50])
    assert_fails(
        call("predict", cube_path, "--model", segmenter_path, "-o", tmp_path / "o"), "two.carl"
    )
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("names", ["left", "left,left", "left,"])
def test_wrong_class_names(call, cube_path: Path, labels_path: Path, tmp_path: Path, names):
    pair = ("--pair", cube_path, labels_path)
    assert_fails(call("fit", *pair, "-o", tmp_path / "x.carl", "--classes", names), "class name")


def test_label_maps_with_different_names_for_a_class(
    call, cube_path: Path, labels_path: Path, tmp_path: Path
):
    labels = read_labels(labels_path).labels
    for name in ("lumen", "blood"):
        write_labels(tmp_path / f"{name}.tif", labels, [LabelClass(1, name, (1, 2, 3))])
    pairs = (
        "--pair",
        cube_path,
        tmp_path / "lumen.tif",
        "--pair",
        cube_path,
        tmp_path / "blood.tif",
    )
    assert_fails(
        call("fit", *pairs, "-o", tmp_path / "x.carl"), "lumen", "blood", "names of the classes"
    )


def test_cube_without_label_map(call, cube_path: Path, labels_path: Path, tmp_path: Path):
    assert_fails(
        call("fit", "--pair", cube_path, "-o", tmp_path / "x.carl"), "1 cubes and 0 label maps"
    )


def test_outputs_are_checked_before_computing(
    call, cube_path: Path, labels_path: Path, tmp_path: Path
):
    pair = ("--pair", cube_path, labels_path)
    assert_fails(call("fit", *pair, "-o", tmp_path / "x.txt"), ".carl")
    assert_fails(call("embed", cube_path, "-o", tmp_path / "two.hdr"), ".npz")
    (tmp_path / "folder.npz").mkdir()
    assert_fails(call("embed", cube_path, "-o", tmp_path / "folder.npz"), "is a folder")
    assert_fails(call("embed", cube_path, "-o", labels_path / "x.npz"), "is a file")
    np.savez(tmp_path / "cube.npz", cube=np.ones((4, 4, 3)))
    assert_fails(call("embed", tmp_path / "cube.npz", "-o", tmp_path / "cube.npz"), "is an input")


def test_folder_without_permission(call, cube_path: Path, tmp_path: Path, monkeypatch):
    # Tests may run as root, who may write everywhere.
    monkeypatch.setattr("carl.cli.files.os.access", lambda path, mode: mode == os.R_OK)
    assert_fails(call("embed", cube_path, "-o", tmp_path / "x.npz"), "no permission")
