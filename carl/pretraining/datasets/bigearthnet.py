"""BigEarthNet-S2: patches of Sentinel-2, one GeoTIFF per band.

Sumbul et al. 2019, "BigEarthNet: a large-scale benchmark archive for remote sensing image
understanding", and Clasen et al. 2025, "reBEN: refined BigEarthNet dataset". Version 1 has
``<patch>/<patch>_B01.tif``; version 2 has the patches of a tile in a folder of their own,
``<tile>/<patch>/<patch>_B01.tif``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import torch
import torch.nn.functional as F

from carl.arrays import Float32Array
from carl.errors import CubeError
from carl.io.geobench import SENTINEL_2_BANDS
from carl.io.reader import decoding_errors
from carl.pretraining.datasets.images import (
    Images,
    PatchImages,
    nothing_found,
    require_folder,
)
from carl.wavelengths import camera

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""Level 2A has no B10."""
SIZE = 120
"""Pixels of 10 m; bands of 20 m and 60 m are interpolated."""

_LAYOUT = "BigEarthNet-S2, <patch>/<patch>_B01.tif to _B12.tif"


@dataclass(frozen=True)
class BigEarthNetOptions:
    """BigEarthNet-S2.

    Attributes:
        path: the folder of the patches, or of the tiles, or the one above.
    """

    path: Path

    def open(self) -> list[Images]:
        """The patches of each of the two satellites, whose bands differ a little.

        Raises:
            CarlError: there is no such folder, or it is laid out otherwise.
        """
        require_folder(self.path, "BigEarthNet-S2")
        by_satellite = defaultdict(list)
        for folder in _patch_folders(self.path):
            satellite = "sentinel-2b" if folder.name.startswith("S2B") else "sentinel-2a"
            by_satellite[satellite].append(folder)
        if not by_satellite:
            raise nothing_found(self.path, _LAYOUT)
        return [Patches(folders, satellite) for satellite, folders in sorted(by_satellite.items())]


class Patches(PatchImages):
    """The patches of one satellite.

    Args:
        folders: one per patch.
        satellite: name of the camera.
    """

    def __init__(self, folders: Sequence[Path], satellite: str) -> None:
        all_nm = camera(satellite).wavelengths
        super().__init__(all_nm[[SENTINEL_2_BANDS.index(band) for band in BANDS]], len(folders))
        self._folders = folders

    def path_of(self, item: int, random: np.random.Generator) -> Path:
        """The folder of a patch."""
        return self._folders[item]

    def load(self, path: Path) -> Float32Array:
        """(120, 120, 12) reflectance; 0 is no data."""
        return np.stack([_read_band(path / f"{path.name}_{band}.tif") for band in BANDS], axis=-1)


def _read_band(path: Path) -> Float32Array:
    with decoding_errors(path, "a band of BigEarthNet-S2"):
        stored = tifffile.imread(path)
        if stored.ndim != 2:
            raise CubeError(f"{path} is not a picture of one band: copy the data set again.")
    values = stored.astype(np.float32) / np.float32(10_000)
    values[stored == 0] = np.nan  # spreads to the pixels that are interpolated from it
    return _resized(values)


def _resized(band: Float32Array) -> Float32Array:
    """A band on the grid of 10 m, by bilinear interpolation."""
    if band.shape == (SIZE, SIZE):
        return band
    tensor = torch.from_numpy(band)[None, None]
    resized = F.interpolate(tensor, (SIZE, SIZE), mode="bilinear", align_corners=False)
    return resized[0, 0].numpy()


def _patch_folders(root: Path, depth: int = 2) -> Iterator[Path]:
    """Folders of patches at most `depth` levels below."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if (folder / f"{folder.name}_B02.tif").is_file():
            yield folder
        elif depth:
            yield from _patch_folders(folder, depth - 1)
