"""From a cube and a model to a map of features."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import CarlError
from carl.files import atomic_write
from carl.inference.blocks import PatchReader, normalisation
from carl.inference.engine import Engine
from carl.inference.pca import pca_picture
from carl.inference.plan import check_wishes, make_plan
from carl.inference.tiling import encode_in_tiles
from carl.inference.turbo import BandGroups
from carl.inference.workers import Workers
from carl.model import CARL
from carl.progress import Progress, no_progress, part

FloatMap = NDArray[np.float32]

_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True, eq=False)
class Embedding:
    """What a model sees in a cube: one feature vector per patch.

    Attributes:
        spatial: (h, w, D) features of patches in the context of their neighbours.
        spectral: (h, w, D) features of each patch alone.
        shape: (H, W) of the cube, pixels; the grid may reach over it by a part of a patch.
        patch_size: pixels along a side of a patch.
        model: name of the model.
        fingerprint: of its configuration and weights.
        precision: that it computed in, "float32" or "bf16".
        speed: "exact", or "turbo" where neighbouring bands were merged.
        fidelity: how near the spectral features come to those of all bands in float32, measured as
            `carl.inference.plan.fidelity` on a sample; None where nothing is approximated.
    """

    spatial: FloatMap
    spectral: FloatMap
    shape: tuple[int, int]
    patch_size: int
    model: str
    fingerprint: str
    precision: str
    speed: str
    fidelity: float | None = None

    @property
    def nbytes(self) -> int:
        """Memory the features take, in bytes."""
        return self.spatial.nbytes + self.spectral.nbytes

    def pca(self, n_components: int = 3) -> FloatMap:
        """Principal components of the spatial features as a picture, (H, W, N) in 0..1."""
        return pca_picture(self.spatial, self.shape, self.patch_size, n_components)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an ``.npz`` file: the arrays ``spatial`` and ``spectral``, facts as JSON.

        Raises:
            OutputError: the file cannot be written.
        """
        facts = {name: getattr(self, name) for name in _FACTS}
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, spatial=self.spatial, spectral=self.spectral, facts=json.dumps(facts))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Embedding:
        """Read what `save` wrote.

        Raises:
            CarlError: the file cannot be read or is something else.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                facts = json.loads(str(stored["facts"]))
                facts["shape"] = tuple(facts["shape"])
                return cls(spatial=stored["spatial"], spectral=stored["spectral"], **facts)
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise CarlError(
                f"{Path(path).name} is not a saved embedding: make one with carl embed."
            ) from error


_FACTS = ("shape", "patch_size", "model", "fingerprint", "precision", "speed", "fidelity")


def embed(
    cube: SpectralCube,
    model: CARL,
    *,
    precision: str = "auto",
    speed: str = "exact",
    progress: Progress = no_progress,
) -> Embedding:
    """Features of every patch of a cube.

    The cube is read in blocks, so memory holds one block of pixels and the features, never the
    cube. Bad bands are left out, values normalised as `normalisation` says, missing ones filled.

    Args:
        cube: with known wavelengths.
        model: in eval mode, on the device to compute on.
        precision: "float32", "bf16", or "auto": bf16 where the device is fast in it and the
            features survive it.
        speed: "exact", or "turbo": neighbouring bands are merged before the network as far as the
            features survive it. They do if they stay the same to a cosine of 0.99 on a sample.
        progress: told many times a second; cancels by raising.

    Raises:
        WavelengthError: the wavelengths are not known.
        CubeError: no band is good, or no value is finite.
        CarlError: no such precision or speed, or not enough memory for a single patch.
        Cancelled: by `progress`.
    """
    check_wishes(precision, speed)
    cube = cube.usable_bands()
    cube.require_wavelengths()
    mean, std = normalisation(cube, model, part(progress, 0.0, 0.05))
    reader = PatchReader(cube, model.patch_size, mean, std)
    with Workers(next(model.parameters()).device) as workers:
        progress(0.05, "Trying what can be left out")
        plan = make_plan(reader, model, workers, precision, speed)
        engine = Engine(model, plan.precision, workers)

        def report(fraction: float, message: str) -> None:
            progress(fraction, f"{message} ({engine.note})" if engine.note else message)

        spectral = _spectral_map(reader, engine, plan.groups, part(report, 0.1, 0.9))
        spatial = encode_in_tiles(engine.spatial, spectral, progress=part(report, 0.9, 1.0))
    return Embedding(
        spatial=spatial,
        spectral=spectral,
        shape=cube.shape[:2],
        patch_size=model.patch_size,
        model=model.name,
        fingerprint=model.fingerprint,
        precision=plan.precision,
        speed="exact" if plan.groups is None else "turbo",
        fidelity=plan.fidelity,
    )


def _spectral_map(
    reader: PatchReader, engine: Engine, groups: BandGroups | None, progress: Progress
) -> FloatMap:
    """(h, w, D) features of each patch alone, block by block."""
    h, w = reader.grid
    wavelengths = reader.cube.require_wavelengths() if groups is None else groups.wavelengths
    maps: list[FloatMap] = []
    for rows, strip in reader.blocks(_BLOCK_BYTES):
        before = rows.start * w

        def done(n_patches: int, before: int = before) -> None:
            progress((before + n_patches) / (h * w), "Spectral features")

        merged = strip if groups is None else groups.merge(strip)
        features = engine.spectral(merged, wavelengths / 1000, done)
        maps.append(features.reshape(rows.stop - rows.start, w, -1))
    return np.concatenate(maps)
