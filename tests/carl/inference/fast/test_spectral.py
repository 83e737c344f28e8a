from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from carl.inference.backend import ComputeBudget, PlainBackend, full_budget
from carl.inference.fast import FastBackend
from carl.inference.fast.spectral import FoldedSpectralEncoder
from carl.model import CARL, CARLConfig, load_model
from carl.model.config import READOUTS, SpatialEncoderConfig, SpectralEncoderConfig

Make = Callable[..., CARL]


@pytest.fixture
def make() -> Make:
    """Networks with large random weights; arguments change the spectral encoder."""

    def build(**spectral: object) -> CARL:
        torch.manual_seed(0)
        values = {"embed_dim": 16, "n_queries": 3, "depth": 4, "num_heads": 2, **spectral}
        config = CARLConfig(
            patch_size=4,
            spec_encoder_kwargs=SpectralEncoderConfig(**values),  # type: ignore[arg-type]
            spat_encoder_kwargs=SpatialEncoderConfig(
                "vit_tiny_patch16_224", 1, {"embed_dim": 24, "num_heads": 2, "depth": 1}
            ),
        )
        model = CARL(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        return model.eval()

    return build


def both(model: CARL, n_bands: int, n_patches: int) -> tuple[Tensor, Tensor]:
    """Features by the plain backend and by the folded encoder."""
    strip = torch.randn(n_bands, 4, 4 * n_patches)
    wavelengths_um = torch.rand(n_bands) + 0.4
    plain = PlainBackend(model).encode_spectral(strip, wavelengths_um)
    with torch.inference_mode():
        return plain, FoldedSpectralEncoder(model, torch.float32)(strip, wavelengths_um)


@pytest.mark.parametrize("n_patches", [1, 9])
@pytest.mark.parametrize("n_bands", [1, 3, 20])
def test_folded_encoder_is_the_same_function(make: Make, n_bands: int, n_patches: int) -> None:
    plain, folded = both(make(), n_bands, n_patches)
    torch.testing.assert_close(folded, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        *({"readout": kind} for kind in READOUTS),
        {"depth": 5},
        {"depth": 1},
        {"layer_scale": None},
        {"layer_scale": 0.3},
        {"qkv_bias": False, "proj_bias": False, "ffn_bias": False},
        {"pos_enc_sigma": 0.0},
        {"n_queries": 1},
    ],
)
def test_folded_encoder_is_the_same_function_in_every_configuration(
    make: Make, changes: dict[str, object]
) -> None:
    plain, folded = both(make(**changes), 7, 5)
    torch.testing.assert_close(folded, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bands", [3, 12, 60])
@pytest.mark.parametrize("case", ["vit_small_case", "eva_small_case"])
def test_equals_the_original(carl_reference, case: str, bands: int) -> None:
    folder = carl_reference / case
    model = load_model(folder / "checkpoint.ckpt", "cpu", folder / "config.json")
    network = FastBackend(model)
    with np.load(folder / f"forward_{bands}ch.npz", allow_pickle=False) as reference:
        for index, image in enumerate(torch.from_numpy(reference["image"])):
            wavelengths = torch.from_numpy(
                np.broadcast_to(reference["wavelengths_um"], (len(reference["image"]), bands))[
                    index
                ].copy()
            )
            patches = model.patchify(image[None])[0]
            h, w = patches.shape[:2]
            strip = patches.unflatten(-1, (model.patch_size, -1)).permute(2, 3, 0, 1, 4)
            strip = strip.reshape(bands, model.patch_size, -1)
            spectral = network.encode_spectral(strip, wavelengths).T.view(1, -1, h, w)
            spatial = network.encode_spatial(spectral)
            assert np.abs(spectral[0].numpy() - reference["spectral"][index]).max() <= 1e-4
            assert np.abs(spatial[0].numpy() - reference["spatial"][index]).max() <= 1e-4


def test_a_budget_runs_a_part_of_the_encoder(make: Make) -> None:
    model, shorter = make(n_queries=4), make(n_queries=2, depth=2)
    weights = shorter.state_dict()
    for name, value in model.state_dict().items():
        if name in weights:
            half = value.shape != weights[name].shape
            weights[name].copy_(value[:, ::2] if half else value)
    strip, wavelengths_um = torch.randn(7, 4, 20), torch.rand(7) + 0.4
    with torch.inference_mode():
        part, whole = (FoldedSpectralEncoder(each, torch.float32) for each in (shorter, model))
        budget = ComputeBudget(pairs=1, queries=2)
        less = whole(strip, wavelengths_um, budget)
        torch.testing.assert_close(less, part(strip, wavelengths_um), atol=1e-5, rtol=1e-5)
        plain = PlainBackend(model).encode_spectral(strip, wavelengths_um, budget=budget)
        torch.testing.assert_close(less, plain, atol=1e-5, rtol=1e-5)
        assert torch.equal(
            whole(strip, wavelengths_um, full_budget(model)), whole(strip, wavelengths_um)
        )


@pytest.mark.parametrize("sizes", [(8, 16), (9, 31), (16, 24)])
def test_the_size_of_a_pass_does_not_change_the_features(
    make: Make, sizes: tuple[int, int]
) -> None:
    model = make(embed_dim=96, num_heads=4)
    strip = torch.randn(12, 4, 4 * sum(sizes))
    with torch.inference_mode():
        folded = FoldedSpectralEncoder(model, torch.float32)
        wavelengths_um = torch.linspace(0.4, 0.9, 12)
        whole = folded(strip, wavelengths_um)
        parts = [
            folded(part, wavelengths_um) for part in strip.split([4 * n for n in sizes], dim=2)
        ]
    assert torch.equal(torch.cat(parts), whole)
