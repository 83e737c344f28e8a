"""Reflectance of tissue and transmittance of stained sections, from maps of their contents.

All functions are vectorised over pixels and compute in float32. Pixels are independent: lateral
scattering is left to the blur of the camera.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np

from carl.arrays import Float32Array
from carl.simulation.chromophores import (
    STAINS,
    Spectrum,
    absorption,
    reduced_scattering,
    stain_density,
)

TISSUE_PARAMETERS: Final = (
    "oxygenation", "blood", "water", "fat", "bilirubin", "melanin", "scatter", "rayleigh", "glare",
)  # fmt: skip
"""Maps that describe tissue in reflectance.

oxygenation: fraction of the haemoglobin that carries oxygen. blood, water, fat: volume fractions;
water includes that of the blood. bilirubin: mg/dl. melanin: volume fraction of melanosomes in an
epidermis of 60 µm, 0 without epidermis. scatter: reduced scattering at 500 nm, 1/cm. rayleigh:
fraction of it by small structures. glare: fraction of light reflected by the surface."""
SECTION_PARAMETERS: Final = (*STAINS, "blood", "oxygenation")
"""Maps that describe a stained section in transmittance.

haematoxylin, eosin: decadic optical density at the stain's peak. blood, oxygenation: as above."""

_REFRACTIVE_INDEX = 1.4
"""Of soft tissue, which is in air."""
_EPIDERMIS_CM = 60e-4
"""Thickness of the epidermis."""
_EPIDERMIS_PATH = 3.0
"""Path of light through the epidermis over its thickness: 1 inwards, and 2 outwards for diffuse
light."""
_SECTION_CM = 5e-4
"""Thickness of a section."""
_BLOCK_PIXELS = 4096
"""Pixels computed at once: intermediate arrays stay in the processor's cache."""


def diffuse_reflectance(ratio: Float32Array) -> Float32Array:
    """Compute the diffuse reflectance of thick, homogeneous tissue.

    Closed form of S. T. Flock, M. S. Patterson, B. C. Wilson and D. R. Wyman, IEEE Trans. Biomed.
    Eng. 36, 1162, 1989, from diffusion theory with an extrapolated boundary:

    R = a' / (1 + 2k (1 − a') + (1 + 2k/3) √(3 (1 − a'))),  a' = μs' / (μa + μs')

    with k from the refractive index (Groenhuis et al., Appl. Opt. 22, 2456, 1983). It depends on
    μa/μs' only. Compared with Monte Carlo simulation it is accurate to 2 % up to a ratio of 0.05,
    and too high by 8 % at 1/3 and by 13 % at 1, as in the Soret band of blood.

    Args:
        ratio: absorption over reduced scattering, μa/μs', of any shape, at least 0.

    Returns:
        reflectance, 1 without absorption and decreasing monotonically towards 0.
    """
    n = _REFRACTIVE_INDEX
    internal = -1.440 / n**2 + 0.710 / n + 0.668 + 0.0636 * n
    k = (1 + internal) / (1 - internal)
    result = ratio + np.float32(1)
    result *= np.float32(3) * ratio
    np.sqrt(result, out=result)
    result *= np.float32(1 + 2 * k / 3)
    result += np.float32(1 + 2 * k) * ratio
    result += np.float32(1)
    return np.asarray(np.reciprocal(result, out=result))


def tissue_reflectance(
    parameters: Mapping[str, Float32Array], nm: Spectrum, weights: Float32Array, mie_power: float
) -> Float32Array:
    """Compute the reflectance of tissue in the bands of a camera.

    Args:
        parameters: an (H, W) map for each of `TISSUE_PARAMETERS`.
        nm: (M,) wavelengths at which the reflectance is computed.
        weights: (M, C) of the camera's bands, columns sum to 1.
        mie_power: see `reduced_scattering`.

    Returns:
        (H, W, C) reflectance.
    """
    flat = {name: np.ravel(parameters[name]) for name in TISSUE_PARAMETERS}
    blood, oxygenation = flat["blood"], flat["oxygenation"]
    contents = np.stack(
        [blood * oxygenation, blood * (1 - oxygenation), flat["water"], flat["fat"],
         flat["bilirubin"]], axis=1,
    )  # fmt: skip
    absorbers = _rows(
        absorption(name, nm)
        for name in ("oxyhaemoglobin", "deoxyhaemoglobin", "water", "fat", "bilirubin")
    )
    small = flat["scatter"] * flat["rayleigh"]
    structures = np.stack([small, flat["scatter"] - small], axis=1)
    scatterers = _rows(reduced_scattering(nm, 1, rayleigh, mie_power) for rayleigh in (1.0, 0.0))
    epidermis = (_EPIDERMIS_CM * _EPIDERMIS_PATH * absorption("melanin", nm)).astype(np.float32)
    melanin, glare = flat["melanin"], flat["glare"]

    def reflectance(pixels: slice) -> Float32Array:
        ratio = contents[pixels] @ absorbers
        ratio /= structures[pixels] @ scatterers
        result = diffuse_reflectance(ratio)
        if melanin[pixels].any():
            result *= np.exp(-melanin[pixels, None] * epidermis)
        return result

    bands = _in_blocks(reflectance, melanin.size, weights)
    bands *= (1 - glare)[:, None]
    bands += glare[:, None]
    return bands.reshape(*parameters["blood"].shape, -1)


def section_transmittance(
    parameters: Mapping[str, Float32Array], nm: Spectrum, weights: Float32Array, stain_shift: float
) -> Float32Array:
    """Compute the (H, W, C) transmittance of a stained section of 5 µm in the bands of a camera.

    It follows the law of Beer and Lambert. The arguments are those of `tissue_reflectance`, with a
    map for each of `SECTION_PARAMETERS` and the shift of `stain_density`.
    """
    flat = {name: np.ravel(parameters[name]) for name in SECTION_PARAMETERS}
    blood, oxygenation = flat["blood"], flat["oxygenation"]
    contents = np.stack(
        [*(flat[stain] for stain in STAINS), blood * oxygenation, blood * (1 - oxygenation)], axis=1
    )
    absorbers = _rows(
        [
            *(np.log(10) * stain_density(stain, nm, stain_shift) for stain in STAINS),
            _SECTION_CM * absorption("oxyhaemoglobin", nm),
            _SECTION_CM * absorption("deoxyhaemoglobin", nm),
        ]
    )

    def transmittance(pixels: slice) -> Float32Array:
        exponent = contents[pixels] @ -absorbers
        return np.exp(exponent, out=exponent)

    bands = _in_blocks(transmittance, blood.size, weights)
    return bands.reshape(*parameters["blood"].shape, -1)


def _rows(spectra: Iterable[Spectrum]) -> Float32Array:
    return np.stack(list(spectra)).astype(np.float32)


def _in_blocks(
    spectra: Callable[[slice], Float32Array], n_pixels: int, weights: Float32Array
) -> Float32Array:
    """Compute the spectra of all pixels block by block and weight them: (n_pixels, C) bands."""
    bands = np.empty((n_pixels, weights.shape[1]), np.float32)
    for start in range(0, n_pixels, _BLOCK_PIXELS):
        pixels = slice(start, start + _BLOCK_PIXELS)
        np.matmul(spectra(pixels), weights, out=bands[pixels])
    return bands
