"""Every real file that was collected for this project: what is right for it, and why.

The expected values were read with the library of each format or with `numpy.fromfile`, not with
this project.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carl.errors import CubeError
from carl.io import ChoiceError, is_label_map, read_cube, read_labels


@dataclass(frozen=True)
class Expected:
    """What is right for a file.

    Attributes:
        file: below the folder of the data.
        shape: (height, width, bands).
        nm: first and last wavelength, or None if they must stay unknown.
        pixel: row, column, band and value of one pixel.
        why: what makes the file difficult, or where the numbers are from.
        notes: texts that the notes or the assumptions contain.
        arguments: of `read_cube`.
        labels: arrays of the file that are offered as label maps.
    """

    file: str
    shape: tuple[int, int, int]
    nm: tuple[float, float] | None
    pixel: tuple[int, int, int, float]
    why: str
    notes: tuple[str, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()


SPECHOMO = "spechomo_airborne/"
MICASENSE = {
    "shape": (960, 1280, 5),
    "nm": (475, 840),
    "why": "one file per band, 840 before 717 nm in their order; from five lenses",
    "notes": ("5 files", "not registered", "the metadata of its files"),
}

EXPECTED = [
    *(
        Expected(
            f"abu_aviris_train_only/abu-{name}.mat",
            shape,
            None,
            (shape[0] // 3, shape[1] // 4, 102, value),
            "205 of 224 bands of AVIRIS, without a list of those that were removed",
            ("wavelengths are unknown",),
            labels=("map",) if name in ("airport-1", "airport-2", "airport-3") else (),
        )
        for name, shape, value in (
            ("airport-1", (100, 100, 205), 405),
            ("airport-2", (100, 100, 205), 448),
            ("airport-3", (100, 100, 205), 173),
            ("airport-4", (100, 100, 205), 407),
            ("beach-1_205band", (150, 150, 205), 18),
            ("beach-2", (100, 100, 205), 2),
            ("beach-3", (100, 100, 205), 73),
            ("urban-1_205band", (100, 100, 205), 518),
            ("urban-2_205band", (100, 100, 205), 427),
            ("urban-3_205band", (100, 100, 205), 87),
            ("urban-4", (100, 100, 205), 344),
            ("urban-5", (100, 100, 205), 258),
        )
    ),
    Expected(
        "hims_bladder/hims_bladder_uint16.tif",
        (676, 844, 40),
        (380, 770),
        (225, 211, 20, 9433),
        "pages are bands; the README of its source gives the wavelengths",
        arguments={"wavelengths": "380:770:10"},
    ),
    *(
        Expected(
            f"hims_bladder/trans_mean_camera_{number}.mat",
            (676, 844, 3),
            None,
            (225, 211, number // 10 - 1, value),
            "MATLAB 7.3 with reversed axes, one band per file; the numbers are no wavelengths",
            ("3 files", "trans_mean_camera_10.mat to trans_mean_camera_30.mat"),
        )
        for number, value in ((10, 0.8950495), (20, 0.9188406), (30, 0.9866667))
    ),
    Expected(
        "labelled/chondro/chondro.npz",
        (25, 35, 300),
        None,
        (8, 8, 150, 513.94476),
        "Raman shifts of 602 to 1798 cm-1, which are no wavelengths, and would pass for nm",
        ("wavelengths in the file were ignored",),
        labels=("labels",),
    ),
    Expected(
        "labelled/hysu/hysu.npz",
        (86, 123, 135),
        (417.4, 902.79),
        (28, 30, 67, 524),
        "a second array of three axes holds masks",
        ("The array cube was read", "roi_masks (86 × 123 × 5)"),
        labels=("labels", "target_size"),
    ),
    Expected(
        "labelled/mstex/mstex_z27.npz",
        (330, 1001, 8),
        (340, 1100),
        (110, 250, 4, 145),
        "a filter wheel from the ultraviolet to the near infrared",
        labels=("labels",),
    ),
    Expected(
        "labelled/muufl/muufl.npz",
        (90, 90, 64),
        (405.8, 1005.3),
        (30, 22, 32, 0.1201913),
        "a second array of three axes holds abundances; the wavelengths fit the cube only",
        ("abundances (90 × 90 × 5)",),
        labels=("labels",),
    ),
    Expected(
        "labelled/nc_landsat/nc_landsat7.npz",
        (443, 489, 6),
        (478, 2204),
        (147, 122, 3, 72),
        "several arrays of whole numbers of its size",
        labels=("labels", "strata_landclass96", "valid"),
    ),
    Expected(
        "labelled/rstoolbox/lsat5_brazil.npz",
        (310, 287, 7),
        (485, 2215),
        (103, 71, 3, 75),
        "the thermal band, 11 450 nm, is before the last one",
        labels=("labels",),
    ),
    Expected(
        "labelled/rstoolbox/sen2_brazil.npz",
        (237, 247, 12),
        (442.7, 2202.4),
        (79, 61, 6, 0.3929),
        "reflectances as they are, without a scale factor",
        labels=("labels",),
    ),
    Expected(
        "labelled/samson/samson.npz",
        (95, 95, 156),
        (401, 889),
        (31, 23, 78, 0.0406562),
        "abundances and endmembers beside the cube",
        labels=("labels",),
    ),
    Expected(
        "landsat7_stars/L7_ETMs.tif",
        (352, 349, 6),
        (485, 2220),
        (117, 87, 3, 77),
        "a GeoTIFF with interleaved bands and no wavelengths",
        arguments={"camera": "landsat-7"},
    ),
    *(
        Expected(
            f"micasense_rededge/IMG_0000_{number}.tif", pixel=(320, 320, band, value), **MICASENSE
        )
        for number, band, value in (
            (1, 0, 13312),
            (2, 1, 20160),
            (3, 2, 24240),
            (4, 4, 29216),
            (5, 3, 22928),
        )
    ),
    Expected("micasense_rededge", pixel=(320, 320, 3, 22928), **MICASENSE),
    *(
        Expected(
            f"openspecy_ftir_map/CA small UF.{suffix}",
            (13, 16, 427),
            (1e7 / 717.42, 1e7 / 4003.67),
            (4, 4, 213, 0.1370935),
            "no byte order, blanks in the name, wavenumbers whose unit is in 'z plot titles'",
            ("little-endian", "cm⁻¹"),
        )
        for suffix in ("hdr", "dat")
    ),
    *(
        Expected(
            f"plantcv_envi/corn-kernel-hyperspectral.{suffix}",
            (31, 43, 580),
            (366.551, 1048.421),
            (10, 10, 290, 1048),
            "no byte order, comment lines",
            ("little-endian",),
        )
        for suffix in ("hdr", "raw")
    ),
    *(
        Expected(
            f"plantcv_envi/darkReference{suffix}",
            (1, 1600, 978),
            (379.027, 1000.95),
            (0, 400, 489, 13),
            "a reference of one line, whose data file has no suffix",
        )
        for suffix in (".hdr", "")
    ),
    Expected(
        "sentinel2_eolearn/REFERENCE_SCENES.npy",
        (101, 100, 13),
        (442.7, 2202.4),
        (33, 25, 6, 0.277),
        "a time axis; the number of bands of the camera shows which axis that is",
        ("frame 0=4",),
        arguments={"frame": 4, "camera": "sentinel-2a"},
    ),
    Expected(
        "sentinel2_eolearn/LULC.npy",
        (101, 100, 1),
        None,
        (33, 25, 0, 2),
        "a label map with a third axis of length one: a cube of one band unless read as labels",
    ),
    *(
        Expected(f"{SPECHOMO}{name}.{suffix}", shape, nm, pixel, why)
        for name, shape, nm, pixel, why in (
            ("AV_mastercal_testdata", (50, 50, 194), (394.94, 2496.24), (16, 12, 97, 1913),
             "wavelength units = Unknown, plainly nm"),
            ("bavaria_hyspex_a742fb12ea29/Bavaria_farmland_LMU_Hyspex_subset", (50, 50, 325),
             (417.46, 2454.57), (16, 12, 162, 450.13577), "float32 numbers"),
            ("bavaria_hyspex_cf273f1212ea/Bavaria_farmland_LMU_Hyspex_subset", (50, 50, 232),
             (424.71, 2316.68), (16, 12, 116, 3223), "a no-data value of -9999"),
            ("refcube__Landsat-5__TM__nclust50__nsamp1000", (1000, 9, 6), (486.3, 2217.24),
             (333, 2, 3, 3856), "a table of spectra, no unit of wavelengths"),
            ("refcube__Landsat-8__OLI_TIRS__nclust50__nsamp1000", (1000, 9, 7), (442.98, 2201.25),
             (333, 2, 3, 721), "a table of spectra, no unit of wavelengths"),
            ("refcube__Sentinel-2A__MSI__nclust50__nsamp1000", (1000, 9, 11), (442.7, 2202.37),
             (333, 2, 5, 3180), "a table of spectra, no unit of wavelengths"),
        )
        for suffix in ("hdr", "bsq")
    ),
    *(
        Expected(
            f"specim_fenix_hippo/image.{suffix}",
            (38, 23, 450),
            (378.19, 2503.73),
            (12, 5, 225, 0.2817884),
            "a reflectance scale factor of 65535 and a no-data value of 0",
            ("scale factors", "no data"),
        )
        for suffix in ("hdr", "dat")
    ),
]  # fmt: skip

REFUSED = {
    "hims_bladder/labels.png": "two-dimensional image",  # a label map
    "openspecy_ftir_map/CA_tiny_map.zip": "unknown format",
    "plantcv_envi/darkReference2.hdr": "no data file",
    "plantcv_envi/darkReference3.hdr": "no data file",
    "plantcv_envi/darkReference4.hdr": "interleave = bup",
    "plantcv_envi/darkReference_arcgis.hdr": "no data file",
    "plantcv_envi/hsi_mask.png": "two-dimensional image",  # a mask
    "sensor_wavelengths/enmap_berlin.hdr": "no data file",
    "sensor_wavelengths/hires_berlin.hdr": "no data file",
}
"""Files that are no cubes, and what the message states."""
NO_CUBES = (".txt", ".csv", ".srf", ".geojson")
"""Suffixes of files beside the cubes: their sources, and wavelengths of cameras."""


@pytest.fixture
def data(shared: Path) -> Path:
    return shared / "data"


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda each: each.file)
def test_a_real_file_is_read_rightly(data: Path, expected: Expected) -> None:
    cube = read_cube(data / expected.file, **expected.arguments)
    assert cube.shape == expected.shape, expected.why
    if expected.nm is None:
        assert cube.wavelengths is None, expected.why
    else:
        nm = cube.require_wavelengths()
        np.testing.assert_allclose([nm[0], nm[-1]], expected.nm, rtol=1e-4, err_msg=expected.why)
    row, column, band, value = expected.pixel
    assert cube.spectrum(row, column)[band] == pytest.approx(value, rel=1e-5), expected.why
    stated = " ".join((*cube.metadata["assumptions"], *cube.metadata["notes"]))
    for text in expected.notes:
        assert text in stated, expected.why
    assert cube.metadata["label_variables"] == expected.labels
    for variable in expected.labels:
        assert read_labels(data / expected.file, cube.shape, variable).labels.any()


@pytest.mark.parametrize(("file", "message"), REFUSED.items())
def test_a_real_file_that_is_no_cube_is_refused(data: Path, file: str, message: str) -> None:
    with pytest.raises(CubeError, match=message):
        read_cube(data / file)


def test_the_table_is_complete(data: Path) -> None:
    found = {
        str(path.relative_to(data))
        for path in data.rglob("*")
        if path.is_file() and path.suffix not in NO_CUBES
    }
    assert found <= {each.file for each in EXPECTED} | REFUSED.keys()


def test_a_recording_of_five_dates_asks_for_one(data: Path) -> None:
    with pytest.raises(ChoiceError, match=r"0 \(5\), 1 \(101\), 2 \(100\), 3 \(13\)"):
        read_cube(data / "sentinel2_eolearn" / "REFERENCE_SCENES.npy")


def test_real_label_maps_are_labels(data: Path) -> None:
    assert read_labels(data / "hims_bladder" / "labels.png").labels.max() == 4
    assert read_labels(data / "sentinel2_eolearn" / "LULC.npy").labels.shape == (101, 100)
    assert not is_label_map(data / "micasense_rededge" / "IMG_0000_1.tif")
