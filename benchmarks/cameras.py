"""What is lost when a cube is seen by another camera than the one that was learned from.

A classifier learns from painted pixels of the cube as one camera sees it and maps the cube as
another one does, for every pair of a fixed list of simulated cameras. The same pixels are scored in
both, so what is lost is lost to the camera. Raw spectra are brought to a grid both cameras share.
"Aligned" features have mean 0 and spread 1 over either cube, the others over the first one; that
needs no labels, but cubes of much the same content.

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
from cases import CASES, PROTOCOLS, Labels, every_pixel, pixel_features, present
from machine import machine_line
from probes import LINEAR_PROBES, Method, on_pixels, standardised

import carl
from carl.cube import SpectralCube
from carl.learning import evaluate
from carl.learning.features import FeatureStack
from carl.model import CARL, build_model
from carl.model.named_models import DEFAULT_MODEL
from carl.simulation import (
    SimulatedCamera,
    covered_bands,
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

Pair = tuple[FeatureStack, FeatureStack]
"""Of the cube that is learned from, and of the one that is mapped."""
Transfer = Callable[[SpectralCube, SpectralCube], dict[str, Method]]
"""From these two cubes to methods by name."""


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
        if covered_bands(cube, drawn).sum() < _LEAST_BANDS:
            continue
        camera = _covered(cube, drawn, "random")
        if np.ptp(camera.wavelengths) >= _LEAST_SPANNED * (high - low):
            found += 1
            yield camera


def as_seen(cube: SpectralCube) -> list[SpectralCube]:
    """The cube itself, and as every camera sees it, in memory and named after the camera."""
    seen = [(each.name, simulate_camera(cube, each)) for each in cameras(cube)]
    return [
        replace(cube, name="itself"),
        *(replace(each, data=each.to_numpy(), name=name) for name, each in seen),
    ]


def probes(
    name: str, features: Callable[[SpectralCube, SpectralCube], Pair], labels: Labels
) -> Transfer:
    """Linear probes on features, standardised by the first cube, or each cube by itself."""

    def transfer(learned: SpectralCube, mapped: SpectralCube) -> dict[str, Method]:
        first, second = features(learned, mapped)
        known = standardised(first, labels)
        told = {"": standardised(second, labels, first), ", aligned": standardised(second, labels)}
        return {
            f"{name}, {probe}{how}": on_pixels(make, labels, known, values)
            for how, values in told.items()
            for probe, make in LINEAR_PROBES.items()
        }

    return transfer


def carl_features(model: CARL, learned: SpectralCube, mapped: SpectralCube) -> Pair:
    """CARL's features of both cubes."""
    return pixel_features(learned, model), pixel_features(mapped, model)


def spectra(learned: SpectralCube, mapped: SpectralCube) -> Pair:
    """Spectra of both cubes on a grid that both cameras share."""
    both = (learned, mapped)
    grid = wavelength_grid([each.require_wavelengths() for each in both])
    first, second = (
        every_pixel(each.to_numpy() @ resampling_matrix(each.require_wavelengths(), grid))
        for each in both
    )
    return first, second


def segmenters(
    models: dict[str, CARL | None], learned: SpectralCube, mapped: SpectralCube
) -> dict[str, Method]:
    """The segmenter of this package, with these models by the name of the row."""

    def method(model: CARL | None) -> Method:
        return lambda painted: carl.Segmenter(model).fit(learned, painted).predict(mapped).labels

    return {name: method(model) for name, model in models.items()}


def matrices(
    transfer: Transfer,
    cubes: Sequence[SpectralCube],
    labels: Labels,
    protocol: str,
    counts: Sequence[int],
) -> dict[str, np.ndarray]:
    """By method, (counts, cameras, cameras) mIoU, mean of the draws.

    Rows are the cameras that are learned from, columns those that are mapped.
    """
    draw = PROTOCOLS[protocol]
    drawn = [[draw(labels, count, seed) for seed in range(DRAWS)] for count in counts]
    result: dict[str, np.ndarray] = {}
    for a, b in product(range(len(cubes)), repeat=2):
        for name, method in transfer(cubes[a], cubes[b]).items():
            matrix = result.setdefault(name, np.zeros((len(counts), len(cubes), len(cubes))))
            for row, draws in enumerate(drawn):
                found = [evaluate(method(painted), truth).miou for painted, truth in draws]
                matrix[row, a, b] = np.mean(found)
    return result


def heading(cubes: Sequence[SpectralCube]) -> str:
    """The cameras, and the first lines of the table."""
    listed = (
        f"{each.name} ({each.n_bands} bands, {nm.min():.0f}-{nm.max():.0f} nm)"
        for each in cubes
        for nm in [each.require_wavelengths()]
    )
    titles = ("method", "px", "same camera", "other camera", "lost, mean", f"≤ {ALLOWED_LOSS}")
    titles += ("lost, worst", "learned from → mapped")
    return f"{'; '.join(listed)}\n\n| {' | '.join(titles)} |\n{'|---' * len(titles)}|"


def rows(
    found: dict[str, np.ndarray], counts: Sequence[int], cubes: Sequence[SpectralCube]
) -> Iterator[str]:
    """The lines of all methods, one for each number of painted pixels.

    Lost is the mIoU of the camera that is learned from less that of the other one.
    """
    for name, by_count in found.items():
        for count, matrix in zip(counts, by_count, strict=True):
            lost = np.diagonal(matrix)[:, None] - matrix
            others = lost[~np.eye(len(matrix), dtype=bool)]
            same, mean = float(np.mean(np.diagonal(matrix))), float(np.mean(others))
            fine = f"{np.sum(others <= ALLOWED_LOSS)} of {others.size}"
            first, second = (cubes[i].name for i in np.unravel_index(lost.argmax(), lost.shape))
            yield (
                f"| {name:44} | {count} | {same:.3f} | {same - mean:.3f} | {mean:.3f} | {fine} "
                f"| {others.max():.3f} | {first} → {second} |"
            )


def _covered(cube: SpectralCube, camera: SimulatedCamera, kind: str) -> SimulatedCamera:
    """The bands of a camera that the cube shows."""
    chosen = camera.choose(np.flatnonzero(covered_bands(cube, camera)))
    return replace(chosen, name=f"{kind} {chosen.n_bands}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=CASES, default=present("bladder")[0])
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name, or a file of weights")
    parser.add_argument("--counts", type=int, nargs="+", default=(5, 100), metavar="PX")
    parser.add_argument("--scored-on", choices=PROTOCOLS, default="other pixels")
    options = parser.parse_args()
    case = CASES[options.data]()
    trained = carl.load_model(options.model)
    cubes = as_seen(case.cube)
    print(f"{machine_line()}\n{trained.name}, {'' if trained.trained else 'not '}trained")
    print(f"{case.name}, mIoU on {options.scored_on}, mean of all pairs and {DRAWS} draws")
    print(heading(cubes))
    untrained = build_model(trained.config)
    transfers: list[Transfer] = [
        probes("raw spectra", spectra, case.labels),
        probes("CARL untrained", partial(carl_features, untrained), case.labels),
        probes("CARL trained", partial(carl_features, trained), case.labels),
        partial(segmenters, {"segmenter, no CARL": None, "segmenter, CARL trained": trained}),
    ]
    for transfer in transfers:
        found = matrices(transfer, cubes, case.labels, options.scored_on, options.counts)
        print("\n".join(rows(found, options.counts, cubes)), flush=True)


if __name__ == "__main__":
    main()
