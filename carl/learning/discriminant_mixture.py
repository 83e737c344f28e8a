"""Mixture of linear discriminants, fitted to few labelled pixels.

Each component is a linear discriminant analysis (Fisher 1936) on some of the feature groups. Its
within-class covariance is shrunk towards the covariance of the whole image, as the mean of an
inverse-Wishart posterior, so that two pixels per class are enough. Components differ in the groups
they use. Their weights come from a prior and from the likelihood of held-out blocks of labels, so
that a group that does not improve the prediction gets little weight. The accuracy that is reported
is that of held-out strokes, which may be longer than a block.

A class has one mean, or several, called modes (mixture discriminant analysis, Hastie & Tibshirani
1996, J. R. Statist. Soc. B 58): a correction gives its class a further mode and leaves the others
as they are.

The components are combined by logarithmic pooling (Genest & Zidek 1986, Statistical Science 1): a
weighted sum of their scores, so that a prediction costs one linear map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

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
_AXES = {"means": "M p", "mode_classes": "M", "scatter": "p p"}
_AXES |= {"masks": "E p", "temperatures": "E", "weights": "E"}
"""Axes of the arrays of a mixture: M modes, p features, E components."""
_PIXEL_AXES = {"features": "n p"}
_PIXEL_AXES |= dict.fromkeys(("classes", "modes", "blocks", "strokes", "weights"), "n")
"""Axes of the arrays of n pixels of p features."""
_LIKELIHOOD_EXPONENT = 0.5
"""Exponent of the held-out likelihood; below 1 because nearby labels are not independent."""
_N_FOLDS = 10
"""Strokes of a mode are held out one by one up to this number, and in as many folds if there are
more: the cost of the accuracy is then independent of their number."""
_NEVER = -1e30
"""Score of a mode that is left out; finite, as a component of weight 0 multiplies it."""
NO_STROKE = -1
"""Number of the stroke of pixels whose labels were predicted."""


@dataclass(frozen=True, eq=False)
class LabelledPixels:
    """Training pixels.

    Attributes:
        features: (n, p).
        classes: (n,) indices 0..K-1.
        modes: (n,) indices 0..M-1 of the modes, numbered in the order of their classes; every mode
            is part of one class.
        blocks: (n,) number of the block of labels each pixel belongs to; blocks are held out whole
            to weight the components.
        strokes: (n,) number of the stroke each pixel belongs to, or `NO_STROKE`; strokes are held
            out whole to compute the accuracy.
        weights: (n,) of the pixels.
    """

    features: Float64Array
    classes: IntArray
    modes: IntArray
    blocks: IntArray
    strokes: IntArray
    weights: Float64Array

    @property
    def mode_classes(self) -> IntArray:
        """(M,) index of the class of each mode."""
        of_modes = np.empty(int(self.modes.max()) + 1, np.intp)
        of_modes[self.modes] = self.classes
        return of_modes

    def with_features(self, n: int) -> LabelledPixels:
        """Return the pixels with their first n features."""
        return replace(self, features=self.features[:, :n])

    def choose(self, chosen: IntArray) -> LabelledPixels:
        """Return the pixels of these indices."""
        return LabelledPixels(*(each[chosen] for each in vars(self).values()))

    def check(self, mixture: DiscriminantMixture) -> None:
        """Check pixels that were read from a file.

        Raises:
            ValueError: their arrays do not fit each other, or a mixture fitted to them.
        """
        lengths = check_arrays(vars(self), _PIXEL_AXES)
        numbers = (self.classes, self.modes, self.blocks, self.strokes)
        if any(each.dtype.kind != "i" or each.min() < NO_STROKE for each in numbers):
            raise ValueError("classes, modes, blocks or strokes are not numbered")
        if lengths["p"] < mixture.means.shape[1] or np.any(self.weights <= 0):
            raise ValueError("the pixels have fewer features than the mixture, or no weight")
        if not np.array_equal(np.unique(self.modes), np.arange(len(mixture.means))) or np.any(
            mixture.mode_classes[self.modes] != self.classes
        ):
            raise ValueError("the pixels have other modes than the mixture")


@dataclass(frozen=True, eq=False)
class DiscriminantMixture:
    """Gaussian classes of one covariance, classified by components on subsets of the features.

    Attributes:
        means: (M, p) of the modes.
        mode_classes: (M,) index of the class of each mode.
        scatter: (p, p) within-class covariance, shrunk.
        masks: (E, p) True for the features each component uses.
        temperatures: (E,) factors from a component's scores to log-probabilities.
        weights: (E,) of the components; they sum to 1.
        accuracies: (K,) accuracy of each class on held-out strokes; NaN where it would have no
            pixels without its only stroke.
    """

    means: Float64Array
    mode_classes: IntArray
    scatter: Float64Array
    masks: NDArray[np.bool_]
    temperatures: Float64Array
    weights: Float64Array
    accuracies: Float64Array

    @property
    def accuracy(self) -> float:
        """Accuracy on held-out strokes, averaged over the classes that have one; else NaN."""
        return mean_accuracy(self.accuracies)

    def check(self) -> None:
        """Check a mixture that was read from a file.

        Raises:
            ValueError: its arrays do not fit each other, or the scatter is no covariance.
        """
        check_arrays(vars(self), _AXES)
        if self.masks.dtype.kind != "b" or not self.masks.any(axis=1).all():
            raise ValueError("a component of the mixture uses no features")
        np.linalg.cholesky(self.scatter)  # a LinAlgError is a ValueError
        classes = np.arange(len(self.accuracies))
        if not np.array_equal(np.unique(self.mode_classes), classes) or np.any(
            np.diff(self.mode_classes) < 0
        ):
            raise ValueError("the modes are not those of the classes, in their order")

    def discriminant(
        self, error_variance: NDArray[np.floating] | None = None
    ) -> tuple[Float64Array, Float64Array]:
        """Compute the pooled linear map from features to scores.

        For component e with temperature t and weight w, the score of mode m is
        w t (μ_mᵀ Σ⁻¹ x − ½ μ_mᵀ Σ⁻¹ μ_m) on the features of its mask.

        Args:
            error_variance: (p,) relative error variance v of each feature, or None. The scatter
                grows by 20 v / (1 − v), so that the discriminants rely on other features.

        Returns:
            coefficients (p, M) and bias (M,).
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
    held_out = _held_out_scores(pixels, moments, pixels.blocks, masks)
    calibrated = [_calibrate(scores, pixels, moments) for scores in held_out]
    temperatures, losses = np.array(calibrated).T
    weights = softmax(np.log(np.asarray(prior, float)) - _LIKELIHOOD_EXPONENT * losses)
    return _mixture(pixels, moments, masks, temperatures, weights)


def refit_mixture(mixture: DiscriminantMixture, pixels: LabelledPixels) -> DiscriminantMixture:
    """Fit the modes to other pixels of the same features, with components weighted as they are.

    Few corrections, all of them where the model was wrong, are no sample of the errors of its
    components. So temperatures and weights stay those of the mixture.
    """
    return _mixture(pixels, _moments(pixels), mixture.masks, mixture.temperatures, mixture.weights)


def class_scores(scores: NDArray[Any], mode_classes: IntArray) -> NDArray[Any]:
    """Return (..., K) scores of classes: the largest of their modes', which are (..., M)."""
    starts = np.flatnonzero(np.diff(mode_classes, prepend=-1))
    if len(starts) == len(mode_classes):
        return scores
    return np.stack([each.max(axis=-1) for each in np.split(scores, starts[1:], axis=-1)], axis=-1)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Means and covariance of the modes, and what is needed to remove a group of pixels from them.

    Attributes:
        mode_classes: (M,) class of each mode.
        totals: (M,) weight of the pixels of each mode.
        balance: (M,) factor that gives every mode the same weight.
        freedom: divisor of the sum of squares.
        means: (M, p).
        deviations: (n, p) of the pixels from the means of their modes.
        scatter: (p, p).
    """

    mode_classes: IntArray
    totals: Float64Array
    balance: Float64Array
    freedom: float
    means: Float64Array
    deviations: Float64Array
    scatter: Float64Array


def _moments(pixels: LabelledPixels) -> _Moments:
    mode_classes = pixels.mode_classes
    n_modes = len(mode_classes)
    members = np.eye(n_modes)[pixels.modes] * pixels.weights[:, None]
    totals = members.sum(axis=0)
    means = members.T @ pixels.features / totals[:, None]
    deviations = pixels.features - means[pixels.modes]
    n_effective = totals.sum()
    balance = n_effective / n_modes / totals
    freedom = max(n_effective - n_modes, 1.0) + _PRIOR_PIXELS
    weighted = deviations * (members @ balance)[:, None]
    # Features have unit variance over the image, so its covariance is taken as the identity.
    scatter = (weighted.T @ deviations + _PRIOR_PIXELS * np.eye(deviations.shape[1])) / freedom
    return _Moments(mode_classes, totals, balance, freedom, means, deviations, scatter)


def _held_out_scores(
    pixels: LabelledPixels, moments: _Moments, groups: IntArray, masks: NDArray[np.bool_]
) -> Float64Array:
    """Compute (E, n, M) scores of every pixel by components fitted without the pixel's group.

    NaN where the group is the only one of its class, and for the group `NO_STROKE`.

    Removing a group B of mode m changes the mean to μ − q / (U − u_B), where q is the weighted sum
    of the group's deviations r, u_B its weight and U that of the mode, and subtracts
    Σ u r rᵀ + q qᵀ / (U − u_B) from the scatter. The inverse follows by Woodbury's identity for
    this change of low rank, so nothing is fitted again. A mode that is a single group is removed.
    """
    of_modes = _groups_of_modes(pixels.modes, groups)
    return np.stack(
        [_scores_without(of_modes, pixels, moments, np.flatnonzero(mask)) for mask in masks]
    )


def _scores_without(
    groups: list[tuple[IntArray, int]], pixels: LabelledPixels, moments: _Moments, columns: IntArray
) -> Float64Array:
    """Compute (n, M) scores by one component, as `_held_out_scores`."""
    features, deviations = pixels.features[:, columns], moments.deviations[:, columns]
    means = moments.means[:, columns]
    precision = np.linalg.inv(moments.scatter[np.ix_(columns, columns)])
    directions = means @ precision
    scores = np.full((len(features), len(means)), np.nan)
    for group, m in groups:
        u = pixels.weights[group]
        rest = moments.totals[m] - u.sum()
        is_whole_mode = rest <= 1e-9 * moments.totals[m]
        if is_whole_mode and np.sum(moments.mode_classes == moments.mode_classes[m]) == 1:
            continue
        r = deviations[group]
        update = np.sqrt(u)[:, None] * r
        new_means, new_directions = means.copy(), directions.copy()
        if not is_whole_mode:
            q = u @ r
            update = np.vstack([update, q / np.sqrt(rest)])
            new_means[m] -= q / rest
            new_directions[m] = new_means[m] @ precision
        update *= np.sqrt(moments.balance[m] / moments.freedom)
        if len(update) > len(columns):  # VᵀV = RᵀR for the factor R of V, which has fewer rows
            update = np.linalg.qr(update).R
        # (Σ − VᵀV)⁻¹ = P + P Vᵀ (I − V P Vᵀ)⁻¹ V P, with P = Σ⁻¹ and V = update.
        through = update @ precision
        core = np.linalg.inv(np.eye(len(update)) - through @ update.T)
        new_directions += (new_directions @ update.T) @ core @ through
        bias = -0.5 * np.sum(new_means * new_directions, axis=1)
        if is_whole_mode:
            bias[m] = _NEVER
        scores[group] = features[group] @ new_directions.T + bias
    return scores


def _groups_of_modes(modes: IntArray, groups: IntArray) -> list[tuple[IntArray, int]]:
    """Return the indices of the pixels of each group in each mode, and the mode."""
    members = np.flatnonzero(groups != NO_STROKE)
    keys = (groups * (modes.max() + 1) + modes)[members]
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return [
        (members[each], int(modes[members[each[0]]]))
        for each in np.split(order, starts[1:])
        if len(each)
    ]


def _folds(pixels: LabelledPixels) -> IntArray:
    """Return (n,) number of the fold of each pixel's stroke; `NO_STROKE` outside strokes."""
    folds = np.full(len(pixels.strokes), NO_STROKE)
    for mode in range(int(pixels.modes.max()) + 1):
        drawn = (pixels.modes == mode) & (pixels.strokes != NO_STROKE)
        _, ranks = np.unique(pixels.strokes[drawn], return_inverse=True)
        folds[drawn] = ranks % _N_FOLDS
    return folds


def _calibrate(
    held_out: Float64Array, pixels: LabelledPixels, moments: _Moments
) -> tuple[float, float]:
    """Return the temperature with the least held-out cross-entropy, and that cross-entropy.

    The targets are smoothed by Laplace's rule of succession: after n correct pixels, the next one
    is wrong with probability 1 / (n + 2). So few labels never give certain predictions.
    """
    known = ~np.isnan(held_out[:, 0])
    if not known.any():
        return _DEFAULT_TEMPERATURE, 0.0
    classes = pixels.classes[known]
    scores = class_scores(held_out[known], moments.mode_classes)
    counts = (pixels.weights * moments.balance[pixels.modes])[known]
    n_classes = scores.shape[1]
    smoothing = 1 / (counts.sum() + 2)
    targets = (1 - smoothing) * np.eye(n_classes)[classes] + smoothing / n_classes
    losses = [
        -float(counts @ np.sum(targets * log_softmax(scores * t, axis=1), axis=1))
        for t in _TEMPERATURES
    ]
    best = int(np.argmin(losses))
    return float(_TEMPERATURES[best]), losses[best]


def _mixture(
    pixels: LabelledPixels,
    moments: _Moments,
    masks: NDArray[np.bool_],
    temperatures: Float64Array,
    weights: Float64Array,
) -> DiscriminantMixture:
    """Return the mixture of weighted components, with its accuracy on held-out strokes."""
    held_out = _held_out_scores(pixels, moments, _folds(pixels), masks)
    pooled = class_scores(
        np.tensordot(weights * temperatures, held_out, axes=1), moments.mode_classes
    )
    return DiscriminantMixture(
        moments.means,
        moments.mode_classes,
        moments.scatter,
        masks,
        temperatures,
        weights,
        class_accuracies(pooled, pixels),
    )


def mean_accuracy(accuracies: Float64Array) -> float:
    """Return the average over the classes that have an accuracy; NaN if none has."""
    judged = accuracies[~np.isnan(accuracies)]
    return float(judged.mean()) if judged.size else float("nan")


def class_accuracies(held_out: Float64Array, pixels: LabelledPixels) -> Float64Array:
    """Compute the (K,) accuracies of (n, K) held-out scores; NaN for classes without any."""
    known = ~np.isnan(held_out[:, 0])
    classes, weights = pixels.classes[known], pixels.weights[known]
    correct = held_out[known].argmax(axis=1) == classes
    totals = np.bincount(classes, weights, held_out.shape[1])
    right = np.bincount(classes, weights * correct, held_out.shape[1])
    accuracies: Float64Array = np.full(len(totals), np.nan)
    return np.divide(right, totals, out=accuracies, where=totals > 0)
