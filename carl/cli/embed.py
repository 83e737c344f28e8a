"""``carl embed``: a cube's features by the network."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from carl.cli.options import AsJson, Camera, Device, Precision, Speed, Variable, Wavelengths
from carl.cli.outputs import check_output
from carl.cli.terminal import progress_line, show_facts, show_json


def embed(
    cube: Annotated[Path, typer.Argument(metavar="CUBE", help="A cube in any format.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.npz", help="Where the features go.")
    ],
    pca: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Also write the first three components as colours."),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="See 'carl models'.")
    ] = "carl-nano",
    speed: Annotated[
        Speed, typer.Option(help="turbo is faster and slightly less exact.")
    ] = Speed.EXACT,
    precision: Annotated[Precision, typer.Option(help="Numbers to compute with.")] = Precision.AUTO,
    wavelengths: Wavelengths = None,
    camera: Camera = None,
    variable: Variable = None,
    device: Device = "auto",
    json: AsJson = False,
) -> None:
    """Write the features the network sees in a cube: arrays 'spatial' and 'spectral', (h, w, D)."""
    import numpy as np
    from PIL import Image

    from carl.cli.inputs import open_cube_with_wavelengths
    from carl.files import atomic_write

    check_output(output, ".npz", [cube])
    if pca is not None:
        check_output(pca, ".png", [cube])
    opened = open_cube_with_wavelengths(cube, wavelengths, camera, variable)

    from carl import inference
    from carl.model import load_model

    network = load_model(model, device=device)
    with progress_line() as progress:
        embedding = inference.embed(
            opened, network, precision=precision.value, speed=speed.value, progress=progress
        )
    with ExitStack() as files:
        temporaries = [files.enter_context(atomic_write(path)) for path in (output, pca) if path]
        embedding.save(temporaries[0])
        if pca is not None:
            picture = np.rint(255 * embedding.pca(3)).astype(np.uint8)
            Image.fromarray(picture).save(temporaries[1])
    facts = {
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
    show_json(facts) if json else show_facts(facts)
