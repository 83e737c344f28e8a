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
from carl.io.assembly import assemble, band_axis, requested_bands
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
    "given",
    [
        [400.0, 500.0, 600.0],
        np.array([400.0, 500.0, 600.0]),
        "400:600:100",
        "400-600",
        "0,4–0,6 µm",
        "400, 500, 600",
        "table",
        "path",
    ],
)
def test_wavelengths_can_be_given_in_several_ways(path: Path, given: object) -> None:
    table = path.with_name("mine.csv")
    table.write_text("wavelength,width\n400,1\n500,1\n600,1\n")
    given = (
        {"table": str(table), "path": table}.get(given, given) if isinstance(given, str) else given
    )
    assert np.array_equal(read_cube(path, wavelengths=given).wavelengths, [400, 500, 600])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wavelengths": [1.0, 2.0]}, "cube.hdr has 3 bands but the list given has 2"),
        ({"wavelengths": "400:700:100"}, "'400:700:100' has 4 wavelengths"),
        ({"camera": "tivita"}, "the camera tivita has 100"),
        ({"camera": "nonesuch"}, "nonesuch"),
        ({"wavelengths": "no such table.csv"}, "no such table"),
        ({"wavelengths": "400:x:1"}, "400:x:1"),
        ({"wavelengths": "400-"}, "400:500:50|400:600:100"),
        ({"wavelengths": "1:3:1"}, "add the unit"),
        ({"wavelengths": "400, " * 5000}, "5000 wavelengths"),
        ({"wavelengths": [1, -2, 3]}, "positive"),
    ],
)
def test_given_wavelengths_that_do_not_fit_are_an_error(
    path: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(WavelengthError, match=message):
        read_cube(path, **arguments)


def test_the_number_of_typed_wavelengths_chooses_the_axis_of_the_bands(tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", np.zeros((3, 9, 8)))
    cube = read_cube(tmp_path / "cube.npy", wavelengths="400:600:100")
    assert cube.shape == (9, 8, 3)
    assert read_cube(tmp_path / "cube.npy", wavelengths="400-600").shape == (9, 8, 3)


@pytest.mark.parametrize(
    ("values", "unit", "note"),
    [
        ([1, 2, 3], None, "may be numbers of bands"),
        ([1, 2, 3], "Nanometers", "below 200 nm"),
        ([10, 16, 20], "Micrometers", "above 15,000 nm"),
        ([400, 500, 600], "Nanometers", None),
    ],
)
def test_unusual_wavelengths_of_a_file_are_noted(
    values: list[float], unit: str | None, note: str | None
) -> None:
    contents = FileContents(np.zeros((6, 7, 3)), 2, wavelengths=values, wavelength_unit=unit)
    notes = assemble(contents, Path("x.dat"), None).metadata["notes"]
    assert len(notes) == (note is not None)
    assert note is None or note in notes[0]


@pytest.mark.parametrize(
    ("text", "nm"),
    [
        ("[0.4, 0.5, 0.6]", [400, 500, 600]),
        ('{"wavelengths": [0.4, 0.5, 0.6], "fwhm": [0.01, 0.01, 0.01]}', [400, 500, 600]),
        ('{"wavelengths": [400, 500, 600], "unit": "nm"}', [400, 500, 600]),
        ('{"wavelengths": [1, 2, 3]}', None),
    ],
)
def test_the_unit_of_a_list_beside_a_file_is_recognised(
    tmp_path: Path, text: str, nm: list[float] | None
) -> None:
    np.save(tmp_path / "cube.npy", np.zeros((9, 8, 3)))
    (tmp_path / "cube.json").write_text(text)
    cube = read_cube(tmp_path / "cube.npy")
    if nm is None:
        assert cube.wavelengths is None
        assert "add the unit" in cube.metadata["notes"][0]
    else:
        np.testing.assert_allclose(cube.wavelengths, nm)
        assert cube.fwhm is None or np.allclose(cube.fwhm, 10)


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
