from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from carl.errors import CarlError
from carl.inference import engine as engine_module
from carl.inference.backend import PlainBackend
from carl.inference.engine import Engine, _balanced_pass, _copy_to_cpu, _gpu_patches
from carl.inference.fast import FastBackend
from carl.inference.plan import Plan
from carl.inference.turbo import BandGroups
from carl.inference.workers import Workers
from carl.model import CARL

NM = np.linspace(400, 900, 6)
CPU = torch.device("cpu")
EXACT = Plan()


@pytest.fixture(params=[1, 3])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    with Workers(CPU) as opened:
        yield opened
    torch.set_num_threads(before)


def strip(model: CARL, n_patches: int) -> np.ndarray:
    size = model.patch_size
    return np.random.default_rng(0).normal(size=(6, size, n_patches * size)).astype(np.float32)


def feature_map(model: CARL, h: int = 6, w: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(h, w, model.embed_dim)).astype(np.float32)


def test_passes_give_the_features_of_the_plain_network(
    tiny_model: CARL, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = strip(tiny_model, 7)
    expected = PlainBackend(tiny_model).encode_spectral(
        torch.from_numpy(image), torch.tensor(NM / 1000, dtype=torch.float32)
    )
    monkeypatch.setattr(engine_module, "_balanced_pass", lambda *_: 3)
    done: list[int] = []
    features = Engine(tiny_model, workers).encode_spectral(image, NM, EXACT, done.append)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert done == [3, 6, 7]


def test_both_backends_give_the_same_features(tiny_model: CARL, workers: Workers) -> None:
    plan = Plan(groups=BandGroups.of(NM, 3))
    fast, plain = (
        Engine(tiny_model, workers, each).encode_spectral(strip(tiny_model, 20), NM, plan)
        for each in (FastBackend, PlainBackend)
    )
    np.testing.assert_allclose(fast, plain, atol=1e-5)


@pytest.mark.parametrize("n_maps", [1, 2, 5])
def test_maps_have_the_spatial_features_of_the_plain_network(
    tiny_model: CARL, workers: Workers, n_maps: int
) -> None:
    maps = [feature_map(tiny_model, 6 + number) for number in range(n_maps)]
    encoded = list(Engine(tiny_model, workers).encode_spatial(maps, EXACT))
    assert len(encoded) == n_maps
    for features, result in zip(maps, encoded, strict=True):
        image = torch.from_numpy(features).permute(2, 0, 1)[None]
        expected = PlainBackend(tiny_model).encode_spatial(image)[0].permute(1, 2, 0)
        np.testing.assert_allclose(result, expected, atol=1e-4)


@pytest.mark.parametrize("n_maps", [1, 4])
def test_a_single_map_is_computed_by_all_threads(
    tiny_model: CARL, workers: Workers, monkeypatch: pytest.MonkeyPatch, n_maps: int
) -> None:
    n_threads: list[int] = []
    encode = FastBackend.encode_spatial

    def recorded(self: FastBackend, *inputs: Any) -> Tensor:
        n_threads.append(torch.get_num_threads())
        return encode(self, *inputs)

    monkeypatch.setattr(FastBackend, "encode_spatial", recorded)
    list(Engine(tiny_model, workers).encode_spatial(n_maps * [feature_map(tiny_model)], EXACT))
    assert n_threads == n_maps * [workers.count if n_maps == 1 else 1]


def test_a_single_map_can_be_cancelled(tiny_model: CARL, monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()

    def endless(self: FastBackend, *inputs: Any) -> Tensor:
        started.set()
        while True:
            torch.zeros(1)

    def cancel() -> None:
        if started.is_set():
            raise KeyboardInterrupt

    monkeypatch.setattr(FastBackend, "encode_spatial", endless)
    with pytest.raises(KeyboardInterrupt), Workers(CPU) as workers:
        list(Engine(tiny_model, workers).encode_spatial([feature_map(tiny_model)], EXACT, cancel))


def test_bf16_is_close_to_float32(tiny_model: CARL, workers: Workers) -> None:
    image = strip(tiny_model, 20)
    engine = Engine(tiny_model, workers)
    exact = engine.encode_spectral(image, NM, EXACT)
    rounded = engine.encode_spectral(image, NM, Plan("bf16"))
    assert rounded.dtype == np.float32
    cosine = np.sum(exact * rounded, 1) / np.linalg.norm(exact, axis=1)
    assert (cosine / np.linalg.norm(rounded, axis=1)).min() > 0.999
    assert not np.array_equal(exact, rounded)


def test_passes_become_smaller_if_memory_is_short(
    tiny_model: CARL, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = strip(tiny_model, 9)
    expected = Engine(tiny_model, workers).encode_spectral(image, NM, EXACT)
    two_patches = limited(FastBackend.encode_spectral, 2 * tiny_model.patch_size)
    monkeypatch.setattr(FastBackend, "encode_spectral", two_patches)
    engine = Engine(tiny_model, workers)
    done: list[int] = []
    features = engine.encode_spectral(image, NM, EXACT, done.append)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert "small passes" in engine.note
    assert done[-1] == 9


def test_too_little_memory_for_one_patch_is_a_readable_error(
    tiny_model: CARL, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for half in ("encode_spectral", "encode_spatial"):
        monkeypatch.setattr(FastBackend, half, limited(getattr(FastBackend, half), 0))
    engine = Engine(tiny_model, workers)
    with pytest.raises(CarlError, match="not enough memory"):
        engine.encode_spectral(strip(tiny_model, 3), NM, EXACT)
    with pytest.raises(CarlError, match="not enough memory"):
        list(engine.encode_spatial(2 * [feature_map(tiny_model)], EXACT))


def test_the_copy_on_the_cpu_is_the_same_network(tiny_model: CARL) -> None:
    copy = _copy_to_cpu(tiny_model)
    assert copy.fingerprint == tiny_model.fingerprint
    image, bands = torch.randn(1, 6, 8, 8), torch.tensor(NM / 1000, dtype=torch.float32)
    with torch.inference_mode():
        assert copy(image, bands).spatial.equal(tiny_model(image, bands).spatial)
    assert copy is not tiny_model


class _FullDevice(PlainBackend):
    """A graphics card whose memory is full."""

    def __init__(self, model: CARL) -> None:
        super().__init__(model)
        self.device = torch.device("meta")

    def encode_spectral(self, *inputs: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    def encode_spatial(self, *inputs: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_the_cpu_is_used_if_the_memory_of_the_device_is_full(
    tiny_model: CARL, workers: Workers
) -> None:
    image = strip(tiny_model, 5)
    expected = Engine(tiny_model, workers).encode_spectral(image, NM, EXACT)

    def make_backend(model: CARL) -> PlainBackend:
        return _FullDevice(model) if model is tiny_model else PlainBackend(model)

    engine = Engine(tiny_model, workers, make_backend)
    features = engine.encode_spectral(image, NM, EXACT)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert "on the CPU" in engine.note


def test_other_errors_are_not_taken_as_a_lack_of_memory(tiny_model: CARL, workers: Workers) -> None:
    engine = Engine(tiny_model, workers)
    with pytest.raises(RuntimeError, match=r"[Ss]ize"):
        list(engine.encode_spatial([np.zeros((2, 2, tiny_model.embed_dim + 1), np.float32)], EXACT))


@pytest.mark.parametrize("n_workers", [1, 2, 3])
@pytest.mark.parametrize("n_patches", [1, 9, 100, 5000])
def test_passes_are_shared_equally_among_the_workers(n_patches: int, n_workers: int) -> None:
    size = _balanced_pass(n_patches, 60, n_workers)
    assert size <= 60
    n_passes = -(-n_patches // size)
    if n_patches >= 8 * n_workers:
        assert size >= 8
        assert n_passes % n_workers == 0
    else:
        assert size >= min(n_patches, 8)


def test_passes_of_a_large_network_have_a_few_patches() -> None:
    assert _balanced_pass(1000, 0, 2) == 8


def test_a_pass_on_a_gpu_fits_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 4 << 30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 << 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1 << 30)
    cuda = torch.device("cuda")
    assert _gpu_patches(cuda, 100 * 384) == (6 << 30) // 2 // 64 // (100 * 384)
    free = 70 << 30
    assert _gpu_patches(cuda, 100 * 384) == (1 << 28) // (100 * 384)
    free = 0
    assert _gpu_patches(cuda, 1 << 40) == 1
    assert _gpu_patches(torch.device("mps"), 100 * 384) > 100


def limited(method: Callable[..., Tensor], widest: int) -> Callable[..., Tensor]:
    """A half of the network on a device where only inputs up to a width fit."""

    def run(self: FastBackend, image: Tensor, *rest: Any) -> Tensor:
        if image.shape[-1] > widest:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return method(self, image, *rest)

    return run
