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
    import numpy as np

    from carl.cli.inputs import open_cube
    from carl.spectra.normalise import sample_pixels

    opened = open_cube(cube, wavelengths, camera, variable)
    height, width, bands = opened.shape
    nm = opened.wavelengths
    sample = sample_pixels(opened)
    finite = np.isfinite(sample)
    low, high = np.percentile(sample[finite], (1, 99)) if finite.any() else (np.nan, np.nan)
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
            "sample": {"p1": low, "p99": high, "missing": 1 - finite.mean()},
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
        "values": f"{low:.4g} to {high:.4g} (1st to 99th percentile of a sample)",
        "wavelengths": "unknown: give --wavelengths or --camera"
        if nm is None
        else f"{nm.min():g}–{nm.max():g} nm",
    }
    if not finite.all():
        facts["missing"] = f"{1 - finite.mean():.2%} of the values of a sample"
    if opened.fwhm is not None:
        facts["width (FWHM)"] = f"{opened.fwhm.min():g}–{opened.fwhm.max():g} nm"
    if not opened.good_bands.all():
        facts["bad bands"] = int((~opened.good_bands).sum())
    for number, note in enumerate(opened.metadata.get("notes", ()), start=1):
        facts[f"note {number}"] = note
    show_facts(facts)
