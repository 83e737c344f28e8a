"""The cameras that are shipped."""

from __future__ import annotations

import pytest

from carl.errors import CarlWarning, WavelengthError
from carl.user_folders import cameras_folder
from carl.wavelengths import FilterArray, camera, cameras, shipped_cameras


def add_camera(name: str, text: str) -> None:
    folder = cameras_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def test_shipped_cameras_have_descriptions_and_matching_widths():
    names = [each.name for each in cameras()]
    assert {"tivita", "sentinel-2a", "hims", "srgb"} <= set(names)
    for each in cameras():
        assert each.description
        assert each.fwhm is None or each.fwhm.shape == each.wavelengths.shape


def test_camera_by_name():
    tivita = camera("Tivita")
    assert tivita.n_bands == 100
    assert tivita.wavelengths[0] == 500
    assert tivita.wavelengths[-1] == pytest.approx(1000)
    with pytest.raises(WavelengthError, match="choose one of"):
        camera("polaroid")


def test_tables_in_the_folder_of_the_user_are_cameras():
    add_camera("my-rig.csv", "# Our filter wheel\nwavelength_nm,fwhm_nm\n450,20\n550,20\n650,30\n")
    ours = camera("MY-RIG")
    assert ours.description == "Our filter wheel"
    assert ours.wavelengths.tolist() == [450, 550, 650]
    assert "my-rig" in [each.name for each in cameras()]
    assert "my-rig" not in [each.name for each in shipped_cameras()]

    add_camera("tivita.csv", "500\n600\n")
    assert camera("tivita").n_bands == 2
    assert [each.n_bands for each in cameras() if each.name == "tivita"] == [2]


def test_a_table_that_cannot_be_read_leaves_the_other_cameras():
    add_camera("broken.csv", "no numbers\n")
    with pytest.warns(CarlWarning, match=r"left out. broken.csv"):
        names = [each.name for each in cameras()]
    assert "tivita" in names
    assert "broken" not in names
    with pytest.raises(WavelengthError, match=r"broken\.csv"):
        camera("broken")


def test_a_filter_array_is_declared_in_a_comment():
    assert camera("ximea-4x4-vis").filter_array == FilterArray(4, 4)
    assert camera("ximea-5x5-nir").filter_array == FilterArray(5, 5)
    assert camera("tivita").filter_array is None

    add_camera("own.csv", "# filter array: 1 x 2, first cell at row 3, column 1\n450\n550\n")
    assert camera("own").filter_array == FilterArray(1, 2, 3, 1)
    add_camera("wrong.csv", "# filter array: 2 x 2\n450\n550\n")
    with pytest.raises(WavelengthError, match="2 wavelengths for a filter array of 2 × 2"):
        camera("wrong")
