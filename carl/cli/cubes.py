"""Commands on cubes: info, cameras, embed, cache, simulate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carl.cli.files import CubeOptions, check_output, open_cube, open_cube_with_wavelengths
from carl.cli.options import (
    CameraOption,
    DeviceOption,
    FrameOption,
    HeightOption,
    JsonOption,
    PrecisionOption,
    RegisterOption,
    SpeedOption,
    VariableOption,
    WavelengthsOption,
)
from carl.cli.terminal import (
    print_json,
    print_note,
    print_rows,
    print_table,
    progress_line,
    resumable,
)
from carl.errors import printable

if TYPE_CHECKING:
    from carl.cube import SpectralCube
    from carl.spectra.wavelength_doctor import Finding

CubeArgument = Annotated[Path, typer.Argument(metavar="CUBE", help="Cube in any readable format.")]


def info(
    cube: CubeArgument,
    wavelengths: WavelengthsOption = None,
    camera: CameraOption = None,
    variable: VariableOption = None,
    frame: FrameOption = None,
    height: HeightOption = None,
    register: RegisterOption = False,
    doctor: Annotated[
        bool,
        typer.Option(
            "--doctor",
            help="Also examine the wavelengths: unit, order, duplicates, overlapping detectors, "
            "and an axis that is shifted against known lines.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Describe a cube: size, bands, wavelengths, range of values, and how the file was read."""
    from carl import io

    options = CubeOptions(wavelengths, camera, variable, frame, height, register)
    opened = open_cube(cube, options)
    found = io.info(opened)
    examined = _findings(opened) if doctor else None
    if not json:
        rows = {"name": found.name, "file": str(cube)} | found.rows()
        if found.wavelengths is None:
            rows["wavelengths"] = "unknown: give --wavelengths or --camera"
        for number, finding in enumerate(examined or (), start=1):
            rows[f"finding {number}"] = finding.sentence
        if examined == ():
            rows["findings"] = "none: nothing is wrong with the wavelengths that could be seen"
        print_rows(rows)
        return
    height, width, bands = found.shape
    print_json(
        {
            "name": found.name,
            "path": str(cube),
            "height": height,
            "width": width,
            "bands": bands,
            "dtype": str(found.dtype),
            "wavelengths": found.wavelengths,
            "fwhm": found.fwhm,
            "good_bands": found.good_bands,
            "scale": found.scale,
            "offset": found.offset,
            "nodata": found.nodata,
            "sample": {"p1": found.low, "p99": found.high, "missing": found.missing},
            "assumptions": found.assumptions,
            "metadata": found.metadata,
        }
        | ({} if examined is None else {"findings": [_as_json(each) for each in examined]})
    )


def _findings(cube: SpectralCube) -> tuple[Finding, ...]:
    from carl.spectra.wavelength_doctor import examine

    return examine(cube)


def _as_json(finding: Finding) -> dict[str, object]:
    rows: dict[str, object] = {
        "kind": finding.kind,
        "sentence": finding.sentence,
        "correction": finding.action,
    }
    if finding.shift is not None:
        rows["shift_nm"] = finding.shift.shift_nm
        rows["uncertainty_nm"] = finding.shift.uncertainty_nm
        rows["confidence"] = finding.shift.confidence
    return rows


def cameras(json: JsonOption = False) -> None:
    """List the cameras with known wavelengths, for --camera.

    Add your own as a table of wavelengths, NAME.csv, in the folder that is printed below the list.
    """
    from carl import user_folders, wavelengths

    known = wavelengths.cameras()
    if json:
        names = ("name", "description", "wavelengths", "fwhm")
        print_json([{name: getattr(camera, name) for name in names} for camera in known])
        return
    print_table(
        ("name", "bands", "range", "description"),
        [
            (
                camera.name,
                camera.n_bands,
                f"{camera.wavelengths.min():.0f}–{camera.wavelengths.max():.0f} nm",
                camera.description,
            )
            for camera in known
        ],
    )
    print_note(f"Tables of your own cameras: {user_folders.cameras_folder()}")


def embed(
    cube: CubeArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.npz", help="File to write.")
    ],
    pca: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.png", help="Also write the first three principal components as colours."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="Network; see 'carl models'.")
    ] = "carl-nano",
    speed: SpeedOption = "exact",
    precision: PrecisionOption = "auto",
    wavelengths: WavelengthsOption = None,
    camera: CameraOption = None,
    variable: VariableOption = None,
    frame: FrameOption = None,
    height: HeightOption = None,
    register: RegisterOption = False,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Compute the features of a cube with a network.

    OUT.npz holds the arrays 'spatial' and 'spectral', both (height, width, features) with one
    vector per patch of the cube. After an interruption the same command resumes the computation.
    """
    from PIL import Image

    from carl.files import atomic_write

    check_output(output, ".npz", [cube])
    if pca is not None:
        check_output(pca, ".png", [cube])
    options = CubeOptions(wavelengths, camera, variable, frame, height, register)
    opened = open_cube_with_wavelengths(cube, options)

    from carl import inference
    from carl.model import load_model

    network = load_model(model, device=device)
    partial = inference.partial_folder(output)
    how = f"finished parts are saved in {partial}; run the same command again to resume."
    with progress_line() as progress, resumable(partial, how):
        embedding = inference.embed_to_file(
            opened,
            network,
            output,
            precision=precision,
            speed=speed,
            progress=progress,
            note=lambda sentence: typer.echo(printable(sentence), err=True),  # not the result
        )
    if pca is not None:
        with atomic_write(pca) as temporary:
            Image.fromarray(embedding.picture()).save(temporary)
    rows = {
        "output": str(output),
        "spatial": list(embedding.spatial.shape),
        "spectral": list(embedding.spectral.shape),
        "patch_size": embedding.patch_size,
        "model": network.name,
        "trained": network.trained,
        "precision": embedding.precision,
        "speed": embedding.speed,
        "fidelity": embedding.fidelity,
    }
    print_json(rows) if json else print_rows(rows)


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete all cached features.")] = False,
    json: JsonOption = False,
) -> None:
    """Show the folder of cached features and its size.

    The environment variable CARL_HOME sets another folder and CARL_CACHE another maximum size, such
    as 500MB; 0 turns the cache off.
    """
    from carl.files import remove_abandoned
    from carl.user_folders import features_folder, scratch_folder

    folder = features_folder()
    if clear:
        folder.clear()
        remove_abandoned(scratch_folder())
    n_bytes, max_bytes = folder.nbytes, folder.max_bytes
    rows = {"folder": str(folder.path), "embeddings": len(folder)}
    if json:
        print_json(rows | {"bytes": n_bytes, "max_bytes": max_bytes})
    else:
        print_rows(rows | {"size": f"{n_bytes / 1e6:,.1f} of {max_bytes / 1e6:,.0f} MB"})


def simulate(
    cube: CubeArgument,
    camera: Annotated[
        str,
        typer.Option(
            metavar="NAME|CSV",
            help="Camera to simulate: see 'carl cameras', or a CSV file with a wavelength and a "
            "width (FWHM) per band, in nm.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.hdr", help="ENVI file to write.")
    ],
    drop_uncovered: Annotated[
        bool,
        typer.Option(
            "--drop-uncovered", help="Leave out bands of the camera that CUBE does not cover."
        ),
    ] = False,
    wavelengths: WavelengthsOption = None,
    cube_camera: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Camera of CUBE, for a file without wavelengths."),
    ] = None,
    variable: VariableOption = None,
    frame: FrameOption = None,
    height: HeightOption = None,
    register: RegisterOption = False,
    json: JsonOption = False,
) -> None:
    """Simulate how another camera records the scene of a cube, and write the simulated cube."""
    from carl import simulation
    from carl.io import write_cube

    sources = [cube, cube.with_suffix(".hdr"), cube.with_suffix(".dat")]
    check_output(output, ".hdr", sources)
    check_output(output.with_suffix(".dat"), ".dat", sources)
    simulated_camera = simulation.known_camera(camera)
    options = CubeOptions(wavelengths, cube_camera, variable, frame, height, register)
    opened = open_cube_with_wavelengths(cube, options)
    simulated = simulation.simulate(opened, simulated_camera, drop_uncovered=drop_uncovered)
    write_cube(output, simulated)
    nm = simulated.require_wavelengths()
    rows = {
        "output": str(output),
        "camera": simulated_camera.name,
        "bands": simulated.n_bands,
        "dropped": simulated_camera.n_bands - simulated.n_bands,
    }
    if json:
        print_json({**rows, "wavelengths": nm, "fwhm": simulated.fwhm})
    else:
        print_rows({**rows, "wavelengths": f"{nm.min():g}–{nm.max():g} nm"})
