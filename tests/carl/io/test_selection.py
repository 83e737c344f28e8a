"""Frames of longer recordings and flattened tables: chosen by the caller, never guessed."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from scipy import ndimage

from carl.errors import CubeError, LabelError
from carl.io import ChoiceError, read_cube, read_labels
from carl.io.selection import continuity

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 999, (3, 5, 8, 10)).astype(np.uint16)  # time, channel, y, x


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": {"axes": "TCYX"}},
        {"metadata": {"axes": "TCYX"}, "compression": "zlib", "rowsperstrip": 3},
        {"ome": True, "metadata": {"axes": "TCYX"}},
        {"imagej": True, "metadata": {"axes": "TCYX"}},
    ],
)
def test_a_frame_of_a_tiff_is_chosen(tmp_path: Path, options: dict):
    path = tmp_path / ("a.ome.tif" if "ome" in options else "a.tif")
    tifffile.imwrite(path, FRAMES, **options)
    with pytest.raises(ChoiceError, match=r"time \(3\), channel \(5\), y \(8\)") as raised:
        read_cube(path)
    assert raised.value.argument == "frame"
    assert [each.value for each in raised.value.choices] == ["time=0", "time=1", "time=2"]
    expected = np.moveaxis(FRAMES[1], 0, -1)
    for frame in (1, "1", "time=1"):
        cube = read_cube(path, frame=frame)
        np.testing.assert_array_equal(cube.to_numpy(), expected)
    np.testing.assert_array_equal(cube.data[2:5, ::-2, 1:4:2], expected[2:5, ::-2, 1:4:2])
    assert cube.metadata["frame"] == "time=1"
    for wrong, message in (("time=3", "0 to 2"), ("z=1", "no frame"), ("x=1", "no frame")):
        with pytest.raises(CubeError, match=message):
            read_cube(path, frame=wrong)


def test_the_axis_left_for_the_bands_is_chosen_too(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAMES, imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(ChoiceError) as raised:
        read_cube(path)
    assert len(raised.value.choices) == 3 + 5
    np.testing.assert_array_equal(
        read_cube(path, frame="z=4").to_numpy(), np.moveaxis(FRAMES[:, 4], 0, -1)
    )
    with pytest.raises(CubeError, match="time=0"):
        read_cube(path, frame=0)


def test_frames_of_arrays_without_names_are_numbered(tmp_path: Path):
    frames = np.moveaxis(FRAMES, 1, -1)  # time, y, x, band
    np.save(tmp_path / "a.npy", frames)
    with pytest.raises(ChoiceError, match="axis 0=0"):
        read_cube(tmp_path / "a.npy")
    cube = read_cube(tmp_path / "a.npy", frame="0=2")
    np.testing.assert_array_equal(cube.to_numpy(), frames[2])
    assert read_cube(tmp_path / "a.npy", frame="3=1").n_bands == 3
    # The number of wavelengths decides which axis is that of the bands.
    cube = read_cube(tmp_path / "a.npy", frame=2, wavelengths="400:440:10")
    np.testing.assert_array_equal(cube.to_numpy(), frames[2])
    np.save(tmp_path / "b.npy", frames[0])
    with pytest.raises(CubeError, match="single cube"):
        read_cube(tmp_path / "b.npy", frame=0)


def test_further_axes_of_matlab_are_the_last_ones(tmp_path: Path):
    frames = np.moveaxis(FRAMES, (0, 1), (-1, -2))  # y, x, band, time
    scipy.io.savemat(tmp_path / "a.mat", {"cubes": frames})
    np.testing.assert_array_equal(
        read_cube(tmp_path / "a.mat", frame="3=1").to_numpy(), frames[..., 1]
    )


def image(height: int, width: int, n_bands: int) -> np.ndarray:
    values = ndimage.gaussian_filter(RNG.normal(size=(height, width, n_bands)), (2, 2, 0))
    return (1000 * values).astype(np.int16)


@pytest.mark.parametrize("bands_first", [False, True])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".h5"])
def test_a_table_becomes_a_cube_of_the_given_height(tmp_path: Path, suffix: str, bands_first: bool):
    cube = image(24, 30, 6)
    by_columns = suffix == ".mat"
    table = (cube.transpose(1, 0, 2) if by_columns else cube).reshape(-1, 6)
    table = table.T if bands_first else table
    path = tmp_path / f"flat{suffix}"
    if suffix == ".npy":
        np.save(path, table)
    elif suffix == ".npz":
        np.savez_compressed(path, V=table, wavelength=np.arange(400, 460, 10))
    elif by_columns:
        scipy.io.savemat(path, {"V": table})
    else:
        with h5py.File(path, "w") as file:
            file["V"] = table
    with pytest.raises(ChoiceError, match=r"two-dimensional.*720 pixels with 6 bands") as raised:
        read_cube(path)
    assert raised.value.argument == "height"
    assert raised.value.choices[0].value == 24
    found = read_cube(path, height=24)
    np.testing.assert_array_equal(found.to_numpy(), cube)
    np.testing.assert_array_equal(found.data[3:9:2, ::-3, 1:], cube[3:9:2, ::-3, 1:])
    assert (found.wavelengths is not None) == (suffix == ".npz")
    with pytest.raises(CubeError, match="which 7 does not divide"):
        read_cube(path, height=7)


def test_more_bands_than_pixels_follow_from_the_wavelengths(tmp_path: Path):
    cube = image(4, 5, 30)
    np.save(tmp_path / "a.npy", cube.reshape(20, 30))
    found = read_cube(tmp_path / "a.npy", height=4, wavelengths="400:690:10")
    np.testing.assert_array_equal(found.to_numpy(), cube)


def test_tables_of_text_are_refused(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.full((6, 4), b"ab"))
    for height in (None, 3):
        with pytest.raises(CubeError, match=r"a\.npy holds"):
            read_cube(tmp_path / "a.npy", height=height)


def test_a_cube_has_no_height_to_be_chosen(tmp_path: Path):
    np.save(tmp_path / "a.npy", image(8, 9, 3))
    with pytest.raises(CubeError, match="leave the height out"):
        read_cube(tmp_path / "a.npy", height=4)


def test_rows_are_most_continuous_at_their_true_length():
    values = image(40, 60, 3).reshape(-1, 3).astype(float)
    lengths = [n for n in range(2, 1200) if 2400 % n == 0]
    scores = continuity(values, lengths)
    assert lengths[int(np.argmax(scores))] == 60
    assert continuity(np.ones((12, 2)), [3, 4]) == [0.0, 0.0]


def test_labels_beside_a_cube_in_one_file_are_listed_and_read(tmp_path: Path):
    cube, labels = image(8, 9, 5), RNG.integers(0, 3, (8, 9)).astype(np.uint8)
    arrays = {"img": cube, "img_gt": labels, "dsm": RNG.normal(size=(8, 9)), "n": np.arange(4)}
    for path, as_stored in ((tmp_path / "a.npz", labels), (tmp_path / "a.mat", labels * 1.0)):
        stored = {**arrays, "img_gt": as_stored}
        scipy.io.savemat(path, stored) if path.suffix == ".mat" else np.savez(path, **stored)
        found = read_cube(path)
        assert found.metadata["label_variables"] == ("img_gt",)
        assert "img_gt (8 × 9)" in found.metadata["assumptions"][0]
        for variable in (None, "img_gt"):
            label_map = read_labels(path, found.shape, variable=variable)
            np.testing.assert_array_equal(label_map.labels, labels)
        with pytest.raises(LabelError, match=r"dsm|float"):
            read_labels(path, variable="dsm")
        with pytest.raises(LabelError, match="has the shape"):
            read_labels(path, variable="img")
        with pytest.raises(LabelError, match="no variable 'none'"):
            read_labels(path, variable="none")


def test_several_images_of_a_tiff_are_chosen_by_name(tmp_path: Path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for name, frame in zip(("left", "right"), FRAMES, strict=False):
            file.write(frame, metadata={"axes": "CYX", "Name": name})
    with pytest.raises(ChoiceError, match="several cubes") as raised:
        read_cube(path)
    names = [each.value for each in raised.value.choices]
    for name, frame in zip(names, FRAMES, strict=False):
        found = read_cube(path, variable=str(name))
        np.testing.assert_array_equal(found.to_numpy(), np.moveaxis(frame, 0, -1))
    with pytest.raises(CubeError, match="no image 'middle'"):
        read_cube(path, variable="middle")


def test_of_several_arrays_the_one_that_the_wavelengths_fit_is_the_cube(tmp_path: Path):
    cube = image(8, 9, 5)
    np.savez(tmp_path / "a.npz", cube=cube, abundances=cube[..., :3], wl=np.arange(400, 450, 10))
    assert read_cube(tmp_path / "a.npz").metadata["variable"] == "cube"
    np.savez(tmp_path / "b.npz", cube=cube, masks=cube > 0)
    assert read_cube(tmp_path / "b.npz").metadata["variable"] == "cube"
