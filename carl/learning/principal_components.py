"""Components of spectra and features: soft principal components, and minimum noise fraction."""

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
_LEAST_NOISE = 0.1
"""Variance added to the noise of every band, relative to the mean over bands: keeps bands whose
estimated noise is near 0 from dominating."""
_RIDGE = 1e-6
"""Added to the diagonal of a covariance, relative to its mean, before it is inverted."""


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


@dataclass(frozen=True, eq=False)
class MinimumNoiseFraction:
    """Components of spectra ordered by signal-to-noise ratio (Green et al. 1988, IEEE TGRS 26).

    Attributes:
        mean: (G,) of the spectra.
        basis: (G, k) projects centred spectra onto components.
        loadings: (k, G) regression of the centred spectra on the components.
        spread: (k,) standard deviation of every component.
        residual: (G, G) covariance that the components do not explain.
    """

    mean: Float32Array
    basis: Float32Array
    loadings: Float32Array
    spread: Float32Array
    residual: Float32Array

    @classmethod
    def fit(cls, spectra: Float32Array, differences: Float32Array, n_components: int) -> Self:
        """Fit the transform, with later components scaled down as in `soft_principal_basis`.

        Args:
            spectra: (n, G).
            differences: (m, G) between neighbouring pixels; their covariance is 2 Σ_noise.
            n_components: k at most.
        """
        mean = spectra.mean(axis=0, dtype=np.float64)
        centred = spectra - mean
        noise = differences.T.astype(np.float64) @ differences / (2 * max(len(differences), 1))
        level = max(np.trace(noise) / len(noise), np.finfo(np.float32).eps)
        # Whitening by the Cholesky factor L of the noise: L⁻¹ x has unit noise.
        root = np.linalg.cholesky(noise + _LEAST_NOISE * level * np.eye(len(noise)))
        whitened = np.linalg.solve(root, centred.T).T
        basis = np.linalg.solve(root.T, soft_principal_basis(whitened, n_components))
        components = centred @ basis
        variance = np.maximum(components.var(axis=0), np.finfo(np.float32).tiny)
        loadings = components.T @ centred / (len(centred) * variance[:, None])
        residual = np.cov(centred - components @ loadings, rowvar=False).reshape(noise.shape)
        arrays = (mean, basis, loadings, np.sqrt(variance), residual)
        return cls(*(each.astype(np.float32) for each in arrays))

    @property
    def n_components(self) -> int:
        """Number of components k."""
        return int(self.basis.shape[1])

    def __call__(self, spectra: Float32Array) -> Float32Array:
        """Project (..., G) spectra to (..., k) components."""
        return np.asarray((spectra - self.mean) @ self.basis, np.float32)

    def estimator(
        self, observation: Float32Array, uncertainty: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """Compute the linear estimator of the components from the bands of another camera.

        Wiener estimation (Pratt & Mancill 1976, Applied Optics 15): with components of covariance
        S² and a camera y = Oᵀ x, the estimator is W = C⁻¹ Hᵀ S² with H = loadings · O and
        C = Hᵀ S² H + Oᵀ R O + Uᵀ P U. R is the residual covariance, P the second moment of the
        spectra and U the uncertainty of O.

        Args:
            observation: (G, C) O, turns spectra into the expected bands of the camera.
            uncertainty: (G, C) U, possible deviation of the camera from that.

        Returns:
            (C, k) W, to be multiplied from the right to bands minus ``mean @ observation``; and
            (k,) the relative error variance of each estimated component, 0..1.
        """
        seen = self.loadings @ observation
        signal = self.spread[:, None] ** 2
        power = self.loadings.T @ (signal * self.loadings) + self.residual
        power = power + np.outer(self.mean, self.mean)
        noise = observation.T @ self.residual @ observation + uncertainty.T @ power @ uncertainty
        covariance = seen.T @ (signal * seen) + noise
        covariance += _RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        gain = np.linalg.solve(covariance, seen.T) * self.spread**2
        error_variance = 1 - np.sum(seen.T * gain, axis=0)
        return gain.astype(np.float32), error_variance.astype(np.float32)


def soft_principal_basis(centred: NDArray[np.floating], n_components: int) -> NDArray[np.floating]:
    """Return (D, d) scaled principal directions of (n, D) centred vectors.

    With eigenvectors v_i and standard deviations s_i, the i-th column is v_i · w_i / s_i with
    weights w_i = (s_i / s_1)^0.3, normalised so that the mean of w_i² is 1. A single vector has no
    principal direction: the only column is 0.
    """
    if len(centred) < 2:
        return np.zeros((centred.shape[1], 1))
    variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(centred, rowvar=False)))
    spreads = np.sqrt(np.maximum(variances[::-1], np.finfo(np.float32).tiny))
    n_used = max(1, min(n_components, int(np.sum(spreads > _NEGLIGIBLE * spreads[0]))))
    spreads = spreads[:n_used]
    weights = (spreads / spreads[0]) ** _SOFTENING
    weights /= np.sqrt(np.mean(weights**2))
    return np.asarray(directions[:, ::-1][:, :n_used] * (weights / spreads))
