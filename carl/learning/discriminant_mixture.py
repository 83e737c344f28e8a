"""The head: linear discriminants that weigh their features by how well they predict unseen strokes.

One expert is a linear discriminant analysis (Fisher 1936) on some of the feature groups. Its
within-class covariance is shrunk as if a fixed number of pixels had been seen before that spread
like the whole image (the mean of an inverse-Wishart posterior), so that two painted pixels are
enough. Experts that differ in the groups they see are pooled by their predictions on left-out
strokes: a group that does not help gets little weight, and costs nothing.

The product of discriminants (logarithmic pooling, Genest and Zidek 1986) is again one linear map,
so prediction costs the same however many experts there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from carl.arrays import Float64Array

IntArray = NDArray[np.intp]

_SEEN_BEFORE = 16.0
"""Pixels' worth of prior belief in the covariance of the whole image, per feature."""
_WARINESS = 20.0
"""What is wrong about a feature is wrong alike in all pixels: that weighs more than noise."""
_TEMPERATURES = np.geomspace(0.02, 1.0, 18)
_CAUTIOUS = 0.2
"""Temperature where no class has a second stroke to be tried on."""
_LEARNING_RATE = 0.5
"""Exponent of the left-out likelihood: below 1 because strokes nearby are not independent."""


@dataclass(frozen=True, eq=False)
class LabelledPixels:
    """Pixels to learn from.

    Attributes:
        features: (n, p).
        classes: (n,) indices 0..K-1.
        blocks: (n,) number of the patch of paint each belongs to; left out together.
        weights: (n,) how much each counts.
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
    """Classes as Gaussians of one covariance, and experts who each look at some of the features.

    Attributes:
        means: (K, p) of the classes.
        scatter: (p, p) within-class covariance, shrunk.
        seen: (E, p) which features each expert looks at.
        temperatures: (E,) factors that turn an expert's scores into logarithms of probabilities.
        shares: (E,) weight of each expert in the pool; they sum to 1.
        accuracy: share of left-out paint recognised, every class counting the same; NaN where no
            class has two blocks.
    """

    means: Float64Array
    scatter: Float64Array
    seen: NDArray[np.bool_]
    temperatures: Float64Array
    shares: Float64Array
    accuracy: float

    def discriminant(
        self, error_variance: NDArray[np.floating] | None = None
    ) -> tuple[Float64Array, Float64Array]:
        """The pooled linear map from features to scores.

        Args:
            error_variance: (p,) relative error variance of each feature, counted as scatter within
                classes, so that discriminants lean on the other features.

        Returns:
            weights (p, K) and bias (K,).
        """
        weights, bias = np.zeros(self.means.T.shape), np.zeros(len(self.means))
        scatter = self.scatter
        if error_variance is not None and error_variance.any():
            scatter = scatter + np.diag(
                _WARINESS * error_variance / np.maximum(1 - error_variance, 1e-3)
            )
        for seen, factor in zip(self.seen, self.shares * self.temperatures, strict=True):
            columns = np.flatnonzero(seen)
            means = self.means[:, columns]
            directions = np.linalg.solve(scatter[np.ix_(columns, columns)], means.T)
            weights[columns] += factor * directions
            bias -= 0.5 * factor * np.sum(means.T * directions, axis=0)
        return weights, bias


def fit_mixture(
    pixels: LabelledPixels, seen: NDArray[np.bool_], prior: Sequence[float]
) -> DiscriminantMixture:
    """Fit the experts and pool them.

    Args:
        pixels: to learn from, of at least two classes.
        seen: (E, p) which features each expert looks at.
        prior: belief in each expert before any paint is seen; need not sum to 1.
    """
    moments = _moments(pixels)
    left_out = np.stack([_left_out_scores(pixels, moments, np.flatnonzero(each)) for each in seen])
    calibrated = [_calibrate(scores, pixels, moments.balance) for scores in left_out]
    temperatures, losses = np.array(calibrated).T
    shares = softmax(np.log(np.asarray(prior, float)) - _LEARNING_RATE * losses)
    pooled = np.tensordot(shares * temperatures, left_out, axes=1)
    return DiscriminantMixture(
        moments.means, moments.scatter, seen, temperatures, shares, _accuracy(pooled, pixels)
    )


@dataclass(frozen=True, eq=False)
class _Moments:
    """Means and covariance, and what it takes to leave a block out of them.

    Attributes:
        totals: (K,) weight of the pixels of each class.
        balance: (K,) factor that makes every class count the same.
        freedom: what the sum of squares was divided by.
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
    freedom = max(n_effective - n_classes, 1.0) + _SEEN_BEFORE
    weighted = deviations * (members @ balance)[:, None]
    scatter = (weighted.T @ deviations + _SEEN_BEFORE * np.eye(deviations.shape[1])) / freedom
    return _Moments(totals, balance, freedom, means, deviations, scatter)


def _left_out_scores(pixels: LabelledPixels, moments: _Moments, columns: IntArray) -> Float64Array:
    """(n, K) an expert's scores of every pixel when the pixel's block is left out.

    NaN where the block is all there is of its class.

    Leaving a block B of class k out changes its mean to μ − q/(U − u_B), with q the weighted sum of
    the block's deviations r, u_B its weight and U that of the class, and takes Σ u r rᵀ +
    q qᵀ/(U − u_B) off the scatter: a change of low rank, which Woodbury's identity carries to the
    inverse. So nothing is fitted again.
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
        through = update @ precision
        core = np.linalg.inv(np.eye(len(update)) - through @ update.T)
        moved, moved_directions = means.copy(), directions.copy()
        moved[k] -= q / rest
        moved_directions[k] = moved[k] @ precision
        moved_directions += (moved_directions @ update.T) @ core @ through
        bias = -0.5 * np.sum(moved * moved_directions, axis=1)
        scores[block] = features[block] @ moved_directions.T + bias
    return scores


def _blocks_of_classes(pixels: LabelledPixels) -> list[tuple[IntArray, int]]:
    """Indices of the pixels of each block in each class, and the class."""
    keys = pixels.blocks * pixels.n_classes + pixels.classes
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return [(group, int(pixels.classes[group[0]])) for group in np.split(order, starts[1:])]


def _calibrate(
    left_out: Float64Array, pixels: LabelledPixels, balance: Float64Array
) -> tuple[float, float]:
    """The temperature under which left-out scores are the best probabilities, and their loss.

    Of n pixels all told right, the next is wrong with a probability of 1/(n + 2) (Laplace's rule of
    succession): so little paint does not make anyone sure.
    """
    known = ~np.isnan(left_out[:, 0])
    if not known.any():
        return _CAUTIOUS, 0.0
    classes = pixels.classes[known]
    counts = (pixels.weights * balance[pixels.classes])[known]
    n_classes = left_out.shape[1]
    surprise = 1 / (counts.sum() + 2)
    wanted = (1 - surprise) * np.eye(n_classes)[classes] + surprise / n_classes
    losses = [
        -float(counts @ np.sum(wanted * log_softmax(left_out[known] * t, axis=1), axis=1))
        for t in _TEMPERATURES
    ]
    best = int(np.argmin(losses))
    return float(_TEMPERATURES[best]), losses[best]


def _accuracy(left_out: Float64Array, pixels: LabelledPixels) -> float:
    known = ~np.isnan(left_out[:, 0])
    if not known.any():
        return float("nan")
    classes, weights = pixels.classes[known], pixels.weights[known]
    right = left_out[known].argmax(axis=1) == classes
    present = np.unique(classes)
    return float(
        np.mean([np.average(right[classes == k], weights=weights[classes == k]) for k in present])
    )
