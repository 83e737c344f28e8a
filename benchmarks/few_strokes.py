"""Segmentation from a handful of painted pixels: ours, ours without CARL, and the usual methods.

Two questions, for 2, 5 and 20 painted pixels per class and five draws each:

- "other pixels": pixels drawn at random from all labelled regions, scored on all other labelled
  pixels;
- "other regions": pixels drawn from one half of the regions of every class, scored on the other
  half, which is closer to what happens between strokes.

    python benchmarks/few_strokes.py                 # the bundled sample
    python benchmarks/few_strokes.py --data bladder  # the whole bladder cube, from ../shared
    python benchmarks/few_strokes.py --data sentinel2
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from machine import machine_line
from scipy import ndimage
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import carl
from carl.cube import SpectralCube
from carl.files import resource_path
from carl.inference import upsample
from carl.learning import evaluate
from carl.model import CARL, build_model

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
DRAWS = 5
COUNTS = (2, 5, 20)
SENTINEL2_NM = (443, 492, 560, 665, 704, 741, 783, 833, 865, 945, 1374, 1614, 2202)
SENTINEL2_CLASSES = (2, 3, 4, 8)

Painted = np.ndarray
Method = Callable[[Painted], np.ndarray]
"""From painted labels (H, W) to a label map (H, W)."""


@dataclass(frozen=True)
class Case:
    """A cube and its labels."""

    name: str
    cube: SpectralCube
    labels: np.ndarray


def sample() -> Case:
    """The cube the package ships."""
    folder = resource_path("sample")
    labels = carl.read_labels(folder / "bladder_labels.png").labels
    return Case("bundled sample", carl.read_cube(folder / "bladder.tif"), labels)


def bladder() -> Case:
    """The whole bladder cube."""
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


def methods(case: Case) -> dict[str, Method]:
    """All methods by name, features computed."""
    pixels = np.nan_to_num(case.cube.to_numpy())
    bank = filter_bank(pixels)
    plugin = painting_features(pixels)
    window = ndimage.uniform_filter(pixels, (11, 11, 0))
    model, random = carl.load_model(), build_model()
    ours = f"ours ({model.name}, {'trained' if model.trained else 'untrained'})"
    alone = {"CARL alone, untrained": on_pixels(network_features(case.cube, random), sure_lda)}
    if model.trained:
        features = network_features(case.cube, model)
        alone[f"CARL alone, {model.name}"] = on_pixels(features, sure_lda)
    return {
        "raw spectra, SVM": on_pixels(pixels, lambda: scaled(SVC())),
        "raw spectra, random forest": on_pixels(pixels, lambda: RandomForestClassifier(200)),
        "11 × 11 mean, logistic regression": on_pixels(window, lambda: scaled(logistic())),
        "Gaussian features, boosted trees": on_pixels(
            plugin, lambda: HistGradientBoostingClassifier(min_samples_leaf=1)
        ),
        "filter bank, logistic regression": on_pixels(bank, lambda: scaled(logistic())),
        "filter bank, shrinkage LDA": on_pixels(bank, lambda: scaled(shrinkage_lda())),
        **alone,
        "ours without CARL": segmenter(case.cube, None),
        ours: segmenter(case.cube, model),
    }


def segmenter(cube: SpectralCube, model: CARL | None) -> Method:
    """The few-stroke segmenter of this package."""
    return lambda painted: carl.Segmenter(model).fit(cube, painted).predict(cube).labels


def on_pixels(features: np.ndarray, make: Callable[[], object]) -> Method:
    """A scikit-learn classifier on the features of each pixel."""
    flat = features.reshape(-1, features.shape[-1])

    def run(painted: Painted) -> np.ndarray:
        chosen = np.flatnonzero(painted)
        classifier = make().fit(flat[chosen], painted.flat[chosen])
        return classifier.predict(flat).reshape(painted.shape)

    return run


def scaled(classifier: object) -> object:
    """The classifier on standardised features."""
    return make_pipeline(StandardScaler(), classifier)


def logistic() -> LogisticRegression:
    """Logistic regression as it comes, with time to converge."""
    return LogisticRegression(max_iter=1000)


def shrinkage_lda() -> LinearDiscriminantAnalysis:
    """Linear discriminants with Ledoit and Wolf's shrinkage."""
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def sure_lda() -> object:
    """Linear discriminants, half shrunk, on standardised features: stable from two pixels on."""
    return scaled(LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5))


def network_features(cube: SpectralCube, model: CARL) -> np.ndarray:
    """The leading components of spectral and spatial features at every pixel."""
    embedding = carl.embed(cube, model)
    maps = []
    for values in (embedding.spectral, embedding.spatial):
        flat = values.reshape(-1, values.shape[-1])
        components = PCA(24, random_state=0).fit_transform(flat).reshape(*values.shape[:2], -1)
        maps.append(upsample(components, embedding.shape, embedding.patch_size))
    return np.concatenate(maps, axis=2)


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


def random_pixels(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Painted pixels drawn from all labels, and the labels left to be scored."""
    generator = np.random.default_rng(seed)
    painted = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        painted.flat[generator.choice(np.flatnonzero(labels == value), count, replace=False)] = (
            value
        )
    return painted, np.where(painted > 0, 0, labels)


def half_regions(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Painted pixels drawn from half of each class's regions, and the labels of the other half.

    A class that is one region is cut into a left and a right half.
    """
    generator = np.random.default_rng(seed)
    half = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        regions, n = ndimage.label(ndimage.binary_closing(labels == value, iterations=3))
        regions[labels != value] = 0
        sizes = np.bincount(regions.ravel(), minlength=n + 1)[1:]
        large = np.flatnonzero(sizes >= max(20, sizes.max() // 20)) + 1
        if len(large) > 1:
            chosen = np.isin(regions, generator.permutation(large)[: len(large) // 2])
        else:
            columns = np.nonzero(labels == value)[1]
            left = np.arange(labels.shape[1]) < np.median(columns)
            chosen = (labels == value) & (left if generator.random() < 0.5 else ~left)
        half[chosen & (labels == value)] = value
    painted, _ = random_pixels(half, count, seed)
    return painted, np.where(half > 0, 0, labels)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=CASES, default="sample")
    case = CASES[parser.parse_args().data]()
    print(f"{machine_line()}\n{case.name}: {case.cube.shape}, mIoU, mean ± sd of {DRAWS} draws\n")
    heading = [f"{n} px, other {what}" for what in ("pixels", "regions") for n in COUNTS]
    print(f"| {'method':36} | " + " | ".join(heading) + " | s a draw |")
    print("|---" * (len(heading) + 2) + "|")
    for name, method in methods(case).items():
        method(random_pixels(case.labels, 2, 0)[0])  # features are computed outside the clock
        cells, seconds = [], []
        for protocol in (random_pixels, half_regions):
            for count in COUNTS:
                scores = []
                for seed in range(DRAWS):
                    painted, truth = protocol(case.labels, count, seed)
                    start = time.perf_counter()
                    predicted = method(painted)
                    seconds.append(time.perf_counter() - start)
                    scores.append(evaluate(predicted, truth).miou)
                cells.append(f"{np.mean(scores):.3f} ± {np.std(scores):.3f}")
        print(f"| {name:36} | {' | '.join(cells)} | {np.median(seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
