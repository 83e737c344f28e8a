"""ENVI files as several programs write them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.io import envi, is_readable, read_cube, write_cube
from carl.mapped_files import FileArray
from carl.spectra.normalise import check_pixels

DTYPES = ["u1", "i2", "i4", "f4", "f8", "u2", "u4", "i8", "u8"]
CODES = {"u1": 1, "i2": 2, "i4": 3, "f4": 4, "f8": 5, "u2": 12, "u4": 13, "i8": 14, "u8": 15}
FILE_AXES = {"bip": (0, 1, 2), "bil": (0, 2, 1), "bsq": (2, 0, 1)}

HEADER = """ENVI
samples = 3
lines = 2
bands = 4
data type = 12
interleave = bip
"""
PIXELS = np.arange(24, dtype="<u2").reshape(2, 3, 4)


def write(folder: Path, header: str, data: bytes = PIXELS.tobytes(), name: str = "scan") -> Path:
    (folder / f"{name}.dat").write_bytes(data)
    (folder / f"{name}.hdr").write_bytes(header.encode("latin-1"))
    return folder / f"{name}.hdr"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_every_layout_gives_the_same_cube(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 5)] * 3))
    code = data.draw(st.sampled_from(DTYPES))
    elements = {"allow_nan": False} if code[0] == "f" else None
    pixels = data.draw(hnp.arrays(code, shape, elements=elements))
    interleave = data.draw(st.sampled_from(sorted(FILE_AXES)))
    order, offset = data.draw(st.sampled_from("<>")), data.draw(st.sampled_from([0, 7]))
    lines, samples, bands = shape
    header = (
        f"ENVI\nSamples = {samples}\nLINES={lines}\nbands = {bands}\nheader offset = {offset}\n"
        f"data type = {CODES[code]}\ninterleave = {interleave.upper()}\n"
        f"byte order = {int(order == '>')}\n"
    )
    stored = pixels.transpose(FILE_AXES[interleave]).astype(order + code)
    cube = read_cube(write(tmp_path, header, b"x" * offset + stored.tobytes()))
    assert np.array_equal(cube.data, pixels)
    assert isinstance(cube.data, FileArray)
    rows, columns = slice(0, lines, 2), slice(samples - 1, samples)
    assert np.array_equal(cube.read(rows, columns), pixels.astype(np.float32)[rows, columns])


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_written_cubes_round_trip(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 5)] * 3))
    dtype = data.draw(st.sampled_from([*DTYPES, ">u2", ">f4", "f2", "?"]))
    pixels = data.draw(
        hnp.arrays(dtype, shape, elements={"allow_nan": False} if "f" in dtype else None)
    )
    nm = np.array(
        data.draw(st.lists(st.floats(300, 2500), min_size=shape[2], max_size=shape[2], unique=True))
    )
    good = np.array(data.draw(st.lists(st.booleans(), min_size=shape[2], max_size=shape[2])))
    good[0] = True
    before = SpectralCube(pixels, nm, fwhm=nm / 50, good_bands=good, name="a {cube}")
    header, file = write_cube(tmp_path / "cube.hdr", before)
    after = read_cube(header)
    assert np.array_equal(after.to_numpy(), before.to_numpy())
    assert np.array_equal(after.wavelengths, nm)
    assert np.allclose(after.fwhm, before.fwhm)
    assert np.array_equal(after.good_bands, good)
    assert np.array_equal(read_cube(file).to_numpy(), before.to_numpy())


def test_scale_and_nodata_round_trip(tmp_path: Path) -> None:
    one_factor = SpectralCube(PIXELS, scale=1e-4, nodata=5)
    after = read_cube(write_cube(tmp_path / "a.hdr", one_factor)[0])
    assert after.data.dtype == np.uint16
    assert np.isnan(after.to_numpy()[0, 1, 1])
    np.testing.assert_allclose(after.to_numpy(), one_factor.to_numpy(), rtol=1e-6)
    per_band = SpectralCube(PIXELS, scale=np.array([1.0, 2.0, 3.0, 4.0]), offset=-1.0, nodata=5)
    after = read_cube(write_cube(tmp_path / "b.hdr", per_band)[0])
    assert after.data.dtype == np.float32
    np.testing.assert_array_equal(after.to_numpy(), per_band.to_numpy())


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("wavelength units = nm\nwavelength = {500, 510, 520, 530}", [500, 510, 520, 530]),
        ("wavelength = {500, 510, 520, 530}", [500, 510, 520, 530]),
        ("wavelength units = Unknown\nwavelength = {500, 510, 520, 530}", [500, 510, 520, 530]),
        ("wavelength units = Micrometers\nwavelength = {.5,.51,.52,.53}", [500, 510, 520, 530]),
        ("wavelength = {0.5, 0.51, 0.52, 0.53}", [500, 510, 520, 530]),
        ("wavelength = {\n500,\n; a remark\n510\n,520\n,530\n}", [500, 510, 520, 530]),
        (
            "z plot titles = {Wavenumbers (cm-1), Absorbance}\nwavelength = {1000,2000,4000,5000}",
            [10_000, 5_000, 2_500, 2_000],
        ),
        (
            "wavelength units = eV\nwavelength = {2, 1.5, 1.25, 1}",
            [619.921, 826.561, 991.874, 1239.842],
        ),
    ],
)
def test_wavelengths_are_read_in_any_unit(
    tmp_path: Path, lines: str, expected: list[float]
) -> None:
    cube = read_cube(write(tmp_path, f"{HEADER}{lines}\n"))
    np.testing.assert_allclose(cube.wavelengths, expected, rtol=1e-5)
    assert cube.metadata["notes"] == ()


@pytest.mark.parametrize(
    "line",
    [
        "wavelength units = cm-1\nz plot titles = {Raman shift (cm-1), Counts}",
        "wavelength units = Raman shift",
        "z plot titles = {Raman shift / 1/cm, Counts}",
    ],
)
def test_raman_shifts_are_never_read_as_wavelengths(tmp_path: Path, line: str) -> None:
    cube = read_cube(write(tmp_path, f"{HEADER}{line}\nwavelength = {{600, 900, 1200, 1800}}\n"))
    assert cube.wavelengths is None
    assert "Raman shifts" in cube.metadata["notes"][0]


@pytest.mark.parametrize(
    "lines",
    [
        "wavelength = {500, 510, 520}",
        "wavelength = {513.3, 513.3, 513.3, 513.3}",
        "wavelength = {1, 2, 3, 4}\nwavelength units = Index",
        "wavelength = {5, 510, 520, 530}",
        "wavelength = {0, 0, 0, 0}",
        "wavelength = {nan, 510, 520, 530}",
    ],
)
def test_implausible_wavelengths_are_ignored(tmp_path: Path, lines: str) -> None:
    cube = read_cube(write(tmp_path, f"{HEADER}{lines}\n"))
    assert cube.wavelengths is None
    assert len(cube.metadata["notes"]) == 1


def test_widths_are_converted_like_centres(tmp_path: Path) -> None:
    lines = "wavelength units = µm\nwavelength = {.5,.51,.52,.53}\nfwhm = {.01,.01,.01,.02}\n"
    cube = read_cube(write(tmp_path, HEADER + lines))
    np.testing.assert_allclose(cube.fwhm, [10, 10, 10, 20])
    lines = "wavelength units = cm-1\nwavelength={1000,2000,4000,5000}\nfwhm={8,8,8,8}\n"
    cube = read_cube(write(tmp_path, HEADER + lines))
    np.testing.assert_allclose(cube.fwhm, [80, 20, 5, 3.2])


def test_scale_gains_nodata_and_bad_bands_are_read(tmp_path: Path) -> None:
    lines = (
        "reflectance scale factor = 10000\ndata ignore value = 0\nbbl = {1, 0, 1.0, 0}\n"
        "data gain values = {1, 2, 3, 4}\ndata offset values = {0, 0, 0, 1}\n"
    )
    cube = read_cube(write(tmp_path, HEADER + lines))
    assert cube.good_bands.tolist() == [True, False, True, False]
    assert np.isnan(cube.to_numpy()[0, 0, 0])
    np.testing.assert_allclose(cube.spectrum(0, 1), [4e-4, 10e-4, 18e-4, 28e-4 + 1], rtol=1e-6)


def test_the_pixel_size_is_read_from_the_map_info(tmp_path: Path) -> None:
    lines = "map info = {UTM, 1, 1, 716737.4, 4322229.1, 15, 10, 10, North, WGS-84}\n"
    cube = read_cube(write(tmp_path, HEADER + lines))
    assert cube.metadata["pixel_size"] == (10.0, 15.0)
    assert cube.metadata["pixel_unit"] == "m"


@pytest.mark.parametrize("suffix", [".dat", ".img", ".raw", ".bil", ".BSQ", ".bin", ""])
@pytest.mark.parametrize("double", [False, True])
def test_either_the_header_or_the_data_file_can_be_opened(
    tmp_path: Path, suffix: str, double: bool
) -> None:
    data = tmp_path / f"a scan 2.1{suffix}"
    header = tmp_path / (f"{data.name}.hdr" if double else "a scan 2.1.HDR")
    data.write_bytes(PIXELS.tobytes())
    header.write_text(HEADER)
    for path in (data, header) if suffix or double else (header,):
        assert is_readable(path)
        assert np.array_equal(read_cube(path).data, PIXELS)


def test_the_data_file_of_the_right_size_is_chosen(tmp_path: Path) -> None:
    header = write(tmp_path, HEADER, b"a preview")
    (tmp_path / "scan.raw").write_bytes(PIXELS.tobytes())
    assert np.array_equal(read_cube(header).data, PIXELS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("interleave = bip", "interleave = bup"), "bup"),
        (("bands = 4", "bands = 5"), "60 bytes, but scan.dat has 48"),
        (("bands = 4", "bands = 3"), "holds more"),
        (("bands = 4", "bands = 0"), "bands = 0"),
        (("bands = 4", "bands = many"), "whole number"),
        (("bands = 4", ""), "lacks 'bands'"),
        (("data type = 12", "data type = 77"), "77"),
        (("data type = 12", "data type = 6"), "complex"),
        (("data type = 12", "data type = 12\nfile type = ENVI Classification"), "labels"),
        (("data type = 12", "data type = 12\nfile type = ENVI Spectral Library"), "library"),
        (("data type = 12", "data type = 12\nfile compression = 1"), "compress"),
        (("data type = 12", "data type = 12\nmajor frame offsets = {0, 8}"), "frame offsets"),
        (("data type = 12", "data type = 12\nwavelength = {500, 5"), "cut off"),
    ],
)
def test_impossible_headers_are_refused(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    with pytest.raises(CubeError, match=message):
        read_cube(write(tmp_path, HEADER.replace(*change)))


def test_a_missing_header_or_data_file_is_named(tmp_path: Path) -> None:
    header = write(tmp_path, HEADER)
    (tmp_path / "scan.dat").rename(tmp_path / "elsewhere.dat")
    with pytest.raises(CubeError, match=r"no data file beside it: put scan\.dat"):
        read_cube(header)
    with pytest.raises(CubeError, match=r"there is no ENVI header elsewhere\.hdr beside it"):
        read_cube(tmp_path / "elsewhere.dat")


def test_a_cube_of_nan_is_refused(tmp_path: Path) -> None:
    empty = SpectralCube(np.full((40, 30, 5), np.nan, np.float32))
    cube = read_cube(write_cube(tmp_path / "empty.hdr", empty)[0])
    with pytest.raises(CubeError, match="no pixel with a finite value"):
        check_pixels(cube)


def test_a_file_larger_than_memory_is_read_lazily(tmp_path: Path) -> None:
    lines, samples, bands = 200_000, 2_000, 400
    header = (
        f"ENVI\nsamples = {samples}\nlines = {lines}\nbands = {bands}\n"
        "data type = 12\ninterleave = bip\n"
    )
    with (tmp_path / "huge.dat").open("wb") as file:
        file.truncate(2 * lines * samples * bands)  # 320 GB, none of them on the disk
        file.seek(2 * ((7 * samples + 9) * bands + 11))
        file.write(np.uint16(4242).tobytes())
    (tmp_path / "huge.hdr").write_text(header)
    cube = read_cube(tmp_path / "huge.hdr")
    assert cube.spectrum(7, 9)[11] == 4242
    assert cube.spectrum(lines - 1, samples - 1).sum() == 0
    check_pixels(cube)


REAL = {
    "plantcv_envi/corn-kernel-hyperspectral.hdr": ((31, 43, 580), 366.551, 1.0),
    "openspecy_ftir_map/CA small UF.hdr": ((13, 16, 427), 1e7 / 717.42, 1.0),
    "spechomo_airborne/AV_mastercal_testdata.bsq": ((50, 50, 194), 394.935486, 1.0),
    "spechomo_airborne/refcube__Landsat-5__TM__nclust50__nsamp1000.hdr": (
        (1000, 9, 6), 486.304023, 1.0,
    ),
    "specim_fenix_hippo/image.hdr": ((38, 23, 450), 378.2, 1 / 65535),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read(real_cubes: Path, name: str) -> None:
    shape, first, scale = REAL[name]
    cube = read_cube(real_cubes / name)
    assert cube.shape == shape
    assert cube.wavelengths is not None
    assert cube.wavelengths[0] == pytest.approx(first, rel=1e-4)
    assert cube.scale == pytest.approx(scale)
    assert cube.metadata["notes"] == ()
    check_pixels(cube)


@pytest.mark.parametrize(
    ("header", "first", "notes"),
    [
        ("darkReference.hdr", 379.027, 0),
        ("darkReference2.hdr", None, 1),
        ("darkReference_arcgis.hdr", None, 1),
    ],
)
def test_real_headers_of_one_camera_are_read(
    real_cubes: Path, tmp_path: Path, header: str, first: float | None, notes: int
) -> None:
    pixels = np.random.default_rng(0).integers(2, 48, (1, 978, 1600), "<u2")  # band by line
    shutil.copyfile(real_cubes / "plantcv_envi" / header, tmp_path / "dark.hdr")
    (tmp_path / "dark.raw").write_bytes(pixels.tobytes())
    cube = read_cube(tmp_path / "dark.hdr")
    assert np.array_equal(cube.data, pixels.transpose(0, 2, 1))
    assert (None if cube.wavelengths is None else cube.wavelengths[0]) == first
    assert len(cube.metadata["notes"]) == notes


def test_a_real_header_with_an_impossible_interleave_is_refused(real_cubes: Path) -> None:
    with pytest.raises(CubeError, match=r"darkReference4\.hdr has interleave = bup"):
        read_cube(real_cubes / "plantcv_envi" / "darkReference4.hdr")


def test_a_lack_of_memory_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    write_cube(tmp_path / "a.hdr", SpectralCube(np.ones((4, 5, 6), np.float32)))
    monkeypatch.setattr(envi, "open_array", refused)
    with pytest.raises(CubeError, match=r"a\.hdr needs more memory than there is"):
        read_cube(tmp_path / "a.hdr")
