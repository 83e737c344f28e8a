from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from carl.errors import CarlError
from carl.inference.engine import Engine
from carl.model import CARL

BANDS_UM = np.linspace(0.4, 0.9, 6)


def strip(model: CARL, n_patches: int) -> np.ndarray:
    size = model.patch_size
    return np.random.default_rng(0).normal(size=(6, size, n_patches * size)).astype(np.float32)


def test_passes_are_the_forward_of_the_model(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = tiny_model.patch_size
    image = strip(tiny_model, 7)
    with torch.inference_mode():
        expected = tiny_model.spectral_features(
            torch.from_numpy(image)[None], torch.tensor(BANDS_UM, dtype=torch.float32)[None]
        )[0, :, 0].T
    monkeypatch.setattr("carl.inference.engine._FEWEST_ON_CPU", 1)
    width = tiny_model.config.spec_encoder_kwargs.embed_dim
    monkeypatch.setattr("carl.inference.engine._CPU_TOKEN_BYTES", 3 * 4 * 6 * width)
    done: list[int] = []
    features = Engine(tiny_model, "float32").spectral(image, BANDS_UM, done.append)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert done == [3, 6, 7]
    assert image.shape[2] == 7 * size


def test_bf16_is_close(tiny_model: CARL) -> None:
    image = strip(tiny_model, 20)
    exact = Engine(tiny_model, "float32").spectral(image, BANDS_UM)
    rounded = Engine(tiny_model, "bf16").spectral(image, BANDS_UM)
    assert rounded.dtype == np.float32
    cosine = np.sum(exact * rounded, 1) / np.linalg.norm(exact, axis=1)
    assert (cosine / np.linalg.norm(rounded, axis=1)).min() > 0.999


def test_short_of_memory_the_passes_shrink(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = strip(tiny_model, 9)
    expected = Engine(tiny_model, "float32").spectral(image, BANDS_UM)
    fits_two = limited(CARL.spectral_features, 2 * tiny_model.patch_size)
    monkeypatch.setattr(CARL, "spectral_features", fits_two)
    engine = Engine(tiny_model, "float32")
    np.testing.assert_allclose(engine.spectral(image, BANDS_UM), expected, atol=1e-5)
    assert "small pieces" in engine.note


def test_without_memory_for_one_patch_it_ends_in_a_sentence(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CARL, "spectral_features", limited(CARL.spectral_features, 0))
    monkeypatch.setattr(CARL, "spatial_features", limited(CARL.spatial_features, 0))
    engine = Engine(tiny_model, "float32")
    with pytest.raises(CarlError, match="not enough memory"):
        engine.spectral(strip(tiny_model, 3), BANDS_UM)
    with pytest.raises(CarlError, match="not enough memory"):
        engine.spatial(np.zeros((2, 2, tiny_model.embed_dim), np.float32))


def test_other_errors_are_not_taken_for_a_lack_of_memory(tiny_model: CARL) -> None:
    with pytest.raises(RuntimeError, match=r"[Ss]ize"):
        Engine(tiny_model, "float32").spatial(
            np.zeros((2, 2, tiny_model.embed_dim + 1), np.float32)
        )


def limited(method, widest: int):  # type: ignore[no-untyped-def]
    """A method of the model for a device on which only so wide an input fits."""

    def run(self: CARL, image: Tensor, *rest: Tensor) -> Tensor:
        if image.shape[-1] > widest:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return method(self, image, *rest)

    return run
