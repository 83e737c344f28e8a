"""Small files in the layouts of the published data sets."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from carl.errors import CarlError, CubeError
from carl.pretraining.datasets.images import ImageWindow
from carl.pretraining.datasets.satellite import (
    BIGEARTHNET_BANDS,
    DRY_BANDS,
    BigEarthNetOptions,
    GeoBenchOptions,
    HySpecNetOptions,
    SpectralEarthOptions,
)
from carl.wavelengths import camera

RANDOM = np.random.default_rng(0)
SIZES = {"B01": 20, "B09": 20} | dict.fromkeys(("B02", "B03", "B04", "B08"), 120)


def read(images: object, item: int = 0) -> ImageWindow:
    window: ImageWindow = images.read(item, 16, np.random.default_rng(0))  # type: ignore[attr-defined]
    return window


def write_bigearthnet_patch(folder: Path) -> None:
    """Write a patch in which each band is constant and equal to 100 times its number."""
    folder.mkdir(parents=True)
    for number, band in enumerate(BIGEARTHNET_BANDS, start=1):
        size = SIZES.get(band, 60)
        values = np.full((size, size), 100 * number, np.uint16)
        tifffile.imwrite(folder / f"{folder.name}_{band}.tif", values)
    (folder / f"{folder.name}_labels_metadata.json").write_text("{}")


@pytest.mark.parametrize(
    ("layout", "root"),
    [
        ("BigEarthNet-v1.0/{patch}", "BigEarthNet-v1.0"),
        ("BigEarthNet-v1.0/{patch}", "."),
        ("BigEarthNet-S2/{tile}/{patch}", "BigEarthNet-S2"),
        ("BigEarthNet-S2/{tile}/{patch}", "."),
    ],
)
def test_bigearthnet(tmp_path: Path, layout: str, root: str) -> None:
    names = {
        "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP": ("01_02", "26_57"),
        "S2B_MSIL2A_20170818T112109_N9999_R037_T29SNB": ("70_10",),
    }
    for tile, patches in names.items():
        for patch in patches:
            path = layout.format(tile=tile, patch=f"{tile}_{patch}")
            write_bigearthnet_patch(tmp_path / path)
    first, second = BigEarthNetOptions(tmp_path / root).open()
    assert (len(first), len(second)) == (2, 1)
    nm = camera("sentinel-2a").wavelengths
    np.testing.assert_array_equal(first.for_batch(RANDOM).wavelengths, np.delete(nm, 10))
    assert not np.array_equal(first.range_nm, second.range_nm)
    window = read(first)
    assert window.values.shape == (120, 120, 12)
    np.testing.assert_allclose(window.values[60, 60], 0.01 * np.arange(1, 13), rtol=1e-5)
    assert window.spectra.mean() == pytest.approx(0.065, rel=1e-4)


def test_zeros_of_bigearthnet_are_missing_values(tmp_path: Path) -> None:
    folder = tmp_path / "S2A_MSIL2A_1_1"
    write_bigearthnet_patch(folder)
    coarse = np.full((60, 60), 500, np.uint16)
    coarse[:30] = 0
    tifffile.imwrite(folder / f"{folder.name}_B05.tif", coarse)
    values = read(BigEarthNetOptions(tmp_path).open()[0]).values
    assert np.isnan(values[:60, :, 4]).all()
    assert values[62:, :, 4] == pytest.approx(0.05)
    (folder / f"{folder.name}_B12.tif").unlink()
    with pytest.raises(CubeError, match=r"_B12\.tif cannot be read as a band of BigEarthNet-S2"):
        read(BigEarthNetOptions(tmp_path).open()[0])


def write_enmap(path: Path, n_bands: int, value: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.tile(np.arange(n_bands, dtype=np.int16)[:, None, None] + value, (1, 32, 32))
    values[:, 0, 0] = -32768
    tifffile.imwrite(
        path,
        values,
        planarconfig="separate",
        photometric="minisblack",
        extratags=[(42113, "s", 0, "-32768", True)],  # GDAL_NODATA
    )
    return values


TILE = "ENMAP01-____L2A-DT0000004950_20221103T162438Z_001_V010110_20221118T145147Z"


def write_hyspecnet(root: Path) -> list[str]:
    patches = [f"{TILE}-Y01460273_X0{number}" for number in (5670694, 6950822, 8230950)]
    for number, patch in enumerate(patches):
        write_enmap(root / "patches" / TILE / patch / f"{patch}-SPECTRAL_IMAGE.TIF", 224, number)
    listed = root / "splits" / "easy" / "train.csv"
    listed.parent.mkdir(parents=True)
    listed.write_text("\n".join(f"{TILE}/{patch}/{patch}-DATA.npy" for patch in patches[:2]))
    return patches


def test_hyspecnet(tmp_path: Path) -> None:
    write_hyspecnet(tmp_path / "hyspecnet-11k")
    (images,) = HySpecNetOptions(tmp_path).open()
    assert len(images) == 3
    nm = images.for_batch(RANDOM).wavelengths
    assert nm.size == 202
    assert not np.any((nm > 1295) & (nm < 1525))  # water vapour
    window = read(images, 1)
    assert window.values.shape == (32, 32, 202)
    np.testing.assert_array_equal(window.values[5, 5], DRY_BANDS + 1)
    assert np.isnan(window.values[0, 0]).all()
    (chosen,) = HySpecNetOptions(tmp_path, "easy/train").open()
    assert len(chosen) == 2
    with pytest.raises(CarlError, match=r"no list splits/hard/train\.csv"):
        HySpecNetOptions(tmp_path, "hard/train").open()


def test_spectralearth(tmp_path: Path) -> None:
    for location, dates in {"patch_1": ("a", "b"), "patch_2": ("c",)}.items():
        for date in dates:
            write_enmap(tmp_path / "enmap" / location / f"{date}.tif", 202, ord(date))
    (images,) = SpectralEarthOptions(tmp_path).open()
    assert len(images) == 2
    values = {images.read(0, 16, np.random.default_rng(seed)).values[5, 5, 0] for seed in range(20)}
    assert values == {97, 98}  # two dates of one location
    assert read(images, 1).values.shape == (32, 32, 202)


def test_enmap_file_with_other_bands_is_refused(tmp_path: Path) -> None:
    write_enmap(tmp_path / "patch" / "a.tif", 100)
    with pytest.raises(CubeError, match="neither the 224 bands of EnMAP nor the 202"):
        SpectralEarthOptions(tmp_path).open()


def test_geobench(tmp_path: Path) -> None:
    folder = tmp_path / "m-so2sat"
    folder.mkdir()
    names = ["02 - Blue", "03 - Green", "04 - Red"]
    with h5py.File(folder / "id_0.hdf5", "w") as file:
        for number, name in enumerate(names):
            file[name] = np.full((16, 24), number, np.int16)
    splits = {"train": ["id_0"], "valid": [], "test": []}
    (folder / "default_partition.json").write_text(json.dumps(splits))
    (images,) = GeoBenchOptions(folder).open()
    assert len(images) == 1
    assert images.for_batch(RANDOM).wavelengths.size == 3
    np.testing.assert_array_equal(read(images).values[3, 5], [0, 1, 2])


@pytest.mark.parametrize(
    "options", [BigEarthNetOptions, HySpecNetOptions, SpectralEarthOptions, GeoBenchOptions]
)
def test_missing_folder_and_other_layout_are_refused(
    tmp_path: Path, options: type[BigEarthNetOptions]
) -> None:
    with pytest.raises(CarlError, match=r"The folder .*nowhere of \S+ does not exist"):
        options(tmp_path / "nowhere").open()
    (tmp_path / "other").mkdir()
    with pytest.raises(CubeError, match="holds no images laid out as "):
        options(tmp_path).open()
