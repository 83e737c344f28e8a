"""Accuracy that is lost when a classifier is applied to cubes of another camera.

A classifier is trained on labelled pixels of a cube as seen by a source camera, and applied to the
cube as seen by a target camera, for every pair of a fixed list of simulated cameras. The same
pixels are tested in both, so that any loss is due to the camera. Raw spectra are resampled to a
grid that both cameras share. "Aligned" features are standardised by each cube's own statistics, the
others by those of the source cube; aligning needs no labels, but cubes of similar content.

    python benchmarks/cameras.py                      # bladder, from ../shared
    python benchmarks/cameras.py --data sentinel2
    python benchmarks/cameras.py --scored-on "other regions" --counts 2 20
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
from cases import CASES, SPLITS, Labels, available, per_pixel, pixel_features
from machine import machine_line
from probes import LINEAR_PROBES, Method, on_pixels, standardised

import carl
from carl.cube import SpectralCube
from carl.learning.features import FeatureStack
from carl.metrics import evaluate
from carl.model import CARL, build_model
from carl.model.named_models import DEFAULT_MODEL
from carl.simulation import (
    SimulatedCamera,
    covered_bands,
    gaussian_camera,
    random_camera,
    simulate,
)
from carl.spectra.resample import resampling_matrix, wavelength_grid

DRAWS = 3
ALLOWED_LOSS = 0.03
"""Largest loss of mIoU that counts as none in the table."""
_RGB_NM, _RGB_FWHM_NM = (465, 540, 610), 70
_REGULAR_BANDS = (5, 9, 16, 60)
_N_RANDOM = 2
_MIN_BANDS, _MIN_RANGE = 3, 0.5
"""Fewest bands and smallest fraction of the spectral range of an accepted random camera."""

FeaturePair = tuple[FeatureStack, FeatureStack]
"""Features of the source cube and of the target cube."""
TransferMethods = Callable[[SpectralCube, SpectralCube], dict[str, Method]]
"""Function of the source cube and the target cube that returns methods by name."""


def benchmark_cameras(cube: SpectralCube, seed: int = 0) -> Iterator[SimulatedCamera]:
    """Yield cameras from few broad bands to many narrow ones, within the range of a cube.

    Random cameras with fewer than three bands in this range, or with bands in less than half of it,
    are skipped.
    """
    nm = cube.require_wavelengths()
    low, high = float(nm.min()), float(nm.max())
    yield gaussian_camera(_RGB_NM, _RGB_FWHM_NM, "RGB")
    for n in _REGULAR_BANDS:
        width = (high - low) / n
        camera = gaussian_camera(low + width * (np.arange(n) + 0.5), width)
        yield _covered_by(cube, camera, "regular")
    generator, accepted = np.random.default_rng(seed), 0
    while accepted < _N_RANDOM:
        drawn = random_camera(generator, (_MIN_BANDS, _REGULAR_BANDS[-1]), (low, high))
        if covered_bands(cube, drawn).sum() < _MIN_BANDS:
            continue
        camera = _covered_by(cube, drawn, "random")
        if np.ptp(camera.wavelengths) >= _MIN_RANGE * (high - low):
            accepted += 1
            yield camera


def simulated_cubes(cube: SpectralCube) -> list[SpectralCube]:
    """Return the cube and its simulation for each camera, in memory and named after the camera."""
    simulated = [(each.name, simulate(cube, each)) for each in benchmark_cameras(cube)]
    return [
        replace(cube, name="original"),
        *(replace(each, data=each.to_numpy(), name=name) for name, each in simulated),
    ]


def probes(
    name: str, features: Callable[[SpectralCube, SpectralCube], FeaturePair], labels: Labels
) -> TransferMethods:
    """Return linear probes on features, standardised by the source cube, or aligned."""

    def methods(source: SpectralCube, target: SpectralCube) -> dict[str, Method]:
        source_stack, target_stack = features(source, target)
        source_features = standardised(source_stack, labels)
        target_features = {
            "": standardised(target_stack, labels, source_stack),
            ", aligned": standardised(target_stack, labels),
        }
        return {
            f"{name}, {probe}{suffix}": on_pixels(make, labels, source_features, values)
            for suffix, values in target_features.items()
            for probe, make in LINEAR_PROBES.items()
        }

    return methods


def carl_features(model: CARL, source: SpectralCube, target: SpectralCube) -> FeaturePair:
    """Compute CARL's features of both cubes."""
    return pixel_features(source, model), pixel_features(target, model)


def spectra(source: SpectralCube, target: SpectralCube) -> FeaturePair:
    """Resample the spectra of both cubes to a grid that both cameras share."""
    both = (source, target)
    grid = wavelength_grid([each.require_wavelengths() for each in both])
    first, second = (
        per_pixel(each.to_numpy() @ resampling_matrix(each.require_wavelengths(), grid))
        for each in both
    )
    return first, second


def segmenters(
    models: dict[str, CARL | None], source: SpectralCube, target: SpectralCube
) -> dict[str, Method]:
    """Return the segmenter of this package with each of the models."""

    def method(model: CARL | None) -> Method:
        return lambda training: carl.Segmenter(model).fit(source, training).predict(target).labels

    return {name: method(model) for name, model in models.items()}


def transfer_scores(
    methods: TransferMethods,
    cubes: Sequence[SpectralCube],
    labels: Labels,
    split: str,
    counts: Sequence[int],
) -> dict[str, np.ndarray]:
    """Compute the mean mIoU over draws for each pair of cameras.

    Returns:
        by method, (counts, source cameras, target cameras).
    """
    draws = [[SPLITS[split](labels, count, seed) for seed in range(DRAWS)] for count in counts]
    result: dict[str, np.ndarray] = {}
    for source, target in product(range(len(cubes)), repeat=2):
        for name, method in methods(cubes[source], cubes[target]).items():
            scores = result.setdefault(name, np.zeros((len(counts), len(cubes), len(cubes))))
            for row, of_count in enumerate(draws):
                miou = [evaluate(method(training), test).miou for training, test in of_count]
                scores[row, source, target] = np.mean(miou)
    return result


def table_heading(cubes: Sequence[SpectralCube]) -> str:
    """Return the list of cameras and the heading of the table."""
    listed = (
        f"{each.name} ({each.n_bands} bands, {nm.min():.0f}-{nm.max():.0f} nm)"
        for each in cubes
        for nm in [each.require_wavelengths()]
    )
    titles = ("method", "px", "same camera", "other camera", "mean loss", f"≤ {ALLOWED_LOSS}")
    titles += ("worst loss", "source → target")
    return f"{'; '.join(listed)}\n\n| {' | '.join(titles)} |\n{'|---' * len(titles)}|"


def table_rows(
    scores: dict[str, np.ndarray], counts: Sequence[int], cubes: Sequence[SpectralCube]
) -> Iterator[str]:
    """Yield the rows of the table, one for each method and number of training pixels.

    The loss of a pair is the mIoU on the source camera minus the mIoU on the target camera.
    """
    for name, by_count in scores.items():
        for count, matrix in zip(counts, by_count, strict=True):
            loss = np.diagonal(matrix)[:, None] - matrix
            others = loss[~np.eye(len(matrix), dtype=bool)]
            same, mean = float(np.mean(np.diagonal(matrix))), float(np.mean(others))
            allowed = f"{np.sum(others <= ALLOWED_LOSS)} of {others.size}"
            source, target = (cubes[i].name for i in np.unravel_index(loss.argmax(), loss.shape))
            yield (
                f"| {name:44} | {count} | {same:.3f} | {same - mean:.3f} | {mean:.3f} | {allowed} "
                f"| {others.max():.3f} | {source} → {target} |"
            )


def _covered_by(cube: SpectralCube, camera: SimulatedCamera, kind: str) -> SimulatedCamera:
    """Return the camera with those of its bands that the cube covers."""
    chosen = camera.choose(np.flatnonzero(covered_bands(cube, camera)))
    return replace(chosen, name=f"{kind} {chosen.n_bands}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=CASES, default=available("bladder")[0])
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or file of a network")
    parser.add_argument("--counts", type=int, nargs="+", default=(5, 100), metavar="PX")
    parser.add_argument("--scored-on", choices=SPLITS, default="other pixels")
    options = parser.parse_args()
    case = CASES[options.data]()
    trained = carl.load_model(options.model)
    cubes = simulated_cubes(case.cube)
    print(f"{machine_line()}\n{trained.name}, {'' if trained.trained else 'not '}trained")
    print(f"{case.name}, mIoU on {options.scored_on}, mean of all pairs and {DRAWS} draws")
    print(table_heading(cubes))
    untrained = build_model(trained.config)
    all_methods: list[TransferMethods] = [
        probes("raw spectra", spectra, case.labels),
        probes("CARL untrained", partial(carl_features, untrained), case.labels),
        probes("CARL trained", partial(carl_features, trained), case.labels),
        partial(segmenters, {"segmenter, no CARL": None, "segmenter, CARL trained": trained}),
    ]
    for methods in all_methods:
        scores = transfer_scores(methods, cubes, case.labels, options.scored_on, options.counts)
        print("\n".join(table_rows(scores, options.counts, cubes)), flush=True)


if __name__ == "__main__":
    main()
