"""Find what is wrong with the wavelengths of a cube, as sentences with a correction each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.spectra.known_lines import AxisShift, axis_shift, find_lines
from carl.spectra.normalise import sample_pixels
from carl.wavelengths import cameras, unusual_wavelengths

Correction = Callable[[SpectralCube], SpectralCube]

_PLAUSIBLE_NM = (200.0, 15_000.0)
"""Range of wavelengths of cameras in use."""
_MISTAKEN_UNITS: Final = (
    ("µm that were read as nm", 1e3), ("nm that were read as µm", 1e-3),
    ("Å that were read as nm", 0.1), ("m that were read as nm", 1e9),
    ("nm that were read as m", 1e-9), ("nm that were read as mm", 1e-6),
)  # fmt: skip
"""Mistakes of the unit, the most likely first, and the factor that corrects each."""
_MANY_BANDS = 32
"""From this number on, bands are expected in order: filters of cameras with few are in any."""
_MAX_DETECTORS = 4
_MAX_CAMERAS = 3
"""Most cameras that are proposed."""
_ROUGHER = 1.5
"""How much rougher spectra must be in the order of their wavelengths than in that of the file, for
the wavelengths to be called scrambled."""


@dataclass(frozen=True, eq=False)
class Finding:
    """Something wrong with the wavelengths of a cube.

    Attributes:
        kind: "missing", "unit", "duplicates", "order", "overlap" or "shift".
        sentence: what was found, and what the correction does.
        action: the correction in a few words, for a button; empty if there is none.
        correct: returns the corrected cube; None if only the user can know what is right.
        shift: for "shift", the fit of the known lines.
    """

    kind: str
    sentence: str
    action: str = ""
    correct: Correction | None = None
    shift: AxisShift | None = None


def examine(cube: SpectralCube) -> tuple[Finding, ...]:
    """Return what is wrong with the wavelengths of a cube; reads a sample of its pixels.

    Examples:
        >>> cube = SpectralCube(np.ones((2, 2, 3)), [0.45, 0.55, 0.65])
        >>> [(each.kind, each.action) for each in examine(cube)]
        [('unit', 'Multiply by 1000')]
    """
    nm = cube.wavelengths
    if nm is None:
        return tuple(_missing(cube))
    if unit := _unit(nm):
        return (unit,)  # nothing else can be judged before it is corrected
    return (*_duplicates(nm), *_order(cube, nm), *_shift(cube))


def _missing(cube: SpectralCube) -> Iterator[Finding]:
    fitting = [each for each in cameras() if each.n_bands == cube.n_bands]
    for known in fitting[:_MAX_CAMERAS]:
        yield Finding(
            "missing",
            f"The wavelengths are unknown; the number of bands, {cube.n_bands}, is that of the "
            f"camera {known.name}: {known.description}.",
            f"Use {known.name}",
            _assigned(known.wavelengths, known.fwhm, f"the camera {known.name}"),
        )
    if not fitting:
        yield Finding(
            "missing",
            f"The wavelengths are unknown, and no known camera has {cube.n_bands} bands: give the "
            "first and the last one, or a table.",
        )


def _unit(nm: Float64Array) -> Finding | None:
    if not unusual_wavelengths(nm):
        return None
    low, high = _PLAUSIBLE_NM
    for mistake, factor in _MISTAKEN_UNITS:
        if low <= nm.min() * factor and nm.max() * factor <= high:
            return Finding(
                "unit",
                f"The wavelengths, {_span(nm)}, are outside of what cameras record. They may be "
                f"{mistake}: {_span(nm * factor)}.",
                f"Multiply by {factor:g}" if factor > 1 else f"Divide by {1 / factor:g}",
                _scaled(factor),
            )
    return Finding("unit", unusual_wavelengths(nm))


def _duplicates(nm: Float64Array) -> Iterator[Finding]:
    _, first = np.unique(nm, return_index=True)
    repeated = np.ones(nm.size, bool)
    repeated[first] = False
    if repeated.any():
        values = ", ".join(f"{value:.6g}" for value in np.unique(nm[repeated])[:5])
        yield Finding(
            "duplicates",
            f"{int(repeated.sum())} bands have the wavelength of an earlier band ({values} nm): "
            "the list may be rounded, or belong to another file. They can be excluded.",
            "Exclude them",
            _excluding(repeated),
        )


def _order(cube: SpectralCube, nm: Float64Array) -> Iterator[Finding]:
    """Yield findings on bands out of order: detectors that overlap, or a scrambled list."""
    if nm.size < _MANY_BANDS:
        return
    steps = np.diff(nm)
    backwards = steps < 0 if np.median(steps) > 0 else steps > 0
    jumps = np.flatnonzero(backwards)
    if not jumps.size:
        return
    if jumps.size < _MAX_DETECTORS:
        overlapping = _overlap(nm, jumps)
        pairs = ", ".join(f"{nm[at]:.6g} to {nm[at + 1]:.6g} nm" for at in jumps)
        if overlapping.any():
            yield Finding(
                "overlap",
                f"The wavelengths go back from {pairs}: {jumps.size + 1} detectors overlap there. "
                f"The {int(overlapping.sum())} bands of the later ones in the overlap can be "
                "excluded; nothing else needs to be done.",
                "Exclude the overlap",
                _excluding(overlapping),
            )
        return
    as_stored = _roughness(cube, np.arange(nm.size))
    if _roughness(cube, np.argsort(nm, kind="stable")) > _ROUGHER * as_stored:
        yield Finding(
            "order",
            f"The wavelengths go back {jumps.size} times, but the spectra are smooth in the order "
            "of the file: the list is scrambled. It can be sorted.",
            "Sort the wavelengths",
            _with_sorted,
        )


def _overlap(nm: Float64Array, jumps: NDArray[Any]) -> NDArray[Any]:
    """Return which bands follow a jump back and lie in the range of the detectors before it."""
    overlapping = np.zeros(nm.size, bool)
    ascending = np.median(np.diff(nm)) > 0
    for at in jumps:
        later = np.arange(nm.size) > at
        overlapping |= later & ((nm <= nm[at]) if ascending else (nm >= nm[at]))
    return overlapping


def _roughness(cube: SpectralCube, order: NDArray[Any]) -> float:
    """Return the mean absolute difference of neighbouring bands of the median spectrum."""
    spectrum = np.nanmedian(sample_pixels(cube), axis=0)[order]
    return float(np.nanmean(np.abs(np.diff(spectrum))))


def _shift(cube: SpectralCube) -> Iterator[Finding]:
    lines = find_lines(cube)
    shift = axis_shift(lines)
    if shift is not None:
        yield _shift_finding(shift)
    elif not lines and cube.wavelengths is not None:
        turned = find_lines(replace(cube, wavelengths=cube.wavelengths[::-1]))
        if len(turned) > 1 and axis_shift(turned) is None:
            names = " and ".join(line.family for line in turned)
            yield Finding(
                "order",
                f"The spectra show {names} only if the first wavelength is that of the last band: "
                "the list is in the reverse order.",
                "Reverse the order",
                _reversed_axis,
            )


def _shift_finding(shift: AxisShift) -> Finding:
    names = " and ".join(line.family for line in shift.lines)
    change = f"{shift.shift_nm:+.0f} nm"
    return Finding(
        "shift",
        f"The spectra show {names} where they should be only if all wavelengths change by {change} "
        f"(± {max(shift.uncertainty_nm, 1):.0f} nm, confidence {shift.confidence:.0%}): the axis "
        "is shifted.",
        f"Shift by {change}",
        lambda cube: _shifted(cube, shift.shift_nm),
        shift,
    )


def _span(nm: Float64Array) -> str:
    return f"{nm.min():.6g} to {nm.max():.6g} nm"


def _assigned(nm: Float64Array, fwhm: Float64Array | None, source: str) -> Correction:
    def correct(cube: SpectralCube) -> SpectralCube:
        return _corrected(cube.with_wavelengths(nm, fwhm), source)

    return correct


def _scaled(factor: float) -> Correction:
    def correct(cube: SpectralCube) -> SpectralCube:
        fwhm = None if cube.fwhm is None else cube.fwhm * factor
        scaled = cube.with_wavelengths(cube.require_wavelengths() * factor, fwhm)
        return _corrected(scaled, f"the list of the file, times {factor:g}")

    return correct


def _excluding(bands: NDArray[Any]) -> Correction:
    def correct(cube: SpectralCube) -> SpectralCube:
        return replace(cube, good_bands=cube.good_bands & ~bands)

    return correct


def _shifted(cube: SpectralCube, shift_nm: float) -> SpectralCube:
    shifted = cube.with_wavelengths(cube.require_wavelengths() + shift_nm, cube.fwhm)
    return _corrected(shifted, f"the list of the file, {shift_nm:+.1f} nm")


def _with_sorted(cube: SpectralCube) -> SpectralCube:
    order = np.argsort(cube.require_wavelengths(), kind="stable")
    fwhm = None if cube.fwhm is None else cube.fwhm[order]
    nm = cube.require_wavelengths()[order]
    return _corrected(cube.with_wavelengths(nm, fwhm), "the list of the file, sorted")


def _reversed_axis(cube: SpectralCube) -> SpectralCube:
    fwhm = None if cube.fwhm is None else cube.fwhm[::-1]
    nm = cube.require_wavelengths()[::-1]
    return _corrected(cube.with_wavelengths(nm, fwhm), "the list of the file, reversed")


def _corrected(cube: SpectralCube, source: str) -> SpectralCube:
    """Return a cube with the source of its wavelengths, and without a note that is outdated."""
    assert cube.wavelengths is not None
    notes = tuple(note for note in cube.metadata.get("notes", ()) if "check the unit" not in note)
    metadata = {**cube.metadata, "wavelength_source": source, "notes": notes}
    return replace(cube, metadata=metadata)
