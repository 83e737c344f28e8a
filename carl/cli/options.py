"""Options shared by several commands."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from carl.inference.options import Precision, Speed
from carl.learning.options import Tune, check_tune

WavelengthsOption = Annotated[
    str | None,
    typer.Option(
        metavar="RANGE|LIST|CSV",
        help="Wavelengths of a file that has none, or to replace those of the file: the first and "
        "the last one, such as 400-2500 or '0.4-2.5 µm', start:last:step, such as 380:770:10, a "
        "list, or a CSV file with one per band.",
    ),
]
CameraOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Use the wavelengths of this camera; see 'carl cameras'."),
]
VariableOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of the array that holds the cube in a .mat, .npz or HDF5 file, or of the series "
        "of files in a folder.",
    ),
]
FrameOption = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|AXIS=NUMBER",
        help="Index of the frame, from 0, in a file with a time or z axis, such as 3 or "
        "'time=3, z=0'.",
    ),
]
HeightOption = Annotated[
    int | None,
    typer.Option(
        metavar="ROWS", min=1, help="Height of the image that a table of pixels × bands holds."
    ),
]
RegisterOption = Annotated[
    bool,
    typer.Option(
        "--register", help="Shift the bands so that they fit each other, as separate lenses need."
    ),
]
DeviceOption = Annotated[
    str, typer.Option(metavar="NAME", help="Device of the network: auto, cpu, cuda, cuda:1, mps.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SpeedOption = Annotated[
    Speed, typer.Option(help="turbo is faster; its features differ slightly from exact ones.")
]
PrecisionOption = Annotated[
    Precision, typer.Option(help="Number format of the network's computations.")
]
TuneOption = Annotated[
    str | None,
    typer.Option(
        parser=check_tune,
        metavar="|".join(get_args(Tune)),
        help="Fine-tune the network on the labels first: its last blocks, low-rank adapters "
        "(LoRA), or all weights. The result is used only if it scores higher on held-out labels.",
    ),
]
