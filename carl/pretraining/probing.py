"""Probe a network on labelled images during pre-training, with k-NN and a linear classifier.

Losses of different objectives and of different times of a run are not comparable; the accuracy of
simple classifiers on frozen features is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.errors import CarlError, LabelError
from carl.inference import embed
from carl.io import read_cube, read_labels
from carl.io.geobench import GeoBenchSplit
from carl.metrics import evaluate
from carl.model.carl import CARL
from carl.pretraining.pretrain_config import MonitorConfig
from carl.spectra.normalise import fill_missing, spectra_statistics

_MAX_SAMPLES = 4000
"""Largest number of samples to fit to and to score on, which bounds the time of a probing."""
_MIN_LABELLED = 0.5
"""Fraction of the pixels of a patch that must have a label for the patch to have it."""
_BLOCK = 4
"""Side in patches of the alternating squares of training and test patches."""

LabelArray = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """Result of a probing.

    Attributes:
        scores: scores by name, such as ``spatial_knn``.
        picture: (H, W, 3) first principal components of the features, scaled to 0..1; None for
            sets of images.
    """

    scores: dict[str, float]
    picture: Float32Array | None = None


class CubeMonitor:
    """Labelled cube whose patches are split in space: alternating squares train and test.

    Raises:
        CarlError: a file cannot be read, or cube and labels do not fit each other.
    """

    def __init__(self, config: MonitorConfig) -> None:
        assert config.cube is not None
        assert config.labels is not None
        self._cube: SpectralCube = read_cube(
            config.cube, wavelengths=config.wavelengths, camera=config.camera
        )
        self._cube.require_wavelengths()
        self._labels = read_labels(config.labels, self._cube.shape[:2]).labels
        self.config = config

    def measure(self, network: CARL) -> ProbeResult:
        """Probe the spatial and the spectral features of the cube.

        Raises:
            CarlError: the cube cannot be read, or there are too few labels.
        """
        embedding = embed(self._cube, network, precision="float32")
        labels = patch_labels(self._labels, network.patch_size)
        scores = {}
        for kind in ("spatial", "spectral"):
            parts = split_in_space(getattr(embedding, kind), labels)
            for name, score in probe(*parts, self.config.neighbours).items():
                scores[f"{kind}_{name}"] = score
        return ProbeResult(scores, embedding.pca(3))


class GeoBenchMonitor:
    """GEO-Bench data set: its training split trains, its validation split tests.

    In a classification, the features of an image are the mean over its patches.

    Raises:
        CarlError: the data set cannot be read.
    """

    def __init__(self, config: MonitorConfig) -> None:
        assert config.geobench is not None
        self._splits = [GeoBenchSplit(config.geobench, split) for split in ("train", "valid")]
        self.config = config

    def measure(self, network: CARL) -> ProbeResult:
        """Probe the spatial features.

        Raises:
            CarlError: an image cannot be read, or there are too few labels.
        """
        train, test = (self._features(network, split) for split in self._splits)
        scores = probe(train, test, self.config.neighbours)
        return ProbeResult({f"spatial_{name}": score for name, score in scores.items()})

    def _features(self, network: CARL, split: GeoBenchSplit) -> tuple[Float32Array, LabelArray]:
        """Compute (N, D) features and (N,) labels from 1 of samples spread over the split."""
        n_samples = min(self.config.samples, len(split))
        samples = [
            self._sample_features(network, split, int(item))
            for item in np.linspace(0, len(split) - 1, n_samples)
        ]
        features, labels = zip(*samples, strict=True)
        return np.concatenate(features), np.concatenate(labels)

    @torch.no_grad()
    def _sample_features(
        self, network: CARL, split: GeoBenchSplit, item: int
    ) -> tuple[Float32Array, LabelArray]:
        """Compute (n, D) features and (n,) labels from 1 of one sample."""
        path = split.paths[item]
        values = split.read_image(path)
        mean, std = spectra_statistics(values.reshape(-1, values.shape[2]), split.wavelengths)
        values = (values - np.float32(mean)) / np.float32(std or 1.0)
        fill_missing(values, split.wavelengths)
        device = next(network.parameters()).device
        image = torch.from_numpy(values).movedim(-1, 0)[None].to(device)
        um = torch.as_tensor(split.wavelengths / 1000, dtype=torch.float32, device=device)
        features = network(image, um).spatial[0].float().movedim(0, -1).cpu().numpy()
        label = split.read_label(path)
        if label.ndim == 1:
            raise LabelError(
                "A multi-label data set cannot be probed: remove it from the monitors."
            )
        if label.ndim == 0:
            return features.mean(axis=(0, 1))[None], label[None] + 1
        labels = patch_labels(label + 1, network.patch_size)
        return features[labels > 0], labels[labels > 0]


Monitor = CubeMonitor | GeoBenchMonitor
"""Labelled images to probe a network on."""


def open_monitors(configs: Sequence[MonitorConfig]) -> list[Monitor]:
    """Open the monitors of a run.

    Raises:
        CarlError: labelled images cannot be read; the message names the monitor.
    """
    monitors: list[Monitor] = []
    for config in configs:
        try:
            monitors.append(CubeMonitor(config) if config.cube else GeoBenchMonitor(config))
        except CarlError as error:
            raise type(error)(f"The monitor '{config.name}': {error}") from error
    return monitors


def probe(
    train: tuple[Float32Array, LabelArray],
    test: tuple[Float32Array, LabelArray],
    neighbours: int,
) -> dict[str, float]:
    """Score k-NN, by cosine distance, and logistic regression on frozen features.

    Both are fitted to (N, D) features and (N,) labels, and scored on (M, D) and (M,) others.

    Returns:
        ``knn`` and ``linear``: mean intersection over union; ``knn_accuracy`` and
        ``linear_accuracy``: fraction predicted correctly.

    Raises:
        LabelError: there are fewer than two training classes, or there is no test label.
    """
    features, labels = _subsample(*train)
    test_features, test_labels = _subsample(*test)
    if np.unique(labels).size < 2 or not test_labels.size:
        raise LabelError("There are too few labels to probe on: label patches of two classes.")
    classifiers = {
        "knn": KNeighborsClassifier(min(neighbours, labels.size), metric="cosine"),
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
    }
    scores = {}
    for name, classifier in classifiers.items():
        result = evaluate(classifier.fit(features, labels).predict(test_features), test_labels)
        scores[name] = result.miou
        scores[f"{name}_accuracy"] = result.accuracy
    return scores


def split_in_space(
    features: Float32Array, labels: LabelArray
) -> tuple[tuple[Float32Array, LabelArray], tuple[Float32Array, LabelArray]]:
    """Split the labelled patches of a map (h, w, D), with (h, w) labels, 0 = unlabelled.

    Returns features and labels of the training patches, and those of the test patches.
    """
    rows, columns = np.indices(labels.shape) // _BLOCK
    in_training = (rows + columns) % 2 == 0
    known = labels > 0
    train, test = known & in_training, known & ~in_training
    return (features[train], labels[train]), (features[test], labels[test])


def patch_labels(labels: LabelArray, patch_size: int) -> LabelArray:
    """Derive (⌈H/P⌉, ⌈W/P⌉) labels of patches from (H, W) labels of pixels, 0 = unlabelled.

    A patch has the label that covers at least half of it, and 0 if there is none.
    """
    padding = [(0, -length % patch_size) for length in labels.shape]
    padded = np.pad(labels, padding)
    h, w = (length // patch_size for length in padded.shape)
    patches = padded.reshape(h, patch_size, w, patch_size)
    result = np.zeros((h, w), labels.dtype)
    for value in np.unique(labels[labels > 0]):
        result[(patches == value).mean(axis=(1, 3)) >= _MIN_LABELLED] = value
    return result


def _subsample(features: Float32Array, labels: LabelArray) -> tuple[Float32Array, LabelArray]:
    """Return at most `_MAX_SAMPLES` samples, the same on every call."""
    if labels.size <= _MAX_SAMPLES:
        return features, labels
    chosen = np.random.default_rng(0).permutation(labels.size)[:_MAX_SAMPLES]
    return features[chosen], labels[chosen]
