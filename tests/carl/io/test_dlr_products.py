"""DESIS and EnMAP products, in the layout of the DLR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from carl.errors import CubeError
from carl.io import identify_cube, read_cube

BANDS_FIRST = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
ENMAP_NM = [420.0, 700.0, 990.0, 905.0, 2400.0]
"""Of VNIR, then of SWIR."""


def enmap_xml(nm: list[float]) -> str:
    bands = "".join(
        f'<bandID number="{n}"><wavelengthCenterOfBand>{centre}</wavelengthCenterOfBand>'
        f"<FWHMOfBand>{n + 6}</FWHMOfBand><GainOfBand>0.000{n}</GainOfBand>"
        f"<OffsetOfBand>0.{n}</OffsetOfBand></bandID>"
        for n, centre in enumerate(nm, start=1)
    )
    return f"<level_X><bandCharacterisation>{bands}</bandCharacterisation></level_X>"


def desis_xml() -> str:
    bands = "".join(
        f"<band><bandNumber>{n}</bandNumber><wavelengthCenterOfBand>{400 + n}"
        f"</wavelengthCenterOfBand><wavelengthWidthOfBand>3.5</wavelengthWidthOfBand>"
        f"<response>0.1,0.9</response><gainOfBand>0.0001</gainOfBand>"
        "<offsetOfBand>0</offsetOfBand></band>"
        for n in range(5)
    )
    other = "<interiorOrientation><band><bandNumber>0</bandNumber></band></interiorOrientation>"
    return f"<hsi_doc><bandCharacterisation>{bands}</bandCharacterisation>{other}</hsi_doc>"


def write(
    folder: Path, name: str, xml: str, ending: str = "SPECTRAL_IMAGE", n: slice = slice(None)
) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}-METADATA.XML").write_text(xml)
    path = folder / f"{name}-{ending}.TIF"
    tifffile.imwrite(path, BANDS_FIRST[n], photometric="minisblack", planarconfig="separate",
                     metadata=None)  # fmt: skip
    tifffile.imwrite(folder / f"{name}-QL_QUALITY.TIF", BANDS_FIRST[0])
    return path


def test_bands_of_enmap_are_in_order_and_scaled(tmp_path: Path):
    path = write(tmp_path / "scene", "ENMAP01-____L2A-DT1", enmap_xml(ENMAP_NM))
    for opened in (path, path.parent):
        cube = read_cube(opened)
        order = [0, 1, 3, 2, 4]
        assert np.array_equal(cube.data[...], np.moveaxis(BANDS_FIRST, 0, -1)[..., order])
        assert cube.wavelengths.tolist() == sorted(ENMAP_NM)
        assert cube.fwhm.tolist() == [7, 8, 10, 9, 11]
        expected = BANDS_FIRST[3] * 0.0004 + 0.4
        assert np.allclose(cube.read()[..., 2], expected)
        assert cube.metadata["detectors"] == ("VNIR", "VNIR", "SWIR", "VNIR", "SWIR")
        assert "both record 905–990 nm" in cube.metadata["notes"][-1]
    assert identify_cube(path.parent) == path.resolve()


def test_images_of_one_detector_get_their_part_of_the_metadata(tmp_path: Path):
    folder, name = tmp_path / "scene", "ENMAP01-____L1B-DT1"
    vnir = write(folder, name, enmap_xml(ENMAP_NM), "SPECTRAL_IMAGE_VNIR", slice(3))
    swir = write(folder, name, enmap_xml(ENMAP_NM), "SPECTRAL_IMAGE_SWIR", slice(3, 5))
    assert read_cube(vnir).wavelengths.tolist() == ENMAP_NM[:3]
    assert read_cube(swir).wavelengths.tolist() == ENMAP_NM[3:]
    with pytest.raises(CubeError, match=r"scene holds several images, .*SWIR.*: open one of them"):
        read_cube(folder)


def test_desis(tmp_path: Path):
    cube = read_cube(write(tmp_path / "scene", "DESIS-HSI-L2A-DT1", desis_xml()))
    assert np.array_equal(cube.data[...], np.moveaxis(BANDS_FIRST, 0, -1))
    assert cube.wavelengths.tolist() == [400, 401, 402, 403, 404]
    assert cube.fwhm.tolist() == [3.5] * 5
    assert (cube.scale, cube.offset) == (1e-4, 0)


def test_metadata_of_another_number_of_bands_are_ignored_with_a_note(tmp_path: Path):
    cube = read_cube(write(tmp_path / "scene", "ENMAP01-a", enmap_xml([400.0, 500.0])))
    assert cube.wavelengths is None
    assert "was ignored: it lists 2 for 5 bands" in cube.metadata["notes"][-1]


@pytest.mark.parametrize("xml", ["", "<a>", "<a/>", "<bandCharacterisation/>", "\0"])
def test_damaged_metadata_are_an_error(tmp_path: Path, xml: str):
    with pytest.raises(CubeError, match=r"ENMAP01-a-METADATA.XML"):
        read_cube(write(tmp_path / "scene", "ENMAP01-a", xml))


def test_images_without_metadata_are_ordinary_files(tmp_path: Path):
    path = write(tmp_path / "scene", "ENMAP01-a", enmap_xml(ENMAP_NM))
    path.with_name("ENMAP01-a-METADATA.XML").unlink()
    assert read_cube(path).wavelengths is None
