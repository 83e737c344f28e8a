"""Labelled images on which the network is probed while it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import CarlError, LabelError
from carl.inference import embed
from carl.io import read_cube, read_labels
from carl.io.geobench import GeoBenchSplit
from carl.model.carl import CARL
from carl.pretraining.pretrain_config import MonitorConfig
from carl.pretraining.probing import patch_labels, probe, split_in_space
from carl.spectra.normalise import fill_missing, spectra_statistics

FloatMap = NDArray[np.float32]
KINDS = ("spatial", "spectral")


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a probing found.

    Attributes:
        scores: by name, as ``spatial_knn``.
        picture: (H, W, 3) in 0..1, the features' principal components; None where there is no map.
    """

    scores: dict[str, float]
    picture: FloatMap | None = None


class Monitor(Protocol):
    """Labelled images to probe a network on."""

    def measure(self, network: CARL) -> Measurement:
        """Probe a network, which is in eval mode.

        Raises:
            CarlError: the images cannot be read, or there are too few labels.
        """


class CubeMonitor:
    """A labelled cube: patches in some squares are fitted to, those between are scored on.

    Args:
        config: with a cube and labels.

    Raises:
        CarlError: they cannot be read, or do not fit each other.
    """

    def __init__(self, config: MonitorConfig) -> None:
        assert config.cube is not None
        assert config.labels is not None
        self._cube: SpectralCube = read_cube(
            config.cube, wavelengths=config.wavelengths, camera=config.camera
        )
        self._cube.require_wavelengths()
        self._labels = read_labels(config.labels, self._cube.shape[:2]).labels
        self._neighbours = config.neighbours

    def measure(self, network: CARL) -> Measurement:
        """Probe both kinds of features of the cube."""
        embedding = embed(self._cube, network, precision="float32")
        labels = patch_labels(self._labels, network.patch_size)
        scores = {}
        for kind in KINDS:
            parts = split_in_space(getattr(embedding, kind), labels)
            for name, score in probe(*parts, self._neighbours).items():
                scores[f"{kind}_{name}"] = score
        return Measurement(scores, embedding.pca(3))


class GeoBenchMonitor:
    """A set of GeoBench: its training split is fitted to, its validation split is scored on.

    In a classification, the features of a picture are the mean of those of its patches.

    Args:
        config: with a folder of GeoBench.

    Raises:
        CarlError: the set cannot be read.
    """

    def __init__(self, config: MonitorConfig) -> None:
        assert config.geobench is not None
        self._splits = [GeoBenchSplit(config.geobench, split) for split in ("train", "valid")]
        self._n_samples = config.samples
        self._neighbours = config.neighbours

    def measure(self, network: CARL) -> Measurement:
        """Probe the spatial features."""
        train, test = (self._features(network, samples) for samples in self._splits)
        scores = probe(train, test, self._neighbours)
        return Measurement({f"spatial_{name}": score for name, score in scores.items()})

    def _features(
        self, network: CARL, samples: GeoBenchSplit
    ) -> tuple[FloatMap, NDArray[np.integer]]:
        """(N, D) features and (N,) labels from 1."""
        n_samples = min(self._n_samples, len(samples))
        found = [
            self._sample(network, samples, int(item))
            for item in np.linspace(0, len(samples) - 1, n_samples)
        ]
        features, labels = zip(*found, strict=True)
        return np.concatenate(features), np.concatenate(labels)

    @torch.no_grad()
    def _sample(
        self, network: CARL, samples: GeoBenchSplit, item: int
    ) -> tuple[FloatMap, NDArray[np.integer]]:
        path = samples.paths[item]
        values = samples.read_image(path)
        mean, std = spectra_statistics(values.reshape(-1, values.shape[2]), samples.wavelengths)
        values = (values - np.float32(mean)) / np.float32(std or 1.0)
        fill_missing(values, samples.wavelengths)
        device = next(network.parameters()).device
        image = torch.from_numpy(values).movedim(-1, 0)[None].to(device)
        nm = torch.as_tensor(samples.wavelengths / 1000, dtype=torch.float32, device=device)
        features = network(image, nm).spatial[0].float().movedim(0, -1).cpu().numpy()
        label = samples.read_label(path)
        if label.ndim == 1:
            raise LabelError("Pictures with several labels cannot be probed: leave the set out.")
        if label.ndim == 0:
            return features.mean(axis=(0, 1))[None], label[None] + 1
        labels = patch_labels(label + 1, network.patch_size)
        return features[labels > 0], labels[labels > 0]


def open_monitors(configs: Sequence[MonitorConfig]) -> list[Monitor]:
    """The monitors of a run.

    Raises:
        CarlError: the labelled images of one cannot be read; the message names it.
    """
    monitors: list[Monitor] = []
    for config in configs:
        try:
            monitors.append(CubeMonitor(config) if config.cube else GeoBenchMonitor(config))
        except CarlError as error:
            raise type(error)(f"The monitor '{config.name}': {error}") from error
    return monitors
