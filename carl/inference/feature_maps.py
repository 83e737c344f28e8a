"""Compute the feature maps of a cube: normalise, plan, encode patches, encode tiles."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, Self

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.inference.cache_keys import FileGuard
from carl.inference.engine import Engine
from carl.inference.options import ComputeOptions
from carl.inference.patches import PatchReader, normalisation
from carl.inference.plan import Plan
from carl.inference.planning import make_plan
from carl.inference.tile_grid import TileGrid, overlapping_tiles
from carl.inference.tile_store import TileStore
from carl.inference.workers import Workers
from carl.model import CARL
from carl.progress import Progress, subprogress

_BLOCK_BYTES = 16 << 20
"""Bytes of float32 pixels that are read at once: well under a second from a slow disk."""
_SPATIAL_FRACTION = 0.1
"""Approximate fraction of the time that the spatial half takes."""


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """The two feature maps of a cube, and the tiles in which they are computed and stored.

    Attributes:
        cube: with known wavelengths, without bad bands.
        model: in eval mode, on the device to compute on.
        spectral: map of the features of single patches; its tiles are blocks of pixels that are
            read at once.
        spatial: map of the features of patches in context; its tiles overlap.
        guard: of the files of the cube.
    """

    cube: SpectralCube
    model: CARL
    spectral: TileGrid
    spatial: TileGrid
    guard: FileGuard

    @classmethod
    def of(cls, cube: SpectralCube, model: CARL) -> Self:
        """Divide the maps of a cube into tiles.

        Raises:
            WavelengthError: the wavelengths are not known.
            CubeError: no band is good.
        """
        cube = cube.usable_bands()
        cube.require_wavelengths()
        reader = PatchReader(cube, model.patch_size, 0.0, 1.0)
        grid = reader.grid
        return cls(
            cube,
            model,
            TileGrid("spectral", grid, reader.blocks(_BLOCK_BYTES)),
            TileGrid("spatial", grid, overlapping_tiles(*grid)),
            FileGuard(cube),
        )

    @property
    def nbytes(self) -> int:
        """Size of all tiles in bytes."""
        patches = sum(tile.size for grid in (self.spectral, self.spatial) for tile in grid.tiles)
        return 4 * self.model.embed_dim * patches

    def fraction_done(self, store: TileStore) -> float:
        """Return the approximate fraction of the work whose results are stored."""
        spatial = _SPATIAL_FRACTION * self.spatial.fraction_done(store)
        return (1 - _SPATIAL_FRACTION) * self.spectral.fraction_done(store) + spatial

    def compute(
        self, store: TileStore, options: ComputeOptions, progress: Progress
    ) -> dict[str, Any]:
        """Compute all tiles that are not stored yet.

        Args:
            store: of the tiles, the normalisation and the plan.
            options: of the computation.
            progress: called many times a second; cancels by raising.

        Returns:
            the metadata of a `carl.inference.Embedding`.

        Raises:
            CubeError: no value is finite, or the cube changed on disk meanwhile.
            CarlError: there is not enough memory for a single patch.
            Cancelled: by `progress`.
        """

        def report(fraction: float, message: str) -> None:
            self.guard.check()
            progress(fraction, message)

        mean, std = store.get_or_compute(
            "normalisation",
            lambda: normalisation(self.cube, self.model, subprogress(report, 0.0, 0.05)),
        )
        reader = PatchReader(self.cube, self.model.patch_size, mean, std)
        with Workers(next(self.model.parameters()).device) as workers:
            report(0.05, "Choosing how to compute")
            engine = Engine(self.model, workers)
            plan = Plan.from_bytes(
                b64decode(
                    store.get_or_compute(
                        "plan",
                        lambda: b64encode(
                            make_plan(reader, self.model, engine, options).to_bytes()
                        ).decode(),
                    )
                )
            )

            def report_note(fraction: float, message: str) -> None:
                report(fraction, f"{message} ({engine.note})" if engine.note else message)

            self._compute_spectral(store, reader, engine, plan, subprogress(report_note, 0.1, 0.91))
            self._compute_spatial(store, engine, plan, subprogress(report_note, 0.91, 1.0))
        return {
            "shape": self.cube.shape[:2],
            "patch_size": self.model.patch_size,
            "model": self.model.name,
            "fingerprint": self.model.fingerprint,
            "precision": plan.spectral_format,
            "speed": "exact" if plan.groups is None else "turbo",
            "fidelity": plan.fidelity,
        }

    def _compute_spectral(
        self,
        store: TileStore,
        reader: PatchReader,
        engine: Engine,
        plan: Plan,
        progress: Progress,
    ) -> None:
        wavelengths = reader.cube.require_wavelengths()
        missing = self.spectral.missing(store)
        n_patches = sum(tile.size for tile in self.spectral.tiles)
        n_done = n_patches - sum(self.spectral.tiles[index].size for index in missing)
        progress(n_done / n_patches, "Spectral features")
        for index in missing:
            tile = self.spectral.tiles[index]
            strip = reader.strip(tile.rows, tile.columns)

            def on_pass(n: int, before: int = n_done) -> None:
                progress((before + n) / n_patches, "Spectral features")

            features = engine.encode_spectral(strip, wavelengths, plan, on_pass)
            n_rows = tile.rows.stop - tile.rows.start
            store[self.spectral.key(index)] = features.reshape(n_rows, -1, features.shape[-1])
            n_done += tile.size

    def _compute_spatial(
        self, store: TileStore, engine: Engine, plan: Plan, progress: Progress
    ) -> None:
        missing = self.spatial.missing(store)
        n_tiles = len(self.spatial.tiles)
        n_done = n_tiles - len(missing)

        def report() -> None:
            progress(n_done / n_tiles, "Spatial features")

        def spectral_features(index: int) -> Float32Array:
            tile = self.spatial.tiles[index]
            return self.spectral.read(store, tile.rows, tile.columns)

        encoded = engine.encode_spatial(map(spectral_features, missing), plan, report)
        for index, features in zip(missing, encoded, strict=True):
            store[self.spatial.key(index)] = features
            n_done += 1
            report()
