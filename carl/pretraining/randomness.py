"""Random numbers that depend on where a run stands and on nothing else.

A run that is killed and resumed draws what it would have drawn, with any number of workers.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What random numbers are drawn for: each purpose has numbers of its own."""

    ORDER = 0
    BANDS = 1
    CROP = 2
    MASKS = 3
    NETWORK = 4
    WEIGHTS = 5


def generator(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """A generator for one purpose at one position of a run."""
    return np.random.default_rng((seed, int(stream), *position))


def torch_seed(seed: int, stream: Stream, *position: int) -> int:
    """A seed for PyTorch's generators, for one purpose at one position of a run."""
    sequence = np.random.SeedSequence((seed, int(stream), *position))
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
