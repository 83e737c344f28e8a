"""Principal components whose scale decreases with their variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array

_SOFTENING = 0.3
"""Exponent of a component's standard deviation in its scale: 0 whitens, 1 leaves it unchanged."""
_NEGLIGIBLE = 1e-5
"""Components whose standard deviation, relative to the first one's, is smaller are dropped."""


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """An affine map onto softly scaled principal components.

    Attributes:
        mean: (D,) subtracted first.
        basis: (D, d) multiplied from the right.
    """

    mean: Float32Array
    basis: Float32Array

    @classmethod
    def fit(cls, features: Float32Array, n_components: int) -> Self:
        """Compute at most `n_components` principal components of (n, D) features."""
        mean = features.mean(axis=0)
        basis = soft_principal_basis(features - mean, n_components)
        return cls(mean.astype(np.float32), basis.astype(np.float32))

    def __call__(self, features: Float32Array) -> Float32Array:
        """Project (..., D) features to (..., d)."""
        return np.asarray((features - self.mean) @ self.basis, np.float32)


def soft_principal_basis(centred: NDArray[np.floating], n_components: int) -> NDArray[np.floating]:
    """Return (D, d) scaled principal directions of (n, D) centred vectors.

    With eigenvectors v_i and standard deviations s_i, the i-th column is v_i · w_i / s_i with
    weights w_i = (s_i / s_1)^0.3, normalised so that the mean of w_i² is 1.
    """
    variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(centred, rowvar=False)))
    spreads = np.sqrt(np.maximum(variances[::-1], np.finfo(np.float32).tiny))
    n_used = max(1, min(n_components, int(np.sum(spreads > _NEGLIGIBLE * spreads[0]))))
    spreads = spreads[:n_used]
    weights = (spreads / spreads[0]) ** _SOFTENING
    weights /= np.sqrt(np.mean(weights**2))
    return np.asarray(directions[:, ::-1][:, :n_used] * (weights / spreads))
