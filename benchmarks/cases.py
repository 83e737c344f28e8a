"""What the benchmarks of accuracy share: labelled cubes, ways to paint, features of pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from carl.learning.space import sees_places
from scipy import ndimage

import carl
from carl.cube import SpectralCube
from carl.files import resource_path
from carl.inference import FeatureCache, embed_finely
from carl.learning.features import FeatureMap, FeatureStack
from carl.model import CARL

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SENTINEL2_NM = (443, 492, 560, 665, 704, 741, 783, 833, 865, 945, 1374, 1614, 2202)
SENTINEL2_CLASSES = (2, 3, 4, 8)

_EMBEDDINGS = FeatureCache()

Labels = np.ndarray
"""(H, W) integers, 0 = unlabelled."""
Protocol = Callable[[Labels, int, int], tuple[Labels, Labels]]
"""From labels, a number of pixels per class and a seed to painted labels and those to score on."""


@dataclass(frozen=True, eq=False)
class Case:
    """A cube and its labels."""

    name: str
    cube: SpectralCube
    labels: Labels


def sample() -> Case:
    """The cube the package ships."""
    folder = resource_path("sample")
    labels = carl.read_labels(folder / "bladder_labels.png").labels
    return Case("bundled sample", carl.read_cube(folder / "bladder.tif"), labels)


def bladder() -> Case:
    """A stained section of bladder, 40 bands."""
    folder = SHARED / "hims_bladder"
    cube = carl.read_cube(folder / "hims_bladder_uint16.tif", wavelengths="380:770:10")
    return Case("bladder", cube, carl.read_labels(folder / "labels.png").labels)


def sentinel2() -> Case:
    """The fourth date of a Sentinel-2 series over Slovenia, with land use."""
    folder = SHARED / "sentinel2_eolearn"
    pixels = np.load(folder / "REFERENCE_SCENES.npy")[3]
    land_use = np.load(folder / "LULC.npy")[..., 0]
    labels = np.where(np.isin(land_use, SENTINEL2_CLASSES), land_use, 0).astype(np.uint8)
    return Case("Sentinel-2", SpectralCube(pixels, wavelengths=SENTINEL2_NM, name="s2"), labels)


CASES = {"sample": sample, "bladder": bladder, "sentinel2": sentinel2}


def present(*names: str) -> list[str]:
    """These cases where their data lie beside the project, and the bundled sample elsewhere."""
    return list(names) if SHARED.is_dir() else ["sample"]


def random_pixels(labels: Labels, count: int, seed: int) -> tuple[Labels, Labels]:
    """Painted pixels drawn from all labels, and the labels left to be scored.

    Of a class with few labels no more than half are painted.
    """
    generator = np.random.default_rng(seed)
    painted = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        members = np.flatnonzero(labels == value)
        chosen = generator.choice(members, min(count, members.size // 2), replace=False)
        painted.flat[chosen] = value
    return painted, np.where(painted > 0, 0, labels)


def half_regions(labels: Labels, count: int, seed: int) -> tuple[Labels, Labels]:
    """Painted pixels drawn from half of each class's regions, and the labels of the other half.

    A class that is one region is cut into a left and a right half.
    """
    generator = np.random.default_rng(seed)
    half = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        own = labels == value
        # Closing alone would open regions at the border of the image.
        regions, n = ndimage.label(ndimage.binary_closing(own, iterations=3) | own)
        regions[~own] = 0
        sizes = np.bincount(regions.ravel(), minlength=n + 1)[1:]
        large = np.flatnonzero(sizes >= max(20, sizes.max() // 20)) + 1
        if len(large) > 1:
            chosen = np.isin(regions, generator.permutation(large)[: len(large) // 2])
        else:
            columns = np.nonzero(own)[1]
            left = np.arange(labels.shape[1]) < np.median(columns)
            chosen = own & (left if generator.random() < 0.5 else ~left)
        half[chosen] = value
    painted, _ = random_pixels(half, count, seed)
    return painted, np.where(half > 0, 0, labels)


PROTOCOLS: dict[str, Protocol] = {"other pixels": random_pixels, "other regions": half_regions}
"""What is scored on: other labelled pixels anywhere, or those of the regions nothing was painted
in, which is closer to what happens between strokes."""


def pixel_features(cube: SpectralCube, model: CARL) -> FeatureStack:
    """CARL's features, as the segmenter takes them up: all of them, as they are.

    The spectral map, and the spatial one where the cube is large enough for it.
    """
    embedding = embed_finely(cube, model.patch_size, lambda seen: _EMBEDDINGS.embed(seen, model))
    size = embedding.patch_size
    maps = [FeatureMap("spectral", embedding.spectral, size)]
    if not sees_places(embedding):
        maps.append(FeatureMap("spatial", embedding.spatial, size))
    return FeatureStack(cube.shape[:2], tuple(maps))


def every_pixel(values: np.ndarray) -> FeatureStack:
    """Features (H, W, D) that are there for every pixel."""
    return FeatureStack(values.shape[:2], (FeatureMap("pixels", values, 1),))


def filter_bank(pixels: np.ndarray) -> np.ndarray:
    """Six principal components of optical density, and their Gaussian means and spreads."""
    white = np.percentile(pixels, 99.5)
    density = -np.log(np.maximum(pixels / white, 0.01)).reshape(-1, pixels.shape[-1])
    density -= density.mean(axis=0)
    _, directions = np.linalg.eigh(np.cov(density.T))
    components = (density @ directions[:, :-7:-1]).reshape(*pixels.shape[:2], -1)
    features = [components]
    for sigma in (1.5, 3, 6, 12, 20):
        mean = ndimage.gaussian_filter(components, (sigma, sigma, 0))
        second = ndimage.gaussian_filter(components**2, (sigma, sigma, 0))
        features += [mean, np.sqrt(np.maximum(second - mean**2, 0))]
    return np.concatenate(features, axis=2).astype(np.float32)


def painting_features(pixels: np.ndarray) -> np.ndarray:
    """Intensity, edges and Laplacian at several scales of three bands, as pixel classifiers use."""
    picks = np.linspace(0, pixels.shape[-1] - 1, 5).astype(int)[1:4]
    features = []
    for band in np.moveaxis(pixels[..., picks], -1, 0):
        for sigma in (0.7, 1.6, 3.5, 5.0, 10.0):
            features += [
                ndimage.gaussian_filter(band, sigma),
                ndimage.gaussian_gradient_magnitude(band, sigma),
                ndimage.gaussian_laplace(band, sigma),
            ]
    return np.stack(features, axis=-1)
