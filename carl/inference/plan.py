"""How to compute the features of a cube: as precisely as asked for, as cheaply as they allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.errors import CarlError
from carl.inference.blocks import PatchReader
from carl.inference.engine import Engine
from carl.inference.folded import ComputeBudget, full_budget
from carl.inference.precision import PRECISIONS, Precision, has_fast_bf16
from carl.inference.turbo import BandGroups, Correction, Shortcut, band_statistics, shortcuts
from carl.inference.workers import Workers, equal_parts
from carl.model import CARL

SPEEDS = ("exact", "turbo")
LEAST_FIDELITY = 0.99
"""What a cheaper way to compute has to reach to be taken without being asked for by name."""
_SAMPLED_ROWS = 14
"""Cheaper ways are tried on patches of this many rows, as many of each."""
_FEWEST_TO_LEARN_FROM = 12
"""Patches; from fewer, no correction is learned."""
_PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
"""Of a correction, the strongest first."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How to compute the features of a cube.

    Attributes:
        precision: to compute the spectral half in.
        groups: of bands to merge, or None.
        fidelity: of the features of the worse half, see `fidelity`; None where nothing is
            approximated.
        correction: of what merging, and running less, changes.
        budget: how much of the spectral encoder to run; None for all of it.
        spatial_precision: to compute the spatial half in; None for the same.
    """

    precision: Precision
    groups: BandGroups | None
    fidelity: float | None
    correction: Correction | None = None
    budget: ComputeBudget | None = None
    spatial_precision: Precision | None = None

    def spectral(
        self,
        engine: Engine,
        strip: Float32Array,
        wavelengths: NDArray[np.float64],
        done: Callable[[int], None] = lambda _: None,
    ) -> Float32Array:
        """Features (n, D) of patches, as `Engine.spectral`.

        Args:
            engine: of this precision.
            strip: (C, P, n·P) normalised patches side by side, with all bands.
            wavelengths: (C,) in nm.
            done: told how many patches are done.
        """
        if self.groups is None:
            return engine.spectral(strip, wavelengths / 1000, done, budget=self.budget)
        groups, correction, workers = self.groups, self.correction, engine.workers
        size = strip.shape[1]
        n_patches = strip.shape[2] // size
        parts = equal_parts(n_patches, min(workers.count, n_patches))

        def pixels(part: slice) -> Float32Array:
            return strip[..., part.start * size : part.stop * size]

        merged = workers.map(lambda part: groups.merge(pixels(part)), parts)
        shown = np.concatenate(list(merged), axis=2)
        features = engine.spectral(shown, groups.wavelengths / 1000, done, budget=self.budget)
        if correction is None:
            return features
        corrected = workers.map(
            lambda part: correction(features[part], band_statistics(pixels(part))), parts
        )
        return np.concatenate(list(corrected))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON takes them."""
        return {
            "precision": self.precision,
            "fidelity": self.fidelity,
            "groups": _to_lists(self.groups),
            "correction": _to_lists(self.correction),
            "budget": self.budget,
            "spatial_precision": self.spatial_precision,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From what `to_dict` gives."""
        groups, correction, budget = (values[key] for key in ("groups", "correction", "budget"))
        return cls(
            precision=values["precision"],
            groups=groups
            and BandGroups(
                order=np.array(groups["order"], np.intp),
                starts=np.array(groups["starts"], np.intp),
                wavelengths=np.array(groups["wavelengths"], np.float64),
            ),
            fidelity=values["fidelity"],
            correction=correction
            and Correction(**{key: np.array(each, np.float32) for key, each in correction.items()}),
            budget=budget and ComputeBudget(*budget),
            spatial_precision=values["spatial_precision"],
        )


def _to_lists(arrays: BandGroups | Correction | None) -> dict[str, list[Any]] | None:
    if arrays is None:
        return None
    return {name: values.tolist() for name, values in vars(arrays).items()}


def check_wishes(precision: str, speed: str) -> None:
    """Check that there is such a precision and such a speed.

    Raises:
        CarlError: there is not.
    """
    if precision not in PRECISIONS:
        raise CarlError(f"'{precision}' is not a precision: choose {', '.join(PRECISIONS)}.")
    if speed not in SPEEDS:
        raise CarlError(f"'{speed}' is not a speed: choose {', '.join(SPEEDS)}.")


def make_plan(
    reader: PatchReader, model: CARL, workers: Workers, precision: str, speed: str
) -> Plan:
    """The cheapest way to compute that is as good as asked for, tried on patches of the cube.

    Args:
        reader: of the cube.
        model: in eval mode.
        workers: to share the trial among.
        precision: "float32", "bf16", or "auto": bf16 where the device is fast in it and the
            features survive it, for each half of the network by itself. Those of a network that
            hardly tells patches apart do not: its small differences are lost in rounding.
        speed: "exact", or "turbo": the fewest groups of neighbouring bands through the least of the
            spectral encoder that the features survive.
    """
    automatic = precision == "auto" and has_fast_bf16(next(model.parameters()).device)
    if speed == "exact" and precision != "bf16" and not automatic:
        return Plan("float32", None, None)

    trial = _Trial(reader, model, workers, "bf16" if automatic else None)
    halves: list[Precision] = ["float32", "float32"]
    reached = [1.0, 1.0]
    if automatic or precision == "bf16":
        for half, in_bf16 in enumerate((trial.fidelity("bf16"), trial.spatial_fidelity("bf16"))):
            if precision == "bf16" or in_bf16 >= LEAST_FIDELITY:
                halves[half], reached[half] = "bf16", in_bf16
    chosen, spatial = halves
    if speed == "turbo":
        for shortcut in shortcuts(trial.wavelengths, full_budget(model), _fewest_queries(model)):
            plan = trial.shortened(chosen, shortcut)
            if plan.fidelity is not None and plan.fidelity >= LEAST_FIDELITY:
                lower = min(plan.fidelity, reached[1])
                return replace(plan, fidelity=lower, spatial_precision=spatial)
    approximated = "bf16" in halves or speed == "turbo"
    return Plan(chosen, None, min(reached) if approximated else None, spatial_precision=spatial)


def _fewest_queries(model: CARL) -> int:
    config = model.config.spec_encoder_kwargs
    # Side by side, none can be missing.
    return config.n_queries if config.readout == "concat" else min(2, config.n_queries)


def fidelity(exact: Float32Array, approximate: Float32Array) -> float:
    """How near approximate features come to exact ones, 1 for the same: the lower of two numbers.

    The mean over patches of their cosine, and the median over patches of the cosine after the mean
    of the exact features is taken off both. That mean is the same for every patch, so it tells
    nothing, and where it is large the plain cosine is 1 whatever happens to the rest.

    Args:
        exact: (n, D).
        approximate: (n, D).
    """
    mean = exact.mean(axis=0, dtype=np.float64)
    plain, centred = _cosines(exact, approximate), _cosines(exact - mean, approximate - mean)
    return min(float(np.mean(plain)), float(np.median(centred)))


def _cosines(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.floating] = np.sum(a * b, axis=1)
    cosines = cosines / np.maximum(lengths, np.finfo(np.float64).tiny)
    return cosines


def _spread(grid: tuple[int, int]) -> list[list[tuple[int, int]]]:
    """Rows of patches all over a grid, each at a random place of its cell.

    On a regular lattice, stripes and repeated structures would all be met or all be missed. Patches
    of a row lie in one line of the cube, as files are read by lines.
    """
    random = np.random.default_rng(0)
    n_rows, n_columns = (min(n, _SAMPLED_ROWS) for n in grid)

    def one_of_each_cell(n: int, n_cells: int) -> list[int]:
        cells = equal_parts(n, n_cells)
        chosen = random.integers([each.start for each in cells], [each.stop for each in cells])
        return [int(each) for each in chosen]

    rows = one_of_each_cell(grid[0], n_rows)
    return [[(y, x) for x in one_of_each_cell(grid[1], n_columns)] for y in rows]


class _Trial:
    """Patches spread over a cube, their exact features, and how near cheaper ones come.

    Args:
        reader: of the cube.
        model: in eval mode.
        workers: to share the trial among.
        spatial_precision: that will probably be chosen, for which the network is made ready.
    """

    def __init__(
        self,
        reader: PatchReader,
        model: CARL,
        workers: Workers,
        spatial_precision: Precision | None,
    ) -> None:
        self.wavelengths = reader.cube.require_wavelengths()
        self._model = model
        self._workers = workers
        self._spatial_precision = spatial_precision
        sampled = _spread(reader.grid)
        strips = [reader.strip(slice(y, y + 1), slice(x, x + 1)) for row in sampled for y, x in row]
        self._strip = np.concatenate(strips, axis=2)
        self._statistics = band_statistics(self._strip)
        self._shape = len(sampled), len(sampled[0])
        self._exact = self._features(Plan("float32", None, None))

    def fidelity(self, precision: Precision) -> float:
        """Of all bands in a precision."""
        return fidelity(self._exact, self._features(Plan(precision, None, None)))

    def spatial_fidelity(self, precision: Precision) -> float:
        """Of the spatial half in a precision, on the patches as if they lay side by side."""
        grid = self._exact.reshape(*self._shape, -1)
        image = torch.from_numpy(grid).movedim(-1, 0)[None]
        with torch.inference_mode():
            device = next(self._model.parameters()).device
            exact = self._model.spatial_features(image.to(device))[0].movedim(0, -1).cpu().numpy()
        engine = Engine(self._model, precision, self._workers, self._spatial_precision)
        (approximate,) = engine.spatial([grid])
        n = len(self._exact)
        return fidelity(exact.reshape(n, -1), approximate.reshape(n, -1))

    def shortened(self, precision: Precision, shortcut: Shortcut) -> Plan:
        """The plan of a shortcut, with the best correction; judged on patches left out."""
        groups, budget = shortcut
        approximate = self._features(Plan(precision, groups, None, None, budget))
        best = Plan(precision, groups, fidelity(self._exact, approximate), None, budget)
        if len(approximate) < _FEWEST_TO_LEARN_FROM:
            return best
        for penalty in _PENALTIES:
            correction, left_out = Correction.learn(
                approximate, self._statistics, self._exact, penalty
            )
            reached = fidelity(self._exact, left_out)
            if best.fidelity is None or reached > best.fidelity:
                best = Plan(precision, groups, reached, correction, budget)
        return best

    def _features(self, plan: Plan) -> Float32Array:
        engine = Engine(self._model, plan.precision, self._workers, self._spatial_precision)
        return plan.spectral(engine, self._strip, self.wavelengths)
