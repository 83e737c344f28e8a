"""Features of cubes in memory, so that new strokes cost nothing but learning."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import TypeVar

from carl.cube import SpectralCube
from carl.inference import Embedding, FeatureCache, cube_key, embed_finely
from carl.inference.feature_folder import FeatureFolder
from carl.learning.features import FeatureStack
from carl.learning.filter_bank import FilterBank
from carl.learning.space import FeatureSpace
from carl.model import CARL
from carl.progress import Progress, no_progress, subprogress

K = TypeVar("K")
V = TypeVar("V")

_MOST_BANKS = 16
_SMALL_PIXELS = 1 << 20
"""Of a cube whose embedding may be in memory; larger ones are not enlarged by `embed_finely`."""
_LOOK_EVERY = 0.1
"""Seconds between two looks at `progress` while another thread computes: it may want to cancel."""


class FeatureStore:
    """The filter banks, features and embeddings used last. Safe to share between threads.

    Args:
        max_bytes: of features to keep.
    """

    def __init__(self, max_bytes: int = 3 << 30) -> None:
        self._embeddings = FeatureCache(max_bytes // 4, FeatureFolder())
        self._max_bytes = max_bytes
        self._banks: OrderedDict[str, FilterBank] = OrderedDict()
        self._stacks: OrderedDict[tuple[FilterBank, str], FeatureStack] = OrderedDict()
        self._running: set[object] = set()
        self._lock = Condition()

    def fit(
        self,
        cubes: Sequence[SpectralCube],
        model: CARL | None,
        precision: str = "auto",
        speed: str = "exact",
        progress: Progress = no_progress,
    ) -> tuple[FeatureSpace, list[FeatureStack]]:
        """The space of these cubes under a model (None: the bank alone), and their features."""
        bank = self._bank(cubes, subprogress(progress, 0.0, 0.2))
        embeddings = self._embed(cubes, model, precision, speed, subprogress(progress, 0.2, 1.0))
        space = FeatureSpace.fit(bank, embeddings)
        told: list[Embedding | None] = [*embeddings] or [None] * len(cubes)
        stacks = [
            space.stack(self._bank_stack(bank, cube), embedding)
            for cube, embedding in zip(cubes, told, strict=True)
        ]
        return space, stacks

    def stack(
        self,
        cube: SpectralCube,
        space: FeatureSpace,
        model: CARL | None,
        precision: str = "auto",
        speed: str = "exact",
        progress: Progress = no_progress,
    ) -> FeatureStack:
        """The features of a cube in a space."""
        bank_stack = self._bank_stack(space.bank, cube, subprogress(progress, 0.0, 0.2))
        embeddings = self._embed([cube], model, precision, speed, subprogress(progress, 0.2, 1.0))
        return space.stack(bank_stack, embeddings[0] if embeddings else None)

    def embed(
        self,
        cube: SpectralCube,
        model: CARL,
        precision: str = "auto",
        speed: str = "exact",
        progress: Progress = no_progress,
    ) -> Embedding:
        """The embedding that features are made of; see `carl.inference.embed_finely`."""
        return embed_finely(
            cube,
            model.patch_size,
            lambda seen: self._embeddings.embed(
                seen, model, precision=precision, speed=speed, progress=progress
            ),
        )

    def embed_to_disk(
        self,
        cube: SpectralCube,
        model: CARL,
        scratch: Path,
        precision: str = "auto",
        speed: str = "exact",
        progress: Progress = no_progress,
    ) -> Embedding:
        """As `embed`; of a large cube the features stay on disk.

        Args:
            cube: with known wavelengths.
            model: in eval mode.
            scratch: a file that may be made; to be removed by the caller.
            precision: as in `embed`.
            speed: as in `embed`.
            progress: told often; cancels by raising.
        """
        height, width, _ = cube.shape
        if height * width <= _SMALL_PIXELS:
            return self.embed(cube, model, precision, speed, progress)
        return self._embeddings.embed_to_disk(
            cube, model, scratch, precision=precision, speed=speed, progress=progress
        )

    def _bank(self, cubes: Sequence[SpectralCube], progress: Progress) -> FilterBank:
        keys = [cube_key(cube) for cube in cubes]
        joined = "|".join(keys)
        with self._alone_with(joined, progress):
            known = self._kept(self._banks, joined)
            if known is not None:
                return known
            bank, stacks = FilterBank.fit(cubes, progress)
            with self._lock:
                self._banks[joined] = bank
                for key, stack in zip(keys, stacks, strict=True):
                    self._keep((bank, key), stack)
                if len(self._banks) > _MOST_BANKS:
                    self._banks.popitem(last=False)
            return bank

    def _bank_stack(
        self, bank: FilterBank, cube: SpectralCube, progress: Progress = no_progress
    ) -> FeatureStack:
        key = (bank, cube_key(cube))
        with self._alone_with(key, progress):
            known = self._kept(self._stacks, key)
            if known is not None:
                return known
            stack = bank.stack(cube, progress)
            with self._lock:
                self._keep(key, stack)
            return stack

    def _kept(self, kept: OrderedDict[K, V], key: K) -> V | None:
        with self._lock:
            if key in kept:
                kept.move_to_end(key)
            return kept.get(key)

    @contextmanager
    def _alone_with(self, key: object, progress: Progress) -> Iterator[None]:
        """While one thread computes something, others wait for it, but for nothing else."""
        while True:
            with self._lock:
                if key not in self._running:
                    self._running.add(key)
                    break
                self._lock.wait(_LOOK_EVERY)
            progress(0.0, "Waiting for the same features, being computed already")
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(key)
                self._lock.notify_all()

    def _embed(
        self,
        cubes: Sequence[SpectralCube],
        model: CARL | None,
        precision: str,
        speed: str,
        progress: Progress,
    ) -> list[Embedding]:
        if model is None:
            return []
        n = len(cubes)
        return [
            self.embed(cube, model, precision, speed, subprogress(progress, i / n, (i + 1) / n))
            for i, cube in enumerate(cubes)
        ]

    def _keep(self, key: tuple[FilterBank, str], stack: FeatureStack) -> None:
        """Keep a stack; the oldest ones, or itself if it alone is too large, are dropped."""
        self._stacks[key] = stack
        total = sum(each.nbytes for each in self._stacks.values())
        while total > self._max_bytes:
            _, dropped = self._stacks.popitem(last=False)
            total -= dropped.nbytes
