"""Wavelengths in a small file beside the cube.

For ``scene.tif`` these are looked for, in this order: ``scene_wavelengths.csv``,
``scene_wavelengths.txt``, ``scene.csv``, ``scene.txt``, ``scene.json``. Tables are as
`carl.wavelengths.read_wavelength_table` takes them; JSON is a list of nm, or an object with
"wavelengths" and perhaps "unit" and "fwhm".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carl.errors import WavelengthError
from carl.wavelengths import check_wavelengths, read_wavelength_table, to_nm

_ENDINGS = ("_wavelengths.csv", "_wavelengths.txt", ".csv", ".txt", ".json")


@dataclass(frozen=True, eq=False)
class Sidecar:
    """Band centres and widths in nm, and the file they are from."""

    name: str
    wavelengths: NDArray[np.float64]
    fwhm: NDArray[np.float64] | None


def find_sidecar(path: Path, notes: list[str]) -> Sidecar | None:
    """The first table of wavelengths beside `path`, or None.

    A file of such a name that is something else is passed over, with a line in `notes`.
    """
    for ending in _ENDINGS:
        candidate = path.with_name(path.stem + ending)
        if candidate == path or not candidate.is_file():
            continue
        try:
            found = _read_json(candidate) if ending == ".json" else _read_table(candidate)
        except WavelengthError as error:
            notes.append(f"A file beside the cube was passed over. {error}")
            continue
        if found is not None:
            return found
    return None


def _read_table(path: Path) -> Sidecar:
    wavelengths, fwhm = read_wavelength_table(path)
    return Sidecar(path.name, wavelengths, fwhm)


def _read_json(path: Path) -> Sidecar | None:
    """Wavelengths from JSON; None if it is about something else, such as class names."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise WavelengthError(f"{path.name} is not readable JSON.") from error
    if isinstance(content, list):
        content = {"wavelengths": content}
    if not isinstance(content, dict) or content.get("wavelengths") is None:
        return None
    unit = str(content.get("unit") or "nm")
    try:
        centres = check_wavelengths(to_nm(check_wavelengths(content["wavelengths"]), unit))
        widths = content.get("fwhm")
        fwhm = None if widths is None else to_nm(np.asarray(widths, np.float64), unit)
    except (TypeError, ValueError, WavelengthError) as error:
        raise WavelengthError(f"{path.name}: {error}") from error
    if fwhm is not None and fwhm.shape != centres.shape:
        fwhm = None
    return Sidecar(path.name, centres, fwhm)
