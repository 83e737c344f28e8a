"""Absorption spectra of the substances of tissue, of stains, and scattering of tissue.

Tables of published measurements are in ``resources/chromophores``, with their sources. Beyond the
range of a table, and for substances without one, formulas are used:

- Haemoglobin halves every 104 nm beyond 1000 nm: published measurements there are few and differ,
  and from 1200 nm the water of tissue absorbs ten times as much as 5 % of blood.
- Fat beyond 1098 nm is a sum of bands at published wavelengths (Anderson et al., Lasers Surg. Med.
  38, 913, 2006). Their heights are accurate to about 20 % at 1210 nm, and only to about a factor of
  two from 1700 nm.
- Melanin is the power law of Jacques 2013, extrapolated beyond 1100 nm, where it is weak.
- Haematoxylin and eosin are sums of Gaussians fitted to optical densities of the section in
  ``resources/sample``, to within 0.02 of the peak. The differences between laboratories are larger.

Jacques 2013 is S. L. Jacques, "Optical properties of biological tissues: a review", Phys. Med.
Biol. 58, R37, 2013.
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from carl.arrays import Float64Array
from carl.files import resource_path

Spectrum = Float64Array
"""(N,) values at N wavelengths."""
Substance = Literal["oxyhaemoglobin", "deoxyhaemoglobin", "water", "fat", "melanin", "bilirubin"]
Stain = Literal["haematoxylin", "eosin"]

STAINS: Final[tuple[Stain, ...]] = get_args(Stain)

_LN10 = float(np.log(10))
_BLOOD = 150 / 64_500 * _LN10
"""Absorption of blood with 150 g/l in 1/cm, per decadic extinction in 1/(cm mol/l) of haemoglobin
with a molar mass of 64 500 g/mol."""
_BILIRUBIN = 0.01 / 584.66 * _LN10
"""The same for 1 mg/dl of bilirubin, with a molar mass of 584.66 g/mol."""
_HAEMOGLOBIN_DECAY_NM = 150.0
_FAT_DECAY_NM = 30.0
"""Lengths of the exponential decay beyond the ranges of the tables."""

Bands = tuple[tuple[float, float, float], ...]
"""Absorption bands as (height, centre in nm, standard deviation in nm)."""
_FAT_BANDS: Bands = (
    (0.75, 1185, 22), (1.30, 1211, 14), (0.80, 1402, 17), (0.55, 1440, 32), (9.00, 1725, 15),
    (6.00, 1762, 13), (45.0, 2308, 17), (30.0, 2348, 18), (8.00, 2330, 90),
)  # fmt: skip
_STAIN_BANDS: dict[Stain, Bands] = {
    "haematoxylin": ((0.28, 628, 34), (0.49, 567, 63), (0.07, 421, 36)),
    "eosin": ((0.89, 533, 13.3), (0.33, 501, 16.8), (0.08, 454, 60)),
}


def absorption(substance: Substance, nm: ArrayLike) -> Spectrum:
    """Return the absorption coefficient of a pure substance in 1/cm, to base e.

    Pure substances are whole blood with 150 g/l of one haemoglobin, water, fat, the interior of a
    melanosome, and bilirubin of 1 mg/dl. The absorption of tissue is their sum, weighted by volume
    fractions (by mg/dl for bilirubin).

    Args:
        substance: one of `Substance`.
        nm: (N,) wavelengths, valid from 380 to 2500; see the module's docstring.

    Returns:
        (N,) values, at least 0.
    """
    wavelengths = np.asarray(nm, np.float64)
    if substance == "melanin":
        return np.asarray(519 * (wavelengths / 500) ** -3.5)  # Jacques 2013, eq. 8
    if substance == "water":
        return _interpolated("water", "water", wavelengths)
    if substance == "bilirubin":
        return _BILIRUBIN * _interpolated("bilirubin", "bilirubin", wavelengths)
    if substance == "fat":
        table = _interpolated("fat", "fat", wavelengths)
        beyond = np.maximum(wavelengths - _table("fat")["wavelength_nm"][-1], 0)
        return np.asarray(
            table * np.exp(-beyond / _FAT_DECAY_NM) + gaussians(wavelengths, _FAT_BANDS)
        )
    beyond = np.maximum(wavelengths - _table("haemoglobin")["wavelength_nm"][-1], 0)
    table = _interpolated("haemoglobin", substance, wavelengths)
    return np.asarray(_BLOOD * table * np.exp(-beyond / _HAEMOGLOBIN_DECAY_NM))


def stain_density(stain: Stain, nm: ArrayLike, shift: float = 0.0) -> Spectrum:
    """Return the decadic optical density of a stain, relative to its peak, at (N,) wavelengths.

    It is from 0 to 1, and almost 0 beyond 800 nm. `shift` moves all bands by some nm, as they
    differ between laboratories.
    """
    bands = _STAIN_BANDS[stain]
    peak = float(gaussians(np.arange(480.0, 660.0), bands).max())
    return gaussians(np.asarray(nm, np.float64) - shift, bands) / peak


def reduced_scattering(
    nm: ArrayLike, amplitude: float, rayleigh: float, mie_power: float
) -> Spectrum:
    """Return the reduced scattering coefficient of tissue in 1/cm (Jacques 2013, eq. 2).

    a' (f (λ / 500 nm)⁻⁴ + (1 − f) (λ / 500 nm)⁻ᵇ)

    Args:
        nm: (N,) wavelengths.
        amplitude: a', the value at 500 nm in 1/cm; 10 to 60 in soft tissue.
        rayleigh: f, the fraction at 500 nm of structures much smaller than λ.
        mie_power: b, the scattering power of the other structures; 0.4 to 1.6 in soft tissue.
    """
    relative = np.asarray(nm, np.float64) / 500
    return np.asarray(amplitude * (rayleigh * relative**-4 + (1 - rayleigh) * relative**-mie_power))


@cache
def _table(name: str) -> dict[str, Spectrum]:
    """Read the columns of a shipped table by name."""
    lines = resource_path("chromophores", f"{name}.csv").read_text(encoding="utf-8").splitlines()
    header, *rows = (line.split(",") for line in lines if not line.startswith("#"))
    return dict(zip(header, np.array(rows, np.float64).T, strict=True))


def _interpolated(name: str, column: str, nm: Spectrum) -> Spectrum:
    """Interpolate a column; its outermost values apply beyond its ends."""
    table = _table(name)
    return np.asarray(np.interp(nm, table["wavelength_nm"], table[column]))


def gaussians(nm: Spectrum, bands: Bands) -> Spectrum:
    """Return a sum of Gaussian bands, each given as (height, centre, standard deviation) in nm."""
    heights, centres, widths = np.array(bands).T
    return np.asarray(np.exp(-0.5 * ((nm[..., None] - centres) / widths) ** 2) @ heights)
