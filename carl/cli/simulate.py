"""``carl simulate``: a cube as another camera would have seen it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carl.cli.options import AsJson, Variable, Wavelengths
from carl.cli.outputs import check_output
from carl.cli.terminal import show_facts, show_json

if TYPE_CHECKING:
    from carl.simulation import SimulatedCamera


def simulate(
    cube: Annotated[Path, typer.Argument(metavar="CUBE", help="A cube in any format.")],
    camera: Annotated[
        str,
        typer.Option(
            metavar="NAME|CSV",
            help="The camera to simulate: see 'carl cameras', or a CSV with a wavelength and a "
            "width (FWHM) per band, in nm.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.hdr", help="Where the new cube goes.")
    ],
    drop_uncovered: Annotated[
        bool,
        typer.Option(
            "--drop-uncovered", help="Leave out bands of the camera that CUBE does not cover."
        ),
    ] = False,
    wavelengths: Wavelengths = None,
    cube_camera: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Take the wavelengths of CUBE from this camera."),
    ] = None,
    variable: Variable = None,
    json: AsJson = False,
) -> None:
    """Write a cube as another camera would have seen it: through that camera's filters."""
    import numpy as np

    from carl.cli.inputs import open_cube_with_wavelengths
    from carl.io import write_cube
    from carl.simulation import covered_bands, simulate_camera

    sources = [cube, cube.with_suffix(".hdr"), cube.with_suffix(".dat")]
    check_output(output, ".hdr", sources)
    check_output(output.with_suffix(".dat"), ".dat", sources)
    wanted = _simulated(camera)
    opened = open_cube_with_wavelengths(cube, wavelengths, cube_camera, variable)
    dropped = np.flatnonzero(~covered_bands(opened.usable_bands(), wanted))
    if drop_uncovered and dropped.size < wanted.n_bands:
        wanted = wanted.choose(np.setdiff1d(np.arange(wanted.n_bands), dropped))
    simulated = simulate_camera(opened, wanted)
    write_cube(output, simulated)
    facts: dict[str, Any] = {
        "output": str(output),
        "camera": wanted.name,
        "bands": simulated.n_bands,
        "dropped": int(dropped.size),
    }
    if json:
        show_json({**facts, "wavelengths": wanted.wavelengths, "fwhm": wanted.fwhm})
    else:
        nm = wanted.wavelengths
        show_facts({**facts, "wavelengths": f"{nm.min():g}–{nm.max():g} nm"})


def _simulated(name_or_table: str) -> SimulatedCamera:
    """A camera by its name, or from a table of its bands."""
    from carl.simulation import known_camera
    from carl.wavelengths import Camera, camera, read_wavelength_table

    table = Path(name_or_table)
    if table.suffix.lower() != ".csv":
        return known_camera(camera(name_or_table))
    return known_camera(Camera(table.stem, "", *read_wavelength_table(table)))
