"""``carl embed``: a cube's features by the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carl.cli.options import AsJson, Camera, Device, Precision, Speed, Variable, Wavelengths
from carl.cli.outputs import check_output
from carl.cli.terminal import kept, progress_line, show_facts, show_json, show_note


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
    compiled: Annotated[
        bool, typer.Option("--compile", help="By torch.compile: for large cubes on a GPU.")
    ] = False,
    wavelengths: Wavelengths = None,
    camera: Camera = None,
    variable: Variable = None,
    device: Device = "auto",
    json: AsJson = False,
) -> None:
    """Write the features the network sees in a cube: arrays 'spatial' and 'spectral', (h, w, D)."""
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
    folder = inference.partial_folder(output)
    going_on = f"what is finished is kept in {folder}, and the same command goes on from there."
    with progress_line() as progress, kept(folder, going_on):
        embedding = inference.embed_to_file(
            opened,
            network,
            output,
            precision=precision.value,
            speed=speed.value,
            compiled=compiled,
            progress=progress,
            note=show_note,
        )
    if pca is not None:
        with atomic_write(pca) as temporary:
            Image.fromarray(embedding.picture()).save(temporary)
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
