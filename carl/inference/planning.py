"""Choose the cheapest plan whose features are close enough to the exact ones.

Candidate plans are compared with the exact computation on a sample of patches of the cube.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from math import ceil, sqrt

import numpy as np
import torch
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.errors import OutputError
from carl.inference.backend import NumberFormat, PlainBackend, full_budget, has_fast_bf16
from carl.inference.cache_keys import code_key
from carl.inference.engine import Engine
from carl.inference.options import DEFAULT_OPTIONS, ComputeOptions
from carl.inference.patches import PatchReader
from carl.inference.plan import Plan
from carl.inference.turbo import Correction, Shortcut, band_statistics, candidate_shortcuts
from carl.inference.workers import equal_parts
from carl.memory_cache import MemoryCache
from carl.model import CARL
from carl.user_folders import plans_folder

MIN_FIDELITY = 0.99
"""Smallest fidelity of an approximation that is used without being requested by name."""
_SAMPLED_FRACTION = 1 / 8
"""Fraction of the patches of a cube to sample, so that planning costs less than it can save."""
_MIN_SAMPLED, _MAX_SAMPLED = 64, 196
"""Bounds of the number of sampled patches. A correction learned from fewer loses accuracy; from
more it gains little."""
_CHECKED_FRACTION = 1 / 4
_MIN_CHECKED = 32
"""Fraction of the sampled patches, and their smallest number, on which number formats and
remembered plans are checked: enough for a median, where no correction has to be learned."""
_MIN_LEARNED = 12
"""Smallest number of patches to learn a correction from."""
_PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
"""Candidate ridge penalties of a correction, see `Correction.learn`."""

_plans: MemoryCache[tuple[str, str], Plan] = MemoryCache(max_size=32)
"""Plans by camera, network and options, and by sample."""


def make_plan(
    reader: PatchReader, model: CARL, engine: Engine, options: ComputeOptions = DEFAULT_OPTIONS
) -> Plan:
    """Choose the cheapest plan that the options allow, on a sample of patches of the cube.

    A plan is remembered: for the same sample it is returned again; for another cube of the same
    camera it is checked on a few patches of that cube, and made again if it fails.

    Args:
        reader: of the cube.
        model: in eval mode.
        engine: of the model.
        options: with the precision "auto", each half of the network is computed
            in bf16 if the device has instructions for it and the fidelity reaches `MIN_FIDELITY`.
            With the speed "turbo", the cheapest shortcut is used that reaches it.
    """
    device = next(model.parameters()).device
    may_round = options.precision == "auto" and has_fast_bf16(device)
    if options.speed == "exact" and options.precision != "bf16" and not may_round:
        return Plan()
    trial = _Trial(reader, model, engine)
    camera = (
        code_key(),
        model.fingerprint,
        device.type,
        repr((options, may_round)),
        reader.cube.require_wavelengths().tobytes().hex(),
    )
    key = hashlib.sha256("\n".join(camera).encode()).hexdigest()[:40]

    def plan_cube() -> Plan:
        if options.speed == "exact":
            return _choose_formats(trial, options, may_round)
        remembered = plans_folder().load(key, lambda path: Plan.from_bytes(path.read_bytes()))
        if remembered is not None:
            checked = replace(remembered, fidelity=trial.fidelity(remembered))
            if checked.fidelity is not None and checked.fidelity >= MIN_FIDELITY:
                return checked
        plan = _choose_shortcut(trial, model, options, may_round)
        if plan.groups is not None:
            _save_plan(key, plan)
        return plan

    return _plans.get((key, trial.digest), plan_cube)


def fidelity(exact: Float32Array, approximate: Float32Array) -> float:
    """Compute how close approximate features are to exact ones; 1 if they are equal.

    It is the lower one of two numbers: the mean over patches of the cosine between both vectors,
    and the median over patches of the cosine after subtracting the mean of the exact features from
    both. That mean is the same for all patches and carries no information; where it is large, the
    first number is near 1 whatever the approximation.

    Args:
        exact: (n, D).
        approximate: (n, D).
    """
    mean = exact.mean(axis=0, dtype=np.float64)
    plain, centred = _cosines(exact, approximate), _cosines(exact - mean, approximate - mean)
    return min(float(np.mean(plain)), float(np.median(centred)))


def _choose_formats(trial: _Trial, options: ComputeOptions, may_round: bool) -> Plan:
    """Return the plan without merged bands, each half in bf16 if requested or close enough."""
    rounded = Plan("bf16", "bf16")
    reached: dict[str, float] = {}
    formats: dict[str, NumberFormat] = {"spectral": "float32", "spatial": "float32"}
    if may_round or options.precision == "bf16":
        for half, measure in (
            ("spectral", trial.spectral_fidelity),
            ("spatial", trial.spatial_fidelity),
        ):
            value = measure(rounded)
            if options.precision == "bf16" or value >= MIN_FIDELITY:
                formats[half], reached[half] = "bf16", value
    lowest = min(reached.values(), default=None)
    return Plan(formats["spectral"], formats["spatial"], fidelity=lowest)


def _choose_shortcut(trial: _Trial, model: CARL, options: ComputeOptions, may_round: bool) -> Plan:
    """Return the plan of the cheapest shortcut that is close enough, or one without any."""
    config = model.config.spec_encoder_kwargs
    # The readout "concat" needs all queries.
    min_queries = config.n_queries if config.readout == "concat" else min(2, config.n_queries)
    shortcuts = candidate_shortcuts(trial.wavelengths, full_budget(model), min_queries)
    spectral: NumberFormat = "bf16" if options.precision == "bf16" else "float32"
    if may_round and shortcuts and trial.survives_rounding(shortcuts[0]):
        spectral = "bf16"
    for shortcut in shortcuts:
        plan = trial.shorten(shortcut, spectral)
        if plan.fidelity is not None and plan.fidelity >= MIN_FIDELITY:
            rounded = replace(plan, spatial_format="bf16")
            if options.precision != "bf16" and not may_round:
                return plan
            reached = trial.spatial_fidelity(rounded)
            if options.precision == "bf16" or reached >= MIN_FIDELITY:
                return replace(rounded, fidelity=min(plan.fidelity, reached))
            return plan
    return _choose_formats(trial, options, may_round)


class _Trial:
    """Sample of patches of a cube, its exact features, and the fidelity of plans on it."""

    def __init__(self, reader: PatchReader, model: CARL, engine: Engine) -> None:
        self.wavelengths = reader.cube.require_wavelengths()
        self._model = model
        self._engine = engine
        self._strips = [
            np.concatenate([reader.strip(slice(y, y + 1), slice(x, x + 1)) for y, x in row], axis=2)
            for row in _sample_positions(reader.grid)
        ]
        self._exact: dict[int, Float32Array] = {}
        self._all_rows = range(len(self._strips))
        patches_per_row = self._strips[0].shape[2] // reader.patch_size
        n_sampled = len(self._strips) * patches_per_row
        wanted = max(_CHECKED_FRACTION * n_sampled, _MIN_CHECKED)
        n_checked = min(ceil(wanted / patches_per_row), len(self._strips))
        self._checked_rows = np.linspace(0, len(self._strips) - 1, n_checked).astype(int).tolist()
        digest = hashlib.blake2b(digest_size=20)
        for strip in self._strips:
            digest.update(strip.data)
        self.digest = digest.hexdigest()
        """Hash of the sampled pixels."""

    def fidelity(self, plan: Plan) -> float:
        """Measure the fidelity of both halves on the checked rows; return the lower one."""
        return min(self.spectral_fidelity(plan), self.spatial_fidelity(plan))

    def spectral_fidelity(self, plan: Plan) -> float:
        """Measure the fidelity of the spectral features on the checked rows."""
        rows = self._checked_rows
        return fidelity(self._exact_features(rows), self._features(plan, rows))

    def spatial_fidelity(self, plan: Plan) -> float:
        """Measure the fidelity of the spatial features of a map made of the checked rows."""
        if plan.spatial_format == "float32":
            return 1.0
        rows = self._checked_rows
        spectral = self._exact_features(rows)
        grid = spectral.reshape(len(rows), -1, spectral.shape[1])
        image = torch.from_numpy(grid).movedim(-1, 0)[None]
        plain = PlainBackend(self._model)
        exact = plain.encode_spatial(image.to(plain.device))[0].movedim(0, -1).cpu().numpy()
        (approximate,) = self._engine.encode_spatial([grid], plan)
        return fidelity(exact.reshape(spectral.shape), approximate.reshape(spectral.shape))

    def survives_rounding(self, shortcut: Shortcut) -> bool:
        """Return whether a shortcut gives nearly the same features in bf16 as in float32."""
        groups, budget = shortcut
        plans = (Plan(each, groups=groups, budget=budget) for each in ("float32", "bf16"))
        return fidelity(*(self._features(each, self._all_rows) for each in plans)) >= MIN_FIDELITY

    def shorten(self, shortcut: Shortcut, number_format: NumberFormat) -> Plan:
        """Return the plan of a shortcut with the best correction, and its fidelity.

        The fidelity is that of leave-one-out predictions: no patch is corrected by a regression
        that was learned from it.
        """
        groups, budget = shortcut
        exact = self._exact_features(self._all_rows)
        plan = Plan(number_format, groups=groups, budget=budget)
        approximate = self._features(plan, self._all_rows)
        best, best_fidelity = plan, fidelity(exact, approximate)
        if len(approximate) >= _MIN_LEARNED:
            statistics = band_statistics(np.concatenate(self._strips, axis=2))
            for penalty in _PENALTIES:
                correction, left_out = Correction.learn(approximate, statistics, exact, penalty)
                reached = fidelity(exact, left_out)
                if reached > best_fidelity:
                    best, best_fidelity = replace(plan, correction=correction), reached
        return replace(best, fidelity=best_fidelity)

    def _exact_features(self, rows: Sequence[int]) -> Float32Array:
        """Return exact features (n, D) of rows of the sample, each row computed once."""
        missing = [row for row in rows if row not in self._exact]
        if missing:
            features = self._features(Plan(), missing)
            self._exact.update(zip(missing, np.split(features, len(missing)), strict=True))
        return np.concatenate([self._exact[row] for row in rows])

    def _features(self, plan: Plan, rows: Sequence[int]) -> Float32Array:
        strip = np.concatenate([self._strips[row] for row in rows], axis=2)
        return self._engine.encode_spectral(strip, self.wavelengths, plan)


def _sample_positions(grid: tuple[int, int]) -> list[list[tuple[int, int]]]:
    """Return rows of (y, x) patches spread over a grid, each at a random place of its cell.

    The places are random since on a regular lattice, stripes and periodic structures would all be
    hit or all be missed. The patches of a row lie in one line of the cube, as files are read by
    lines.
    """
    height, width = grid
    wanted = min(max(_SAMPLED_FRACTION * height * width, _MIN_SAMPLED), _MAX_SAMPLED)
    n_rows = min(height, ceil(max(sqrt(wanted), wanted / width)))
    n_columns = min(width, ceil(wanted / n_rows))
    random = np.random.default_rng(0)

    def one_of_each_cell(n: int, n_cells: int) -> list[int]:
        cells = equal_parts(n, n_cells)
        chosen = random.integers([each.start for each in cells], [each.stop for each in cells])
        return [int(each) for each in chosen]

    rows = one_of_each_cell(height, n_rows)
    return [[(y, x) for x in one_of_each_cell(width, n_columns)] for y in rows]


def _cosines(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """Compute the cosines (n,) between the rows of two tables (n, D)."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products: NDArray[np.floating] = np.sum(a * b, axis=1)
    cosines: NDArray[np.floating] = products / np.maximum(lengths, np.finfo(np.float64).tiny)
    return cosines


def _save_plan(key: str, plan: Plan) -> None:
    """Remember a plan on disk; if that fails, it is made again next time."""
    content = plan.to_bytes()
    with suppress(OutputError):
        plans_folder().add(key, len(content), lambda path: path.write_bytes(content))
