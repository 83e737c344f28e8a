from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from carl.cube import SpectralCube
from carl.errors import CarlError, CubeError, WavelengthError
from carl.io import write_cube
from carl.pretraining.datasets import SetConfig
from carl.pretraining.datasets.folder import FolderOptions


def test_cubes_are_grouped_by_camera(cubes: Path) -> None:
    few, many = sorted(FolderOptions(cubes).open(), key=len)
    assert (len(few), len(many)) == (2, 3)
    assert many.for_batch(np.random.default_rng(0)).wavelengths.size == 24
    window = many.for_batch(np.random.default_rng(0)).read(1, 16, np.random.default_rng(0))
    assert window.values.shape == (16, 16, 24)
    assert window.name == "many1"
    whole = few.for_batch(np.random.default_rng(0)).read(1, 64, np.random.default_rng(0))
    assert whole.values.shape == (12, 48, 6)
    assert set(whole.spectra[:, 0]) == set(whole.values[..., 0].ravel())


def test_large_cubes_are_drawn_more_often(tmp_path: Path) -> None:
    nm = np.linspace(400, 700, 4)
    for name, side in (("small", 64), ("large", 512)):
        write_cube(tmp_path / f"{name}.hdr", SpectralCube(np.ones((side, side, 4), "u1"), nm))
    (images,) = FolderOptions(tmp_path).open()
    assert len(images) == 17
    view = images.for_batch(np.random.default_rng(0))
    names = [view.read(item, 8, np.random.default_rng(0)).name for item in range(17)]
    assert names == ["large"] * 16 + ["small"]


def test_missing_wavelengths_are_reported_or_given(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((7, 20, 20), "u2"), photometric="minisblack")
    options = {"kind": "folder", "path": "."}
    with pytest.raises(WavelengthError, match=r"^The set '.+': a has no wavelengths"):
        SetConfig.parse(options, "data[0]", tmp_path).open()
    for known in ({"camera": "landsat-8"}, {"wavelengths": "400:700:50"}):
        (source,) = SetConfig.parse(options | known, "data[0]", tmp_path).open()
        assert source.images.for_batch(np.random.default_rng(0)).wavelengths.size == 7


def test_weight_of_a_set_is_divided_among_its_cameras(cubes: Path) -> None:
    config = SetConfig.parse({"kind": "folder", "path": ".", "weight": 10}, "data[0]", cubes)
    assert sorted(source.weight for source in config.open()) == [4, 6]


def test_folder_without_cubes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(CubeError, match=r"holds no cube .* named like \*\*/\*: correct 'path'"):
        FolderOptions(tmp_path).open()
    with pytest.raises(CarlError, match="does not exist"):
        FolderOptions(tmp_path / "none").open()


def test_bad_bands_are_dropped_and_damaged_cubes_refused(tmp_path: Path, cubes: Path) -> None:
    cube = SpectralCube(
        np.ones((20, 20, 4), "f4"), np.linspace(400, 700, 4), good_bands=[True, False, True, True]
    )
    write_cube(tmp_path / "bad" / "a.hdr", cube)
    (images,) = FolderOptions(tmp_path / "bad").open()
    assert images.for_batch(np.random.default_rng(0)).wavelengths.tolist() == [400, 600, 700]
    header = cubes / "many0.hdr"
    header.write_text("ENVI\nsamples = x")
    with pytest.raises(CubeError, match="many0"):
        FolderOptions(cubes).open()


def test_files_are_selected_by_pattern(cubes: Path) -> None:
    (images,) = FolderOptions(cubes, files=("many1*", "many2.hdr")).open()
    assert len(images) == 2


def test_airborne_cubes(real_cubes: Path) -> None:
    config = {"kind": "folder", "path": str(real_cubes / "spechomo_airborne")}
    sources = SetConfig.parse(config, "data[0]", Path()).open()
    assert len(sources) >= 3
    for source in sources:
        view = source.images.for_batch(np.random.default_rng(0))
        window = view.read(0, 32, np.random.default_rng(0))
        assert window.spectra.std() > 0
        assert np.isfinite(window.values).mean() > 0.5
