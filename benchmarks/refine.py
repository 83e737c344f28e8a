"""Accuracy of a loaded model that is corrected by strokes, on a region it was not fitted to.

A segmenter is fitted to strokes in one half of a cube and predicts the other half, as recorded or
as another camera with half the bands and a tilted illumination would record it. Strokes are then
drawn one by one through the largest region where the map is wrong. Columns: mIoU outside the
strokes, of the loaded model, of the model refined by 1, 3 and 10 corrections, and of a fit to the
corrections alone; the share of the corrected pixels that get the class of their stroke; and the
share of the pixels that were right and stay right.

    python benchmarks/refine.py                 # the sample, muufl and nc_landsat
    python benchmarks/refine.py --data sample   # the bundled sample alone
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from cases import SHARED, Case, sample
from machine import machine_line
from scipy import ndimage

from carl.cube import SpectralCube
from carl.learning import Segmenter, compute_features
from carl.metrics import evaluate

COUNTS = (1, 3, 10)
HALF_LENGTH = 12
"""Half the length of a stroke, in pixels."""
SPACING = 12
"""Least distance in pixels between the first strokes of a class."""


def labelled(name: str) -> Case:
    """Return a cube of `../shared/data/labelled` by the name of its file."""
    (path,) = (SHARED / "labelled").glob(f"*/{name}.npz")
    with np.load(path) as file:
        cube = SpectralCube(file["cube"].astype(np.float32), file["wavelengths"].astype(float))
        return Case(name, cube, file["labels"].astype(np.uint8))


CASES: dict[str, Callable[[], Case]] = {
    "sample": sample,
    "muufl": lambda: labelled("muufl"),
    "nc_landsat7": lambda: labelled("nc_landsat7"),
}


def halves(case: Case) -> list[Case]:
    """Return the half that is fitted to and the half that is predicted."""
    pixels, height = case.cube.to_numpy(), case.labels.shape[0] // 2
    parts = [np.s_[height:], np.s_[:height]]
    if case.name != "sample":
        width = case.labels.shape[1] // 2
        parts = [np.s_[:, :width], np.s_[:, width:]]
    nm = case.cube.require_wavelengths()
    return [Case(case.name, SpectralCube(pixels[at], nm), case.labels[at]) for at in parts]


def other_camera(cube: SpectralCube) -> SpectralCube:
    """Return the cube with pairs of bands averaged, under 20 % less and tilted light."""
    pixels, nm = cube.to_numpy(), cube.require_wavelengths()
    even = nm.size // 2 * 2
    pixels = (pixels[..., 0:even:2] + pixels[..., 1:even:2]) / 2
    light = 0.8 * np.linspace(0.85, 1.15, even // 2)
    return SpectralCube((pixels * light).astype(np.float32), (nm[0:even:2] + nm[1:even:2]) / 2)


def stroke(mask: np.ndarray) -> np.ndarray:
    """Return a horizontal stroke through the widest place of the largest region of a mask."""
    regions, _ = ndimage.label(mask)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    region = regions == sizes.argmax()
    depth = ndimage.distance_transform_cdt(np.pad(region, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    near = np.zeros_like(region)
    near[row, max(0, column - HALF_LENGTH) : column + HALF_LENGTH] = True
    runs, _ = ndimage.label(near & region)
    return runs == runs[row, column]


def first_strokes(labels: np.ndarray) -> np.ndarray:
    """Return three strokes for each class."""
    strokes = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        free = labels == value
        for _ in range(3):
            if free.any():
                drawn = stroke(free)
                strokes[drawn] = value
                free &= ~ndimage.binary_dilation(drawn, iterations=SPACING)
    return strokes


def correction(predicted: np.ndarray, truth: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return a stroke, as a label map, through the largest region that is wrong; else nothing."""
    wrong = (truth > 0) & (predicted != truth) & (drawn == 0)
    sizes = {}
    for value in np.unique(truth[wrong]):
        regions, _ = ndimage.label(wrong & (truth == value))
        sizes[value] = np.bincount(regions.ravel())[1:].max()
    if not sizes:
        return np.zeros_like(drawn)
    value = max(sizes, key=sizes.get)
    return np.where(stroke(wrong & (truth == value)), value, 0).astype(drawn.dtype)


def measure(name: str, cube: SpectralCube, truth: np.ndarray, model: Segmenter) -> None:
    """Correct the map of a cube ten times and print a line for each of `COUNTS`."""
    bound = model.bind(cube, precompute=True)
    refinement, alone = bound.prepare_refinement(), compute_features(cube)
    before = labels = model.predict(cube).labels
    right = (truth > 0) & (before == truth)
    strokes = np.zeros_like(truth)
    for count in range(1, COUNTS[-1] + 1):
        strokes += correction(labels, truth, strokes)
        labels = refinement.fit(strokes).predict(cube).labels
        if count in COUNTS:
            wins = (labels == strokes)[strokes > 0].mean()
            own, test = "–", np.where(strokes > 0, 0, truth)
            if np.unique(strokes).size > 2:
                fitted = Segmenter().fit(alone, strokes).predict(alone).labels
                own = f"{evaluate(fitted, test).miou:.3f}"
            scores = [f"{evaluate(each, test).miou:.3f}" for each in (before, labels)]
            cells = [*scores, own, f"{wins:.2f}", f"{(labels == truth)[right].mean():.2f}"]
            print(f"| {name} | {count} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = list(CASES) if SHARED.is_dir() else ["sample"]
    parser.add_argument("--data", choices=CASES, nargs="+", default=known)
    options = parser.parse_args()
    print(machine_line())
    print("| data | corrections | loaded | refined | alone | strokes win | stays right |")
    print("|---" * 7 + "|")
    for name in options.data:
        fitted, predicted = halves(CASES[name]())
        model = Segmenter().fit(fitted.cube, first_strokes(fitted.labels))
        measure(name, predicted.cube, predicted.labels, model)
        if predicted.cube.n_bands >= 16:
            other = other_camera(predicted.cube)
            measure(f"{name}, other camera", other, predicted.labels, model)


if __name__ == "__main__":
    main()
