from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict

import numpy as np
import pytest

from carl.inference.backend import ComputeBudget
from carl.inference.npz import READ_ERRORS
from carl.inference.plan import Plan
from carl.inference.turbo import BandGroups, Correction

RANDOM = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


FULL = Plan(
    "bf16",
    "bf16",
    BandGroups.of(np.array([500.0, 400, 600, 700]), 3),
    ComputeBudget(1, 2),
    Correction(random(9), random(9), random(9, 5), random(5, 3), random(3)),
    0.995,
)


@pytest.mark.parametrize("plan", [Plan(), Plan("bf16", "float32", fidelity=0.999), FULL])
def test_a_plan_survives_being_written_and_read(plan: Plan) -> None:
    read = asdict(Plan.from_bytes(plan.to_bytes()))
    for name, value in asdict(plan).items():
        if isinstance(value, dict):
            for field, array in value.items():
                np.testing.assert_array_equal(read[name][field], array)
                assert read[name][field].dtype == array.dtype
        else:
            assert read[name] == value


def test_no_changed_byte_gives_another_plan() -> None:
    content = FULL.to_bytes()
    for position in RANDOM.choice(len(content), 400, replace=False):
        broken = bytearray(content)
        broken[position] ^= 1 << int(RANDOM.integers(8))
        with suppress(*READ_ERRORS):
            assert Plan.from_bytes(bytes(broken)).to_bytes() == content


def test_a_plan_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = FULL.to_bytes()
    monkeypatch.setattr("carl.inference.plan._VERSION", 2)
    with pytest.raises(ValueError, match="another version"):
        Plan.from_bytes(content)
