"""The steps from a cube to its features, any of which an earlier run may have done already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from carl.cube import SpectralCube
from carl.inference.blocks import PatchReader, normalisation
from carl.inference.cache_keys import FileGuard
from carl.inference.engine import Engine
from carl.inference.plan import Plan, check_wishes, make_plan
from carl.inference.tile_grid import Chunks, FloatMap, TileGrid
from carl.inference.tiling import tiles
from carl.inference.workers import Workers
from carl.model import CARL
from carl.progress import Progress, subprogress

_BLOCK_BYTES = 16 << 20
"""Of pixels in float32 that are read at once: a slow disk gives them in well under a second."""
_SPATIAL_SHARE = 0.1
"""Of the time, about; over nine tenths go into the bands of every patch."""


@dataclass(frozen=True, eq=False)
class Pipeline:
    """The computation of both maps of features of a cube, piece by piece.

    Attributes:
        cube: with known wavelengths, without bad bands.
        model: in eval mode, on the device to compute on.
        spectral: the map of each patch alone; its pieces are blocks of pixels read at once.
        spatial: the map of patches among their neighbours; its pieces are tiles.
        guard: of the files of the cube.
    """

    cube: SpectralCube
    model: CARL
    spectral: TileGrid
    spatial: TileGrid
    guard: FileGuard

    @classmethod
    def of(cls, cube: SpectralCube, model: CARL) -> Self:
        """The pipeline of a cube.

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
            TileGrid("spatial", grid, tiles(*grid)),
            FileGuard(cube),
        )

    @property
    def nbytes(self) -> int:
        """Memory that all pieces take, in bytes."""
        patches = sum(piece.size for map_ in (self.spectral, self.spatial) for piece in map_.pieces)
        return 4 * self.model.embed_dim * patches

    def done(self, chunks: Chunks) -> float:
        """Share of the work, roughly, whose result is among the chunks."""
        spatial = self.spatial.done(chunks)
        return (1 - _SPATIAL_SHARE) * self.spectral.done(chunks) + _SPATIAL_SHARE * spatial

    def run(
        self,
        chunks: Chunks,
        precision: str,
        speed: str,
        progress: Progress,
        *,
        compiled: bool = False,
    ) -> dict[str, Any]:
        """Make all pieces that are not among the chunks yet.

        Args:
            chunks: where pieces, and what was found out about the cube, are kept.
            precision: as in `carl.embed`.
            speed: as in `carl.embed`.
            compiled: as in `carl.embed`.
            progress: told many times a second; cancels by raising.

        Returns:
            the facts of an `carl.inference.Embedding`.

        Raises:
            CubeError: no value is finite, or the cube changed on disk meanwhile.
            CarlError: no such precision or speed, or not enough memory for a single patch.
            Cancelled: by `progress`.
        """
        check_wishes(precision, speed)

        def report(fraction: float, message: str) -> None:
            self.guard.check()
            progress(fraction, message)

        mean, std = chunks.recall(
            "normalisation",
            lambda: normalisation(self.cube, self.model, subprogress(report, 0.0, 0.05)),
        )
        reader = PatchReader(self.cube, self.model.patch_size, mean, std)
        with Workers(next(self.model.parameters()).device) as workers:
            report(0.05, "Trying what can be left out")
            plan = Plan.from_dict(
                chunks.recall(
                    "plan",
                    lambda: make_plan(reader, self.model, workers, precision, speed).to_dict(),
                )
            )
            engine = Engine(
                self.model, plan.precision, workers, plan.spatial_precision, compiled=compiled
            )

            def report_note(fraction: float, message: str) -> None:
                report(fraction, f"{message} ({engine.note})" if engine.note else message)

            self._make_spectral(chunks, reader, engine, plan, subprogress(report_note, 0.1, 0.91))
            self._make_spatial(chunks, engine, subprogress(report_note, 0.91, 1.0))
        return {
            "shape": self.cube.shape[:2],
            "patch_size": self.model.patch_size,
            "model": self.model.name,
            "fingerprint": self.model.fingerprint,
            "precision": plan.precision,
            "speed": "exact" if plan.groups is None else "turbo",
            "fidelity": plan.fidelity,
        }

    def _make_spectral(
        self,
        chunks: Chunks,
        reader: PatchReader,
        engine: Engine,
        plan: Plan,
        progress: Progress,
    ) -> None:
        wavelengths = reader.cube.require_wavelengths()
        missing = self.spectral.missing(chunks)
        n_patches = sum(piece.size for piece in self.spectral.pieces)
        n_done = n_patches - sum(self.spectral.pieces[index].size for index in missing)
        progress(n_done / n_patches, "Spectral features")
        for index in missing:
            piece = self.spectral.pieces[index]
            strip = reader.strip(piece.rows, piece.columns)

            def done(n: int, before: int = n_done) -> None:
                progress((before + n) / n_patches, "Spectral features")

            features = plan.spectral(engine, strip, wavelengths, done)
            n_rows = piece.rows.stop - piece.rows.start
            chunks[self.spectral.key(index)] = features.reshape(n_rows, -1, features.shape[-1])
            n_done += piece.size

    def _make_spatial(self, chunks: Chunks, engine: Engine, progress: Progress) -> None:
        missing = self.spatial.missing(chunks)
        n_tiles = len(self.spatial.pieces)
        n_done = n_tiles - len(missing)

        def waiting() -> None:
            progress(n_done / n_tiles, "Spatial features")

        def grid(index: int) -> FloatMap:
            piece = self.spatial.pieces[index]
            return self.spectral.read(chunks, piece.rows, piece.columns)

        encoded = engine.spatial(map(grid, missing), waiting)
        for index, features in zip(missing, encoded, strict=True):
            chunks[self.spatial.key(index)] = features
            n_done += 1
            waiting()
