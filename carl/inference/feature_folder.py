"""Embeddings on disk, for the next time a cube is opened and for other windows."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass

from carl.cube import SpectralCube
from carl.errors import CarlWarning, OutputError
from carl.inference.cache_keys import FileGuard, code_key
from carl.inference.content import content_key
from carl.inference.embedding import Embedding
from carl.model import CARL
from carl.progress import Progress
from carl.user_folders import features_folder


@dataclass(frozen=True)
class CacheKey:
    """Where the embedding of a cube belongs.

    Attributes:
        key: of the embedding.
        guard: of the files of the cube since before the key was computed.
    """

    key: str
    guard: FileGuard


class FeatureFolder:
    """The embeddings used last by all programs, in the folder that `features_folder` names."""

    def __init__(self) -> None:
        self._has_complained = False

    @property
    def is_used(self) -> bool:
        """Whether anything may be kept at all."""
        return features_folder().max_bytes > 0

    def place(
        self, cube: SpectralCube, model: CARL, precision: str, speed: str, progress: Progress
    ) -> CacheKey:
        """Where the embedding of a cube belongs; reads all of its pixels.

        Beside the content of the cube, the place depends on all that its features depend on: the
        network, its normalisation, precision and speed, the kind of device (which decides what
        the precision "auto" means), and the code that computes them.

        Raises:
            CubeError: the cube cannot be read.
            Cancelled: by `progress`.
        """
        guard = FileGuard(cube)
        ingredients = (
            code_key(),
            content_key(cube, progress),
            model.fingerprint,
            repr(model.normalisation),
            precision,
            speed,
            next(model.parameters()).device.type,
        )
        return CacheKey(hashlib.sha256("\n".join(ingredients).encode()).hexdigest()[:40], guard)

    def get(self, place: CacheKey, *, mapped: bool = False) -> Embedding | None:
        """The embedding, if it is there and sound; what is damaged is removed.

        Args:
            place: where it belongs.
            mapped: leave the features on disk and read them as they are asked for.
        """
        folder = features_folder()
        path = folder.find(place.key)
        if path is None:
            return None
        try:
            return Embedding.load(path, mapped=mapped)
        except Exception:  # readers of archives raise almost anything on damaged ones
            folder.remove(place.key)
            return None

    def put(self, place: CacheKey, embedding: Embedding) -> None:
        """Keep an embedding, unless its cube has changed. If it cannot be written, say so once."""
        if place.guard.changed:
            return
        try:
            features_folder().add(place.key, embedding.nbytes, embedding.save)
        except OutputError as error:
            if not self._has_complained:
                self._has_complained = True
                warnings.warn(
                    f"Features are not kept for the next time: {error}", CarlWarning, stacklevel=2
                )
