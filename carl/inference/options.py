"""Options of a computation with a network: precision and speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from carl.errors import CarlError

Precision = Literal["auto", "float32", "bf16"]
Speed = Literal["exact", "turbo"]


@dataclass(frozen=True)
class ComputeOptions:
    """How to run a network on a cube.

    Attributes:
        precision: "float32", "bf16", or "auto": bf16 where the device has instructions for it and
            the features stay close to those in float32.
        speed: "exact", or "turbo": merge neighbouring bands and run a part of the spectral encoder,
            as far as the features stay close to the exact ones.

    Raises:
        CarlError: an unknown precision or speed.

    Examples:
        >>> from carl.inference import ComputeOptions
        >>> ComputeOptions(speed="turbo")
        ComputeOptions(precision='auto', speed='turbo')
    """

    precision: Precision = "auto"
    speed: Speed = "exact"

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("precision", self.precision, get_args(Precision)),
            ("speed", self.speed, get_args(Speed)),
        ):
            if value not in choices:
                raise CarlError(f"'{value}' is not a {name}: choose {', '.join(choices)}.")


DEFAULT_OPTIONS = ComputeOptions()
