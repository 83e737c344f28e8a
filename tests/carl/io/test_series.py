"""Cubes stored as one file per band: which files belong together, their order, their pixels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from carl.errors import CubeError
from carl.io import ChoiceError, identify_cube, is_readable, read_cube
from carl.io.series import series_in, series_of, wavelengths_of_names

BANDS = np.random.default_rng(0).integers(0, 60_000, (4, 9, 11)).astype(np.uint16)


def save_bands(folder: Path, names: list[str], bands: np.ndarray = BANDS) -> Path:
    """Write one grey image per name, as filter wheels leave them."""
    folder.mkdir(exist_ok=True)
    for name, band in zip(names, bands, strict=False):
        if name.endswith(".tif"):
            tifffile.imwrite(folder / name, band)
        else:
            Image.fromarray(band).save(folder / name)
    return folder


def xmp(nm: float, fwhm: float) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'xmlns:Camera="http://pix4d.com/1.0"><Camera:CentralWavelength>{nm}'
        f"</Camera:CentralWavelength><Camera:WavelengthFWHM>{fwhm}</Camera:WavelengthFWHM>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def save_shot(folder: Path, shot: int) -> None:
    """Write the files of a shot as MicaSense cameras do, whose bands are not in order."""
    folder.mkdir(exist_ok=True)
    for number, (nm, band) in enumerate(zip((475, 560, 840, 717), BANDS, strict=True), 1):
        content = xmp(nm, nm / 20)
        tifffile.imwrite(
            folder / f"IMG_{shot:04}_{number}.tif",
            band,
            metadata=None,
            extratags=[(700, 1, len(content), content, True)],
        )


def test_bands_of_separate_lenses_are_ordered_by_the_wavelengths_in_their_files(tmp_path: Path):
    save_shot(tmp_path, 0)
    cube = read_cube(tmp_path / "IMG_0000_3.tif")
    assert (cube.name, cube.shape) == ("IMG_0000", (9, 11, 4))
    np.testing.assert_array_equal(cube.wavelengths, [475, 560, 717, 840])
    np.testing.assert_allclose(cube.fwhm, [23.75, 28, 35.85, 42])
    np.testing.assert_array_equal(cube.to_numpy(), np.moveaxis(BANDS[[0, 1, 3, 2]], 0, -1))
    assert cube.metadata["wavelength_source"] == "the metadata of its files"
    assert "not registered" in cube.metadata["notes"][1]


def test_a_folder_of_several_shots_asks_which_one(tmp_path: Path):
    folder = tmp_path / "flight"
    save_shot(folder, 0)
    save_shot(folder, 1)
    with pytest.raises(ChoiceError, match=r"IMG_0000 \(4 files\), IMG_0001 \(4 files\)") as raised:
        read_cube(folder)
    assert raised.value.argument == "variable"
    assert [each.value for each in raised.value.choices] == ["IMG_0000", "IMG_0001"]
    assert read_cube(folder, variable="IMG_0001").n_bands == 4
    assert read_cube(folder / "IMG_0001_2.tif").name == "IMG_0001"
    with pytest.raises(CubeError, match="named 'IMG_7'"):
        read_cube(folder, variable="IMG_7")


@pytest.mark.parametrize(
    ("names", "nm"),
    [
        (["cell_450nm.tif", "cell_550nm.tif", "cell_650nm.tif", "cell_1000nm.tif"],
         [450, 550, 650, 1000]),
        (["img_650.png", "img_550.png", "img_450.png", "img_950.png"], [450, 550, 650, 950]),
        (["450.tif", "500.tif", "550.tif", "600.tif"], [450, 500, 550, 600]),
        (["0.45um_7.png", "0.55um_8.png", "0.65um_9.png", "0.75um_10.png"], [450, 550, 650, 750]),
        (["frame1.tif", "frame2.tif", "frame10.tif", "frame11.tif"], None),
    ],
)  # fmt: skip
def test_wavelengths_and_order_follow_from_the_names(tmp_path: Path, names, nm):
    folder = save_bands(tmp_path / "wheel", names)
    cubes = read_cube(folder), read_cube(folder / names[2])
    order = np.arange(4) if nm is None else np.argsort([float(n) for n in by_name(names, nm)])
    for cube in cubes:
        np.testing.assert_array_equal(cube.to_numpy(), np.moveaxis(BANDS[order], 0, -1))
        if nm is None:
            assert cube.wavelengths is None
        else:
            np.testing.assert_allclose(cube.wavelengths, nm)
    assert len({identify_cube(folder / name) for name in names}) == 1


def by_name(names: list[str], nm: list[float]) -> list[float]:
    """Return the wavelength of each name, given all in increasing order."""
    found = wavelengths_of_names([Path(name).stem for name in names])
    assert found is not None
    assert sorted(found) == pytest.approx(nm)
    return found.tolist()


def test_a_cave_scene_has_the_wavelengths_of_the_database(tmp_path: Path):
    bands = np.random.default_rng(1).integers(0, 60_000, (31, 8, 8)).astype(np.uint16)
    names = [f"balloons_ms_{number:02}.png" for number in range(1, 32)]
    folder = save_bands(tmp_path / "balloons_ms", names, bands)
    Image.new("RGB", (8, 8)).save(folder / "balloons_RGB.bmp")
    cube = read_cube(folder)
    np.testing.assert_array_equal(cube.wavelengths, np.arange(400, 701, 10))
    np.testing.assert_array_equal(cube.to_numpy(), np.moveaxis(bands, 0, -1))
    assert "CAVE" in cube.metadata["notes"][1]
    (folder / names[7]).unlink()
    assert read_cube(folder).wavelengths is None


def test_grey_bands_that_were_saved_in_colour_are_bands(tmp_path: Path):
    for number in range(3):
        grey = Image.fromarray((BANDS[number] >> 8).astype(np.uint8))
        grey.convert("RGBA").save(tmp_path / f"band_{number}.png")
    cube = read_cube(tmp_path / "band_1.png")
    np.testing.assert_array_equal(cube.to_numpy(), np.moveaxis(BANDS[:3] >> 8, 0, -1))


def test_colour_pictures_with_numbers_are_no_series(tmp_path: Path):
    for number in range(3):
        Image.effect_noise((8, 8), 50).convert("RGB").save(tmp_path / f"photo_{number}.png")
    colours = np.random.default_rng(2).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "photo_0.png")
    assert read_cube(tmp_path / "photo_0.png").shape == (8, 8, 3)
    with pytest.raises(CubeError, match="without a series"):
        read_cube(tmp_path)


def test_exported_label_maps_are_no_bands(tmp_path: Path):
    save_bands(tmp_path, ["a_1.tif", "a_2.tif", "a_1_labels.tif", "a_2_labels.tif"])
    assert [len(each.files) for each in series_in(tmp_path)] == [2]
    assert series_of(tmp_path / "a_1_labels.tif") is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (np.zeros((9, 10), np.uint16), r"b_1\.tif is 9 × 11 \(uint16\) and b_3\.tif is 9 × 10"),
        (np.zeros((9, 11), np.uint8), r"b_3\.tif is 9 × 11 \(uint8\)"),
        (np.zeros((5, 9, 11), np.uint16), r"b_3\.tif has the shape"),
        (None, r"b_3\.tif"),
    ],
)
def test_files_that_differ_are_refused_by_name(tmp_path: Path, other, message: str):
    save_bands(tmp_path, ["b_1.tif", "b_2.tif"])
    if other is None:
        (tmp_path / "b_3.tif").write_bytes(b"damaged")
    else:
        tifffile.imwrite(tmp_path / "b_3.tif", other)
    with pytest.raises(CubeError, match=message):
        read_cube(tmp_path)


def test_a_file_is_read_when_its_band_is(tmp_path: Path):
    folder = save_bands(tmp_path / "s", ["b_1.tif", "b_2.tif", "b_3.tif", "b_4.tif"])
    cube = read_cube(folder)
    (folder / "b_3.tif").unlink()
    np.testing.assert_array_equal(cube.data[2:5, ::-3, 1], BANDS[1, 2:5, ::-3])
    with pytest.raises(CubeError, match=r"b_3\.tif"):
        cube.data[0, 0]


def test_hundreds_of_files_do_not_stay_open(tmp_path: Path):
    names = [f"b_{number}.tif" for number in range(200)]
    folder = save_bands(tmp_path / "s", names, np.ones((200, 2, 3), np.uint8))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    cube = read_cube(folder)
    assert cube.to_numpy().sum() == 200 * 6
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after - before < 80


def test_bands_may_be_matlab_files(tmp_path: Path):
    for number, band in enumerate(BANDS):
        scipy.io.savemat(tmp_path / f"trans_{number}.mat", {"vv": band.astype(float)})
    cube = read_cube(tmp_path / "trans_2.mat")
    np.testing.assert_array_equal(cube.to_numpy(), np.moveaxis(BANDS, 0, -1))


def test_folders_are_readable_if_they_hold_a_series(tmp_path: Path):
    assert not is_readable(tmp_path)
    assert is_readable(save_bands(tmp_path / "s", ["1.png", "2.png"]))
    with pytest.raises(CubeError, match="is a folder without a series"):
        read_cube(tmp_path)
