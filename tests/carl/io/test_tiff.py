"""TIFF files as several programs write them."""

from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carl.errors import CubeError, WavelengthError
from carl.io import read_cube
from carl.mapped_files import FileArray

NM = np.arange(400.0, 470.0, 10.0)
CUBE = np.arange(20 * 30 * 7, dtype=np.uint16).reshape(20, 30, 7)
BANDS_FIRST = np.moveaxis(CUBE, -1, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"metadata": None},
        {"metadata": {"axes": "CYX"}},
        {"imagej": True},
        {"ome": True, "metadata": {"axes": "CYX"}},
        {"compression": "zlib", "predictor": True},
        {"planarconfig": "separate", "photometric": "minisblack"},
        {"bigtiff": True, "byteorder": ">"},
        {"tile": (16, 16)},
    ],
)
def test_pages_are_bands(tmp_path: Path, arguments: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", BANDS_FIRST, **arguments)
    assert np.array_equal(read_cube(tmp_path / "a.tif").data, CUBE)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"planarconfig": "contig", "photometric": "minisblack"},
        {"metadata": {"axes": "YXC"}},
        {"compression": "zlib"},
    ],
)
def test_samples_are_bands(tmp_path: Path, arguments: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", CUBE, **arguments)
    assert np.array_equal(read_cube(tmp_path / "a.tif").data, CUBE)


def test_uncompressed_pixels_are_read_lazily(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", BANDS_FIRST)
    assert isinstance(read_cube(tmp_path / "a.tif").data, FileArray)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_wavelengths_in_the_file_round_trip(tmp_path: Path, data: st.DataObject) -> None:
    height, width = data.draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    n_bands = data.draw(st.sampled_from([1, 2, 3, 4, 5, 31]))
    dtype = data.draw(st.sampled_from(["u1", "u2", "i2", "f4", "f8"]))
    pixels = np.arange(height * width * n_bands).reshape(height, width, n_bands).astype(dtype)
    nm = 400.0 + 10 * np.arange(n_bands)
    metadata = {"axes": "CYX", "wavelengths": nm.tolist(), "scale": 0.5, "offset": 1.0}
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.moveaxis(pixels, -1, 0),
        photometric="minisblack",
        compression=data.draw(st.sampled_from([None, "zlib"])),
        metadata=metadata,
    )
    cube = read_cube(tmp_path / "a.tif")
    assert np.array_equal(cube.data, pixels)
    assert np.array_equal(cube.wavelengths, nm)
    np.testing.assert_allclose(cube.to_numpy(), pixels * 0.5 + 1)


def test_a_colour_picture_is_a_cube_of_three_bands(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30, 3), np.uint8), photometric="rgb")
    assert read_cube(tmp_path / "a.tif", camera="srgb").shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "\n".join(map(str, NM))),
        ("a_wavelengths.csv", "band,wavelength_um\n" + "\n".join(f"b,{nm / 1e3}" for nm in NM)),
        ("a_wavelengths.txt", "\n".join(map(str, NM))),
        ("a.json", str(NM.tolist())),
        ("a.json", f'{{"wavelengths": {(NM / 1e3).tolist()}, "unit": "µm"}}'),
    ],
)
def test_wavelengths_beside_the_file_are_used(tmp_path: Path, name: str, content: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", BANDS_FIRST)
    (tmp_path / name).write_text(content)
    cube = read_cube(tmp_path / "a.tif")
    np.testing.assert_allclose(cube.wavelengths, NM)
    assert cube.metadata["wavelength_source"] == name


@pytest.mark.parametrize(
    "content", ['{"classes": []}', "[1, 2", "[400, 500]", "[0, 0]", '{"wavelengths": "x"}']
)
def test_other_files_beside_the_file_are_ignored(tmp_path: Path, content: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", BANDS_FIRST)
    (tmp_path / "a.json").write_text(content)
    assert read_cube(tmp_path / "a.tif").wavelengths is None


def test_gdal_metadata_is_read(tmp_path: Path) -> None:
    items = "".join(
        f'<Item name="wavelength" sample="{i}">{nm}</Item>'
        f'<Item name="wavelength_units" sample="{i}">nanometers</Item>'
        f'<Item name="fwhm" sample="{i}">{5 + i}</Item>'
        f'<Item name="bbl" sample="{i}">{int(i != 2)}</Item>'
        f'<Item name="SCALE" sample="{i}" role="scale">0.0001</Item>'
        f'<Item name="OFFSET" sample="{i}" role="offset">{i}</Item>'
        for i, nm in reversed(list(enumerate(NM)))
    )
    xml = f"<GDALMetadata><Item name='AREA'>x</Item>{items}</GDALMetadata>"
    tags = [(42112, "s", 0, xml, True), (42113, "s", 0, "-9999", True)]
    stored = BANDS_FIRST.astype(np.int16)
    stored[0, 0, 0] = -9999
    tifffile.imwrite(tmp_path / "a.tif", stored, metadata=None, planarconfig="separate",
                     photometric="minisblack", extratags=tags)  # fmt: skip
    cube = read_cube(tmp_path / "a.tif")
    np.testing.assert_array_equal(cube.wavelengths, NM)
    np.testing.assert_array_equal(cube.fwhm, 5 + np.arange(7))
    assert np.flatnonzero(~cube.good_bands).tolist() == [2]
    assert np.isnan(cube.to_numpy()[0, 0, 0])
    np.testing.assert_allclose(cube.spectrum(0, 1), CUBE[0, 1] * 1e-4 + np.arange(7), rtol=1e-6)


def test_ome_channels_are_read(tmp_path: Path) -> None:
    metadata = {
        "axes": "CYX",
        "Channel": {"EmissionWavelength": NM.tolist(), "EmissionWavelengthUnit": ["nm"] * 7},
        "PhysicalSizeX": 0.5,
        "PhysicalSizeY": 0.25,
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", BANDS_FIRST, metadata=metadata)
    cube = read_cube(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(cube.wavelengths, NM)
    assert cube.metadata["pixel_size"] == (0.25, 0.5)
    assert cube.metadata["pixel_unit"] == "µm"


def test_imagej_labels_are_read(tmp_path: Path) -> None:
    labels = [f"slice {i}: {nm:g} nm" for i, nm in enumerate(NM)]
    tifffile.imwrite(tmp_path / "a.tif", BANDS_FIRST, imagej=True, metadata={"Labels": labels})
    np.testing.assert_array_equal(read_cube(tmp_path / "a.tif").wavelengths, NM)


@pytest.mark.parametrize("shape", [(20, 30), (1, 20, 30)])
def test_an_image_of_one_band_needs_a_wavelength(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8))
    if len(shape) == 3:
        assert read_cube(tmp_path / "a.tif").shape == (20, 30, 1)
    else:
        with pytest.raises(CubeError, match="two-dimensional image of 20 × 30"):
            read_cube(tmp_path / "a.tif")


@pytest.mark.parametrize(("code", "name"), [(5, "LZW"), (50000, "ZSTD")])
def test_an_unsupported_compression_names_the_solution(
    tmp_path: Path, code: int, name: str
) -> None:
    if find_spec("imagecodecs"):
        pytest.skip("imagecodecs is here, and can undo it")
    tifffile.imwrite(tmp_path / "a.tif", BANDS_FIRST, metadata=None)
    content = (tmp_path / "a.tif").read_bytes()
    tag = struct.pack("<HHI", 259, 3, 1)  # Compression, one short
    content = content.replace(tag + struct.pack("<H", 1), tag + struct.pack("<H", code))
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(CubeError, match=rf"a\.tif is compressed with {name}.*pip install"):
        read_cube(tmp_path / "a.tif")


def test_given_wavelengths_must_fit(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", BANDS_FIRST)
    assert np.array_equal(read_cube(tmp_path / "a.tif", wavelengths=NM).wavelengths, NM)
    with pytest.raises(WavelengthError, match=r"a\.tif has 7 bands but the camera tivita has 100"):
        read_cube(tmp_path / "a.tif", camera="tivita")


def test_a_real_geotiff_is_read(real_cubes: Path) -> None:
    landsat = read_cube(real_cubes / "landsat7_stars" / "L7_ETMs.tif", camera="landsat-7")
    assert landsat.shape == (352, 349, 6)
    assert landsat.metadata["pixel_size"] == pytest.approx((28.5, 28.5))


def write_pages(path: Path, **options: Any) -> list[int]:
    """Write one page per band; return the positions of the pointers to the pages."""
    tifffile.imwrite(path, BANDS_FIRST, **options)
    with tifffile.TiffFile(path) as file:
        starts = [page.offset for page in file.pages]
        form = file.tiff
    content = path.read_bytes()
    counts = (struct.unpack_from(form.tagnoformat, content, start)[0] for start in starts)
    ends = (
        start + form.tagnosize + count * form.tagsize
        for start, count in zip(starts, counts, strict=True)
    )
    return [8 if form.is_bigtiff else 4, *ends]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.tif", {"metadata": None}),
        ("a.tif", {"metadata": None, "compression": "zlib", "rowsperstrip": 6}),
        ("a.tif", {"metadata": None, "tile": (16, 16)}),
        ("a.tif", {"metadata": None, "bigtiff": True, "byteorder": ">"}),
        ("a.tif", {}),
        ("a.tif", {"imagej": True}),
        ("a.ome.tif", {"metadata": {"axes": "CYX"}}),
    ],
)
def test_no_flipped_bit_of_a_pointer_to_a_page_gives_another_cube(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    path = tmp_path / name
    pointers = write_pages(path, **options)
    content = path.read_bytes()
    n_bits = 64 if options.get("bigtiff") else 32
    for at in pointers:
        for bit in range(0, n_bits, 3):
            damaged = bytearray(content)
            damaged[at + bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            with pytest.raises(CubeError, match=r"a(\.ome)?\.tif (is|has).*damaged|cut off"):
                read_cube(path)


@pytest.mark.parametrize("target", [0, 1, 2])
def test_a_chain_of_pages_that_returns_to_an_earlier_one_is_refused(
    tmp_path: Path, target: int
) -> None:
    path = tmp_path / "a.tif"
    pointers = write_pages(path, metadata=None)
    content = bytearray(path.read_bytes())
    start = content[pointers[target] : pointers[target] + 4]
    content[pointers[3] : pointers[3] + 4] = start
    path.write_bytes(content)
    with pytest.raises(CubeError, match=r"a\.tif is damaged: its page 4 is an earlier one again"):
        read_cube(path)


def test_a_chain_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    width, length = struct.pack("<HHII", 256, 4, 1, 9), struct.pack("<HHII", 257, 4, 1, 9)
    starts = range(8, 8 + 30 * (1 << 16) + 30, 30)
    pages = (struct.pack("<H", 2) + width + length + struct.pack("<I", at + 30) for at in starts)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + b"".join(pages))
    with pytest.raises(CubeError, match=r"a\.tif has more than 65536 pages"):
        read_cube(path)


def test_a_page_that_was_written_anew_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pointers = write_pages(path, metadata=None)
    content = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", content, pointers[3])[0]
    page = content[start : pointers[4] + 4]
    content[pointers[3] : pointers[3] + 4] = struct.pack("<I", len(content))
    path.write_bytes(content + page)
    assert np.array_equal(read_cube(path).data, CUBE)


def test_an_error_that_tifffile_logs_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, BANDS_FIRST, metadata=None)
    content = path.read_bytes()
    tag = struct.pack("<HH", 305, 2)  # Software, text
    assert tag in content
    path.write_bytes(content.replace(tag, struct.pack("<HH", 305, 99)))
    with pytest.raises(
        CubeError, match=r"a\.tif is damaged \(TiffTag 305 invalid data type 99\): copy it"
    ):
        read_cube(path)


def test_other_images_in_the_file_are_noted(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(BANDS_FIRST)
        file.write(BANDS_FIRST[:, ::2, ::2])
    cube = read_cube(tmp_path / "a.tif")
    assert cube.shape == CUBE.shape
    assert cube.metadata["notes"] == ("Other images in a.tif were not opened: 1.",)
