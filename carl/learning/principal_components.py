"""Principal components whose scales say how much each is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array

_SOFTENING = 0.3
"""Components keep their spread to this power: 0 makes all alike, 1 leaves them as they are."""
_NEGLIGIBLE = 1e-5


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """An affine map onto principal components, the later ones made smaller.

    Attributes:
        mean: (D,).
        basis: (D, d).
    """

    mean: Float32Array
    basis: Float32Array

    @classmethod
    def fit(cls, features: Float32Array, n_components: int) -> Self:
        """At most `n_components` principal components of (n, D) features."""
        mean = features.mean(axis=0)
        basis = soft_principal_basis(features - mean, n_components)
        return cls(mean.astype(np.float32), basis.astype(np.float32))

    def __call__(self, features: Float32Array) -> Float32Array:
        """(..., D) to (..., d)."""
        return np.asarray((features - self.mean) @ self.basis, np.float32)


def soft_principal_basis(centred: NDArray[np.floating], n_components: int) -> NDArray[np.floating]:
    """(D, d) principal directions of (n, D) centred vectors, later ones scaled to less spread.

    The mean square of the components over the vectors is 1 on average.
    """
    variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(centred, rowvar=False)))
    spreads = np.sqrt(np.maximum(variances[::-1], np.finfo(np.float32).tiny))
    kept = max(1, min(n_components, int(np.sum(spreads > _NEGLIGIBLE * spreads[0]))))
    spreads = spreads[:kept]
    worth = (spreads / spreads[0]) ** _SOFTENING
    worth /= np.sqrt(np.mean(worth**2))
    return np.asarray(directions[:, ::-1][:, :kept] * (worth / spreads))
