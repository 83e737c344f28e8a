"""Edit the bands of a cube: set wavelengths and mark bad bands.

The functions `with_…` return an edited copy. All raise `WavelengthError` if the input does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.errors import WavelengthError
from carl.wavelengths import (
    BandTable,
    Camera,
    camera,
    cameras,
    check_wavelengths,
    parse_wavelengths,
    read_wavelength_table,
    unusual_wavelengths,
)

if TYPE_CHECKING:
    from carl.spectra.wavelength_doctor import Finding

_NUMBER = r"\d+(?:\.\d*)?"
_SPAN = re.compile(rf"({_NUMBER})(?:\s*(?:-|–|to|:)\s*({_NUMBER}))?$")


def fitting_cameras(cube: SpectralCube | None) -> tuple[Camera, ...]:
    """Return the known cameras with as many bands as a cube."""
    return tuple(each for each in cameras() if cube and each.n_bands == cube.n_bands)


def bands_of_camera(name: str) -> BandTable:
    """Return the bands of a known camera."""
    known = camera(name)
    return BandTable(known.wavelengths, known.fwhm, f"the camera {known.name}")


def bands_of_text(cube: SpectralCube, text: str) -> BandTable:
    """Return the bands of a cube from a typed range or list; see `carl.wavelengths`."""
    return parse_wavelengths(text, cube.n_bands)


def bands_of_table(cube: SpectralCube, path: Path) -> BandTable:
    """Return the bands of a cube from a text file."""
    found = read_wavelength_table(path)
    if found.wavelengths.size != cube.n_bands:
        raise WavelengthError(
            f"{found.source} has {found.wavelengths.size} wavelengths, but {cube.name} has "
            f"{cube.n_bands} bands: give one per band."
        )
    return found


def cubes_to_copy(
    cube: SpectralCube | None, cubes: Sequence[SpectralCube]
) -> tuple[SpectralCube, ...]:
    """Return the other cubes with known wavelengths and as many bands as a cube."""
    return tuple(
        other
        for other in cubes
        if cube is not None
        and other is not cube
        and other.wavelengths is not None
        and other.n_bands == cube.n_bands
    )


def bands_of_cube(cube: SpectralCube, other: SpectralCube) -> BandTable:
    """Return the bands of another cube, for a cube with as many."""
    if other.n_bands != cube.n_bands:
        raise WavelengthError(
            f"{other.name} has {other.n_bands} bands, but {cube.name} has {cube.n_bands}: choose a "
            "cube of the same camera."
        )
    return BandTable(other.require_wavelengths(), other.fwhm, f"the cube {other.name}")


def bands_of_cells(cells: Sequence[tuple[str, str]]) -> BandTable:
    """Return the bands that were typed into a table, wavelength and width in nm for each.

    Widths may be missing in all rows. Decimal commas are accepted.
    """
    centres = [
        _number(centre, f"the wavelength of band {i}") for i, (centre, _) in enumerate(cells, 1)
    ]
    widths = [width for _, width in cells]
    if not any(width.strip() for width in widths):
        return BandTable(check_wavelengths(centres), None, "the table in the dock")
    fwhm = [_number(width, f"the width of band {i}") for i, width in enumerate(widths, 1)]
    return BandTable(check_wavelengths(centres), np.array(fwhm), "the table in the dock")


def _number(text: str, what: str) -> float:
    """Return a positive number, or raise a `WavelengthError` that names what it should be."""
    try:
        number = float(text.strip().replace(",", "."))
    except ValueError:
        number = -1.0
    if not 0 < number < np.inf:
        raise WavelengthError(
            f"'{text.strip()[:20]}' is not {what}: type a positive number, in nm."
        )
    return number


def examine(cube: SpectralCube) -> tuple[Finding, ...]:
    """Return what is wrong with the wavelengths of a cube; reads a sample of its pixels."""
    from carl.spectra.wavelength_doctor import examine  # imports scikit-learn, which takes a second

    return examine(cube)


def with_bands(
    cube: SpectralCube, found: BandTable, good: Sequence[bool] | None = None
) -> SpectralCube:
    """Return the cube with other wavelengths and widths, and other good bands unless None."""
    notes = cube.metadata.get("notes", ())
    if cube.wavelengths is not None:
        outdated = unusual_wavelengths(cube.wavelengths)
        notes = tuple(note for note in notes if note != outdated)
    metadata = {**cube.metadata, "wavelength_source": found.source, "notes": notes}
    edited = cube.with_wavelengths(found.wavelengths, found.fwhm)
    if good is not None and not any(good):
        raise WavelengthError(f"All bands of {cube.name} would be bad: leave at least one good.")
    good_bands = edited.good_bands if good is None else np.array(good, bool)
    return replace(edited, metadata=metadata, good_bands=good_bands)


def with_bad_bands(cube: SpectralCube, text: str) -> SpectralCube:
    """Return the cube with exactly the given bands marked as bad.

    Args:
        cube: with or without wavelengths.
        text: ranges and single bands, as ``720-760, 775``; empty for no bad bands. Numbers are in
            nm, and a single number selects the nearest band. Without wavelengths, numbers count
            the bands from 1.
    """
    positions = _positions(cube)
    bad = np.zeros(cube.n_bands, bool)
    for word in re.split(r"[,;]\s*|\n", text.strip()):
        if word.strip():
            low, high = _span(word)
            chosen = (positions >= low) & (positions <= high)
            if low == high:
                chosen = np.abs(positions - low) == np.abs(positions - low).min()
            if low > positions.max() or high < positions.min() or not chosen.any():
                raise WavelengthError(
                    f"No band of {cube.name} lies in '{word.strip()}': enter bands from "
                    f"{positions.min():g} to {positions.max():g}{_unit(cube)}."
                )
            bad |= chosen
    if bad.all():
        raise WavelengthError(f"All bands of {cube.name} would be bad: leave at least one good.")
    return replace(cube, good_bands=~bad)


def with_band_toggled(cube: SpectralCube, band: int) -> SpectralCube:
    """Return the cube with a good band marked as bad, or a bad one as good."""
    good = cube.good_bands.copy()
    good[band] = not good[band]
    if not good.any():
        raise WavelengthError(f"All bands of {cube.name} would be bad: leave at least one good.")
    return replace(cube, good_bands=good)


def describe_bad_bands(cube: SpectralCube) -> str:
    """Return the bad bands as text in the format of `with_bad_bands`."""
    order = np.argsort(_positions(cube), kind="stable")
    bad = ~cube.good_bands[order]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(int)))
    named = [f"{value:.6g}" for value in _positions(cube)[order]]
    return ", ".join(
        named[first] if stop - first == 1 else f"{named[first]}-{named[stop - 1]}"
        for first, stop in edges.reshape(-1, 2)
    )


def _positions(cube: SpectralCube) -> Float64Array:
    """Return wavelengths in nm, or band numbers from 1 where they are unknown."""
    known = cube.wavelengths
    return np.arange(1.0, cube.n_bands + 1) if known is None else known


def _unit(cube: SpectralCube) -> str:
    return "" if cube.wavelengths is None else " nm"


def _span(word: str) -> tuple[float, float]:
    found = _SPAN.match(word.replace("nm", "").strip())
    if found is None:
        raise WavelengthError(
            f"'{word.strip()}' is not a band or a range of bands: use the form 720-760, 775."
        )
    low, high = float(found[1]), float(found[2] or found[1])
    return min(low, high), max(low, high)
