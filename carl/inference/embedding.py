"""Embeddings of cubes: compute, cache on disk, save and load."""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.errors import CarlError, CarlWarning, OutputError
from carl.files import atomic_write, remove_abandoned
from carl.inference.cache_keys import FileGuard, code_key, content_key, cube_key, file_stamps
from carl.inference.feature_maps import FeatureMaps
from carl.inference.npz import READ_ERRORS, read_npz, write_npz
from carl.inference.options import DEFAULT_OPTIONS, ComputeOptions, Precision, Speed
from carl.inference.pca import colour_picture, pca_picture
from carl.inference.tile_store import MemoryTiles, TileFolder
from carl.mapped_files import read_mapped
from carl.model import CARL
from carl.progress import Progress, no_progress, subprogress
from carl.user_folders import features_folder, scratch_folder

_METADATA = ("shape", "patch_size", "model", "fingerprint", "precision", "speed", "fidelity")
"""Attributes of an embedding that are saved as metadata."""
_VERSION = 1
"""Version of the format of saved embeddings; files of earlier versions of the program have none."""
_STRIP_BYTES = 8 << 20
"""Bytes of features that are saved at a time."""
_KEY_FRACTION = 0.02
"""Approximate fraction of the time of a computation that hashing the cube takes."""


@dataclass(frozen=True, eq=False, repr=False)
class Embedding:
    """Features that a model computes of a cube: one vector per patch.

    Attributes:
        spatial: (h, w, D) features of patches in the context of their neighbours.
        spectral: (h, w, D) features of single patches.
        shape: (H, W) of the cube in pixels; the last patches may reach over its border.
        patch_size: pixels along a side of a patch.
        model: name of the model.
        fingerprint: of the configuration and weights of the model.
        precision: number format of the spectral half, "float32" or "bf16".
        speed: "exact", or "turbo" where neighbouring bands were merged.
        fidelity: similarity to the exact features in float32, measured on a sample as
            `carl.inference.planning.fidelity`; None if nothing is approximated.

    Examples:
        >>> import carl
        >>> import numpy as np
        >>> pixels = np.random.default_rng(0).random((48, 64, 5), np.float32)
        >>> cube = carl.SpectralCube(pixels, wavelengths=[450, 500, 550, 600, 650])
        >>> embedding = carl.embed(cube, carl.load_model(device="cpu"), precision="float32")
        >>> embedding
        <Embedding by 'carl-nano': 6 × 8 patches of 8 × 8 pixels, 192 features, float32, exact>
        >>> embedding.spatial.shape, embedding.pca(3).shape
        ((6, 8, 192), (48, 64, 3))
    """

    spatial: Float32Array
    spectral: Float32Array
    shape: tuple[int, int]
    patch_size: int
    model: str
    fingerprint: str
    precision: str
    speed: str
    fidelity: float | None = None

    def __repr__(self) -> str:
        height, width, features = self.spatial.shape
        return (
            f"<Embedding by {self.model!r}: {height} × {width} patches of {self.patch_size} × "
            f"{self.patch_size} pixels, {features} features, {self.precision}, {self.speed}>"
        )

    @property
    def nbytes(self) -> int:
        """Size of the features in bytes."""
        return self.spatial.nbytes + self.spectral.nbytes

    def pca(self, n_components: int = 3) -> Float32Array:
        """Return principal components of the spatial features as an image, (H, W, N) in 0..1."""
        return pca_picture(self.spatial, self.shape, self.patch_size, n_components)

    def picture(self) -> NDArray[np.uint8]:
        """Return the first three components as colours: (H, W, 3), of a very large cube (h, w, 3).

        See `carl.inference.pca.colour_picture`.
        """
        return colour_picture(self.spatial, self.shape, self.patch_size)

    def _check(self) -> None:
        """Raise a `ValueError` if there is not one vector of each kind for every patch."""
        patches = tuple(ceil(length / max(self.patch_size, 1)) for length in self.shape)
        for features in (self.spatial, self.spectral):
            if features.ndim != 3 or features.shape[:2] != patches:
                raise ValueError(f"features of {features.shape} for {patches} patches")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an ``.npz`` file: arrays ``spatial`` and ``spectral``, ``metadata`` as JSON.

        Raises:
            OutputError: the file cannot be written.
        """
        with atomic_write(path) as temporary:
            self._write(temporary)

    def _write(self, path: Path) -> None:
        metadata = {name: getattr(self, name) for name in _METADATA} | {"version": _VERSION}
        arrays = {"spatial": self.spatial, "spectral": self.spectral}
        blocks = {name: (values.shape, _strips(values)) for name, values in arrays.items()}
        with path.open("wb") as file:
            write_npz(file, blocks, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mapped: bool = False) -> Embedding:
        """Read a file that `save` wrote, and compare its checksums.

        Args:
            path: of the file.
            mapped: memory-map the features instead of loading them. The file is read once, for the
                checksums.

        Raises:
            CarlError: the file cannot be read, is damaged, is not a saved embedding, or was made by
                a newer version of the program.
        """
        try:
            arrays, metadata = read_npz(path, mapped=mapped)
            is_newer = metadata.pop("version", 1) > _VERSION
            if not is_newer:
                metadata["shape"] = tuple(metadata["shape"])
                loaded = cls(spatial=arrays["spatial"], spectral=arrays["spectral"], **metadata)
                loaded._check()
                return loaded
        except READ_ERRORS as error:
            raise CarlError(
                f"{Path(path).name} is not a saved embedding, or is damaged: make one with carl "
                "embed."
            ) from error
        raise CarlError(
            f"{Path(path).name} was made by a newer version of CARL: update with pip install "
            "--upgrade napari-carl."
        )


def _strips(values: Float32Array) -> Iterator[Float32Array]:
    """Yield some rows at a time: mapped features occupy memory once they are accessed."""
    step = max(1, _STRIP_BYTES // max(values[:1].nbytes, 1))
    for top in range(0, len(values), step):
        yield read_mapped(values[top : top + step])


def embed(
    cube: SpectralCube,
    model: CARL,
    *,
    precision: Precision = "auto",
    speed: Speed = "exact",
    progress: Progress = no_progress,
) -> Embedding:
    """Compute the features of every patch of a cube.

    The cube is read in blocks: one block of pixels and the features are in memory, never the whole
    cube. Bad bands are left out, values are normalised, and missing values filled.

    Args:
        cube: with known wavelengths.
        model: in eval mode, on the device to compute on.
        precision: "float32", "bf16", or "auto": bf16 if the device has instructions for it and the
            features stay close to those in float32.
        speed: "exact", or "turbo": merge neighbouring bands and run a part of the spectral encoder,
            as far as the fidelity of the features on a sample stays at 0.99 or above.
        progress: called many times a second; cancels by raising.

    Raises:
        WavelengthError: the wavelengths are not known.
        CubeError: no band is good, or no value is finite.
        CarlError: unknown precision or speed, or not enough memory for a single patch.
        Cancelled: by `progress`.
    """
    return _embed_in_memory(cube, model, ComputeOptions(precision, speed), progress)


def _embed_in_memory(
    cube: SpectralCube, model: CARL, options: ComputeOptions, progress: Progress
) -> Embedding:
    maps, tiles = FeatureMaps.of(cube, model), MemoryTiles()
    metadata = maps.compute(tiles, options, progress)
    spatial, spectral = (each.read(tiles) for each in (maps.spatial, maps.spectral))
    return Embedding(spatial=spatial, spectral=spectral, **metadata)


def embed_to_file(
    cube: SpectralCube,
    model: CARL,
    path: str | os.PathLike[str],
    *,
    precision: Precision = "auto",
    speed: Speed = "exact",
    progress: Progress = no_progress,
    note: Callable[[str], None] = lambda _: None,
) -> Embedding:
    """Compute an embedding directly into a file, for cubes of any size.

    The file is as `Embedding.save` writes it. Until it is complete, finished tiles are in a folder
    beside it with ``.partial`` added to its name. After an interruption of any kind, the same call
    resumes from there and gives the same result. It starts over if the cube, the model, the options
    or the version of the program differ.

    Args:
        cube: with known wavelengths.
        model: in eval mode, on the device to compute on.
        path: of the file, which is overwritten if it exists.
        precision: as in `embed`.
        speed: as in `embed`.
        progress: called many times a second; cancels by raising.
        note: called with a sentence about what happens to the results of an interrupted run.

    Returns:
        the embedding, its features memory-mapped from the file.

    Raises:
        WavelengthError, CubeError, CarlError, Cancelled: as `embed`.
        CubeError: the cube changed on disk meanwhile; no result is saved.
        OutputError: there is not enough space, or the file cannot be written.
    """
    options = ComputeOptions(precision, speed)
    maps = FeatureMaps.of(cube, model)
    is_in_file = any(size for _, size, _ in file_stamps(cube))
    settings = {
        # Nothing but the pixels identifies a cube without a file.
        "cube": cube_key(cube) if is_in_file else content_key(cube, progress),
        "model": f"{model.fingerprint} {model.normalisation}",
        "precision": options.precision,
        "speed": options.speed,
        "device": next(model.parameters()).device.type,
        "version": code_key(),
    }
    with TileFolder(partial_folder(path), settings) as tiles:
        try:
            if tiles.changed:
                changes = " and ".join(tiles.changed)
                note(f"Starting over: another {changes} than in the interrupted run.")
            elif fraction := maps.fraction_done(tiles):
                note(f"Resuming the run that was interrupted at {fraction:.0%}.")
            _check_space(tiles, maps)
            metadata = maps.compute(tiles, options, subprogress(progress, 0.0, 0.98))
            progress(0.98, "Writing")
            arrays = {
                each.name: ((*each.shape, model.embed_dim), each.strips(tiles, model.embed_dim))
                for each in (maps.spatial, maps.spectral)
            }
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                write_npz(file, arrays, metadata | {"version": _VERSION})
        finally:
            if maps.guard.changed or tiles.is_empty:
                tiles.remove()
        tiles.remove()
    progress(1.0, "Written")
    return Embedding.load(path, mapped=True)


def partial_folder(path: str | os.PathLike[str]) -> Path:
    """Return the folder of finished tiles of `embed_to_file`."""
    return Path(path).with_name(f"{Path(path).name}.partial")


def _check_space(tiles: TileFolder, maps: FeatureMaps) -> None:
    """Check that there is space for the tiles and the file before a long computation.

    Raises:
        OutputError: there is not.
    """
    height, width = maps.spectral.shape
    file = 2 * 4 * height * width * maps.model.embed_dim
    needed = maps.nbytes - tiles.nbytes + file
    free = shutil.disk_usage(tiles.folder).free
    if needed > free:
        raise OutputError(
            f"{tiles.folder.parent} has {free / 1e9:.1f} GB of free space and the features need "
            f"{needed / 1e9:.1f} GB while they are computed: free some, or write to another disk."
        )


def embed_cached(
    cube: SpectralCube,
    model: CARL,
    options: ComputeOptions = DEFAULT_OPTIONS,
    *,
    scratch: Path | None = None,
    progress: Progress = no_progress,
) -> Embedding:
    """Return the embedding of a cube from the disk cache, or compute it and add it to the cache.

    The cache is shared by all processes, see `carl.user_folders.features_folder`. If it cannot be
    written, there is a warning and no error. A damaged entry is removed and computed again. Scratch
    folders of killed processes are removed.

    Args:
        cube: with known wavelengths.
        model: in eval mode, on the device to compute on.
        options: of the computation.
        scratch: file for features that are not cached, to be removed by the caller. The features
            are then memory-mapped, so that a cube of any size fits; None keeps them in memory.
        progress: called often; cancels by raising.

    Raises:
        WavelengthError, CubeError, CarlError, Cancelled: as `embed`.
        OutputError: `scratch` cannot be written.
    """

    def compute(progress: Progress) -> Embedding:
        if scratch is None:
            return _embed_in_memory(cube, model, options, progress)
        return embed_to_file(
            cube,
            model,
            scratch,
            precision=options.precision,
            speed=options.speed,
            progress=progress,
        )

    remove_abandoned(scratch_folder())
    folder = features_folder()
    if folder.max_bytes == 0:
        return compute(progress)
    guard = FileGuard(cube)
    key = _embedding_key(cube, model, options, subprogress(progress, 0.0, _KEY_FRACTION))
    embedding = folder.load(key, lambda path: Embedding.load(path, mapped=scratch is not None))
    if embedding is None:
        embedding = compute(subprogress(progress, _KEY_FRACTION, 1.0))
        if not guard.changed:
            _save_cached(key, embedding)
    return embedding


def _embedding_key(
    cube: SpectralCube, model: CARL, options: ComputeOptions, progress: Progress
) -> str:
    """Compute a hash of everything the features depend on.

    This includes the type of the device, which decides what the precision "auto" means.
    """
    ingredients = (
        code_key(),
        content_key(cube, progress),
        model.fingerprint,
        repr(model.normalisation),
        options.precision,
        options.speed,
        next(model.parameters()).device.type,
    )
    return hashlib.sha256("\n".join(ingredients).encode()).hexdigest()[:40]


def _save_cached(key: str, embedding: Embedding) -> None:
    """Add an embedding to the cache; warn if it cannot be written."""
    folder = features_folder()
    try:
        folder.add(key, embedding.nbytes, embedding._write)
    except OutputError as error:
        # The folder, not the file: Python shows a repeated warning only once.
        reason = getattr(error.__cause__, "strerror", None) or str(error)
        warnings.warn(
            f"Features are not cached for the next time, as {folder.path} cannot be written "
            f"({reason}): free some space, or choose another folder by CARL_HOME.",
            CarlWarning,
            stacklevel=3,
        )
