"""HySpecNet-11k and SpectralEarth: patches of the hyperspectral satellite EnMAP.

Fuchs and Demir 2023, "HySpecNet-11k: a large-scale hyperspectral dataset for benchmarking
learning-based hyperspectral image compression methods": ``<tile>/<patch>/
<patch>-SPECTRAL_IMAGE.TIF``, 224 bands, and lists of patches in ``splits/<kind>/<split>.csv``.
Braham et al. 2024, "SpectralEarth: training hyperspectral foundation models at scale": a folder per
place with a GeoTIFF of 202 bands for each time it was seen.

Both leave out the 22 bands in which water vapour leaves no light; where a file has all 224, they
are left out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.errors import CarlError, CubeError, WavelengthError
from carl.io import read_cube
from carl.pretraining.datasets.images import (
    Images,
    PatchImages,
    nothing_found,
    require_folder,
)
from carl.wavelengths import camera

DRY_BANDS = np.r_[0:126, 141:160, 167:224]
"""Indices of the 202 bands of 224 that both data sets use."""

_HYSPECNET_LAYOUT = "HySpecNet-11k, patches/<tile>/<patch>/<patch>-SPECTRAL_IMAGE.TIF"
_SPECTRALEARTH_LAYOUT = "SpectralEarth, <place>/<time>.tif"
_IMAGE = "-SPECTRAL_IMAGE.TIF"


@dataclass(frozen=True)
class HySpecNetOptions:
    """HySpecNet-11k.

    Attributes:
        path: the folder that holds ``patches`` and ``splits``, or the one above.
        split: a list of patches as ``easy/train``; all patches by default.
    """

    path: Path
    split: str | None = None

    def open(self) -> list[Images]:
        """The patches.

        Raises:
            CarlError: there is no such folder or split, or it is laid out otherwise.
        """
        root = require_folder(self.path, "HySpecNet-11k")
        files = [[path] for path in sorted(root.rglob(f"*{_IMAGE}"))]
        if self.split is not None:
            chosen = _split(root, self.split)
            files = [[path] for (path,) in files if path.name.removesuffix(_IMAGE) in chosen]
        if not files:
            raise nothing_found(self.path, _HYSPECNET_LAYOUT)
        return [EnMAPPatches(files)]


@dataclass(frozen=True)
class SpectralEarthOptions:
    """SpectralEarth.

    Attributes:
        path: the folder of the places, or one above.
    """

    path: Path

    def open(self) -> list[Images]:
        """The places; a draw of one takes any of its times.

        Raises:
            CarlError: there is no such folder, or it is laid out otherwise.
        """
        require_folder(self.path, "SpectralEarth")
        places: dict[Path, list[Path]] = {}
        for path in sorted(self.path.rglob("*.tif")):
            places.setdefault(path.parent, []).append(path)
        if not places:
            raise nothing_found(self.path, _SPECTRALEARTH_LAYOUT)
        return [EnMAPPatches(list(places.values()))]


class EnMAPPatches(PatchImages):
    """Patches of EnMAP.

    Args:
        files: of each patch, the files to take one of.

    Raises:
        CubeError: the first file has neither 224 nor 202 bands.
    """

    def __init__(self, files: Sequence[Sequence[Path]]) -> None:
        all_nm = camera("enmap").wavelengths
        super().__init__(all_nm[DRY_BANDS], len(files))
        self._files = files
        self._in_file, self._kept = _bands_in(files[0][0], all_nm)

    def path_of(self, item: int, random: np.random.Generator) -> Path:
        """One of the files of a patch."""
        files = self._files[item]
        return files[int(random.integers(len(files)))]

    def load(self, path: Path) -> Float32Array:
        """(h, w, 202) values as stored; NaN where the file declares no data."""
        return read_cube(path, wavelengths=self._in_file).read()[..., self._kept]


def _bands_in(
    path: Path, all_nm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Wavelengths of the bands of a file, and which of them to keep."""
    for bands in (DRY_BANDS, np.arange(all_nm.size)):
        try:
            read_cube(path, wavelengths=all_nm[bands])
        except WavelengthError:
            continue
        return all_nm[bands], np.flatnonzero(np.isin(bands, DRY_BANDS))
    raise CubeError(f"{path} has neither the 224 bands of EnMAP nor the 202 without water vapour.")


def _split(root: Path, split: str) -> set[str]:
    """Names of the patches of a split."""
    lists = sorted(root.rglob(f"splits/{split}.csv"))
    if not lists:
        raise CarlError(f"{root} has no list splits/{split}.csv: correct 'split' in its set.")
    lines = lists[0].read_text(encoding="utf-8").split()
    return {Path(line).name.removesuffix("-DATA.npy") for line in lines}
