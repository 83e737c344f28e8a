"""What the package ships: the sample and the cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carl.files import resource_path
from carl.io import read_cube, read_labels
from carl.wavelengths import camera, read_wavelength_table, shipped_cameras
from carl.wavelengths.tables import table_comments

SAMPLE = resource_path("sample", "bladder.tif")

BANDS = {
    "aviris-ng": 425, "desis": 235, "emit": 285, "enmap": 224, "headwall-nano": 270,
    "headwall-swir": 267, "hims": 40, "landsat-5": 6, "landsat-7": 6, "landsat-8": 7,
    "landsat-9": 7, "prisma": 234, "rededge": 5, "sentinel-2a": 13, "sentinel-2b": 13,
    "specim-fx10": 224, "specim-fx17": 224, "specim-iq": 204, "srgb": 3, "tivita": 100,
    "tivita-step5": 100, "ximea-4x4-vis": 16, "ximea-5x5-nir": 25,
}  # fmt: skip


def test_the_sample_is_small_and_public() -> None:
    assert SAMPLE.stat().st_size <= 12e6
    assert "public domain" in resource_path("sample", "NOTICE.txt").read_text()
    cube = read_cube(SAMPLE)
    assert cube.shape == (676, 844, 40)
    assert np.array_equal(cube.wavelengths, np.arange(380, 771, 10))
    assert cube.metadata["quantity"] == "transmittance"


def test_the_sample_shows_transmittance_of_four_tissues() -> None:
    cube = read_cube(SAMPLE)
    known = read_labels(resource_path("sample", "bladder_labels.png"), cube.shape)
    assert [c.name for c in known.classes] == ["lumen", "urothelium", "stroma", "blood"]
    means = {c.name: cube.to_numpy()[known.labels == c.value].mean(axis=0) for c in known.classes}
    np.testing.assert_allclose(means["lumen"][1:], 1, atol=0.03)  # at 380 nm there is little light
    green, red = 16, 28  # 540 and 660 nm
    for name in ("urothelium", "stroma", "blood"):
        assert means[name][green] < means[name][red] < 1.02
    assert means["blood"][green] < means["stroma"][green] - 0.1
    assert np.bincount(known.labels.ravel()).min() > 1000


def test_the_sample_is_its_source_within_the_noise(shared: Path) -> None:
    source = read_cube(shared / "data" / "hims_bladder" / "hims_bladder_uint16.tif")
    cube = read_cube(SAMPLE)
    difference = np.abs(cube.to_numpy() - source.to_numpy() * np.float32(1e-4))
    np.testing.assert_array_less(difference.max(axis=(0, 1)), np.asarray(cube.scale) / 2 + 0.07)
    np.testing.assert_array_less(np.median(difference, axis=(0, 1)), np.asarray(cube.scale) / 3)
    labels = read_labels(shared / "data" / "hims_bladder" / "labels.png").labels
    ours = read_labels(resource_path("sample", "bladder_labels.png")).labels
    assert np.array_equal(labels, ours)


def test_cameras() -> None:
    assert {each.name: each.n_bands for each in shipped_cameras()} == BANDS
    for each in shipped_cameras():
        assert each.description
        assert np.all((each.wavelengths > 300) & (each.wavelengths < 2600))
        assert each.fwhm is None or np.all((each.fwhm > 0) & (each.fwhm < 300))


@pytest.mark.parametrize("name", sorted(BANDS))
def test_every_camera_names_its_source_and_whether_it_is_nominal(name: str) -> None:
    comments = table_comments(resource_path("cameras", f"{name}.csv"))
    assert len(comments) >= 2
    assert "bands" in comments[0]
    assert len(comments[1]) > 20
    if name.split("-")[0] in ("specim", "headwall", "ximea"):  # calibrated one by one
        assert "nominal" in comments[0]


@pytest.mark.parametrize(
    ("name", "table", "first", "tolerance"),
    [
        ("prisma", "enmapbox_prisma.csv", 0, 0.01), ("desis", "enmapbox_desis.csv", 0, 0.01),
        ("emit", "enmapbox_emit.csv", 0, 0.01),
        ("aviris-ng", "derived_AVIRIS_NG_PROSAILrange_419b.csv", 5, 0.02),
    ],
)  # fmt: skip
def test_imaging_spectrometers_agree_with_the_tables_of_their_users(
    shared: Path, name: str, table: str, first: int, tolerance: float
) -> None:
    expected = read_wavelength_table(shared / "data" / "sensor_wavelengths" / table)
    found = camera(name)
    covered = slice(first, first + expected.wavelengths.size)
    np.testing.assert_allclose(found.wavelengths[covered], expected.wavelengths, atol=tolerance)
    np.testing.assert_allclose(found.fwhm[covered], expected.fwhm, atol=0.02)


def test_the_overlap_of_prisma_detectors_is_declared() -> None:
    steps = np.diff(camera("prisma").wavelengths)
    assert np.flatnonzero(steps < 0).tolist() == [62]  # VNIR to 972.7 nm, SWIR from 943 nm


def test_specim_cameras_agree_with_headers_of_their_files() -> None:
    iq, fx10, fx17 = (camera(f"specim-{name}").wavelengths for name in ("iq", "fx10", "fx17"))
    np.testing.assert_allclose(iq[[0, 1, 203]], [397.32, 400.20, 1003.58])
    np.testing.assert_allclose(fx10[[0, 1, 223]], [397.66, 400.28, 1003.81])
    # Bands of single files, and means of pairs in files with binned bands.
    np.testing.assert_allclose(fx17[[105, 147]], [1301.56, 1449.68], atol=0.01)
    np.testing.assert_allclose(fx17[[0, 1]].mean(), 937.33, atol=0.01)
    np.testing.assert_allclose(fx17[[222, 223]].mean(), 1718.44, atol=0.01)


def test_neighbouring_cells_of_filter_arrays_have_neighbouring_bands() -> None:
    # The filters of imec are made in pairs of columns: a wrong order of cells would break this.
    for name in ("ximea-4x4-vis", "ximea-5x5-nir"):
        found = camera(name)
        assert found.filter_array is not None
        cells = found.wavelengths.reshape(found.filter_array.rows, found.filter_array.columns)
        pairs = np.abs(cells[:, 0] - cells[:, 1])
        np.testing.assert_array_less(pairs, 20)


# Centres in nm from a second source: centroids of the measured response functions as EnMAP-Box
# (github.com/EnMAP-Box/enmap-box) lists them; for landsat-9, those of RTTOV (nwp-saf.eumetsat.int,
# the first three) and the names of its response files; for rededge, the XMP tags of its own images.
MEASURED = {
    "sentinel-2a": [
        442.7, 492.44, 559.85, 664.62, 704.11, 740.49, 782.75, 832.79, 864.71, 945.05, 1373.46,
        1613.66, 2202.37,
    ],
    "sentinel-2b": [
        442.23, 492.13, 558.95, 664.94, 703.83, 739.13, 779.72, 832.95, 863.98, 943.17, 1376.88,
        1610.42, 2185.7,
    ],
    "landsat-5": [486.08, 571.22, 659.83, 839.33, 1677.58, 2216.8],
    "landsat-7": [478.71, 561.04, 661.44, 834.57, 1650.25, 2208.12],
    "landsat-9": [443, 480.4, 559.5, 654, 865, 1608, 2200],
    "rededge": [475, 560, 668, 840, 717],
    "tivita": np.linspace(500, 1000, 100),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("sentinel-2a", 0.6), ("sentinel-2b", 0.6), ("landsat-5", 28), ("landsat-7", 12.5),
        ("landsat-9", 4), ("rededge", 0.1), ("tivita", 0.1),
    ],
)  # fmt: skip
def test_camera_centres_agree_with_a_second_source(name: str, tolerance: float) -> None:
    np.testing.assert_allclose(camera(name).wavelengths, MEASURED[name], atol=tolerance)
