"""Pre-train on published satellite data sets.

BigEarthNet-S2: patches of Sentinel-2, one GeoTIFF per band. Sumbul et al. 2019, "BigEarthNet: a
large-scale benchmark archive for remote sensing image understanding", and Clasen et al. 2025,
"reBEN: refined BigEarthNet dataset". Version 1 has ``<patch>/<patch>_B01.tif``; version 2 has a
folder per tile, ``<tile>/<patch>/<patch>_B01.tif``.

HySpecNet-11k: patches of the hyperspectral satellite EnMAP. Fuchs and Demir 2023, "HySpecNet-11k: a
large-scale hyperspectral dataset for benchmarking learning-based hyperspectral image compression
methods": ``<tile>/<patch>/<patch>-SPECTRAL_IMAGE.TIF``, 224 bands, and lists of patches in
``splits/<kind>/<split>.csv``.

SpectralEarth: Braham et al. 2024, "SpectralEarth: training hyperspectral foundation models at
scale": a folder per location with an EnMAP GeoTIFF of 202 bands for each date.

GEO-Bench: see `carl.io.geobench`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.errors import CarlError, CubeError, WavelengthError
from carl.io import read_cube
from carl.io.geobench import SENTINEL_2_BANDS, GeoBenchSplit
from carl.io.reader import decoding_errors
from carl.pretraining.datasets.images import (
    ImageSet,
    PatchImages,
    no_images_error,
    require_folder,
)
from carl.wavelengths import camera

BIGEARTHNET_BANDS = tuple(band for band in SENTINEL_2_BANDS if band != "B10")
"""Bands of BigEarthNet-S2: level 2A products have no B10."""
BIGEARTHNET_SIZE = 120
"""Side of a BigEarthNet patch in pixels of 10 m; bands of 20 m and 60 m are interpolated."""
DRY_BANDS = np.r_[0:126, 141:160, 167:224]
"""Indices of the 202 of 224 EnMAP bands that both EnMAP data sets use: the others have no light,
because of water vapour."""

_BIGEARTHNET_LAYOUT = "BigEarthNet-S2, <patch>/<patch>_B01.tif to _B12.tif"
_HYSPECNET_LAYOUT = "HySpecNet-11k, patches/<tile>/<patch>/<patch>-SPECTRAL_IMAGE.TIF"
_SPECTRALEARTH_LAYOUT = "SpectralEarth, <place>/<time>.tif"
_HYSPECNET_SUFFIX = "-SPECTRAL_IMAGE.TIF"


@dataclass(frozen=True)
class BigEarthNetOptions:
    """BigEarthNet-S2.

    Attributes:
        path: folder of the patches, or of the tiles, or the one above.
    """

    path: Path

    def open(self) -> list[ImageSet]:
        """Open the patches, one set per satellite, because their wavelengths differ slightly.

        Raises:
            CarlError: the folder does not exist, or has another layout.
        """
        require_folder(self.path, "BigEarthNet-S2")
        by_satellite = defaultdict(list)
        for folder in _patch_folders(self.path):
            satellite = "sentinel-2b" if folder.name.startswith("S2B") else "sentinel-2a"
            by_satellite[satellite].append([folder])
        if not by_satellite:
            raise no_images_error(self.path, _BIGEARTHNET_LAYOUT)
        bands = [SENTINEL_2_BANDS.index(band) for band in BIGEARTHNET_BANDS]
        return [
            PatchImages(camera(satellite).wavelengths[bands], folders, _read_bigearthnet)
            for satellite, folders in sorted(by_satellite.items())
        ]


@dataclass(frozen=True)
class HySpecNetOptions:
    """HySpecNet-11k.

    Attributes:
        path: folder that holds ``patches`` and ``splits``, or the one above.
        split: list of patches such as ``easy/train``; all patches by default.
    """

    path: Path
    split: str | None = None

    def open(self) -> list[ImageSet]:
        """Open the patches.

        Raises:
            CarlError: the folder or the split does not exist, or the layout differs.
        """
        root = require_folder(self.path, "HySpecNet-11k")
        files = [[path] for path in sorted(root.rglob(f"*{_HYSPECNET_SUFFIX}"))]
        if self.split is not None:
            names = _read_split(root, self.split)
            files = [[p] for (p,) in files if p.name.removesuffix(_HYSPECNET_SUFFIX) in names]
        if not files:
            raise no_images_error(self.path, _HYSPECNET_LAYOUT)
        return [_enmap_images(files)]


@dataclass(frozen=True)
class SpectralEarthOptions:
    """SpectralEarth.

    Attributes:
        path: folder of the locations, or one above.
    """

    path: Path

    def open(self) -> list[ImageSet]:
        """Open the locations; each read of a location uses a random date.

        Raises:
            CarlError: the folder does not exist, or has another layout.
        """
        require_folder(self.path, "SpectralEarth")
        locations: dict[Path, list[Path]] = {}
        for path in sorted(self.path.rglob("*.tif")):
            locations.setdefault(path.parent, []).append(path)
        if not locations:
            raise no_images_error(self.path, _SPECTRALEARTH_LAYOUT)
        return [_enmap_images(list(locations.values()))]


@dataclass(frozen=True)
class GeoBenchOptions:
    """One GEO-Bench data set.

    Attributes:
        path: folder of the data set, such as ``classification_v1.0/m-eurosat``.
        split: train, valid or test.
    """

    path: Path
    split: str = "train"

    def open(self) -> list[ImageSet]:
        """Open the images of the split.

        Raises:
            CarlError: the folder or the split does not exist, the layout differs, or the
                wavelengths of the bands are unknown.
        """
        split = GeoBenchSplit(self.path, self.split)
        return [PatchImages(split.wavelengths, [[path] for path in split.paths], split.read_image)]


def _read_bigearthnet(folder: Path) -> Float32Array:
    """Read (120, 120, 12) reflectance; stored zeros are missing values."""
    files = (folder / f"{folder.name}_{band}.tif" for band in BIGEARTHNET_BANDS)
    return np.stack([_read_sentinel_2_band(file) for file in files], axis=-1)


def _read_sentinel_2_band(path: Path) -> Float32Array:
    """Read a band as reflectance on the grid of 10 m, by bilinear interpolation."""
    with decoding_errors(path, "a band of BigEarthNet-S2"):
        stored = tifffile.imread(path)
        if stored.ndim != 2:
            raise CubeError(f"{path} is not an image of one band: copy the data set again.")
    values = stored.astype(np.float32) / np.float32(10_000)
    values[stored == 0] = np.nan  # also invalidates the pixels interpolated from it
    size = (BIGEARTHNET_SIZE, BIGEARTHNET_SIZE)
    if values.shape == size:
        return values
    tensor = torch.from_numpy(values)[None, None]
    return F.interpolate(tensor, size, mode="bilinear", align_corners=False)[0, 0].numpy()


def _patch_folders(root: Path, depth: int = 2) -> Iterator[Path]:
    """Yield the folders of BigEarthNet patches at most `depth` levels below."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if (folder / f"{folder.name}_B02.tif").is_file():
            yield folder
        elif depth:
            yield from _patch_folders(folder, depth - 1)


def _enmap_images(files: Sequence[Sequence[Path]]) -> PatchImages:
    """Return EnMAP patches, given the alternative files of each; all have the bands of the first.

    Raises:
        CubeError: the first file has neither 224 nor 202 bands.
    """
    path, all_nm = files[0][0], camera("enmap").wavelengths
    for bands in (DRY_BANDS, np.arange(all_nm.size)):
        try:
            read_cube(path, wavelengths=all_nm[bands])
        except WavelengthError:
            continue
        used = np.flatnonzero(np.isin(bands, DRY_BANDS))
        read = partial(_read_enmap, nm=all_nm[bands], bands=used)
        return PatchImages(all_nm[DRY_BANDS], files, read)
    raise CubeError(f"{path} has neither the 224 bands of EnMAP nor the 202 without water vapour.")


def _read_enmap(path: Path, nm: NDArray[np.float64], bands: NDArray[np.intp]) -> Float32Array:
    """Read (h, w, 202) values as stored; NaN where the file declares no data."""
    return read_cube(path, wavelengths=nm).read()[..., bands]


def _read_split(root: Path, split: str) -> set[str]:
    """Read the names of the patches of a HySpecNet split."""
    lists = sorted(root.rglob(f"splits/{split}.csv"))
    if not lists:
        raise CarlError(f"{root} has no list splits/{split}.csv: correct 'split' in its set.")
    lines = lists[0].read_text(encoding="utf-8").split()
    return {Path(line).name.removesuffix("-DATA.npy") for line in lines}
