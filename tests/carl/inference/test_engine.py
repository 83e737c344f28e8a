from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from carl.errors import CarlError
from carl.inference.engine import Engine, _copy_on_cpu, _gpu_patches
from carl.inference.pass_size import PassSizes
from carl.inference.prepared import Prepared
from carl.inference.workers import Workers
from carl.model import CARL

BANDS_UM = np.linspace(0.4, 0.9, 6)


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers(torch.device("cpu")) as opened:
        yield opened


def strip(model: CARL, n_patches: int) -> np.ndarray:
    size = model.patch_size
    return np.random.default_rng(0).normal(size=(6, size, n_patches * size)).astype(np.float32)


def test_passes_are_the_forward_of_the_model(
    tiny_model: CARL, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = strip(tiny_model, 7)
    with torch.inference_mode():
        expected = tiny_model.spectral_features(
            torch.from_numpy(image)[None], torch.tensor(BANDS_UM, dtype=torch.float32)[None]
        )[0, :, 0].T
    monkeypatch.setattr(PassSizes, "next", lambda self, n_left: 3)
    done: list[int] = []
    features = Engine(tiny_model, "float32", workers).spectral(image, BANDS_UM, done.append)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert done == [3, 6, 7]


def test_bf16_is_close(tiny_model: CARL, workers: Workers) -> None:
    image = strip(tiny_model, 20)
    exact = Engine(tiny_model, "float32", workers).spectral(image, BANDS_UM)
    rounded = Engine(tiny_model, "bf16", workers).spectral(image, BANDS_UM)
    assert rounded.dtype == np.float32
    cosine = np.sum(exact * rounded, 1) / np.linalg.norm(exact, axis=1)
    assert (cosine / np.linalg.norm(rounded, axis=1)).min() > 0.999
    assert not np.array_equal(exact, rounded)


def test_short_of_memory_the_passes_shrink(
    tiny_model: CARL, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = strip(tiny_model, 9)
    expected = Engine(tiny_model, "float32", workers).spectral(image, BANDS_UM)
    fits_two = limited(Prepared.spectral, 2 * tiny_model.patch_size)
    monkeypatch.setattr(Prepared, "spectral", fits_two)
    engine = Engine(tiny_model, "float32", workers)
    done: list[int] = []
    features = engine.spectral(image, BANDS_UM, done.append)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert "small pieces" in engine.note
    assert done[-1] == 9


def test_without_memory_for_one_patch_it_ends_in_a_sentence(
    tiny_model: CARL, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Prepared, "spectral", limited(Prepared.spectral, 0))
    monkeypatch.setattr(Prepared, "spatial", limited(Prepared.spatial, 0))
    engine = Engine(tiny_model, "float32", workers)
    with pytest.raises(CarlError, match="not enough memory"):
        engine.spectral(strip(tiny_model, 3), BANDS_UM)
    with pytest.raises(CarlError, match="not enough memory"):
        list(engine.spatial(2 * [np.zeros((2, 2, tiny_model.embed_dim), np.float32)]))


def test_the_copy_for_the_cpu_is_the_same_network(tiny_model: CARL) -> None:
    copy = _copy_on_cpu(tiny_model)
    assert copy.fingerprint == tiny_model.fingerprint
    image, bands = torch.randn(1, 6, 8, 8), torch.tensor(BANDS_UM, dtype=torch.float32)
    with torch.inference_mode():
        assert copy(image, bands).spatial.equal(tiny_model(image, bands).spatial)
    assert copy is not tiny_model


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    tiny_model: CARL, workers: Workers
) -> None:
    engine = Engine(tiny_model, "float32", workers)
    with pytest.raises(RuntimeError, match=r"[Ss]ize"):
        list(engine.spatial([np.zeros((2, 2, tiny_model.embed_dim + 1), np.float32)]))


def test_without_a_compiler_it_runs_uncompiled_and_says_so(
    tiny_model: CARL, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*_: Tensor) -> Tensor:
        raise RuntimeError("Failed to find C++ compiler.")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: no_compiler)
    image = strip(tiny_model, 9)
    engine = Engine(tiny_model, "float32", workers, compiled=True)
    expected = Engine(tiny_model, "float32", workers).spectral(image, BANDS_UM)
    np.testing.assert_array_equal(engine.spectral(image, BANDS_UM), expected)
    assert "compiler" in engine.note


def test_a_pass_on_a_gpu_takes_what_fits_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
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
    """A half of the network on a device where only so wide an input fits."""

    def run(self: Prepared, image: Tensor, *rest: Tensor) -> Tensor:
        if image.shape[-1] > widest:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return method(self, image, *rest)

    return run
