"""Embeddings in memory and on disk, so that nothing is computed twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Condition
from typing import Any

from carl.cube import SpectralCube
from carl.inference.cache_keys import cube_key
from carl.inference.embedding import Embedding, embed, embed_to_file
from carl.inference.feature_folder import FeatureFolder
from carl.inference.options import DEFAULT_OPTIONS, ComputeOptions
from carl.model import CARL
from carl.progress import Progress, no_progress, subprogress

_LOOKING = 0.02
"""Share of the time that goes into looking for features on disk; about, where there are none."""
_LOOK_EVERY = 0.1
"""Seconds between two looks at `progress` while another thread computes: it may want to cancel."""


class FeatureCache:
    """The embeddings used last, up to a number of bytes. Safe to share between threads.

    Args:
        max_bytes: of features to keep. One embedding larger than that is returned but not kept.
        folder: where embeddings are looked for and kept beyond this process; None for nowhere.
    """

    def __init__(self, max_bytes: int = 1 << 30, folder: FeatureFolder | None = None) -> None:
        self._max_bytes = max_bytes
        self._folder = folder
        self._kept: OrderedDict[str, Embedding] = OrderedDict()
        self._running: set[str] = set()
        self._changed = Condition()

    def embed(
        self,
        cube: SpectralCube,
        model: CARL,
        *,
        precision: str = "auto",
        speed: str = "exact",
        progress: Progress = no_progress,
    ) -> Embedding:
        """As `carl.inference.embed`, from memory or disk where it is known.

        Of several threads that ask for the same, one computes and the others wait; if it fails or
        is cancelled, one of the others takes over.
        """
        model_key = f"{model.fingerprint} {model.normalisation}"
        key = "/".join((cube_key(cube), model_key, precision, speed))
        while True:
            with self._changed:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
                if key not in self._running:
                    self._running.add(key)
                    break
                self._changed.wait(_LOOK_EVERY)
            progress(0.0, "Waiting for the same features, being computed already")

        def compute(progress: Progress) -> Embedding:
            return embed(cube, model, precision=precision, speed=speed, progress=progress)

        try:
            embedding = self._find_or(compute, cube, model, precision, speed, progress)
            self._keep(key, embedding)
            return embedding
        finally:
            with self._changed:
                self._running.discard(key)
                self._changed.notify_all()

    def embed_to_disk(
        self,
        cube: SpectralCube,
        model: CARL,
        scratch: Path,
        *,
        precision: str = "auto",
        speed: str = "exact",
        progress: Progress = no_progress,
    ) -> Embedding:
        """As `embed`, for a cube of any size: features are mapped from a file, not kept in memory.

        Args:
            cube: with known wavelengths.
            model: in eval mode.
            scratch: a file to make where the features are not known; to be removed by the caller.
            precision: as in `embed`.
            speed: as in `embed`.
            progress: told often; cancels by raising.
        """

        def compute(progress: Progress) -> Embedding:
            return embed_to_file(
                cube, model, scratch, precision=precision, speed=speed, progress=progress
            )

        return self._find_or(compute, cube, model, precision, speed, progress, mapped=True)

    def clear(self) -> None:
        """Forget everything."""
        with self._changed:
            self._kept.clear()

    @property
    def nbytes(self) -> int:
        """Memory the kept features take, in bytes."""
        with self._changed:
            return sum(embedding.nbytes for embedding in self._kept.values())

    def _find_or(
        self,
        compute: Callable[[Progress], Embedding],
        cube: SpectralCube,
        model: CARL,
        precision: str,
        speed: str,
        progress: Progress,
        *,
        mapped: bool = False,
    ) -> Embedding:
        """What the folder holds, or else what is computed, which is put there."""
        if self._folder is None or not self._folder.is_used:
            return compute(progress)
        place = self._folder.place(
            cube, model, precision, speed, subprogress(progress, 0.0, _LOOKING)
        )
        embedding = self._folder.get(place, mapped=mapped)
        if embedding is None:
            embedding = compute(subprogress(progress, _LOOKING, 1.0))
            self._folder.put(place, embedding)
        return embedding

    def _keep(self, key: str, embedding: Embedding) -> None:
        with self._changed:
            self._kept[key] = embedding
            total = sum(each.nbytes for each in self._kept.values())
            while total > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                total -= dropped.nbytes


def embed_cached(
    cube: SpectralCube,
    model: CARL,
    options: ComputeOptions = DEFAULT_OPTIONS,
    *,
    scratch: Path | None = None,
    progress: Progress = no_progress,
) -> Embedding:
    """Return the embedding of a cube from the disk cache, or compute it and add it there.

    Args:
        cube: with known wavelengths.
        model: in eval mode, on the device to compute on.
        options: of the computation.
        scratch: file for features that are not cached, to be removed by the caller. The features
            are then memory-mapped, so that a cube of any size fits; None keeps them in memory.
        progress: called often; cancels by raising.

    Raises:
        WavelengthError, CubeError, CarlError, Cancelled: as `carl.inference.embed`.
        OutputError: `scratch` cannot be written.
    """
    cache = FeatureCache(folder=FeatureFolder())
    how: dict[str, Any] = {
        "precision": options.precision,
        "speed": options.speed,
        "progress": progress,
    }
    if scratch is None:
        return cache.embed(cube, model, **how)
    return cache.embed_to_disk(cube, model, scratch, **how)
