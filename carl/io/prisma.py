"""PRISMA products of levels 1 and 2 (HDF-EOS 5), whose bands are in one array for each detector.

The arrays have the axes rows, bands, columns. Wavelengths and widths (nm) are attributes of the
file, with 0 for bands that are not used. Stored numbers are scaled to radiance (level 1: number /
ScaleFactor − Offset, in W/(m² sr µm)) or reflectance (level 2: from L2Scale…Min for 0 to
L2Scale…Max for 65535). Source: ASI, PRISMA Products Specification Document, issue 2.3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from carl.errors import CubeError
from carl.io.joined_bands import JoinedBands, by_wavelength
from carl.io.reader import FileContents
from carl.lazy_array import LazyArray

_NAME = re.compile(r"HDFEOS/SWATHS/PRS_(L\d\w?)_(HCO|HRC)/Data Fields/(VNIR|SWIR)_Cube")
_LARGEST_NUMBER = 65535
"""Stored number of L2Scale…Max."""


def find_cubes(names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Return the level and the datasets by detector; an empty level if it is another file.

    Of the swaths of level 1 the one that is registered between the detectors (HCO) is chosen.
    """
    matches = [match for match in map(_NAME.fullmatch, names) if match]
    swath = min((match[2] for match in matches), default="")
    found = [match for match in matches if match[2] == swath]
    return (found[0][1] if found else ""), {match[3]: match[0] for match in found}


def read(
    level: str,
    datasets: dict[str, Any],
    attribute: Callable[[str], Any],
    read_pixels: Callable[[Any], LazyArray],
    path: Path,
) -> FileContents:
    """Read the cube of all detectors, with its bands in the order of their wavelengths.

    Args:
        level: as returned by `find_cubes`.
        datasets: the dataset of each detector.
        attribute: returns an attribute of the file, None if it is missing.
        read_pixels: opens a dataset lazily.
        path: of the file.

    Raises:
        CubeError: attributes are missing or contradict the datasets.
    """
    detectors = sorted(datasets, reverse=True)  # VNIR, SWIR
    n_bands = [int(datasets[each].shape[1]) for each in detectors]

    def listed(name: str) -> Any:
        parts = [np.ravel(attribute(f"{name}_{each.title()}")) for each in detectors]
        if [part.size for part in parts] != n_bands:
            raise CubeError(f"{path.name} has no {name} for each of its bands: it is damaged.")
        return np.concatenate(parts).astype(np.float64)

    def per_band(values: list[float]) -> Any:
        return np.repeat(values, n_bands)[chosen]

    centres, widths = listed("List_Cw"), listed("List_Fwhm")
    bands = by_wavelength(centres, n_bands)
    if not len(bands):
        raise CubeError(f"{path.name} marks all of its bands as unused: it is damaged.")
    chosen = bands[:, 1] + np.array([0, *np.cumsum(n_bands)])[bands[:, 0]]
    scales, offsets = zip(
        *(_scaling(level, each.title(), attribute, path) for each in detectors), strict=True
    )
    cubes = [read_pixels(datasets[each]).transpose((0, 2, 1)) for each in detectors]
    overlap = _overlap(centres[chosen], bands[:, 0])
    return FileContents(
        data=JoinedBands(cubes, bands),
        band_axis=2,
        wavelengths=centres[chosen],
        wavelength_unit="nm",
        fwhm=widths[chosen],
        scale=per_band([*scales]),
        offset=per_band([*offsets]),
        nodata=0 if level == "L2D" else None,  # beside the image, which is projected
        metadata={
            "format": f"PRISMA {level}",
            "detectors": tuple(detectors[number] for number in bands[:, 0]),
        },
        notes=(
            f"The bands of the detectors {' and '.join(detectors)} are in the order of their "
            f"wavelengths{overlap}.",
        ),
    )


def _scaling(
    level: str, detector: str, attribute: Callable[[str], Any], path: Path
) -> tuple[float, float]:
    """Return scale and offset from stored numbers to radiance or reflectance."""
    is_radiance = level == "L1"
    names = ("ScaleFactor_{}", "Offset_{}") if is_radiance else ("L2Scale{}Min", "L2Scale{}Max")
    found = [np.ravel(attribute(name.format(detector))) for name in names]
    if any(each.size != 1 or each.dtype.kind not in "iuf" for each in found):
        raise CubeError(f"{path.name} has no {names[0].format(detector)}: it is damaged.")
    first, second = (float(each[0]) for each in found)
    if is_radiance:
        return (1 / first, -second) if first else (1.0, 0.0)
    return (second - first) / _LARGEST_NUMBER, first


def _overlap(centres: Any, sources: Any) -> str:
    """Return the part of the note on wavelengths that both detectors record."""
    if len(set(sources.tolist())) < 2:
        return ""
    low = max(centres[sources == source].min() for source in set(sources.tolist()))
    high = min(centres[sources == source].max() for source in set(sources.tolist()))
    return f"; both record {low:.0f}–{high:.0f} nm" if low < high else ""
