from __future__ import annotations

import gc
import weakref
from copy import deepcopy

import torch

from carl.inference.prepared import Prepared, prepared
from carl.model import CARL


def test_is_kept_until_the_weights_change(tiny_model: CARL) -> None:
    first = prepared(tiny_model, "float32")
    assert prepared(tiny_model, "float32") is first
    assert prepared(tiny_model, "bf16") is not first
    strip, bands = torch.randn(5, 4, 8), torch.linspace(0.4, 0.9, 5)
    before = first.spectral(strip, first.encode(bands))
    with torch.no_grad():
        tiny_model.connector.bias += 1
    changed = prepared(tiny_model, "float32")
    assert changed is not first
    torch.testing.assert_close(changed.spectral(strip, changed.encode(bands)), before + 1)


def test_goes_with_its_model(tiny_model: CARL) -> None:
    model = deepcopy(tiny_model)
    gone = [weakref.ref(model), weakref.ref(prepared(model, "float32"))]
    del model
    gc.collect()
    assert [each() for each in gone] == [None, None]


def test_the_spatial_half_is_the_same_function(tiny_model: CARL) -> None:
    features = torch.randn(1, tiny_model.embed_dim, 5, 7)
    with torch.inference_mode():
        expected = tiny_model.spatial_features(features)
    torch.testing.assert_close(
        Prepared(tiny_model, "float32").spatial(features), expected, atol=1e-5, rtol=1e-5
    )
    rounded = Prepared(tiny_model, "bf16").spatial(features).float()
    assert 0 < (rounded - expected).abs().max() < 0.1
    assert any(type(layer) is torch.nn.Linear for layer in tiny_model.spatial_encoder.modules())
