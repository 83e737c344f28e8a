"""What is lost when a cube is seen by another camera than the one that was learned from.

A classifier learns from painted pixels of the cube as one camera sees it and maps the cube as
another one does, for every pair of a fixed list of simulated cameras. The same pixels are scored in
both, so what is lost is lost to the camera. Raw spectra are brought to a grid both cameras share.

    python benchmarks/cameras.py                      # bladder, from ../shared
    python benchmarks/cameras.py --data sentinel2
    python benchmarks/cameras.py --scored-on "other regions" --counts 5 20 100
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from cases import CASES, PROTOCOLS, Case, Features, pixel_features, present
from machine import machine_line
from probes import LINEAR_PROBES, Make, Method, on_pixels

import carl
from carl.cube import SpectralCube
from carl.learning import evaluate
from carl.model import CARL, build_model
from carl.model.registry import DEFAULT_MODEL
from carl.simulation import (
    SimulatedCamera,
    covered,
    gaussian_camera,
    random_camera,
    simulate_camera,
)
from carl.spectra.resample import resampling_matrix, wavelength_grid

DRAWS = 3
ALLOWED_LOSS = 0.03
_RGB_NM, _RGB_FWHM_NM = (465, 540, 610), 70
_REGULAR = (5, 9, 16, 60)
_N_RANDOM = 2
_LEAST_BANDS, _LEAST_SPANNED = 3, 0.5

Transfer = Callable[[SpectralCube, SpectralCube], Method]
"""From the cube that is learned from, and the one that is mapped, to a method."""


def cameras(cube: SpectralCube, seed: int = 0) -> Iterator[SimulatedCamera]:
    """Cameras from few broad bands to many narrow ones that see the range of a cube.

    Random ones with fewer than three bands in this range, or in less than half of it, are passed
    over: they do not see the scene.
    """
    nm = cube.require_wavelengths()
    low, high = float(nm.min()), float(nm.max())
    yield gaussian_camera(_RGB_NM, _RGB_FWHM_NM, "RGB")
    for n in _REGULAR:
        width = (high - low) / n
        camera = gaussian_camera(low + width * (np.arange(n) + 0.5), width)
        yield _covered(cube, camera, "regular")
    generator, found = np.random.default_rng(seed), 0
    while found < _N_RANDOM:
        drawn = random_camera(generator, (_LEAST_BANDS, _REGULAR[-1]), (low, high))
        if covered(cube, drawn).sum() < _LEAST_BANDS:
            continue
        camera = _covered(cube, drawn, f"random, {drawn.name}")
        if np.ptp(camera.wavelengths) >= _LEAST_SPANNED * (high - low):
            found += 1
            yield camera


def as_seen(cube: SpectralCube) -> list[SpectralCube]:
    """The cube itself, and as every camera sees it, in memory."""
    seen = [simulate_camera(cube, camera) for camera in cameras(cube)]
    return [replace(each, data=each.to_numpy()) for each in (cube, *seen)]


def carl_probe(model: CARL, make: Make, case: Case) -> Transfer:
    """A linear probe on CARL's features."""

    def transfer(learned: SpectralCube, mapped: SpectralCube) -> Method:
        features = pixel_features(learned, model)
        seen = None if mapped is learned else pixel_features(mapped, model, like=learned)
        return on_pixels(make, features, case.labels, seen)

    return transfer


def spectra_probe(make: Make, case: Case) -> Transfer:
    """A linear probe on raw spectra, brought to a grid that both cameras share."""

    def transfer(learned: SpectralCube, mapped: SpectralCube) -> Method:
        both = (learned, mapped)
        grid = wavelength_grid([each.require_wavelengths() for each in both])
        features, seen = (_on_grid(each, grid) for each in both)
        return on_pixels(make, features, case.labels, seen)

    return transfer


def segmenter(model: CARL | None) -> Transfer:
    """The segmenter of this package."""

    def transfer(learned: SpectralCube, mapped: SpectralCube) -> Method:
        return lambda painted: carl.Segmenter(model).fit(learned, painted).predict(mapped).labels

    return transfer


def transfers(case: Case, trained: CARL, untrained: CARL) -> dict[str, Transfer]:
    """All methods by name."""
    found = {}
    for probe, make in LINEAR_PROBES.items():
        found[f"raw spectra, {probe}"] = spectra_probe(make, case)
        found[f"CARL untrained, {probe}"] = carl_probe(untrained, make, case)
        found[f"CARL trained, {probe}"] = carl_probe(trained, make, case)
    found["segmenter, no CARL"] = segmenter(None)
    found["segmenter, CARL trained"] = segmenter(trained)
    return found


def matrices(
    transfer: Transfer,
    cubes: Sequence[SpectralCube],
    case: Case,
    protocol: str,
    counts: Sequence[int],
) -> np.ndarray:
    """(counts, cameras, cameras) mIoU, mean of the draws; rows are learned from, columns mapped."""
    drawn = [
        [PROTOCOLS[protocol](case.labels, count, seed) for seed in range(DRAWS)] for count in counts
    ]
    result = np.zeros((len(counts), len(cubes), len(cubes)))
    for a, b in product(range(len(cubes)), repeat=2):
        method = transfer(cubes[a], cubes[b])
        for row, draws in enumerate(drawn):
            found = [evaluate(method(painted), truth).miou for painted, truth in draws]
            result[row, a, b] = np.mean(found)
    return result


def losses(matrix: np.ndarray) -> np.ndarray:
    """(pairs,) of two different cameras: mIoU of the first one less that of the pair."""
    lost = np.diagonal(matrix)[:, None] - matrix
    return lost[~np.eye(len(matrix), dtype=bool)]


def heading() -> str:
    """The first lines of the table."""
    titles = ("method", "px", "same camera", "other camera", "lost, mean", "lost, worst", "pairs ≤")
    return f"| {' | '.join(titles)} {ALLOWED_LOSS} |\n{'|---' * len(titles)}|"


def rows(name: str, found: np.ndarray, counts: Sequence[int]) -> Iterator[str]:
    """The lines of a method, one for each number of painted pixels."""
    for count, matrix in zip(counts, found, strict=True):
        lost = losses(matrix)
        same = float(np.mean(np.diagonal(matrix)))
        fine = int(np.sum(lost <= ALLOWED_LOSS))
        cells = (f"{value:.3f}" for value in (same, same - lost.mean(), lost.mean(), lost.max()))
        yield f"| {name:35} | {count} | {' | '.join(cells)} | {fine} of {lost.size} |"


def described(cubes: Sequence[SpectralCube]) -> str:
    """What the cameras are."""
    own, *others = (
        f"{each.n_bands} bands {min(each.wavelengths):.0f}-{max(each.wavelengths):.0f} nm"
        for each in cubes
    )
    names = (each.name.rpartition(" as ")[2] for each in cubes[1:])
    listed = (f"{name} ({bands})" for name, bands in zip(names, others, strict=True))
    return "; ".join([f"itself ({own})", *listed])


def _covered(cube: SpectralCube, camera: SimulatedCamera, kind: str) -> SimulatedCamera:
    """The bands of a camera that the cube shows."""
    chosen = camera.choose(np.flatnonzero(covered(cube, camera)))
    return replace(chosen, name=kind)


def _on_grid(cube: SpectralCube, grid: np.ndarray) -> Features:
    return cube.to_numpy() @ resampling_matrix(cube.require_wavelengths(), grid)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=CASES, default=present("bladder")[0])
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name, or a file of weights")
    parser.add_argument("--counts", type=int, nargs="+", default=(5, 20, 100), metavar="PX")
    parser.add_argument("--scored-on", choices=PROTOCOLS, default="other pixels")
    options = parser.parse_args()
    case = CASES[options.data]()
    trained = carl.load_model(options.model)
    cubes = as_seen(case.cube)
    print(f"{machine_line()}\n{trained.name}, {'' if trained.trained else 'not '}trained")
    print(f"{case.name} as {described(cubes)}")
    print(f"mIoU on {options.scored_on}, mean of all pairs and {DRAWS} draws\n\n{heading()}")
    for name, transfer in transfers(case, trained, build_model(trained.config)).items():
        found = matrices(transfer, cubes, case, options.scored_on, options.counts)
        print("\n".join(rows(name, found, options.counts)), flush=True)


if __name__ == "__main__":
    main()
