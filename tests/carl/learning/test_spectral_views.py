import numpy as np
import pytest

from carl.learning.spectral_views import VIEWS, SpectralViews
from carl.spectra.normalise import optical_density


def spectra(n_bands: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    smooth = np.sin(np.linspace(0, 3, n_bands) + generator.uniform(0, 3, (300, 1)))
    brightness = generator.uniform(0.2, 1, (300, 1))
    return (brightness * (1.5 + smooth)).astype(np.float32)


def fitted(values: np.ndarray) -> SpectralViews:
    return SpectralViews.fit(values, optical_density(values, 2.5))


def test_every_view_has_the_same_total_variance():
    values = spectra(40)
    views = fitted(values)
    ends = np.cumsum(list(views.widths.values()))[:-1]
    for components in np.split(views(values, 2.5), ends, axis=1):
        assert components.var(axis=0).sum() == pytest.approx(1, rel=0.01)


def test_only_the_density_depends_on_the_brightness():
    values = spectra(40)
    views = fitted(values)
    n_density = views.widths["density"]
    bright, dark = views(values, 2.5), views(values / 4, 2.5)
    np.testing.assert_allclose(bright[:, n_density:], dark[:, n_density:], atol=1e-4)
    assert np.abs(bright[:, :n_density] - dark[:, :n_density]).max() > 0.1


def test_few_bands_have_no_derivative():
    assert tuple(fitted(spectra(40)).widths) == VIEWS
    assert tuple(fitted(spectra(6)).widths) == VIEWS[:2]


@pytest.mark.parametrize("n_bands", [3, 40])
def test_views_survive_a_file(n_bands):
    values = spectra(n_bands)
    views = fitted(values)
    again = SpectralViews.from_arrays(views.to_arrays())
    np.testing.assert_array_equal(views(values, 2.5), again(values, 2.5))


def test_constant_and_empty_spectra_give_finite_components():
    values = spectra(25)
    values[:, 3] = 0.5
    values[0] = 0
    assert np.isfinite(fitted(values)(values, 2.5)).all()


def test_arrays_that_do_not_fit_are_refused():
    arrays = fitted(spectra(6)).to_arrays()
    arrays["unit_basis"] = arrays["unit_basis"][1:]
    with pytest.raises(ValueError, match="unit_basis"):
        SpectralViews.from_arrays(arrays)
