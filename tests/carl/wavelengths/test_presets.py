"""The cameras that are shipped."""

from __future__ import annotations

import pytest

from carl.errors import WavelengthError
from carl.wavelengths import camera, cameras


def test_shipped_cameras_have_descriptions_and_matching_widths():
    names = [each.name for each in cameras()]
    assert {"tivita", "sentinel-2a", "hims", "srgb"} <= set(names)
    for each in cameras():
        assert each.description
        assert each.fwhm is None or each.fwhm.shape == each.wavelengths.shape


def test_camera_by_name():
    tivita = camera("Tivita")
    assert tivita.n_bands == 100
    assert tivita.wavelengths[0] == 500
    assert tivita.wavelengths[-1] == pytest.approx(1000)
    with pytest.raises(WavelengthError, match="choose one of"):
        camera("polaroid")
