"""Mixture of linear discriminants, fitted to few labelled pixels.

Each component is a linear discriminant analysis (Fisher 1936) on some of the feature groups. Its
within-class covariance is shrunk towards the covariance of the whole image, as the mean of an
inverse-Wishart posterior, so that two pixels per class are enough. Components differ in the groups
they use. Their weights come from a prior and from the likelihood of held-out blocks of labels, so
that a group that does not improve the prediction gets little weight.

The components are combined by logarithmic pooling (Genest & Zidek 1986, Statistical Science 1): a
weighted sum of their scores, so that a prediction costs one linear map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from carl.arrays import Float64Array, check_arrays

IntArray = NDArray[np.intp]

_PRIOR_PIXELS = 16.0
"""Weight, in pixels, of the covariance of the whole image in the shrunk covariance."""
_ERROR_WEIGHT = 20.0
"""Factor of the relative error variance in the scatter. Errors due to another camera are common to
all pixels, so they matter more than independent noise of the same variance."""
_TEMPERATURES = np.geomspace(0.02, 1.0, 18)
"""Candidate temperatures of a component's scores."""
_DEFAULT_TEMPERATURE = 0.2
"""Temperature where no class has a second block that could be held out."""
_AXES = {"means": "K p", "scatter": "p p", "masks": "E p", "temperatures": "E", "weights": "E"}
"""Axes of the arrays of a mixture: K classes, p features, E components."""
_LIKELIHOOD_EXPONENT = 0.5
"""Exponent of the held-out likelihood; below 1 because nearby labels are not independent."""


@dataclass(frozen=True, eq=False)
class LabelledPixels:
    """Training pixels.

    Attributes:
        features: (n, p).
        classes: (n,) indices 0..K-1.
        blocks: (n,) number of the block of labels each pixel belongs to; blocks are held out whole.
        weights: (n,) of the pixels.
    """

    features: Float64Array
    classes: IntArray
    blocks: IntArray
    weights: Float64Array

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return int(self.classes.max()) + 1


@dataclass(frozen=True, eq=False)
class DiscriminantMixture:
    """Gaussian classes of one covariance, classified by components on subsets of the features.

    Attributes:
        means: (K, p) of the classes.
        scatter: (p, p) within-class covariance, shrunk.
        masks: (E, p) True for the features each component uses.
        temperatures: (E,) factors from a component's scores to log-probabilities.
        weights: (E,) of the components; they sum to 1.
        accuracy: accuracy on held-out blocks, averaged over classes; NaN where no class has two
            blocks.
    """

    means: Float64Array
    scatter: Float64Array
    masks: NDArray[np.bool_]
    temperatures: Float64Array
    weights: Float64Array
    accuracy: float

    def check(self) -> None:
        """Check a mixture that was read from a file.

        Raises:
            ValueError: its arrays do not fit each other, or the scatter is no covariance.
        """
        check_arrays(vars(self), _AXES)
        if self.masks.dtype.kind != "b" or not self.masks.any(axis=1).all():
            raise ValueError("a component of the mixture uses no features")
        np.linalg.cholesky(self.scatter)  # a LinAlgError is a ValueError

    def discriminant(
        self, error_variance: NDArray[np.floating] | None = None
    ) -> tuple[Float64Array, Float64Array]:
        """Compute the pooled linear map from features to scores.

        For component e with temperature t and weight w, the score of class k is
        w t (μ_kᵀ Σ⁻¹ x − ½ μ_kᵀ Σ⁻¹ μ_k) on the features of its mask.

        Args:
            error_variance: (p,) relative error variance v of each feature, or None. The scatter
                grows by 20 v / (1 − v), so that the discriminants rely on other features.

        Returns:
            coefficients (p, K) and bias (K,).
        """
        coefficients, bias = np.zeros(self.means.T.shape), np.zeros(len(self.means))
        scatter = self.scatter
        if error_variance is not None and error_variance.any():
            added = _ERROR_WEIGHT * error_variance / np.maximum(1 - error_variance, 1e-3)
            scatter = scatter + np.diag(added)
        for mask, factor in zip(self.masks, self.weights * self.temperatures, strict=True):
            columns = np.flatnonzero(mask)
            means = self.means[:, columns]
            directions = np.linalg.solve(scatter[np.ix_(columns, columns)], means.T)
            coefficients[columns] += factor * directions
            bias -= 0.5 * factor * np.sum(means.T * directions, axis=0)
        return coefficients, bias


def fit_mixture(
    pixels: LabelledPixels, masks: NDArray[np.bool_], prior: Sequence[float]
) -> DiscriminantMixture:
    """Fit the components and their weights.

    Args:
        pixels: of at least two classes.
        masks: (E, p) True for the features each component uses.
        prior: weight of each component before any label is known; need not sum to 1.
    """
    moments = _moments(pixels)
    held_out = np.stack([_held_out_scores(pixels, moments, np.flatnonzero(mask)) for mask in masks])
    calibrated = [_calibrate(scores, pixels, moments.balance) for scores in held_out]
    temperatures, losses = np.array(calibrated).T
    weights = softmax(np.log(np.asarray(prior, float)) - _LIKELIHOOD_EXPONENT * losses)
    pooled = np.tensordot(weights * temperatures, held_out, axes=1)
    return DiscriminantMixture(
        moments.means, moments.scatter, masks, temperatures, weights, _accuracy(pooled, pixels)
    )


@dataclass(frozen=True, eq=False)
class _Moments:
    """Means and covariance of the classes, and what is needed to remove a block from them.

    Attributes:
        totals: (K,) weight of the pixels of each class.
        balance: (K,) factor that gives every class the same weight.
        freedom: divisor of the sum of squares.
        means: (K, p).
        deviations: (n, p) of the pixels from the means of their classes.
        scatter: (p, p).
    """

    totals: Float64Array
    balance: Float64Array
    freedom: float
    means: Float64Array
    deviations: Float64Array
    scatter: Float64Array


def _moments(pixels: LabelledPixels) -> _Moments:
    n_classes = pixels.n_classes
    members = np.eye(n_classes)[pixels.classes] * pixels.weights[:, None]
    totals = members.sum(axis=0)
    means = members.T @ pixels.features / totals[:, None]
    deviations = pixels.features - means[pixels.classes]
    n_effective = totals.sum()
    balance = n_effective / n_classes / totals
    freedom = max(n_effective - n_classes, 1.0) + _PRIOR_PIXELS
    weighted = deviations * (members @ balance)[:, None]
    # Features have unit variance over the image, so its covariance is taken as the identity.
    scatter = (weighted.T @ deviations + _PRIOR_PIXELS * np.eye(deviations.shape[1])) / freedom
    return _Moments(totals, balance, freedom, means, deviations, scatter)


def _held_out_scores(pixels: LabelledPixels, moments: _Moments, columns: IntArray) -> Float64Array:
    """Compute (n, K) scores of every pixel by a component fitted without the pixel's block.

    NaN where the block is the only one of its class.

    Removing a block B of class k changes the mean to μ − q / (U − u_B), where q is the weighted sum
    of the block's deviations r, u_B its weight and U that of the class, and subtracts
    Σ u r rᵀ + q qᵀ / (U − u_B) from the scatter. The inverse follows by Woodbury's identity for
    this change of low rank, so nothing is fitted again.
    """
    features, deviations = pixels.features[:, columns], moments.deviations[:, columns]
    means = moments.means[:, columns]
    precision = np.linalg.inv(moments.scatter[np.ix_(columns, columns)])
    directions = means @ precision
    scores = np.full((len(features), len(means)), np.nan)
    for block, k in _blocks_of_classes(pixels):
        u = pixels.weights[block]
        rest = moments.totals[k] - u.sum()
        if rest <= 1e-9 * moments.totals[k]:
            continue
        r = deviations[block]
        q = u @ r
        update = np.vstack([np.sqrt(u)[:, None] * r, q / np.sqrt(rest)])
        update *= np.sqrt(moments.balance[k] / moments.freedom)
        # (Σ − VᵀV)⁻¹ = P + P Vᵀ (I − V P Vᵀ)⁻¹ V P, with P = Σ⁻¹ and V = update.
        through = update @ precision
        core = np.linalg.inv(np.eye(len(update)) - through @ update.T)
        new_means, new_directions = means.copy(), directions.copy()
        new_means[k] -= q / rest
        new_directions[k] = new_means[k] @ precision
        new_directions += (new_directions @ update.T) @ core @ through
        bias = -0.5 * np.sum(new_means * new_directions, axis=1)
        scores[block] = features[block] @ new_directions.T + bias
    return scores


def _blocks_of_classes(pixels: LabelledPixels) -> list[tuple[IntArray, int]]:
    """Return the indices of the pixels of each block in each class, and the class."""
    keys = pixels.blocks * pixels.n_classes + pixels.classes
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return [(group, int(pixels.classes[group[0]])) for group in np.split(order, starts[1:])]


def _calibrate(
    held_out: Float64Array, pixels: LabelledPixels, balance: Float64Array
) -> tuple[float, float]:
    """Return the temperature with the least held-out cross-entropy, and that cross-entropy.

    The targets are smoothed by Laplace's rule of succession: after n correct pixels, the next one
    is wrong with probability 1 / (n + 2). So few labels never give certain predictions.
    """
    known = ~np.isnan(held_out[:, 0])
    if not known.any():
        return _DEFAULT_TEMPERATURE, 0.0
    classes = pixels.classes[known]
    counts = (pixels.weights * balance[pixels.classes])[known]
    n_classes = held_out.shape[1]
    smoothing = 1 / (counts.sum() + 2)
    targets = (1 - smoothing) * np.eye(n_classes)[classes] + smoothing / n_classes
    losses = [
        -float(counts @ np.sum(targets * log_softmax(held_out[known] * t, axis=1), axis=1))
        for t in _TEMPERATURES
    ]
    best = int(np.argmin(losses))
    return float(_TEMPERATURES[best]), losses[best]


def _accuracy(held_out: Float64Array, pixels: LabelledPixels) -> float:
    known = ~np.isnan(held_out[:, 0])
    if not known.any():
        return float("nan")
    classes, weights = pixels.classes[known], pixels.weights[known]
    correct = held_out[known].argmax(axis=1) == classes
    present = np.unique(classes)
    return float(
        np.mean([np.average(correct[classes == k], weights=weights[classes == k]) for k in present])
    )
