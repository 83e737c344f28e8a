from __future__ import annotations

import math

import torch

from carl.model.spectral_encoder import WavelengthEncoding


def test_channel_pairs_are_sine_and_cosine_of_one_frequency() -> None:
    encoding = WavelengthEncoding(8, sigma=3.0)
    encoded = encoding(torch.tensor([[0.55, 1.2]]))
    assert encoded.shape == (1, 2, 8)
    for channel in range(0, 8, 2):
        frequency = float(encoding.frequencies[channel])
        assert float(encoding.frequencies[channel + 1]) == frequency
        for band, wavelength in enumerate((0.55, 1.2)):
            phase = wavelength * frequency
            assert math.isclose(float(encoded[0, band, channel]), math.sin(phase), abs_tol=1e-5)
            assert math.isclose(float(encoded[0, band, channel + 1]), math.cos(phase), abs_tol=1e-5)


def test_frequencies_do_not_depend_on_the_global_seed_and_scale_with_sigma() -> None:
    torch.manual_seed(7)
    first = WavelengthEncoding(64, sigma=1.0).frequencies
    torch.manual_seed(8)
    second = WavelengthEncoding(64, sigma=10.0).frequencies
    torch.testing.assert_close(first * 10, second)
    spread = WavelengthEncoding(4096, sigma=3.0).frequencies.std() / (2 * math.pi)
    assert abs(float(spread) - 3) < 0.2


def test_drawing_frequencies_does_not_change_the_global_generator() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    WavelengthEncoding(8, sigma=3.0)
    assert torch.equal(torch.rand(3), expected)


def test_sigma_zero_gives_zeros() -> None:
    assert not WavelengthEncoding(8, sigma=0.0)(torch.tensor([0.4, 2.5])).any()


def test_encoding_stays_in_float32_in_a_bf16_network() -> None:
    encoding = WavelengthEncoding(32, sigma=10.0)
    wavelengths = torch.linspace(0.4, 2.5, 50)
    exact = encoding(wavelengths)
    assert torch.equal(encoding.to(torch.bfloat16)(wavelengths), exact)
    assert encoding.frequencies.dtype == torch.float32
