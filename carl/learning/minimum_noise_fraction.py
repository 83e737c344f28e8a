"""A few numbers for a spectrum: what stands out of the noise, estimated from any camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from carl.arrays import Float32Array
from carl.learning.principal_components import soft_principal_basis

_LEAST_NOISE = 0.1
"""Added to every band's noise, as a share of the mean over bands: no band is trusted blindly."""

_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class MinimumNoiseFraction:
    """Components of spectra ordered by signal against noise, and what spectra they stand for.

    Attributes:
        mean: (G,) of the spectra.
        basis: (G, k) projects centred spectra onto components.
        loadings: (k, G) the spectrum that goes with each component.
        spread: (k,) standard deviation of every component.
        residual: (G, G) covariance of what the components leave unexplained.
    """

    mean: Float32Array
    basis: Float32Array
    loadings: Float32Array
    spread: Float32Array
    residual: Float32Array

    @classmethod
    def fit(cls, spectra: Float32Array, differences: Float32Array, n_components: int) -> Self:
        """The minimum noise fraction transform (Green et al. 1988), later components made smaller.

        Args:
            spectra: (n, G).
            differences: (m, G) between neighbouring pixels, whose covariance is twice the noise's.
            n_components: k at most.
        """
        mean = spectra.mean(axis=0, dtype=np.float64)
        centred = spectra - mean
        noise = differences.T.astype(np.float64) @ differences / (2 * max(len(differences), 1))
        level = max(np.trace(noise) / len(noise), np.finfo(np.float32).eps)
        root = np.linalg.cholesky(noise + _LEAST_NOISE * level * np.eye(len(noise)))
        whitened = np.linalg.solve(root, centred.T).T
        basis = np.linalg.solve(root.T, soft_principal_basis(whitened, n_components))
        components = centred @ basis
        variance = np.maximum(components.var(axis=0), np.finfo(np.float32).tiny)
        loadings = components.T @ centred / (len(centred) * variance[:, None])
        residual = np.cov(centred - components @ loadings, rowvar=False).reshape(noise.shape)
        parts = (mean, basis, loadings, np.sqrt(variance), residual)
        return cls(*(each.astype(np.float32) for each in parts))

    @property
    def n_components(self) -> int:
        """Number of components k."""
        return int(self.basis.shape[1])

    def __call__(self, spectra: Float32Array) -> Float32Array:
        """(..., G) to (..., k)."""
        return np.asarray((spectra - self.mean) @ self.basis, np.float32)

    def estimator(
        self, observation: Float32Array, uncertainty: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """How to estimate the components from what another camera sees of a spectrum.

        Wiener estimation (Pratt and Mancill 1976): the expected components given the bands of the
        other camera. What the components leave unexplained is noise, and so is what the camera may
        see differently than expected.

        Args:
            observation: (G, C) turns spectra into what the camera is expected to see.
            uncertainty: (G, C) how far that may be off.

        Returns:
            (C, k), to be multiplied from the right to observations less ``mean @ observation``; and
            (k,) the share of each component's variance that the estimates miss, 0..1.
        """
        seen = self.loadings @ observation
        signal = self.spread[:, None] ** 2
        power = self.loadings.T @ (signal * self.loadings) + self.residual
        power = power + np.outer(self.mean, self.mean)
        noise = observation.T @ self.residual @ observation + uncertainty.T @ power @ uncertainty
        covariance = seen.T @ (signal * seen) + noise
        covariance += _LEAST * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        gain = np.linalg.solve(covariance, seen.T) * self.spread**2
        missed = 1 - np.sum(seen.T * gain, axis=0)
        return gain.astype(np.float32), missed.astype(np.float32)
