"""Presets of known cameras."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from carl.arrays import Float64Array
from carl.errors import WavelengthError
from carl.files import resource_path
from carl.wavelengths.tables import read_wavelength_table


@dataclass(frozen=True, eq=False, repr=False)
class Camera:
    """A camera preset: the bands of a known camera.

    Attributes:
        name: short name, as given to ``--camera``.
        description: one line of text.
        wavelengths: (C,) band centres in nm, in the order of the camera's files.
        fwhm: (C,) widths at half maximum in nm, or None where they are not published.

    Examples:
        >>> from carl import camera
        >>> camera("rededge")
        <Camera 'rededge': 5 bands, 475–840 nm>
        >>> camera("rededge").wavelengths
        array([475., 560., 668., 840., 717.])
    """

    name: str
    description: str
    wavelengths: Float64Array
    fwhm: Float64Array | None

    def __repr__(self) -> str:
        nm = self.wavelengths
        return f"<Camera {self.name!r}: {self.n_bands} bands, {nm.min():g}–{nm.max():g} nm>"

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return int(self.wavelengths.size)


@cache
def cameras() -> tuple[Camera, ...]:
    """Return all known cameras, sorted by name.

    Examples:
        >>> [each.name for each in cameras()][:3]
        ['enmap', 'hims', 'landsat-7']
    """
    found = []
    for path in sorted(resource_path("cameras").glob("*.csv")):
        first_line = path.read_text(encoding="utf-8").splitlines()[0]  # "# description"
        description = first_line.lstrip("# ").strip()
        bands = read_wavelength_table(path)
        found.append(Camera(path.stem, description, bands.wavelengths, bands.fwhm))
    return tuple(found)


def camera(name: str) -> Camera:
    """Return the camera of a name, in any case.

    Examples:
        >>> camera("Tivita").n_bands
        100

    Raises:
        WavelengthError: there is no such camera.
    """
    for known in cameras():
        if known.name.lower() == name.strip().lower():
            return known
    names = ", ".join(known.name for known in cameras())
    raise WavelengthError(f"No camera is called '{name}': choose one of {names}.")
