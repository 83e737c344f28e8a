"""Open the real cubes in ../shared/data that have a few dozen bands or more."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import carl
from carl.arrays import mirror_indices
from carl.cube import SpectralCube

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
AVIRIS_NM = (400, 2500)


def square(cube: SpectralCube, side: int) -> SpectralCube:
    """Return a square of pixels in memory; smaller cubes are extended by reflection."""
    y, x = (mirror_indices(np.arange(side), length) for length in cube.shape[:2])
    block = cube.read(slice(0, int(y.max()) + 1), slice(0, int(x.max()) + 1))
    return SpectralCube(np.ascontiguousarray(block[y][:, x]), cube.require_wavelengths())


def _opened(path: str, n_bands: int, wavelengths: str | None = None) -> SpectralCube:
    """Return a cube with at most `n_bands` of its bands, evenly chosen."""
    cube = carl.read_cube(SHARED / path, wavelengths=wavelengths)
    if cube.wavelengths is None:  # AVIRIS without a list of wavelengths: approximately
        cube = cube.with_wavelengths(np.linspace(*AVIRIS_NM, cube.n_bands))
    cube = cube.usable_bands()
    chosen = np.unique(np.linspace(0, cube.n_bands - 1, n_bands).round().astype(int))
    return SpectralCube(cube.to_numpy()[..., chosen], cube.require_wavelengths()[chosen])


_HYSPEX = "spechomo_airborne/bavaria_hyspex_{}/Bavaria_farmland_LMU_Hyspex_subset.hdr"

REAL_CUBES: dict[str, Callable[[int], SpectralCube]] = {
    "bladder": partial(_opened, "hims_bladder/hims_bladder_uint16.tif", wavelengths="380:770:10"),
    "corn": partial(_opened, "plantcv_envi/corn-kernel-hyperspectral.hdr"),
    "fenix": partial(_opened, "specim_fenix_hippo/image.hdr"),
    "aviris": partial(_opened, "spechomo_airborne/AV_mastercal_testdata.hdr"),
    "hyspex-325": partial(_opened, _HYSPEX.format("a742fb12ea29")),
    "hyspex-232": partial(_opened, _HYSPEX.format("cf273f1212ea")),
    "abu": partial(_opened, "abu_aviris_train_only/abu-airport-2.mat"),
}
