"""Small files in the layouts of the published data sets."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from carl.errors import CarlError, CubeError
from carl.pretraining.datasets.bigearthnet import BANDS, BigEarthNetOptions
from carl.pretraining.datasets.enmap import DRY_BANDS, HySpecNetOptions, SpectralEarthOptions
from carl.pretraining.datasets.geobench import GeoBenchOptions, GeoBenchSamples
from carl.pretraining.datasets.images import Window
from carl.wavelengths import camera

RANDOM = np.random.default_rng(0)
SIZES = {"B01": 20, "B09": 20} | dict.fromkeys(("B02", "B03", "B04", "B08"), 120)


def read(images: object, item: int = 0) -> Window:
    window: Window = images.read(item, 16, np.random.default_rng(0))  # type: ignore[attr-defined]
    return window


def write_bigearthnet_patch(folder: Path) -> None:
    """Each band a constant, its number, so that bands cannot be mistaken."""
    folder.mkdir(parents=True)
    for number, band in enumerate(BANDS, start=1):
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
    for tile, places in names.items():
        for place in places:
            path = layout.format(tile=tile, patch=f"{tile}_{place}")
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


def test_bigearthnet_has_no_data_where_it_says_0(tmp_path: Path) -> None:
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
    for place, times in {"patch_1": ("a", "b"), "patch_2": ("c",)}.items():
        for time in times:
            write_enmap(tmp_path / "enmap" / place / f"{time}.tif", 202, ord(time))
    (images,) = SpectralEarthOptions(tmp_path).open()
    assert len(images) == 2
    seen = {images.read(0, 16, np.random.default_rng(seed)).values[5, 5, 0] for seed in range(20)}
    assert seen == {97, 98}  # a place was seen twice, and either time may be drawn
    assert read(images, 1).values.shape == (32, 32, 202)


def test_enmap_files_with_other_bands_are_refused(tmp_path: Path) -> None:
    write_enmap(tmp_path / "patch" / "a.tif", 100)
    with pytest.raises(CubeError, match="neither the 224 bands of EnMAP nor the 202"):
        SpectralEarthOptions(tmp_path).open()


SENTINEL_2 = [
    "01 - Coastal aerosol", "02 - Blue", "03 - Green", "04 - Red", "05 - Vegetation Red Edge",
    "06 - Vegetation Red Edge", "07 - Vegetation Red Edge", "08 - NIR",
    "08A - Vegetation Red Edge", "09 - Water vapour", "10 - SWIR - Cirrus", "11 - SWIR",
    "12 - SWIR",
]  # fmt: skip


class Trap:
    """What a hostile file would have unpickled."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return (print, ("a pickle was executed",))


def write_geobench(
    folder: Path, names: list[str], label: object, *, mask: np.ndarray | None = None
) -> Path:
    """Two samples as `geobench` writes them: band after band, attributes in one pickle."""
    folder.mkdir(parents=True)
    for sample in ("id_0", "id_1"):
        attributes: dict[str, object] = {} if mask is not None else {"label": label}
        with h5py.File(folder / f"{sample}.hdf5", "w") as file:
            for number, name in enumerate(names):
                file.create_dataset(name, data=np.full((16, 24), number, np.int16))
                attributes[name] = {"band_info": Trap(), "spatial_resolution": 10.0}
            if mask is not None:
                file.create_dataset("label", data=mask)
            attributes["bands_order"] = names
            file.attrs["pickle"] = str(pickle.dumps(attributes))
    splits = {"train": ["id_0"], "valid": ["id_1"], "test": []}
    (folder / "default_partition.json").write_text(json.dumps(splits))
    return folder


def test_geobench_classification(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_geobench(tmp_path / "classification_v1.0" / "m-so2sat", SENTINEL_2, 7)
    (images,) = GeoBenchOptions(folder).open()
    assert len(images) == 1
    nm = images.for_batch(RANDOM).wavelengths
    np.testing.assert_array_equal(nm, camera("sentinel-2a").wavelengths)
    np.testing.assert_array_equal(read(images).values[3, 3], np.arange(13))
    samples = GeoBenchSamples(folder, "valid")
    assert samples.label(0).shape == ()
    assert int(samples.label(0)) == 7
    assert "executed" not in capsys.readouterr().out


def test_geobench_several_labels(tmp_path: Path) -> None:
    folder = write_geobench(tmp_path / "m-bigearthnet", SENTINEL_2, [0, 1, 1, 0])
    assert GeoBenchSamples(folder, "train").label(0).tolist() == [0, 1, 1, 0]
    odd = write_geobench(tmp_path / "odd", SENTINEL_2, Trap())
    with pytest.raises(CubeError, match="no label that can be read without executing it"):
        GeoBenchSamples(odd, "train").label(0)


def test_geobench_segmentation_at_several_times(tmp_path: Path) -> None:
    names = [f"{name}_2019-0{month}-05" for month in (2, 1) for name in SENTINEL_2[1:4]]
    mask = np.arange(16 * 24).reshape(16, 24, 1) % 3
    folder = write_geobench(
        tmp_path / "m-SA-crop-type", [*names, "Cloud Probability"], 0, mask=mask
    )
    samples = GeoBenchSamples(folder, "train")
    assert samples.wavelengths.size == 3
    np.testing.assert_array_equal(read(samples).values[0, 0], [3, 4, 5])  # January
    np.testing.assert_array_equal(samples.label(0), mask[..., 0])


@pytest.mark.parametrize(
    ("name", "bands"),
    [
        ("m-eurosat", "B01 B02 B03 B04 B05 B06 B07 B08 B09 B10 B11 B12 B8A"),
        ("m-brick-kiln", "B01 B02 B03 B04 B05 B07 B8A B08 B11 B12"),
    ],
)
def test_geobench_sets_whose_bands_are_mislabelled(tmp_path: Path, name: str, bands: str) -> None:
    all_bands = [*BANDS[:10], "B10", *BANDS[10:]]
    nm = camera("sentinel-2a").wavelengths
    samples = GeoBenchSamples(write_geobench(tmp_path / name, SENTINEL_2, 0), "train")
    expected = [nm[all_bands.index(band)] for band in bands.split()]
    np.testing.assert_array_equal(samples.wavelengths, expected)
    np.testing.assert_array_equal(read(samples).values[0, 0], np.arange(len(expected)))


def test_geobench_landsat_and_aerial(tmp_path: Path) -> None:
    landsat = ["02 - Blue", "03 - Green", "04 - Red", "05 - NIR", "06 - SWIR1", "07 - SWIR2"]
    samples = GeoBenchSamples(write_geobench(tmp_path / "m-forestnet", landsat, 0), "train")
    np.testing.assert_array_equal(samples.wavelengths, camera("landsat-8").wavelengths[1:])
    aerial = ["Blue", "CanopyHeightModel", "Green", "Red"]
    samples = GeoBenchSamples(write_geobench(tmp_path / "m-NeonTree", aerial, 0), "train")
    assert samples.wavelengths.tolist() == [490, 560, 665]


def test_geobench_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(CubeError, match=r"wavelengths of the bands of .* are not known"):
        GeoBenchOptions(write_geobench(tmp_path / "radar", ["VV", "VH"], 0)).open()
    folder = write_geobench(tmp_path / "m-so2sat", SENTINEL_2, 0)
    with pytest.raises(CarlError, match="no split 'all': choose one of train, valid, test"):
        GeoBenchOptions(folder, "all").open()


@pytest.mark.parametrize(
    "options", [BigEarthNetOptions, HySpecNetOptions, SpectralEarthOptions, GeoBenchOptions]
)
def test_folders_that_are_not_there_or_laid_out_otherwise(
    tmp_path: Path, options: type[BigEarthNetOptions]
) -> None:
    with pytest.raises(CarlError, match=r"The folder .*nowhere of \S+ does not exist"):
        options(tmp_path / "nowhere").open()
    (tmp_path / "other").mkdir()
    with pytest.raises(CubeError, match="holds no images laid out as "):
        options(tmp_path).open()
