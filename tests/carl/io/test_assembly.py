"""Choice of the wavelengths and the band axis, and treatment of implausible metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.cube import SpectralCube
from carl.errors import CubeError, WavelengthError
from carl.io import read_cube, write_cube
from carl.io.assembly import assemble, band_axis, requested_bands, wavelengths_as_nm
from carl.io.reader import FileContents

NM = np.array([620.0, 550.0, 460.0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a cube of three bands with wavelengths, and a table of others beside it."""
    header, _ = write_cube(tmp_path / "cube.hdr", SpectralCube(np.zeros((4, 5, 3)), NM, NM / 10))
    (tmp_path / "cube_wavelengths.csv").write_text("700\n710\n720\n")
    return header


def test_the_caller_overrides_the_camera_and_the_camera_the_file(path: Path) -> None:
    cube = read_cube(path)
    assert np.array_equal(cube.wavelengths, NM)
    assert cube.metadata["wavelength_source"] == "the file"
    cube = read_cube(path, camera="sRGB", wavelengths="400:500:50")
    assert np.array_equal(cube.wavelengths, [400, 450, 500])
    assert cube.fwhm is None
    assert read_cube(path, camera="srgb").metadata["wavelength_source"] == "the camera srgb"


def test_a_table_beside_a_file_without_wavelengths_is_used(path: Path) -> None:
    text = "\n".join(
        line for line in path.read_text(encoding="utf-8").splitlines() if "wave" not in line
    )
    path.write_text(text, encoding="utf-8")
    assert np.array_equal(read_cube(path).wavelengths, [700, 710, 720])


@pytest.mark.parametrize(
    "given", [[1.0, 2.0, 3.0], np.array([1.0, 2.0, 3.0]), "1:3:1", "table", "path"]
)
def test_wavelengths_can_be_given_in_several_ways(path: Path, given: object) -> None:
    table = path.with_name("mine.csv")
    table.write_text("wavelength,width\n1,1\n2,1\n3,1\n")
    given = (
        {"table": str(table), "path": table}.get(given, given) if isinstance(given, str) else given
    )
    assert np.array_equal(read_cube(path, wavelengths=given).wavelengths, [1, 2, 3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wavelengths": [1.0, 2.0]}, "cube.hdr has 3 bands but the list given has 2"),
        ({"wavelengths": "400:700:100"}, "the range 400:700:100 has 4"),
        ({"camera": "tivita"}, "the camera tivita has 100"),
        ({"camera": "nonesuch"}, "nonesuch"),
        ({"wavelengths": "no such table.csv"}, "no such table"),
        ({"wavelengths": "400:x:1"}, "400:x:1"),
        ({"wavelengths": [1, -2, 3]}, "positive"),
    ],
)
def test_given_wavelengths_that_do_not_fit_are_an_error(
    path: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(WavelengthError, match=message):
        read_cube(path, **arguments)


@pytest.mark.parametrize(
    ("values", "unit", "expected"),
    [
        ([400, 700], None, [400, 700]),
        ([0.4, 2.5], "", [400, 2500]),
        ([13.9, 2.5], "unknown", [13900, 2500]),
        ([400, 700], "Nanometers", [400, 700]),
        ([0.4, 0.7], "Micrometers", [400, 700]),
        ([4000, 1000], "cm-1", [2500, 10000]),
    ],
)
def test_wavelengths_are_converted_to_nm(
    values: list[float], unit: str | None, expected: list[float]
) -> None:
    np.testing.assert_allclose(wavelengths_as_nm(values, unit), expected)


@given(st.lists(st.floats(allow_nan=True), max_size=5), st.sampled_from([None, "nm", "GHz", "µm"]))
def test_converted_wavelengths_are_plausible_or_refused(
    values: list[float], unit: str | None
) -> None:
    contents = FileContents(np.zeros((6, 7, 3)), 2, wavelengths=values, wavelength_unit=unit)
    cube = assemble(contents, Path("x.dat"), None)
    if cube.wavelengths is None:
        assert cube.metadata["notes"]
    else:
        assert np.all(np.isfinite(cube.wavelengths))
        assert np.all(cube.wavelengths > 0)


@pytest.mark.parametrize(
    ("shape", "stated", "default", "n_known", "axis"),
    [
        ((9, 9, 9), 1, 2, None, 1),
        ((9, 8, 7), None, 2, 9, 0),
        ((9, 8, 7), None, 0, 7, 2),
        ((9, 8, 9), None, 2, 9, 2),
        ((9, 8, 9), None, 0, 9, 0),
        ((4, 8, 8), None, 2, None, 0),
        ((8, 8, 4), None, 0, None, 2),
        ((5, 8, 8), None, 2, None, 2),
        ((8, 8, 5), None, 0, None, 0),
    ],
)
def test_band_axis_follows_the_documented_rule(
    shape: tuple[int, ...], stated: int | None, default: int, n_known: int | None, axis: int
) -> None:
    contents = FileContents(np.zeros(shape), stated, default_band_axis=default)
    assert band_axis(contents, n_known) == axis


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4)), "two-dimensional"),
        (np.zeros(3), "1 dimensions"),
        (np.zeros((0, 4, 4)), "no pixels"),
        (np.zeros((3, 4, 4), complex), "real numbers"),
        (np.zeros((3, 4, 4), "U1"), "real numbers"),
    ],
)
def test_arrays_that_are_not_cubes_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(CubeError, match=rf"^x\.dat holds.*{message}"):
        assemble(FileContents(array), Path("x.dat"), None)


def test_invalid_metadata_of_valid_pixels_is_ignored() -> None:
    contents = FileContents(
        np.ones((2, 3, 4)),
        band_axis=2,
        good_bands=[1, 0],
        scale=[1.0, 2.0],
        offset=float("nan"),
        fwhm=["a"],
        wavelengths=[500, 510, 520, 530],
    )
    cube = assemble(contents, Path("x.dat"), None)
    assert cube.good_bands.all()
    assert (cube.scale, cube.offset, cube.fwhm) == (1.0, 0.0, None)
    assert np.array_equal(cube.to_numpy(), np.ones((2, 3, 4)))


def test_requested_bands_are_none_by_default() -> None:
    assert requested_bands(None, None) is None
