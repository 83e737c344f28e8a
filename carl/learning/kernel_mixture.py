"""Gaussian-process classifier of few labelled pixels, with a kernel for each group of features.

Classes are regressed on as numbers (Rifkin & Klautau 2004, JMLR 5; Rasmussen & Williams 2006,
chapter 6.5), so that a fit and all of its held-out predictions are in closed form. A group of
features has the rational quadratic kernel k(x, x') = 1 / (1 + γ |x − x'|²); views of the spectrum
also have a linear one. A component of the mixture is a weighted sum of these kernels: of the
spectrum, of neighbourhoods, of the network, or of several.

Two pixels per class cannot weigh the components alone. So three numbers do: a prior, the likelihood
of held-out strokes, and how smooth the map of a component is, measured at pairs of neighbouring
unlabelled pixels; the last counts more, the fewer strokes can be held out. Scores are pooled
logarithmically, as in `discriminant_mixture`. Pooled components are one sum over kernels, so their
number does not matter for the time of a prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from torch import Tensor

from carl.arrays import Float32Array, Float64Array, check_arrays
from carl.learning.discriminant_mixture import (
    NO_STROKE,
    IntArray,
    LabelledPixels,
    class_accuracies,
)
from carl.learning.feature_space import NETWORK_GROUPS
from carl.learning.features import EVERYWHERE, FeatureStack, PixelFunction, Region
from carl.learning.spectral_views import VIEWS

_GAMMA = 0.3
"""γ of the kernels, in units of one over the total variance of the group over the image."""
_NOISES = (0.03, 0.3)
"""Candidate variances of the noise of a label, relative to that of a kernel."""
_PRIOR_OF_ALL = 0.3
"""Prior weight of the component that uses all groups; the others share the rest."""
_LIKELIHOOD_EXPONENT = 0.25
"""Exponent of the held-out likelihood; below 1 because labels of a cube are not independent."""
_SMOOTHNESS, _SMOOTHNESS_OF_FEW = 2.0, 6.0
"""Factors of the smoothness of a map, in the log of its weight: always, and as far as few strokes
can be held out."""
_FEW = 2.0
"""Held-out pixels per class at which the second factor has halved."""
_MOST_PIXELS = 200
"""Pixels that kernels are centred on: bounds the time of a prediction."""
_LEAST_OF_CLASS = 8
"""Pixels of a class that are used whatever the number of classes."""
_NEGLIGIBLE = 0.02
"""Groups whose weight is smaller are left out of predictions."""
_TEMPERATURES = np.geomspace(0.5, 60.0, 24)
"""Candidate factors from scores, which are about −1 to 1, to log-probabilities."""
_DEFAULT_TEMPERATURE = 5.0
"""Temperature where no stroke can be held out."""
_CHUNK = 1 << 13
"""Pixels whose kernels are computed at once: 6 MB with 200 centres."""
_AXES = {"widths": "G", "totals": "G", "centres": "n p", "dual": "G n K", "primal": "p K"}
_AXES |= {"kernels": "C G", "linear": "C G", "noises": "C", "weights": "C", "temperatures": "C"}
"""Axes of the arrays: n centres, p features, G groups, K classes, C components."""


@dataclass(frozen=True, eq=False)
class KernelMixture:
    """Fitted classifier; make it by `fit_kernels`.

    Attributes:
        groups: names of the G groups of features, in the order of their columns.
        widths: (G,) number of features of each group; they sum to p.
        totals: (G,) total variance of each group over the image.
        centres: (n, p) features of the pixels that kernels are centred on.
        dual: (G, n, K) coefficients of the rational quadratic kernels, pooled over components.
        primal: (p, K) coefficients of the linear kernels, pooled over components.
        kernels: (C, G) weight of each rational quadratic kernel in each component.
        linear: (C, G) weight of each linear kernel in each component.
        noises: (C,) variance of the noise of a label.
        weights: (C,) of the components; they sum to 1.
        temperatures: (C,) factors from the scores of a component to log-probabilities.
        accuracies: (K,) accuracy of each class on held-out strokes; NaN where it would have no
            pixels without its only stroke.
    """

    groups: tuple[str, ...]
    widths: IntArray
    totals: Float64Array
    centres: Float32Array
    dual: Float32Array
    primal: Float32Array
    kernels: Float64Array
    linear: Float64Array
    noises: Float64Array
    weights: Float64Array
    temperatures: Float64Array
    accuracies: Float64Array

    @property
    def group_weights(self) -> dict[str, float]:
        """Weight of each group of features over all components, by its name; they sum to 1."""
        weights = self.weights @ (self.kernels + self.linear)
        return dict(zip(self.groups, weights.tolist(), strict=True))

    def scores(self, stack: FeatureStack, region: Region = EVERYWHERE) -> Float32Array:
        """Compute the (rows, columns, K) class scores of the pixels of a region."""
        functions: dict[str, PixelFunction] = {}
        for g, (name, where) in enumerate(zip(self.groups, _columns(self.widths), strict=True)):
            if self.group_weights[name] >= _NEGLIGIBLE:
                functions[name] = partial(
                    _group_scores,
                    _tensor(self.centres[:, where]),
                    _tensor(self.dual[g]),
                    _tensor(self.primal[where]),
                    _GAMMA / float(self.totals[g]),
                )
        return stack.sum_of(functions, np.zeros(self.dual.shape[2]), region)

    def refit(self, pixels: LabelledPixels) -> KernelMixture:
        """Fit to other pixels of the same features, with components weighted as they are.

        Few corrections, all of them where the model was wrong, are no sample of the errors of its
        components.
        """
        components = [
            Component(*each) for each in zip(self.kernels, self.linear, self.noises, strict=True)
        ]
        grams = _Grams(_thinned(pixels), self.widths, self.totals)
        fits = [_Fit(grams, each) for each in components]
        return _pooled(self.groups, grams, components, fits, self.weights, self.temperatures)

    def check(self) -> None:
        """Check a mixture that was read from a file.

        Raises:
            ValueError: its arrays do not fit each other.
        """
        arrays = {name: each for name, each in vars(self).items() if name != "groups"}
        lengths = check_arrays(arrays, _AXES)
        if self.accuracies.shape != (lengths["K"],):
            raise ValueError(f"accuracies of {self.accuracies.size} classes, not {lengths['K']}")
        if lengths["G"] != len(self.groups) or int(self.widths.sum()) != lengths["p"]:
            raise ValueError(f"{len(self.groups)} groups of {lengths['p']} features")
        if np.any(self.widths < 1) or np.any(self.totals <= 0) or np.any(self.noises <= 0):
            raise ValueError("a width, a variance or a noise is not positive")


class Component(NamedTuple):
    """A weighted sum of kernels.

    Attributes:
        kernels: (G,) weights of the rational quadratic kernels.
        linear: (G,) weights of the linear kernels; all weights sum to 1.
        noise: variance of the noise of a label.
    """

    kernels: Float64Array
    linear: Float64Array
    noise: float


def fit_kernels(
    pixels: LabelledPixels, groups: Mapping[str, slice], unlabelled: Float32Array
) -> KernelMixture:
    """Fit the components and their weights.

    Args:
        pixels: of at least two classes.
        groups: columns of each group of features, by name.
        unlabelled: (2, m, p) features of pixels drawn from the image, and of their neighbours.
    """
    names = tuple(groups)
    widths = np.array([where.stop - where.start for where in groups.values()])
    variances = unlabelled.var(axis=(0, 1), dtype=np.float64)
    totals = np.array([variances[where].sum() for where in groups.values()])
    totals = np.maximum(totals, np.finfo(np.float32).tiny)
    grams = _Grams(_thinned(pixels), widths, totals)
    beside = [_Kernels(each, grams.pixels.features, widths, totals) for each in unlabelled]
    components = _components(names)
    fits = [_Fit(grams, each) for each in components]
    calibrated = [_calibrate(each.held_out, grams.pixels) for each in fits]
    temperatures, losses = np.array(calibrated).T
    smoothness = [
        _smoothness(*(kernels.scores(component, fit.dual) for kernels in beside))
        for component, fit in zip(components, fits, strict=True)
    ]
    n_judged = np.count_nonzero(~np.isnan(fits[0].held_out[:, 0])) / grams.n_classes
    factor = _SMOOTHNESS + _SMOOTHNESS_OF_FEW / (1 + n_judged / _FEW)
    weights = softmax(
        np.log(_priors(len(components)))
        - _LIKELIHOOD_EXPONENT * losses
        + factor * np.array(smoothness)
    )
    return _pooled(names, grams, components, fits, weights, temperatures)


def _components(names: Sequence[str]) -> list[Component]:
    """Return the components: the first uses all groups, the others some of them."""
    views = [name for name in names if name in VIEWS]
    network = [name for name in names if name in NETWORK_GROUPS]
    bank = [name for name in names if name not in (*VIEWS, *NETWORK_GROUPS)]
    spectrum, linear = dict.fromkeys(views, 1 / len(views)), dict.fromkeys(views, 1 / len(views))
    texture = dict.fromkeys(bank, 1 / len(bank))
    learned = dict.fromkeys(network, 1 / max(len(network), 1))
    # Weights of the kernels of spectrum, texture and network, and of the linear ones.
    mixed = [(3, 4, 1, 1), (1, 0, 0, 0), (0, 0, 0, 1), (1, 0, 0, 1), (0, 1, 0, 0), (1, 1, 0, 0)]
    if network:
        mixed += [(0, 0, 1, 0), (0, 3, 1, 0), (1, 0, 1, 0)]
    weighed = [
        (_weighed(names, (a, spectrum), (b, texture), (c, learned)), _weighed(names, (d, linear)))
        for a, b, c, d in mixed
    ]
    for name in views:
        one = _weighed(names, (1, {name: 1.0}))
        weighed += [(one, 0 * one), (one, one)]
    total = [kernels.sum() + linear.sum() for kernels, linear in weighed]
    return [
        Component(kernels / n, linear / n, noise)
        for noise in _NOISES
        for (kernels, linear), n in zip(weighed, total, strict=True)
    ]


def _weighed(names: Sequence[str], *parts: tuple[float, Mapping[str, float]]) -> Float64Array:
    """Return (G,) the sum of weights by name of a group, each times a number."""
    return np.array([sum(n * each.get(name, 0.0) for n, each in parts) for name in names])


def _priors(n_components: int) -> Float64Array:
    """Return (C,) prior weights; the components are repeated for each noise."""
    n = n_components // len(_NOISES)
    once = np.array([_PRIOR_OF_ALL, *[(1 - _PRIOR_OF_ALL) / n] * (n - 1)])
    return np.tile(once, len(_NOISES))


class _Kernels:
    """Kernels between features, (m, p), and centres, (n, p), of every group.

    Attributes:
        rational: (G, m, n) rational quadratic kernels.
        linear: (G, m, n) inner products over the total variance of the group.
    """

    def __init__(
        self,
        features: NDArray[np.floating],
        centres: NDArray[np.floating],
        widths: IntArray,
        totals: Float64Array,
    ) -> None:
        pairs = [(features[:, where], centres[:, where]) for where in _columns(widths)]
        products = [a @ b.T for a, b in pairs]
        norms = [(np.sum(a**2, axis=1), np.sum(b**2, axis=1)) for a, b in pairs]
        self.rational = np.stack(
            [
                1 / (1 + _GAMMA / total * np.maximum(a[:, None] + b - 2 * product, 0))
                for product, (a, b), total in zip(products, norms, totals, strict=True)
            ]
        )
        self.linear = np.stack(products) / totals[:, None, None]

    def of(self, component: Component) -> Float64Array:
        """Return the (m, n) kernel of a component."""
        rational = np.tensordot(component.kernels, self.rational, axes=1)
        return np.asarray(rational + np.tensordot(component.linear, self.linear, axes=1))

    def scores(self, component: Component, dual: Float64Array) -> Float64Array:
        """Return (m, K) scores of a component with (n, K) coefficients."""
        return self.of(component) @ dual


class _Grams(_Kernels):
    """Kernels between all training pixels."""

    def __init__(self, pixels: LabelledPixels, widths: IntArray, totals: Float64Array) -> None:
        super().__init__(pixels.features, pixels.features, widths, totals)
        self.pixels = pixels
        self.widths = widths
        self.totals = totals
        self.n_classes = int(pixels.classes.max()) + 1
        self.held_out_groups = _held_out_groups(pixels)


class _Fit:
    """Regression on the classes with the kernel of one component.

    Attributes:
        dual: (n, K) coefficients α = (K + Λ)⁻¹ (Y − 1 / K), with a noise Λ that gives all classes
            the same weight.
        held_out: (n, K) scores of every pixel by a fit without its stroke; NaN where the stroke is
            the only one of its class. For a group B of pixels they are
            y_B − ((K + Λ)⁻¹_BB)⁻¹ α_B (Rasmussen & Williams 2006, equation 5.12).
    """

    def __init__(self, grams: _Grams, component: Component) -> None:
        pixels = grams.pixels
        targets = np.eye(grams.n_classes)[pixels.classes] - 1 / grams.n_classes
        weights = _balanced(pixels, np.ones(len(pixels.classes), bool))
        noise = component.noise / weights * np.average(weights)
        precision = np.linalg.inv(grams.of(component) + np.diag(noise))
        self.dual = precision @ targets
        self.held_out = np.full(targets.shape, np.nan)
        for group in grams.held_out_groups:
            block = precision[np.ix_(group, group)]
            self.held_out[group] = targets[group] - np.linalg.solve(block, self.dual[group])


def _held_out_groups(pixels: LabelledPixels) -> list[IntArray]:
    """Return the pixels of each stroke of classes with several; of each block outside strokes."""
    drawn = pixels.strokes != NO_STROKE
    numbers = np.where(drawn, 2 * pixels.strokes, 2 * pixels.blocks + 1)
    found = []
    for k in range(int(pixels.classes.max()) + 1):
        members = np.flatnonzero(pixels.classes == k)
        each = [members[numbers[members] == number] for number in np.unique(numbers[members])]
        if len(each) > 1:
            found += each
    return found


def _balanced(pixels: LabelledPixels, chosen: NDArray[np.bool_]) -> Float64Array:
    """Return weights of the chosen pixels with the same sum for all classes; their mean is 1."""
    weights, classes = pixels.weights[chosen], pixels.classes[chosen]
    balanced = weights / np.bincount(classes, weights)[classes]
    return np.asarray(balanced * len(balanced) / balanced.sum())


def _calibrate(held_out: Float64Array, pixels: LabelledPixels) -> tuple[float, float]:
    """Return the temperature with the least held-out cross-entropy, and that cross-entropy.

    The targets are smoothed by Laplace's rule of succession: after n correct pixels, the next one
    is wrong with probability 1 / (n + 2).
    """
    known = ~np.isnan(held_out[:, 0])
    if not known.any():
        return _DEFAULT_TEMPERATURE, 0.0
    scores, n_classes = held_out[known], held_out.shape[1]
    weights = _balanced(pixels, known)
    smoothing = 1 / (len(weights) + 2)
    targets = (1 - smoothing) * np.eye(n_classes)[pixels.classes[known]] + smoothing / n_classes
    losses = [
        -float(weights @ np.sum(targets * log_softmax(scores * t, axis=1), axis=1))
        for t in _TEMPERATURES
    ]
    best = int(np.argmin(losses))
    return float(_TEMPERATURES[best]), losses[best]


def _smoothness(here: Float64Array, beside: Float64Array) -> float:
    """Return how far labels of neighbours agree beyond chance (Cohen's κ), from (m, K) scores."""
    labels = here.argmax(axis=1)
    agreement = float(np.mean(labels == beside.argmax(axis=1)))
    chance = float(np.sum((np.bincount(labels) / len(labels)) ** 2))
    return (agreement - chance) / (1 - chance + 1e-3)


def _pooled(
    names: tuple[str, ...],
    grams: _Grams,
    components: Sequence[Component],
    fits: Sequence[_Fit],
    weights: Float64Array,
    temperatures: Float64Array,
) -> KernelMixture:
    """Pool the components: a score is the weighted sum of theirs, times their temperatures."""
    pixels = grams.pixels
    kernels, linear = (np.stack(each) for each in list(zip(*components, strict=True))[:2])
    duals = np.stack([each.dual for each in fits]) * (weights * temperatures)[:, None, None]
    dual = np.einsum("cg,cnk->gnk", kernels, duals)
    of_groups = np.einsum("cg,cnk->gnk", linear, duals)
    primal = [
        pixels.features[:, where].T @ each / total
        for where, each, total in zip(_columns(grams.widths), of_groups, grams.totals, strict=True)
    ]
    held_out = np.tensordot(weights * temperatures, [each.held_out for each in fits], axes=1)
    return KernelMixture(
        names,
        grams.widths,
        grams.totals,
        pixels.features.astype(np.float32),
        dual.astype(np.float32),
        np.concatenate(primal).astype(np.float32),
        kernels,
        linear,
        np.array([each.noise for each in components]),
        weights,
        temperatures,
        class_accuracies(held_out, pixels),
    )


def _thinned(pixels: LabelledPixels) -> LabelledPixels:
    """Return at most `_MOST_PIXELS` pixels; those of strokes come before predicted ones."""
    n_classes = int(pixels.classes.max()) + 1
    most = max(_LEAST_OF_CLASS, _MOST_PIXELS // n_classes)
    generator = np.random.default_rng(0)
    chosen = []
    for k in range(n_classes):
        members = generator.permutation(np.flatnonzero(pixels.classes == k))
        drawn_first = np.argsort(pixels.strokes[members] == NO_STROKE, kind="stable")
        chosen.append(np.sort(members[drawn_first[:most]]))
    return pixels.choose(np.concatenate(chosen))


def _columns(widths: IntArray) -> list[slice]:
    """Return the columns of groups of features, which follow one another."""
    stops = np.cumsum(widths).tolist()
    return [slice(*ends) for ends in zip([0, *stops[:-1]], stops, strict=True)]


def _group_scores(
    centres: Tensor, dual: Tensor, primal: Tensor, gamma: float, values: Float32Array
) -> Float32Array:
    """Compute (..., K) scores of one group from its (..., d) features.

    With centres a, the kernel is 1 / (1 + γ |a|² + γ |x|² − 2 γ x·a).
    """
    pixels = torch.from_numpy(np.ascontiguousarray(values)).reshape(-1, values.shape[-1])
    constant = 1 + gamma * centres.square().sum(dim=1)
    directions = (-2 * gamma * centres.T).contiguous()
    scores = pixels @ primal
    for part, result in zip(torch.split(pixels, _CHUNK), torch.split(scores, _CHUNK), strict=True):
        kernel = torch.addmm(constant, part, directions)
        kernel += gamma * part.square().sum(dim=1, keepdim=True)
        # Rounding may give a distance just below 0.
        result += kernel.clamp_(min=1.0).reciprocal_() @ dual
    return scores.reshape(*values.shape[:-1], -1).numpy()


def _tensor(values: Float32Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))
