"""From a cube and a model to a map of features."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import CarlError, OutputError
from carl.files import atomic_write
from carl.inference.cache_keys import code_key, cube_key
from carl.inference.chunk_folder import ChunkFolder
from carl.inference.npz import write_npz
from carl.inference.pca import colour_picture, pca_picture
from carl.inference.pipeline import Pipeline
from carl.inference.plan import check_wishes
from carl.inference.tile_grid import FloatMap, MemoryChunks
from carl.io.numpy_files import load_entry
from carl.mapped_files import read_mapped
from carl.model import CARL
from carl.progress import Progress, no_progress, subprogress


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

    def picture(self) -> NDArray[np.uint8]:
        """The same as colours to save: (H, W, 3), of a very large cube (h, w, 3)."""
        return colour_picture(self.spatial, self.shape, self.patch_size)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an ``.npz`` file: the arrays ``spatial`` and ``spectral``, facts as JSON.

        Raises:
            OutputError: the file cannot be written.
        """
        facts = {name: getattr(self, name) for name in _FACTS}
        arrays = {"spatial": self.spatial, "spectral": self.spectral}
        blocks = {name: (values.shape, _strips(values)) for name, values in arrays.items()}
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            write_npz(file, blocks, facts)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mapped: bool = False) -> Embedding:
        """Read what `save` wrote.

        Args:
            path: the file.
            mapped: leave the features in the file and read them as they are asked for.

        Raises:
            CarlError: the file cannot be read or is something else.
        """
        try:
            with ZipFile(path) as archive:
                facts, spatial, spectral = (
                    load_entry(archive, name, Path(path))
                    for name in ("facts", "spatial", "spectral")
                )
            told = json.loads(str(facts))
            told["shape"] = tuple(told["shape"])
            if not mapped:
                spatial, spectral = np.array(spatial), np.array(spectral)
            return cls(spatial=spatial, spectral=spectral, **told)
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise CarlError(
                f"{Path(path).name} is not a saved embedding: make one with carl embed."
            ) from error


def _strips(values: FloatMap) -> Iterator[FloatMap]:
    """Some rows at a time: mapped features count as memory once they are touched."""
    step = max(1, _STRIP_BYTES // max(values[:1].nbytes, 1))
    for top in range(0, len(values), step):
        yield read_mapped(values[top : top + step])


_STRIP_BYTES = 8 << 20
_FACTS = ("shape", "patch_size", "model", "fingerprint", "precision", "speed", "fidelity")


def embed(
    cube: SpectralCube,
    model: CARL,
    *,
    precision: str = "auto",
    speed: str = "exact",
    compiled: bool = False,
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
        compiled: whether to compute by `torch.compile`. To compile takes a minute or more, so that
            it pays for large cubes on a GPU if at all; without a compiler it is done without.
        progress: told many times a second; cancels by raising.

    Raises:
        WavelengthError: the wavelengths are not known.
        CubeError: no band is good, or no value is finite.
        CarlError: no such precision or speed, or not enough memory for a single patch.
        Cancelled: by `progress`.
    """
    pipeline = Pipeline.of(cube, model)
    chunks = MemoryChunks()
    facts = pipeline.run(chunks, precision, speed, progress, compiled=compiled)
    spatial, spectral = (each.read(chunks) for each in (pipeline.spatial, pipeline.spectral))
    return Embedding(spatial=spatial, spectral=spectral, **facts)


def embed_to_file(
    cube: SpectralCube,
    model: CARL,
    path: str | os.PathLike[str],
    *,
    precision: str = "auto",
    speed: str = "exact",
    compiled: bool = False,
    progress: Progress = no_progress,
    note: Callable[[str], None] = lambda _: None,
) -> Embedding:
    """As `embed`, into a file as `Embedding.save` writes it, in memory that the cube does not need.

    Finished pieces are kept in a folder beside the file, named after it with ``.partial`` added,
    until the file is complete. Whatever interrupts the work, the same call goes on from there and
    comes to the same result; it starts anew when the cube, the model or the wishes have changed.

    Args:
        cube: with known wavelengths.
        model: in eval mode, on the device to compute on.
        path: the file; overwritten if it is there.
        precision: as in `embed`.
        speed: as in `embed`.
        compiled: as in `embed`.
        progress: told many times a second; cancels by raising.
        note: told in a sentence what is done about an earlier run that was interrupted.

    Returns:
        the embedding, its features mapped from the file.

    Raises:
        WavelengthError, CubeError, CarlError, Cancelled: as `embed`.
        CubeError: the cube changed on disk meanwhile; nothing is kept then.
        OutputError: there is not enough space, or the file cannot be written.
    """
    check_wishes(precision, speed)
    pipeline = Pipeline.of(cube, model)
    settings = {
        "cube": cube_key(cube),
        "model": f"{model.fingerprint} {model.normalisation}",
        "precision": precision,
        "speed": speed,
        "device": next(model.parameters()).device.type,
        "version": code_key(),
    }
    with ChunkFolder(partial_folder(path), settings) as chunks:
        try:
            _tell(chunks, pipeline, note)
            _check_space(chunks, pipeline)
            told = subprogress(progress, 0.0, 0.98)
            facts = pipeline.run(chunks, precision, speed, told, compiled=compiled)
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                progress(0.98, "Writing")
                arrays = {
                    name: ((*each.shape, model.embed_dim), each.strips(chunks, model.embed_dim))
                    for name, each in (
                        ("spatial", pipeline.spatial),
                        ("spectral", pipeline.spectral),
                    )
                }
                write_npz(file, arrays, facts)
        finally:
            if pipeline.guard.changed or chunks.is_empty:
                chunks.remove()
        chunks.remove()
    progress(1.0, "Written")
    return Embedding.load(path, mapped=True)


def partial_folder(path: str | os.PathLike[str]) -> Path:
    """Where `embed_to_file` keeps finished pieces until the file is complete."""
    return Path(path).with_name(f"{Path(path).name}.partial")


def _tell(chunks: ChunkFolder, pipeline: Pipeline, note: Callable[[str], None]) -> None:
    if chunks.changed:
        note(f"Starting anew: another {' and '.join(chunks.changed)} than in the run before.")
    elif share := pipeline.done(chunks):
        note(f"Continuing the run that was interrupted at {share:.0%}.")


def _check_space(chunks: ChunkFolder, pipeline: Pipeline) -> None:
    """Make sure that pieces and file have room, before long work begins.

    Raises:
        OutputError: they have not.
    """
    height, width = pipeline.spectral.shape
    file = 2 * 4 * height * width * pipeline.model.embed_dim
    needed = pipeline.nbytes - chunks.nbytes + file
    free = shutil.disk_usage(chunks.folder).free
    if needed > free:
        raise OutputError(
            f"{chunks.folder.parent} has {free / 1e9:.1f} GB of free space and the features need "
            f"{needed / 1e9:.1f} GB while they are computed: free some, or write to another disk."
        )
