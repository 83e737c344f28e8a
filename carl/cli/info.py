"""``carl info``: what a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from carl.cli.options import AsJson, Camera, Variable, Wavelengths
from carl.cli.terminal import show_facts, show_json


def info(
    cube: Annotated[Path, typer.Argument(metavar="CUBE", help="A cube in any format.")],
    wavelengths: Wavelengths = None,
    camera: Camera = None,
    variable: Variable = None,
    json: AsJson = False,
) -> None:
    """Tell what is known about a cube: size, bands, wavelengths."""
    from carl.io import read_cube

    opened = read_cube(cube, wavelengths=wavelengths, camera=camera, variable=variable)
    height, width, bands = opened.shape
    nm = opened.wavelengths
    if json:
        facts: dict[str, Any] = {
            "name": opened.name,
            "path": str(cube),
            "height": height,
            "width": width,
            "bands": bands,
            "dtype": str(opened.data.dtype),
            "wavelengths": nm,
            "fwhm": opened.fwhm,
            "good_bands": opened.good_bands,
            "scale": opened.scale,
            "offset": opened.offset,
            "nodata": opened.nodata,
            "metadata": opened.metadata,
        }
        show_json(facts)
        return
    facts = {
        "name": opened.name,
        "file": cube,
        "size": f"{height} × {width} pixels (height × width)",
        "bands": bands,
        "stored as": opened.data.dtype,
        "wavelengths": "unknown: give --wavelengths or --camera"
        if nm is None
        else f"{nm.min():g}–{nm.max():g} nm",
    }
    if opened.fwhm is not None:
        facts["width (FWHM)"] = f"{opened.fwhm.min():g}–{opened.fwhm.max():g} nm"
    if not opened.good_bands.all():
        facts["bad bands"] = int((~opened.good_bands).sum())
    show_facts(facts)
