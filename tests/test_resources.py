"""What the package ships: the sample and the cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carl.files import resource_path
from carl.io import read_cube, read_labels
from carl.wavelengths import cameras

SAMPLE = resource_path("sample", "bladder.tif")

BANDS = {
    "enmap": 224, "hims": 40, "landsat-7": 6, "landsat-8": 7, "rededge": 5, "sentinel-2a": 13,
    "sentinel-2b": 13, "srgb": 3, "tivita": 100, "tivita-step5": 100,
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
    assert {camera.name: camera.n_bands for camera in cameras()} == BANDS
    for camera in cameras():
        assert camera.description
        assert np.all((camera.wavelengths > 300) & (camera.wavelengths < 2600))
        assert camera.fwhm is None or np.all((camera.fwhm > 0) & (camera.fwhm < 300))


# Centres in nm from a second source: centroids of the measured response functions as EnMAP-Box
# (github.com/EnMAP-Box/enmap-box) lists them; for rededge, the XMP tags of its own images.
MEASURED = {
    "sentinel-2a": [
        442.7, 492.44, 559.85, 664.62, 704.11, 740.49, 782.75, 832.79, 864.71, 945.05, 1373.46,
        1613.66, 2202.37,
    ],
    "sentinel-2b": [
        442.23, 492.13, 558.95, 664.94, 703.83, 739.13, 779.72, 832.95, 863.98, 943.17, 1376.88,
        1610.42, 2185.7,
    ],
    "landsat-7": [478.71, 561.04, 661.44, 834.57, 1650.25, 2208.12],
    "rededge": [475, 560, 668, 840, 717],
    "tivita": np.linspace(500, 1000, 100),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("sentinel-2a", 0.6), ("sentinel-2b", 0.6), ("landsat-7", 12.5), ("rededge", 0.1),
        ("tivita", 0.1),
    ],
)  # fmt: skip
def test_camera_centres_agree_with_a_second_source(name: str, tolerance: float) -> None:
    camera = next(camera for camera in cameras() if camera.name == name)
    np.testing.assert_allclose(camera.wavelengths, MEASURED[name], atol=tolerance)
