from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carl.errors import ModelError, WavelengthError
from carl.model import CARL, load_model
from carl.model.carl import reflect_to_multiple
from carl.model.config import READOUTS

Make = Callable[..., CARL]


@pytest.mark.parametrize("bands", [3, 12, 60])
@pytest.mark.parametrize("case", ["vit_small_case", "eva_small_case"])
def test_features_equal_the_original_implementation(
    carl_reference: Path, case: str, bands: int
) -> None:
    folder = carl_reference / case
    model = load_model(folder / "checkpoint.ckpt", "cpu", folder / "config.json")
    with np.load(folder / f"forward_{bands}ch.npz", allow_pickle=False) as reference:
        image, wavelengths = (torch.from_numpy(reference[k]) for k in ("image", "wavelengths_um"))
        with torch.no_grad():
            output = model(image, wavelengths)
            encoding = model.spectral_encoder.wavelength_encoding(wavelengths)
        ours = {**output._asdict(), "wavelength_encoding": encoding}
        for name, value in ours.items():
            assert np.abs(reference[name]).max() > 0.5
            assert np.abs(value.numpy() - reference[name]).max() <= 1e-4, name


@pytest.mark.parametrize("readout", READOUTS)
def test_forward_equals_spectral_then_spatial_features(small_model: Make, readout: str) -> None:
    model = small_model(readout=readout)
    image, wavelengths = torch.randn(2, 5, 8, 12), torch.linspace(0.4, 0.9, 5)
    output = model(image, wavelengths)
    spectral = model.spectral_features(image, wavelengths)
    assert output.spectral.shape == output.spatial.shape == (2, 24, 2, 3)
    assert torch.equal(output.spectral, spectral)
    assert torch.equal(output.spatial, model.spatial_features(spectral))


def test_spectral_features_of_one_patch_equal_explicit_computation(small_model: Make) -> None:
    model = small_model()
    image, wavelengths = torch.randn(2, 5, 8, 8), torch.rand(2, 5) + 0.4
    patch = image[1, :, 4:8, 0:4]
    tokens = F.conv2d(
        patch[:, None], model.patch_embedding.weight, model.patch_embedding.bias, stride=4
    ).flatten(1)
    encoding = model.spectral_encoder.wavelength_encoding(wavelengths[1:])
    queries = model.spectral_encoder(tokens[None], encoding).queries
    vector = model.connector(F.layer_norm(queries.sum(1), (16,)))
    features = model.spectral_features(image, wavelengths)
    torch.testing.assert_close(features[1, :, 1, 0], vector[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 5, 7, 1000])
@pytest.mark.parametrize("shared_wavelengths", [True, False])
def test_chunk_size_does_not_change_features(
    small_model: Make, chunk: int, shared_wavelengths: bool
) -> None:
    model = small_model()
    image = torch.randn(3, 4, 12, 8)
    wavelengths = torch.rand(4) + 0.4 if shared_wavelengths else torch.rand(3, 4) + 0.4
    whole = model.spectral_features(image, wavelengths, patches_per_chunk=18)
    chunked = model.spectral_features(image, wavelengths, patches_per_chunk=chunk)
    torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=0)


def test_images_of_a_batch_are_independent(small_model: Make) -> None:
    model = small_model()
    image, wavelengths = torch.randn(3, 4, 8, 8), torch.rand(3, 4) + 0.4
    together = model(image, wavelengths)
    for index in range(3):
        alone = model(image[index : index + 1], wavelengths[index])
        torch.testing.assert_close(alone.spatial[0], together.spatial[index], atol=1e-5, rtol=1e-5)


@given(order=st.permutations(range(6)))
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_features_do_not_depend_on_band_order(small_model: Make, order: list[int]) -> None:
    model = small_model()
    image, wavelengths = torch.randn(1, 6, 8, 8), torch.linspace(0.4, 2.4, 6)
    expected = model(image, wavelengths)
    shuffled = model(image[:, order], wavelengths[order])
    torch.testing.assert_close(shuffled.spatial, expected.spatial, atol=1e-4, rtol=1e-4)


def test_features_depend_on_wavelengths_unless_sigma_is_zero(small_model: Make) -> None:
    image = torch.randn(1, 4, 8, 8)
    red, blue = torch.linspace(0.6, 0.9, 4), torch.linspace(0.4, 0.5, 4)
    encoded, unencoded = small_model(), small_model(pos_enc_sigma=0.0)
    assert not torch.allclose(encoded(image, red).spectral, encoded(image, blue).spectral)
    assert torch.equal(unencoded(image, red).spectral, unencoded(image, blue).spectral)


@given(height=st.integers(1, 19), width=st.integers(1, 19), patch=st.sampled_from([2, 3, 4, 8]))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_images_of_any_size_are_accepted(
    small_model: Make, height: int, width: int, patch: int
) -> None:
    model = small_model(patch_size=patch)
    image = torch.randn(1, 2, height, width)
    output = model(image, torch.tensor([0.5, 0.6]))
    grid = (-(-height // patch), -(-width // patch))
    assert output.spatial.shape == output.spectral.shape == (1, 24, *grid)
    whole = image[..., : height // patch * patch, : width // patch * patch]
    if whole.numel():
        inner = model(whole, torch.tensor([0.5, 0.6])).spectral
        cropped = output.spectral[..., : inner.shape[2], : inner.shape[3]]
        torch.testing.assert_close(cropped, inner, atol=1e-5, rtol=1e-5)


@given(height=st.integers(5, 20), width=st.integers(5, 20))
@settings(max_examples=25, deadline=None)
def test_padding_equals_reflection_by_torch(height: int, width: int) -> None:
    image = torch.randn(1, 2, height, width)
    padding = (0, -width % 5, 0, -height % 5)
    assert torch.equal(reflect_to_multiple(image, 5), F.pad(image, padding, mode="reflect"))


def test_image_smaller_than_a_patch_is_reflected_repeatedly() -> None:
    row = torch.tensor([[[[0.0, 1.0, 2.0]]]])
    padded = reflect_to_multiple(row, 8)
    assert padded.shape == (1, 1, 8, 8)
    assert padded[0, 0, 5].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]


@pytest.mark.parametrize(
    ("wavelengths", "message"),
    [
        (torch.rand(4) + 0.4, "shape"),
        (torch.rand(3, 5) + 0.4, "shape"),
        (torch.rand(1, 1, 5) + 0.4, "shape"),
        (torch.linspace(400, 900, 5), "nm"),
        (torch.tensor([0.4, 0.5, 0.6, 0.7, torch.nan]), "positive"),
        (torch.tensor([0.4, 0.5, 0.6, 0.7, torch.inf]), "positive"),
        (torch.tensor([0.0, 0.5, 0.6, 0.7, 0.8]), "positive"),
    ],
)
def test_invalid_wavelengths_raise(
    small_model: Make, wavelengths: torch.Tensor, message: str
) -> None:
    with pytest.raises(WavelengthError, match=message):
        small_model()(torch.randn(2, 5, 8, 8), wavelengths)


@pytest.mark.parametrize("shape", [(5, 8, 8), (1, 0, 8, 8), (1, 5, 0, 8)])
def test_images_of_invalid_shape_raise(small_model: Make, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="batch, bands"):
        small_model()(torch.zeros(shape), torch.ones(5))


def test_fingerprint_depends_on_weights_and_configuration(small_model: Make) -> None:
    model, same = small_model(), small_model()
    before = model.fingerprint
    assert before == same.fingerprint == copy.deepcopy(model).fingerprint
    assert small_model(layer_scale=1e-3).fingerprint != before  # same weights, other configuration
    with torch.no_grad():
        model.connector.bias[0] += 1e-3
    assert model.fingerprint != before
    model.load_state_dict(same.state_dict())
    assert model.fingerprint == before


def test_fingerprint_changes_with_every_optimiser_step(small_model: Make) -> None:
    model = small_model()
    fingerprints = {model.fingerprint}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(2):
        model(torch.randn(1, 3, 8, 8), torch.rand(3) + 0.4).spatial.square().mean().backward()
        optimiser.step()
        fingerprints.add(model.fingerprint)
    assert len(fingerprints) == 3


def test_every_parameter_gets_a_gradient(small_model: Make) -> None:
    model = small_model(readout="attention").train()
    model(torch.randn(1, 3, 12, 8), torch.rand(3) + 0.4).spatial.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_bf16_features_are_close_to_float32(small_model: Make) -> None:
    model = small_model(layer_scale=1e-4)
    image, wavelengths = torch.randn(1, 6, 16, 16), torch.linspace(0.4, 2.4, 6)
    with torch.inference_mode():
        exact = model(image, wavelengths).spatial
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(image, wavelengths).spatial
        pure = model.to(torch.bfloat16)(image, wavelengths).spatial
    for other in (mixed, pure):
        assert F.cosine_similarity(other.float(), exact, dim=1).min() > 0.99
