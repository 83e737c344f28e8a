"""Small files in the layout of GEO-Bench."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from carl.errors import CarlError, CubeError
from carl.io.geobench import SENTINEL_2_BANDS, GeoBenchSplit
from carl.wavelengths import camera

SENTINEL_2 = [
    "01 - Coastal aerosol", "02 - Blue", "03 - Green", "04 - Red", "05 - Vegetation Red Edge",
    "06 - Vegetation Red Edge", "07 - Vegetation Red Edge", "08 - NIR",
    "08A - Vegetation Red Edge", "09 - Water vapour", "10 - SWIR - Cirrus", "11 - SWIR",
    "12 - SWIR",
]  # fmt: skip


class Trap:
    """An object that prints a message if it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return (print, ("a pickle was executed",))


def write_geobench(
    folder: Path, names: list[str], label: object, *, mask: np.ndarray | None = None
) -> Path:
    """Write two samples as `geobench` does: one dataset per band, attributes in one pickle."""
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


def first_image(split: GeoBenchSplit) -> np.ndarray:
    return split.read_image(split.paths[0])


def first_label(split: GeoBenchSplit) -> np.ndarray:
    return split.read_label(split.paths[0])


def test_classification(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_geobench(tmp_path / "classification_v1.0" / "m-so2sat", SENTINEL_2, 7)
    split = GeoBenchSplit(folder, "valid")
    assert len(split) == 1
    np.testing.assert_array_equal(split.wavelengths, camera("sentinel-2a").wavelengths)
    np.testing.assert_array_equal(first_image(split)[3, 3], np.arange(13))
    assert first_label(split).shape == ()
    assert int(first_label(split)) == 7
    assert "executed" not in capsys.readouterr().out


def test_multilabel_classification(tmp_path: Path) -> None:
    folder = write_geobench(tmp_path / "m-bigearthnet", SENTINEL_2, [0, 1, 1, 0])
    assert first_label(GeoBenchSplit(folder, "train")).tolist() == [0, 1, 1, 0]
    trapped = write_geobench(tmp_path / "trapped", SENTINEL_2, Trap())
    with pytest.raises(CubeError, match="no label that can be read without executing it"):
        first_label(GeoBenchSplit(trapped, "train"))


@pytest.mark.parametrize("name", ["x" * 300, "\0", "\ud800"])
def test_names_of_samples_that_no_file_can_have_are_refused(tmp_path: Path, name: str) -> None:
    folder = write_geobench(tmp_path / "m-bigearthnet", SENTINEL_2, 0)
    (folder / "default_partition.json").write_text(json.dumps({"train": [name]}))
    with pytest.raises(CubeError, match=r"default_partition\.json"):
        GeoBenchSplit(folder, "train")


def test_segmentation_with_several_dates_uses_the_first(tmp_path: Path) -> None:
    names = [f"{name}_2019-0{month}-05" for month in (2, 1) for name in SENTINEL_2[1:4]]
    mask = np.arange(16 * 24).reshape(16, 24, 1) % 3
    folder = write_geobench(
        tmp_path / "m-SA-crop-type", [*names, "Cloud Probability"], 0, mask=mask
    )
    split = GeoBenchSplit(folder, "train")
    assert split.wavelengths.size == 3
    np.testing.assert_array_equal(first_image(split)[0, 0], [3, 4, 5])  # January
    np.testing.assert_array_equal(first_label(split), mask[..., 0])


@pytest.mark.parametrize(
    ("name", "bands"),
    [
        ("m-eurosat", "B01 B02 B03 B04 B05 B06 B07 B08 B09 B10 B11 B12 B8A"),
        ("m-brick-kiln", "B01 B02 B03 B04 B05 B07 B8A B08 B11 B12"),
    ],
)
def test_wrong_band_names_of_published_sets_are_corrected(
    tmp_path: Path, name: str, bands: str
) -> None:
    nm = camera("sentinel-2a").wavelengths
    split = GeoBenchSplit(write_geobench(tmp_path / name, SENTINEL_2, 0), "train")
    expected = [nm[SENTINEL_2_BANDS.index(band)] for band in bands.split()]
    np.testing.assert_array_equal(split.wavelengths, expected)
    np.testing.assert_array_equal(first_image(split)[0, 0], np.arange(len(expected)))


def test_landsat_and_aerial_bands(tmp_path: Path) -> None:
    landsat = ["02 - Blue", "03 - Green", "04 - Red", "05 - NIR", "06 - SWIR1", "07 - SWIR2"]
    split = GeoBenchSplit(write_geobench(tmp_path / "m-forestnet", landsat, 0), "train")
    np.testing.assert_array_equal(split.wavelengths, camera("landsat-8").wavelengths[1:])
    aerial = ["Blue", "CanopyHeightModel", "Green", "Red"]
    split = GeoBenchSplit(write_geobench(tmp_path / "m-NeonTree", aerial, 0), "train")
    assert split.wavelengths.tolist() == [490, 560, 665]


def test_unusable_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CubeError, match=r"wavelengths of the bands of .* are not known"):
        GeoBenchSplit(write_geobench(tmp_path / "radar", ["VV", "VH"], 0), "train")
    folder = write_geobench(tmp_path / "m-so2sat", SENTINEL_2, 0)
    with pytest.raises(CarlError, match="no split 'all': choose one of train, valid, test"):
        GeoBenchSplit(folder, "all")
