from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from carl.spectra.normalise import fill_missing


@given(
    spectra=hnp.arrays(
        np.float32, (6, 5), elements=st.sampled_from([1.0, 2.0, 3.0, np.nan, np.inf])
    ),
    order=st.permutations(range(5)),
)
def test_missing_bands_take_the_nearest_finite_one(spectra: np.ndarray, order: list[int]) -> None:
    wavelengths = np.array([400.0, 410, 430, 470, 550])[order]
    filled = spectra.copy()
    fill_missing(filled, wavelengths)
    for pixel, result in zip(spectra, filled, strict=True):
        good = np.isfinite(pixel)
        for band in range(5):
            distance = np.where(good, np.abs(wavelengths - wavelengths[band]), np.inf)
            nearest = pixel[distance == distance.min()] if good.any() else [0]
            assert result[band] in nearest
