"""Array types and index arithmetic shared by all packages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]


def mirror_indices(positions: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Return indices into an axis for positions beyond its ends, mirrored at the border pixels.

    >>> mirror_indices(np.arange(-2, 5), 3)
    array([2, 1, 0, 1, 2, 1, 0])

    Args:
        positions: integers, at any distance from the axis.
        length: of the axis, pixels.
    """
    period = max(2 * (length - 1), 1)
    inside = positions % period
    return np.minimum(inside, period - inside)
