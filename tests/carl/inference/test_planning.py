from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from carl.cube import SpectralCube
from carl.inference import planning
from carl.inference.engine import Engine
from carl.inference.options import ComputeOptions, Precision, Speed
from carl.inference.patches import PatchReader
from carl.inference.plan import Plan
from carl.inference.planning import MIN_FIDELITY, fidelity, make_plan
from carl.inference.workers import Workers
from carl.model import CARL
from carl.user_folders import plans_folder

NM = np.linspace(400, 690, 30)


@pytest.fixture(autouse=True)
def fast_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "has_fast_bf16", lambda device: True)


@pytest.fixture
def n_encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Number of patches of each call of the engine, and whether they were computed exactly."""
    calls: list[tuple[int, bool]] = []
    encode = Engine.encode_spectral

    def recorded(
        self: Engine, strip: np.ndarray, wavelengths: np.ndarray, plan: Plan, *rest: Any
    ) -> np.ndarray:
        calls.append((strip.shape[2] // strip.shape[1], is_exact(plan)))
        return encode(self, strip, wavelengths, plan, *rest)

    monkeypatch.setattr(Engine, "encode_spectral", recorded)
    return calls


def plan(model: CARL, data: np.ndarray, precision: Precision, speed: Speed) -> Plan:
    cube = SpectralCube(data.astype(np.float32), NM)
    reader = PatchReader(cube, model.patch_size, 0.0, 1.0)
    with Workers(torch.device("cpu")) as workers:
        return make_plan(reader, model, Engine(model, workers), ComputeOptions(precision, speed))


def is_exact(plan: Plan) -> bool:
    """Whether all bands are used, in float32."""
    return plan.spectral_format == plan.spatial_format == "float32" and plan.groups is None


def smooth(seed: int = 0) -> np.ndarray:
    """Spectra with two degrees of freedom."""
    levels = np.random.default_rng(seed).normal(size=(60, 60, 2))
    return levels @ np.stack([np.ones(30), np.linspace(-1, 1, 30)])


def rough(seed: int = 0) -> np.ndarray:
    """Spectra whose bands are independent."""
    return np.random.default_rng(seed).normal(size=(20, 20, 30)) * 3


@torch.no_grad()
def with_a_large_common_part(model: CARL) -> CARL:
    """A network as before training: features with a large mean and small differences."""
    model.connector.bias.fill_(100.0)
    return model


def test_nothing_is_approximated_by_default_if_bf16_is_slow(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "has_fast_bf16", lambda device: False)
    assert vars(plan(tiny_model, rough(), "auto", "exact")) == vars(Plan())


def test_bf16_is_used_if_it_is_fast_and_close(tiny_model: CARL) -> None:
    chosen = plan(tiny_model, smooth(), "auto", "exact")
    assert chosen.spectral_format == chosen.spatial_format == "bf16"
    assert chosen.fidelity is not None
    assert MIN_FIDELITY <= chosen.fidelity < 1


def test_bf16_is_not_used_where_it_rounds_the_differences_away(tiny_model: CARL) -> None:
    model = with_a_large_common_part(tiny_model)
    assert plan(model, rough(), "auto", "exact").spectral_format == "float32"
    requested = plan(model, rough(), "bf16", "exact")
    assert requested.spectral_format == "bf16"
    assert requested.fidelity is not None
    assert requested.fidelity < MIN_FIDELITY


def test_the_format_of_each_half_is_chosen_separately(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_a_large_common_part(tiny_model)
    chosen = plan(model, rough(), "auto", "exact")
    assert (chosen.spectral_format, chosen.spatial_format) == ("float32", "bf16")
    assert chosen.fidelity is not None
    assert MIN_FIDELITY <= chosen.fidelity < 1

    def rounded(self: Engine, maps: Iterable[np.ndarray], plan: Plan) -> Iterator[np.ndarray]:
        yield from (np.round(each) for each in maps)

    monkeypatch.setattr(Engine, "encode_spatial", rounded)
    assert plan(model, rough(1), "auto", "exact").spatial_format == "float32"


def test_turbo_merges_bands_that_are_redundant(tiny_model: CARL) -> None:
    chosen = plan(tiny_model, smooth(), "float32", "turbo")
    assert chosen.groups is not None
    assert chosen.fidelity is not None
    assert MIN_FIDELITY <= chosen.fidelity < 1


def test_turbo_does_not_merge_bands_that_are_independent(tiny_model: CARL) -> None:
    assert is_exact(plan(tiny_model, rough(), "float32", "turbo"))


@pytest.mark.parametrize("speed", ["exact", "turbo"])
def test_the_plan_of_the_same_cube_is_reused(
    tiny_model: CARL, n_encoded: list[tuple[int, bool]], speed: Speed
) -> None:
    first = plan(tiny_model, smooth(), "auto", speed)
    n_encoded.clear()
    assert plan(tiny_model, smooth(), "auto", speed) is first
    assert n_encoded == []


def test_the_plan_of_another_cube_of_the_camera_is_checked_on_few_patches(
    tiny_model: CARL, n_encoded: list[tuple[int, bool]]
) -> None:
    first = plan(tiny_model, smooth(), "float32", "turbo")
    n_exact = sum(n for n, exactly in n_encoded if exactly)
    n_encoded.clear()
    second = plan(tiny_model, smooth(1), "float32", "turbo")
    assert first.correction is not None
    assert second.correction is not None
    np.testing.assert_array_equal(second.correction.weights, first.correction.weights)
    assert second.fidelity != first.fidelity
    assert second.fidelity is not None
    assert second.fidelity >= MIN_FIDELITY
    assert sum(n for n, exactly in n_encoded if exactly) <= n_exact / 2
    assert len(n_encoded) == 2


def test_a_remembered_plan_that_fails_on_another_cube_is_made_again(tiny_model: CARL) -> None:
    first = plan(tiny_model, smooth(), "float32", "turbo")
    second = plan(tiny_model, 3 * smooth(1) ** 2, "float32", "turbo")
    assert first.groups is not None
    if second.groups is not None:
        assert second.fidelity is not None
        assert second.fidelity >= MIN_FIDELITY
    assert is_exact(plan(tiny_model, rough(), "float32", "turbo"))


def test_a_damaged_remembered_plan_is_made_again(tiny_model: CARL) -> None:
    plan(tiny_model, smooth(), "float32", "turbo")
    (path,) = plans_folder().path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    second = plan(tiny_model, smooth(1), "float32", "turbo")
    assert second.groups is not None
    assert path.stat().st_size > 100


def test_plans_are_not_written_if_the_cache_has_no_size(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARL_CACHE", "0")
    assert plan(tiny_model, smooth(), "float32", "turbo").groups is not None
    assert not plans_folder().path.exists()


def test_exact_features_are_computed_once(
    tiny_model: CARL, n_encoded: list[tuple[int, bool]]
) -> None:
    plan(tiny_model, smooth(), "float32", "turbo")
    n_encoded.clear()
    plan(tiny_model, rough(), "float32", "turbo")  # the remembered plan fails, no shortcut is close
    assert sum(n for n, exactly in n_encoded if exactly) == 5 * 5


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (61, 57), (300, 300)])
def test_sampled_patches_are_spread_over_the_cube(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    places: list[tuple[int, int]] = []
    strip = PatchReader.strip

    def recorded(self: PatchReader, rows: slice, columns: slice) -> np.ndarray:
        places.append((rows.start, columns.start))
        return strip(self, rows, columns)

    monkeypatch.setattr(PatchReader, "strip", recorded)
    plan(tiny_model, np.random.default_rng(0).normal(size=(*shape, 30)), "float32", "turbo")
    grid = tuple(-(-n // tiny_model.patch_size) for n in shape)
    assert len(places) == len(set(places))
    assert min(64, grid[0] * grid[1]) <= len(places) <= max(196, grid[0] * grid[1] / 8 + 20)
    for axis in range(2):
        used = {each[axis] for each in places}
        assert used <= set(range(grid[axis]))
        ordered = [-1, *sorted(used), grid[axis]]
        assert max(np.diff(ordered)) <= 2 * -(-grid[axis] // min(8, grid[axis]))


def test_fidelity_ignores_the_common_part_of_the_features() -> None:
    random = np.random.default_rng(0)
    exact = random.normal(size=(50, 8)).astype(np.float32) + 1000
    noise = random.normal(size=(50, 8)).astype(np.float32) + 1000
    assert fidelity(exact, exact) == pytest.approx(1)
    assert abs(fidelity(exact, noise)) < 0.3
    assert fidelity(exact, np.full_like(exact, 1000)) < MIN_FIDELITY
