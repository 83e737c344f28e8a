"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

Wavelengths = Annotated[
    str | None,
    typer.Option(
        metavar="RANGE|CSV",
        help="Wavelengths where the file has none, or others: start:last:step in nm, as "
        "380:770:10, or a CSV with one per band.",
    ),
]
Camera = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Take the wavelengths of this camera: see 'carl cameras'."),
]
Variable = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which array of a .mat, .npz or HDF5 file is the cube."),
]
Device = Annotated[
    str, typer.Option(metavar="NAME", help="Where the network runs: auto, cpu, cuda, cuda:1, mps.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class Speed(StrEnum):
    """How much exactness to give for speed."""

    EXACT = "exact"
    TURBO = "turbo"


class Precision(StrEnum):
    """Numbers the network computes with."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BF16 = "bf16"


class Tune(StrEnum):
    """What of the network is fine-tuned."""

    HEAD = "head"
    LORA = "lora"
    FULL = "full"
