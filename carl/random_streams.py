"""Seed independent random streams by purpose and position in a training run.

A resumed run draws the same numbers as an uninterrupted one, whatever the number of worker
processes, because no generator carries state from one step to the next.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """Purpose of a random stream. The values are part of the seed and must not change."""

    ORDER = 0
    BANDS = 1
    CROP = 2
    MASKS = 3
    NETWORK = 4
    WEIGHTS = 5


def generator(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """Return the NumPy generator of a stream at a position of a run, such as (batch, crop)."""
    return np.random.default_rng((seed, int(stream), *position))


def torch_seed(seed: int, stream: Stream, *position: int) -> int:
    """Return the seed of a PyTorch generator for a stream at a position of a run."""
    sequence = np.random.SeedSequence((seed, int(stream), *position))
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
