from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from carl.cube import SpectralCube
from carl.errors import CarlError
from carl.inference.blocks import PatchReader
from carl.inference.engine import Engine
from carl.inference.plan import LEAST_FIDELITY, Plan, check_wishes, fidelity, make_plan
from carl.inference.workers import Workers
from carl.model import CARL

NM = np.linspace(400, 690, 30)


@pytest.fixture(autouse=True)
def fast_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carl.inference.plan.has_fast_bf16", lambda device: True)


def plan(model: CARL, data: np.ndarray, precision: str, speed: str) -> Plan:
    cube = SpectralCube(data.astype(np.float32), NM)
    reader = PatchReader(cube, model.patch_size, 0.0, 1.0)
    with Workers(torch.device("cpu")) as workers:
        return make_plan(reader, model, workers, precision, speed)


def smooth() -> np.ndarray:
    levels = np.random.default_rng(0).normal(size=(20, 20, 2))
    return levels @ np.stack([np.ones(30), np.linspace(-1, 1, 30)])


def rough() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(20, 20, 30)) * 3


@torch.no_grad()
def hardly_telling_patches_apart(model: CARL) -> CARL:
    """As a network is before training: a large mean, and differences far below it."""
    model.connector.bias.fill_(100.0)
    return model


def test_by_default_nothing_is_approximated_where_bf16_is_slow(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carl.inference.plan.has_fast_bf16", lambda device: False)
    assert vars(plan(tiny_model, rough(), "auto", "exact")) == vars(Plan("float32", None, None))


def test_bf16_is_taken_where_it_is_fast_and_features_survive_it(tiny_model: CARL) -> None:
    chosen = plan(tiny_model, smooth(), "auto", "exact")
    assert chosen.precision == "bf16"
    assert chosen.fidelity is not None
    assert LEAST_FIDELITY <= chosen.fidelity < 1


def test_bf16_is_left_where_it_would_round_the_differences_away(tiny_model: CARL) -> None:
    model = hardly_telling_patches_apart(tiny_model)
    assert plan(model, rough(), "auto", "exact").precision == "float32"
    asked_for = plan(model, rough(), "bf16", "exact")
    assert asked_for.precision == "bf16"
    assert asked_for.fidelity is not None
    assert asked_for.fidelity < LEAST_FIDELITY


def test_each_half_is_rounded_only_if_it_survives(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hardly_telling_patches_apart(tiny_model)
    chosen = plan(model, rough(), "auto", "exact")
    assert (chosen.precision, chosen.spatial_precision) == ("float32", "bf16")
    assert chosen.fidelity is not None
    assert LEAST_FIDELITY <= chosen.fidelity < 1

    def rounded(self: Engine, grids: list[np.ndarray]) -> Iterator[np.ndarray]:
        yield from (np.round(grid) for grid in grids)

    monkeypatch.setattr(Engine, "spatial", rounded)
    assert plan(model, rough(), "auto", "exact").spatial_precision == "float32"


def test_turbo_merges_bands_that_say_the_same(tiny_model: CARL) -> None:
    chosen = plan(tiny_model, smooth(), "float32", "turbo")
    assert chosen.groups is not None
    assert chosen.fidelity is not None
    assert LEAST_FIDELITY <= chosen.fidelity < 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (61, 57)])
def test_what_is_tried_lies_all_over_the_cube(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    seen = []
    strip = PatchReader.strip

    def watched(self: PatchReader, rows: slice, columns: slice) -> np.ndarray:
        seen.append((rows.start, columns.start))
        return strip(self, rows, columns)

    monkeypatch.setattr(PatchReader, "strip", watched)
    plan(tiny_model, np.random.default_rng(0).normal(size=(*shape, 30)), "float32", "turbo")
    for axis in range(2):
        n = -(-shape[axis] // tiny_model.patch_size)
        places = {each[axis] for each in seen}
        assert places <= set(range(n))
        ordered = [-1, *sorted(places), n]
        assert max(np.diff(ordered)) <= 2 * -(-n // 14)
    assert len(seen) == len(set(seen))


def test_a_plan_survives_a_file(tiny_model: CARL) -> None:
    chosen = plan(tiny_model, smooth(), "float32", "turbo")
    read = Plan.from_dict(json.loads(json.dumps(chosen.to_dict())))
    assert chosen.groups is not None
    assert chosen.correction is not None
    with Workers(torch.device("cpu")) as workers:
        strip = np.random.default_rng(0).normal(size=(30, 4, 40)).astype(np.float32)
        engine = Engine(tiny_model, "float32", workers)
        features = [each.spectral(engine, strip, NM) for each in (chosen, read)]
    np.testing.assert_array_equal(*features)
    assert read.fidelity == chosen.fidelity
    exact = Plan("bf16", None, 0.999)
    assert vars(Plan.from_dict(exact.to_dict())) == vars(exact)


def test_turbo_leaves_bands_alone_that_do_not(tiny_model: CARL) -> None:
    chosen = plan(tiny_model, rough(), "float32", "turbo")
    assert chosen.groups is None
    assert chosen.fidelity == 1.0


def test_the_common_part_of_features_counts_for_nothing() -> None:
    random = np.random.default_rng(0)
    exact = random.normal(size=(50, 8)).astype(np.float32) + 1000
    noise = random.normal(size=(50, 8)).astype(np.float32) + 1000
    assert fidelity(exact, exact) == pytest.approx(1)
    assert abs(fidelity(exact, noise)) < 0.3
    assert fidelity(exact, np.full_like(exact, 1000)) < LEAST_FIDELITY


def test_wrong_wishes() -> None:
    check_wishes("auto", "turbo")
    with pytest.raises(CarlError, match="'fast' is not a speed: choose exact, turbo"):
        check_wishes("auto", "fast")
    with pytest.raises(CarlError, match="'half' is not a precision: choose auto, float32, bf16"):
        check_wishes("half", "exact")
