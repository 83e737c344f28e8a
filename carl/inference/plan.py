"""How to compute the features of a cube: as precisely as asked for, as cheaply as they allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carl.errors import CarlError
from carl.inference.blocks import PatchReader
from carl.inference.engine import Engine
from carl.inference.precision import PRECISIONS, Precision, has_fast_bf16
from carl.inference.turbo import BandGroups, groups_to_try
from carl.inference.workers import Workers
from carl.model import CARL

FloatArray = NDArray[np.float32]

SPEEDS = ("exact", "turbo")
LEAST_FIDELITY = 0.99
"""What a cheaper way to compute has to reach to be taken without being asked for by name."""
_SAMPLED_ROWS = 8
"""Cheaper ways are tried on a lattice of this many by this many patches."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How to compute the features of a cube.

    Attributes:
        precision: to compute in.
        groups: of bands to merge, or None.
        fidelity: of the spectral features, see `fidelity`; None where nothing is approximated.
    """

    precision: Precision
    groups: BandGroups | None
    fidelity: float | None


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
            features survive it. Those of a network that hardly tells patches apart do not: its
            small differences are lost in rounding.
        speed: "exact", or "turbo": the fewest groups of neighbouring bands that the features
            survive.
    """
    automatic = precision == "auto" and has_fast_bf16(next(model.parameters()).device)
    if speed == "exact" and precision != "bf16" and not automatic:
        return Plan("float32", None, None)

    trial = _Trial(reader, model, workers)
    chosen: Precision = "float32"
    reached = 1.0
    if automatic or precision == "bf16":
        in_bf16 = trial.fidelity("bf16", None)
        if precision == "bf16" or in_bf16 >= LEAST_FIDELITY:
            chosen, reached = "bf16", in_bf16
    if speed == "turbo":
        for groups in groups_to_try(trial.wavelengths):
            merged = trial.fidelity(chosen, groups)
            if merged >= LEAST_FIDELITY:
                return Plan(chosen, groups, merged)
    approximated = chosen == "bf16" or speed == "turbo"
    return Plan(chosen, None, reached if approximated else None)


def fidelity(exact: FloatArray, approximate: FloatArray) -> float:
    """Median over patches of the cosine between exact and approximate features.

    The mean of the exact features is taken off both first: it is the same for every patch, so it
    tells nothing, and where it is large the plain cosine is 1 whatever happens to the rest.

    Args:
        exact: (n, D).
        approximate: (n, D).
    """
    mean = exact.mean(axis=0, dtype=np.float64)
    a, b = exact - mean, approximate - mean
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.sum(a * b, axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return float(np.median(cosines))


class _Trial:
    """Patches spread over a cube, their exact features, and how near cheaper ones come."""

    def __init__(self, reader: PatchReader, model: CARL, workers: Workers) -> None:
        self.wavelengths = reader.cube.require_wavelengths()
        self._model = model
        self._workers = workers
        rows, columns = (
            np.unique(np.linspace(0, n - 1, _SAMPLED_ROWS).round().astype(int)) for n in reader.grid
        )
        strips = [reader.strip(slice(y, y + 1), slice(x, x + 1)) for y in rows for x in columns]
        self._strip = np.concatenate(strips, axis=2)
        self._exact = self._features("float32", None)

    def fidelity(self, precision: Precision, groups: BandGroups | None) -> float:
        return fidelity(self._exact, self._features(precision, groups))

    def _features(self, precision: Precision, groups: BandGroups | None) -> FloatArray:
        engine = Engine(self._model, precision, self._workers)
        if groups is None:
            return engine.spectral(self._strip, self.wavelengths / 1000)
        return engine.spectral(groups.merge(self._strip), groups.wavelengths / 1000)
