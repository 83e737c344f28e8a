"""Compare the bands of a cube with the wavelengths that a network or a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float64Array

_MISSING_STEPS = 5
"""Width of a part without a band, in steps of the cube, from which it is called missing."""
_MARGIN = 0.5
"""Bands this fraction of the widest step of the training beyond its range are inside, too."""


@dataclass(frozen=True, eq=False)
class Coverage:
    """Bands of a cube beside the wavelengths of a training.

    Attributes:
        source: name of the network or model.
        bands: (C,) band centres of the cube in nm.
        trained: (T,) wavelengths of the training in nm, increasing; the first and the last if only
            its range is known.
        inside: (C,) whether a band lies within the range of the training.
        missing: parts of the range, as (first, last) in nm, in which the cube has no band.
    """

    source: str
    bands: Float64Array
    trained: Float64Array
    inside: NDArray[np.bool_]
    missing: tuple[tuple[float, float], ...]

    @property
    def is_complete(self) -> bool:
        """Whether all bands lie inside, and none are missing."""
        return bool(self.inside.all()) and not self.missing

    @property
    def sentence(self) -> str:
        """One sentence for the user."""
        low, high = self.trained[0], self.trained[-1]
        trained = f"{self.source} was trained on {low:.0f}–{high:.0f} nm"
        n_inside, n_bands = int(self.inside.sum()), self.inside.size
        if self.is_complete:
            return f"{trained}: all {n_bands} bands lie inside."
        parts = [f"{n_inside} of {n_bands} bands lie inside"]
        if n_inside < n_bands:
            parts.append(f"{n_bands - n_inside} extrapolated")
        if self.missing:
            spans = ", ".join(f"{first:.0f}–{last:.0f}" for first, last in self.missing)
            parts.append(f"{spans} nm missing in this cube")
        return f"{trained}: {', '.join(parts)}."


def coverage(bands: Float64Array, trained: Float64Array, source: str) -> Coverage:
    """Compare (C,) band centres with (T,) wavelengths of a training, both in nm.

    Parts of the training are missing if they are wider than five steps of the cube, and two of the
    training, and hold no band.

    Examples:
        >>> import numpy as np
        >>> found = coverage(np.arange(400.0, 1001, 10), np.array([500.0, 1000.0]), "tissue.carl")
        >>> found.sentence
        'tissue.carl was trained on 500–1000 nm: 51 of 61 bands lie inside, 10 extrapolated.'

    Args:
        bands: in any order.
        trained: increasing; the first and the last wavelength if only the range is known.
        source: name of the network or model.
    """
    nm = np.unique(bands)
    own_step = float(np.median(np.diff(nm))) if nm.size > 1 else 0.0
    step = float(np.median(np.diff(trained))) if trained.size > 2 else 0.0
    margin = _MARGIN * max(step, own_step)
    inside = (bands >= trained[0] - margin) & (bands <= trained[-1] + margin)
    within = nm[(nm > trained[0]) & (nm < trained[-1])]
    widest = max(_MISSING_STEPS * own_step, 2 * step, 1.0)
    gaps = pairwise((float(trained[0]), *within.tolist(), float(trained[-1])))
    missing = tuple((first, last) for first, last in gaps if last - first > widest)
    return Coverage(source, bands, trained, inside, missing)
