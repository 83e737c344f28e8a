from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from carl.inference.folded import ComputeBudget, FoldedSpectral, full_budget
from carl.inference.prepared import Prepared
from carl.model import CARL, CARLConfig, load_model
from carl.model.config import READOUTS, SpatialEncoderConfig, SpectralEncoderConfig

Make = Callable[..., CARL]


@pytest.fixture
def make() -> Make:
    """Networks in which every weight counts; arguments change the spectral encoder."""

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
    """Features by the network itself, and by its rewritten form."""
    strip = torch.randn(n_bands, 4, 4 * n_patches)
    bands = torch.rand(n_bands) + 0.4
    with torch.inference_mode():
        plain = model.spectral_features(strip[None], bands, patches_per_chunk=n_patches)
        folded = FoldedSpectral(model, torch.float32)
        return plain[0, :, 0].T, folded(strip, folded.encode(bands))


@pytest.mark.parametrize("n_patches", [1, 9])
@pytest.mark.parametrize("n_bands", [1, 3, 20])
def test_is_the_same_function(make: Make, n_bands: int, n_patches: int) -> None:
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
def test_is_the_same_function_in_every_configuration(
    make: Make, changes: dict[str, object]
) -> None:
    plain, folded = both(make(**changes), 7, 5)
    torch.testing.assert_close(folded, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bands", [3, 12, 60])
@pytest.mark.parametrize("case", ["vit_small_case", "eva_small_case"])
def test_equals_the_original(carl_reference, case: str, bands: int) -> None:
    folder = carl_reference / case
    model = load_model(folder / "checkpoint.ckpt", "cpu", folder / "config.json")
    network = Prepared(model, "float32")
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
            spectral = network.spectral(strip, network.encode(wavelengths)).T.view(1, -1, h, w)
            spatial = network.spatial(spectral)
            assert np.abs(spectral[0].numpy() - reference["spectral"][index]).max() <= 1e-4
            assert np.abs(spatial[0].numpy() - reference["spatial"][index]).max() <= 1e-4


def test_less_of_it_can_be_run(make: Make) -> None:
    model, shorter = make(n_queries=4), make(n_queries=2, depth=2)
    kept = shorter.state_dict()
    for name, value in model.state_dict().items():
        if name in kept:
            half = value.shape != kept[name].shape
            kept[name].copy_(value[:, ::2] if half else value)
    strip, bands = torch.randn(7, 4, 20), torch.rand(7) + 0.4
    with torch.inference_mode():
        part, whole = (FoldedSpectral(each, torch.float32) for each in (shorter, model))
        code = whole.encode(bands)
        less = whole(strip, code, ComputeBudget(pairs=1, queries=2))
        torch.testing.assert_close(less, part(strip, code), atol=1e-5, rtol=1e-5)
        assert torch.equal(whole(strip, code, full_budget(model)), whole(strip, code))


@pytest.mark.parametrize("sizes", [(8, 16), (9, 31), (16, 24)])
def test_the_size_of_a_pass_changes_no_bit(make: Make, sizes: tuple[int, int]) -> None:
    model = make(embed_dim=96, num_heads=4)
    strip = torch.randn(12, 4, 4 * sum(sizes))
    with torch.inference_mode():
        folded = FoldedSpectral(model, torch.float32)
        code = folded.encode(torch.linspace(0.4, 0.9, 12))
        whole = folded(strip, code)
        parts = [folded(part, code) for part in strip.split([4 * n for n in sizes], dim=2)]
    assert torch.equal(torch.cat(parts), whole)
