"""Determine the camera and the images of each batch of a run.

All crops of a batch are of one camera, in all processes. Cameras alternate according to their
weights. Each camera uses all its images before any is repeated, independently of the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from carl.random_streams import Stream, generator

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
"""Step of the low-discrepancy sequence that selects cameras."""


class BatchPlan(NamedTuple):
    """Content of one batch in one process.

    Attributes:
        position: number of the batch, counted from the start of the run.
        camera: index of the camera.
        items: items of that camera's image set.
        first: number of crops of the same batch in processes with lower ranks.
    """

    position: int
    camera: int
    items: tuple[int, ...]
    first: int


class BatchSchedule:
    """Cameras and items of all batches of a run; each batch is computed independently.

    Args:
        lengths: number of items of each camera.
        weights: relative number of batches of each camera.
        batch_size: crops per batch, in all processes together.
        seed: seed of the run.
    """

    def __init__(
        self, lengths: Sequence[int], weights: Sequence[float], batch_size: int, seed: int
    ) -> None:
        self._lengths = lengths
        self._upper = np.cumsum(weights) / np.sum(weights)
        self._upper[-1] = 1.0
        self._batch_size = batch_size
        self._seed = seed
        self._start = generator(seed, Stream.ORDER).random()

    def cameras(self, n_batches: int) -> NDArray[np.intp]:
        """Return the camera of each of the first batches.

        The golden-ratio sequence x_k = (x_0 + k·φ) mod 1 covers [0, 1) evenly, so that over any
        stretch of a run the number of batches of each camera is proportional to its weight, up to a
        few batches.
        """
        x = (self._start + _GOLDEN_RATIO * np.arange(n_batches)) % 1.0
        return np.searchsorted(self._upper, x, side="right")

    def items(self, camera: int, turn: int) -> NDArray[np.intp]:
        """Return the items of the `turn`-th batch of a camera, for all processes together."""
        length = self._lengths[camera]
        positions = turn * self._batch_size + np.arange(self._batch_size)
        return np.array(
            [
                _shuffled_items(self._seed, camera, int(each // length), length)[each % length]
                for each in positions
            ]
        )


class ScheduledBatches(Sampler[BatchPlan]):
    """Sampler of the batches of one process and one epoch.

    The run has `n_batches`, and an epoch `per_epoch` of them. Each batch has `crops_per_process`
    crops in each process, of which this is number `rank`.
    """

    def __init__(
        self,
        schedule: BatchSchedule,
        *,
        n_batches: int,
        per_epoch: int,
        crops_per_process: int,
        rank: int = 0,
    ) -> None:
        self._schedule = schedule
        self._cameras = schedule.cameras(n_batches)
        self._per_epoch = per_epoch
        self._n_crops = crops_per_process
        self._first = rank * crops_per_process
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self._epoch = epoch

    def __len__(self) -> int:
        return min(self._per_epoch, len(self._cameras))

    def __iter__(self) -> Iterator[BatchPlan]:
        start = self._epoch * self._per_epoch
        turns = np.bincount(self._cameras[:start], minlength=1 + int(self._cameras.max(initial=0)))
        for position in range(start, min(start + self._per_epoch, len(self._cameras))):
            camera = int(self._cameras[position])
            items = self._schedule.items(camera, int(turns[camera]))
            turns[camera] += 1
            own = items[self._first : self._first + self._n_crops]
            yield BatchPlan(position, camera, tuple(map(int, own)), self._first)


@lru_cache(maxsize=64)
def _shuffled_items(seed: int, camera: int, epoch: int, length: int) -> NDArray[np.intp]:
    """Return the order of a camera's items in one pass through all of them."""
    return generator(seed, Stream.ORDER, camera, epoch).permutation(length)
