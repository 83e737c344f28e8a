from __future__ import annotations

import argparse
from pathlib import Path

import forward
import gpu
import numpy as np
import pytest
import torch

from carl.model import CARL, resolve_device


@pytest.fixture
def small(tiny_model: CARL, monkeypatch: pytest.MonkeyPatch) -> CARL:
    monkeypatch.setattr(forward, "network", lambda name: tiny_model)
    monkeypatch.setattr(forward, "SIDE", 40)
    return tiny_model


def test_naive_is_the_forward_pass_of_the_model(small: CARL) -> None:
    cube = forward.square(forward.bundled(6), 40)
    pixels = cube.to_numpy()
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
    bands = torch.tensor(cube.require_wavelengths() / 1000, dtype=torch.float32)
    patches = pixels.reshape(10, 4, 10, 4, 6).transpose(4, 1, 0, 2, 3).reshape(6, 4, -1)
    with torch.inference_mode():
        expected = small(image, bands)
    spectral, spatial = forward.naive(small, patches.copy(), cube.require_wavelengths())
    for ours, theirs in ((spectral, expected.spectral), (spatial, expected.spatial)):
        np.testing.assert_allclose(ours, theirs[0].flatten(1).T.numpy(), atol=1e-4)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is Linux's")
def test_ways_are_compared_with_naive(small: CARL, tmp_path: Path) -> None:
    args = argparse.Namespace(model="tiny", cube=None, quick=True, most_seconds=1.0)
    rows = {way: forward.measure(way, args, 12, tmp_path) for way in forward.WAYS}
    assert rows["naive"]["difference"] == 0
    assert 0 < rows["exact"]["difference"] < 1e-4
    assert rows["exact"]["cosine"][1] > 0.99999
    assert all(len(row["seconds"]) == 1 for row in rows.values())
    assert rows["bf16"]["fidelity"] <= 1
    assert all(set(rows[way]["calls"]) == set(forward.CALLS) for way in forward.OPTIONS)


def test_operations_are_those_of_the_plain_network(tiny_model: CARL) -> None:
    one, two = (gpu.spectral_operations(tiny_model, 20, n) for n in (1, 2))
    assert two == 2 * one
    d, bands, queries = 24, 20, 2
    blocks = 2 * d * d * (12 * bands + 2 * bands + 10 * queries)
    ends = 2 * d * (16 * bands + 24)
    attention = 4 * d * bands * (bands + queries)
    assert one == pytest.approx(blocks + ends + attention, rel=0.01)


@pytest.mark.skipif(resolve_device("auto").type == "cuda", reason="there is a GPU")
def test_without_a_gpu_its_benchmark_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="No GPU that computes in bf16"):
        gpu.main()
