"""Labelled cubes, train-test splits and pixel features of the accuracy benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

import carl
from carl.cube import SpectralCube
from carl.files import resource_path
from carl.inference import embed_cached, embed_finely
from carl.learning.feature_space import encodes_position
from carl.learning.features import FeatureMap, FeatureStack
from carl.model import CARL

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SENTINEL2_WAVELENGTHS_NM = (443, 492, 560, 665, 704, 741, 783, 833, 865, 945, 1374, 1614, 2202)
SENTINEL2_CLASSES = (2, 3, 4, 8)
"""Land use classes with enough pixels in the scene."""

Labels = np.ndarray
"""(H, W) integers, 0 = unlabelled."""
Split = Callable[[Labels, int, int], tuple[Labels, Labels]]
"""Function of labels, number of training pixels per class and seed that returns training and test
labels."""


@dataclass(frozen=True, eq=False)
class Case:
    """A cube and its labels."""

    name: str
    cube: SpectralCube
    labels: Labels


def sample() -> Case:
    """Return the sample cube of the package."""
    folder = resource_path("sample")
    labels = carl.read_labels(folder / "bladder_labels.png").labels
    return Case("bundled sample", carl.read_cube(folder / "bladder.tif"), labels)


def bladder() -> Case:
    """Return a stained section of bladder with 40 bands."""
    folder = SHARED / "hims_bladder"
    cube = carl.read_cube(folder / "hims_bladder_uint16.tif", wavelengths="380:770:10")
    return Case("bladder", cube, carl.read_labels(folder / "labels.png").labels)


def sentinel2() -> Case:
    """Return the fourth date of a Sentinel-2 series over Slovenia, with land use labels."""
    folder = SHARED / "sentinel2_eolearn"
    pixels = np.load(folder / "REFERENCE_SCENES.npy")[3]
    land_use = np.load(folder / "LULC.npy")[..., 0]
    labels = np.where(np.isin(land_use, SENTINEL2_CLASSES), land_use, 0).astype(np.uint8)
    return Case(
        "Sentinel-2", SpectralCube(pixels, wavelengths=SENTINEL2_WAVELENGTHS_NM, name="s2"), labels
    )


def labelled(name: str) -> Case:
    """Return a cube of `../shared/data/labelled` by the name of its file.

    Raman shifts in cm⁻¹ are taken as if they were wavelengths in nm.
    """
    (path,) = (SHARED / "labelled").glob(f"*/{name}.npz")
    with np.load(path) as file:
        cube = SpectralCube(file["cube"].astype(np.float32), file["wavelengths"], name=name)
        return Case(name, cube, file["labels"].astype(np.uint8))


def labelled_names() -> list[str]:
    """Return the names of the files of `../shared/data/labelled`; none without that folder."""
    return sorted(path.stem for path in (SHARED / "labelled").glob("*/*.npz"))


CASES: dict[str, Callable[[], Case]] = {
    "sample": sample,
    "bladder": bladder,
    "sentinel2": sentinel2,
    **{name: partial(labelled, name) for name in labelled_names()},
}


def available(*names: str) -> list[str]:
    """Return these cases if the folder of their data exists, otherwise the bundled sample."""
    return list(names) if SHARED.is_dir() else ["sample"]


def random_pixels(labels: Labels, count: int, seed: int) -> tuple[Labels, Labels]:
    """Draw training pixels from all labels; the other labels are for testing.

    At most half of the labels of each class are drawn.
    """
    generator = np.random.default_rng(seed)
    training = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        members = np.flatnonzero(labels == value)
        chosen = generator.choice(members, min(count, members.size // 2), replace=False)
        training.flat[chosen] = value
    return training, np.where(training > 0, 0, labels)


def half_regions(labels: Labels, count: int, seed: int) -> tuple[Labels, Labels]:
    """Draw training pixels from half of the regions of each class; test on the other half.

    A class with a single region is cut into a left and a right half.
    """
    generator = np.random.default_rng(seed)
    half = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        regions = _region_masks(labels == value, generator)
        for each in regions[: len(regions) // 2]:
            half[each] = value
    training, _ = random_pixels(half, count, seed)
    return training, np.where(half > 0, 0, labels)


def _region_masks(own: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """Return the large regions of a (H, W) mask in random order; a single one is cut into two."""
    # Closing erodes regions at the border of the image, hence the union with the labels.
    regions, n = ndimage.label(ndimage.binary_closing(own, iterations=3) | own)
    regions[~own] = 0
    sizes = np.bincount(regions.ravel(), minlength=n + 1)[1:]
    large = np.flatnonzero(sizes >= max(20, sizes.max() // 20)) + 1
    if len(large) > 1:
        return [regions == number for number in generator.permutation(large)]
    columns = np.nonzero(own)[1]
    left = np.arange(own.shape[1]) < np.median(columns)
    halves = [own & left, own & ~left]
    return halves if generator.random() < 0.5 else halves[::-1]


def left_out_regions(labels: Labels, count: int, seed: int) -> tuple[Labels, Labels]:
    """Draw training pixels from all regions of each class but one; test on that region."""
    generator = np.random.default_rng(seed)
    rest = labels.copy()
    for value in np.unique(labels[labels > 0]):
        rest[_region_masks(labels == value, generator)[-1]] = 0
    training, _ = random_pixels(rest, count, seed)
    return training, np.where(rest > 0, 0, labels)


def strokes(labels: Labels, count: int, seed: int) -> tuple[Labels, Labels]:
    """Draw strokes as a hand does: random walks within a class; test on all other labels.

    At most half of the labels of each class are drawn over.
    """
    generator = np.random.default_rng(seed)
    training = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        own = labels == value
        for _ in range(count):
            training[_random_walk(own, generator)] = value
        drawn = np.flatnonzero(training == value)
        training.flat[drawn[max(1, np.count_nonzero(own) // 2) :]] = 0
    return training, np.where(training > 0, 0, labels)


def strokes_in_half_regions(labels: Labels, count: int, seed: int) -> tuple[Labels, Labels]:
    """Draw strokes in half of the regions of each class; test on the other half."""
    _, test = half_regions(labels, 1, seed)
    training, _ = strokes(np.where(test > 0, 0, labels), count, seed)
    return training, test


def _random_walk(own: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of a stroke of at most 20 pixels that stays within a (H, W) mask."""
    at = generator.choice(np.argwhere(own)).astype(float)
    direction = generator.uniform(0, 2 * np.pi)
    walked = []
    for _ in range(generator.integers(6, 21)):
        row, column = at.round().astype(int)
        inside = 0 <= row < own.shape[0] and 0 <= column < own.shape[1]
        if not inside or not own[row, column]:
            break
        walked.append((row, column))
        direction += generator.normal(0, 0.4)
        at += np.sin(direction), np.cos(direction)
    rows, columns = np.transpose(walked)
    return rows, columns


SPLITS: dict[str, Split] = {"other pixels": random_pixels, "other regions": half_regions}
"""The splits by their test labels: all other labelled pixels, or those in regions without training
pixels, which is closer to the use with strokes."""


def pixel_features(cube: SpectralCube, model: CARL) -> FeatureStack:
    """Compute CARL's features of a cube, the same that the segmenter uses.

    These are the spectral map and, if its features do not encode the position, the spatial map.
    """
    embedding = embed_finely(cube, model.patch_size, lambda each: embed_cached(each, model))
    size = embedding.patch_size
    maps = [FeatureMap("spectral", embedding.spectral, size)]
    if not encodes_position(embedding):
        maps.append(FeatureMap("spatial", embedding.spatial, size))
    return FeatureStack(cube.shape[:2], tuple(maps))


def per_pixel(values: np.ndarray) -> FeatureStack:
    """Return features (H, W, D) at full resolution as a feature stack."""
    return FeatureStack(values.shape[:2], (FeatureMap("pixels", values, 1),))


def filter_bank(pixels: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Compute six principal components of the optical density and their local means and sds.

    Args:
        pixels: (H, W, C) spectra.
        like: spectra of the same bands whose principal components are used; the same by default.

    Returns:
        (H, W, 66) features, fewer with fewer than six bands.
    """
    densities = _optical_density(pixels)
    reference = (densities if like is None else _optical_density(like)).reshape(
        -1, pixels.shape[-1]
    )
    mean = reference.mean(axis=0)
    _, directions = np.linalg.eigh(np.cov((reference - mean).T))
    components = (densities - mean) @ directions[:, :-7:-1]
    features = [components]
    for sigma in (1.5, 3, 6, 12, 20):
        mean = ndimage.gaussian_filter(components, (sigma, sigma, 0))
        second = ndimage.gaussian_filter(components**2, (sigma, sigma, 0))
        features += [mean, np.sqrt(np.maximum(second - mean**2, 0))]
    return np.concatenate(features, axis=2).astype(np.float32)


def _optical_density(pixels: np.ndarray) -> np.ndarray:
    """Return -log of (H, W, C) spectra relative to white, the 99.5th percentile of all values."""
    white = np.percentile(pixels, 99.5)
    return -np.log(np.maximum(pixels / white, 0.01))


def gaussian_features(pixels: np.ndarray) -> np.ndarray:
    """Compute intensity, gradient and Laplacian of three bands at several scales, as in ilastik."""
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
