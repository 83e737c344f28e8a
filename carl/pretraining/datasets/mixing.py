"""Which images each batch of a run shows.

Every batch is of one camera, and all processes show the same camera at a time. Cameras take turns
by weight, each goes through all its images before any comes again, and none waits for another.
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

_GOLDEN = (math.sqrt(5) - 1) / 2


class BatchPlan(NamedTuple):
    """What one process shows in one batch.

    Attributes:
        position: of the batch, counted from the start of the run.
        camera: index of the camera.
        items: of that camera's images.
        first: number of crops of the same batch that processes before this one show.
    """

    position: int
    camera: int
    items: tuple[int, ...]
    first: int


class Mixture:
    """All batches of a run, each found without those before it.

    Args:
        lengths: number of items of each camera.
        weights: share of the batches of each camera, up to a factor.
        batch_size: crops of a batch, of all processes together.
        seed: of the run.
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
        """The camera of each of the first batches.

        Steps by the golden ratio on a circle cover it evenly, so that over any stretch of a run
        each camera has its share, to a few batches.
        """
        place = (self._start + _GOLDEN * np.arange(n_batches)) % 1.0
        return np.searchsorted(self._upper, place, side="right")

    def items(self, camera: int, turn: int) -> NDArray[np.intp]:
        """What a camera shows in its `turn`-th batch, of all processes together."""
        length = self._lengths[camera]
        places = turn * self._batch_size + np.arange(self._batch_size)
        return np.array(
            [
                _shuffled(self._seed, camera, int(place // length), length)[place % length]
                for place in places
            ]
        )


class MixedBatches(Sampler[BatchPlan]):
    """The batches of one process, a part of the run at a time.

    Args:
        mixture: of all batches.
        n_batches: in the whole run.
        part: batches between two calls of `set_epoch`.
        share: crops of a batch that this process shows.
        rank: number of this process.
    """

    def __init__(
        self, mixture: Mixture, *, n_batches: int, part: int, share: int, rank: int = 0
    ) -> None:
        self._mixture = mixture
        self._cameras = mixture.cameras(n_batches)
        self._part = part
        self._share = share
        self._first = rank * share
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Go to the part of that number."""
        self._epoch = epoch

    def __len__(self) -> int:
        return min(self._part, len(self._cameras))

    def __iter__(self) -> Iterator[BatchPlan]:
        start = self._epoch * self._part
        turns = np.bincount(self._cameras[:start], minlength=1 + int(self._cameras.max(initial=0)))
        for position in range(start, min(start + self._part, len(self._cameras))):
            camera = int(self._cameras[position])
            items = self._mixture.items(camera, int(turns[camera]))
            turns[camera] += 1
            own = items[self._first : self._first + self._share]
            yield BatchPlan(position, camera, tuple(map(int, own)), self._first)


@lru_cache(maxsize=64)
def _shuffled(seed: int, camera: int, epoch: int, length: int) -> NDArray[np.intp]:
    """The order in which a camera's items come in one pass through all of them."""
    return generator(seed, Stream.ORDER, camera, epoch).permutation(length)
