"""Configure the training of a head, from a YAML file or in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from carl.errors import CarlError
from carl.model.heads import HeadConfig
from carl.model.named_models import DEFAULT_MODEL
from carl.parsing import load_yaml, parse_dataclass

SUFFIX = ".carl"
"""Suffix of the files of trained heads."""
_MIN_CROP = 8
"""Smallest side of a crop, pixels: the patch size of carl-nano."""
_FREE_TO_CHANGE = ("output", "checkpoint_every")
"""Keys that may differ when a training is resumed, because they do not change its result."""


@dataclass(frozen=True)
class PairConfig:
    """A cube and its label map.

    Attributes:
        cube: file of the cube.
        labels: file of the label map; 0 = unlabelled.
        wavelengths: wavelengths in nm if the file has none: a range such as 380:770:10, or a CSV.
        camera: name of a camera, if the file has no wavelengths.
        variable: name of the array, in files with several.
    """

    cube: Path
    labels: Path
    wavelengths: str | None = None
    camera: str | None = None
    variable: str | None = None

    def resolve(self, folder: Path) -> PairConfig:
        """Return a copy whose relative paths start from a folder."""
        return replace(self, cube=folder / self.cube, labels=folder / self.labels)


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of the training of a head.

    Attributes:
        output: file of the trained head, ``*.carl``.
        pairs: labelled cubes to train on.
        validation: labelled cubes to validate on; without any, a part of the labels is held out.
        held_out: fraction of the labels to hold out; 0 to train on all.
        geobench: folder of a GEO-Bench data set, in place of `pairs`: its training split is trained
            on, its validation split is validated on.
        samples: largest number of GEO-Bench samples to validate on.
        head: name of the head, or a table with its name and sizes.
        model: the CARL network: a name from `carl models`, or a file.
        frozen: train the head alone and leave the network unchanged.
        classes: names of classes 1, 2, …; by default those stored with the label maps.
        steps: number of optimiser steps.
        batch_size: crops per step, all of one cube and with the same bands.
        crop: side of the crops, pixels.
        bands: largest number of bands per step, drawn at random; None for all.
        learning_rate: peak learning rate of the head.
        network_rate: peak learning rate of the network.
        weight_decay: weight decay of all weights.
        check_every: steps between two validations; the best state is the result.
        checkpoint_every: steps between two checkpoints.
        seed: seed of new weights, crops and bands.
        precision: "float32" or "bf16".

    Examples:
        >>> from pathlib import Path
        >>> from carl.learning.head_training import PairConfig, TrainConfig
        >>> pair = PairConfig(Path("tissue.hdr"), Path("tissue_labels.png"))
        >>> config = TrainConfig(Path("tissue.carl"), pairs=(pair,), steps=200)
        >>> config.head.name, config.checkpoint.name
        ('linear', 'tissue.ckpt')
    """

    output: Path
    pairs: tuple[PairConfig, ...] = ()
    validation: tuple[PairConfig, ...] = ()
    held_out: float = 0.3
    geobench: Path | None = None
    samples: int = 500
    head: HeadConfig = field(default_factory=HeadConfig)
    model: str = DEFAULT_MODEL
    frozen: bool = False
    classes: tuple[str, ...] = ()
    steps: int = 500
    batch_size: int = 8
    crop: int = 64
    bands: int | None = 32
    learning_rate: float = 1e-3
    network_rate: float = 1e-4
    weight_decay: float = 0.01
    check_every: int = 100
    checkpoint_every: int = 100
    seed: int = 0
    precision: Literal["float32", "bf16"] = "float32"

    def __post_init__(self) -> None:
        if bool(self.pairs) == (self.geobench is not None):
            raise CarlError("Training needs either 'pairs' or 'geobench'.")
        if self.output.suffix.lower() != SUFFIX:
            raise CarlError(f"output is {self.output}: give it a name that ends in {SUFFIX}.")
        for name in ("samples", "steps", "check_every", "checkpoint_every", "learning_rate"):
            if getattr(self, name) <= 0:
                raise CarlError(f"{name} is {getattr(self, name)}: it must be positive.")
        for name in ("network_rate", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise CarlError(f"{name} is {getattr(self, name)}: it must be 0 or more.")
        minima = {"batch_size": 2, "crop": _MIN_CROP, "bands": 1}
        for name, least in minima.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise CarlError(f"{name} is {value}: it must be {least} or more.")
        if not 0 <= self.held_out < 1:
            raise CarlError(
                f"held_out is {self.held_out}: give a fraction of 0 or more and below 1."
            )

    @property
    def checkpoint(self) -> Path:
        """File beside the output to which `carl train` writes checkpoints."""
        return self.output.with_suffix(".ckpt")

    def resume_settings(self) -> dict[str, str]:
        """Return the settings that must be unchanged when a training is resumed."""
        names = (each.name for each in fields(self) if each.name not in _FREE_TO_CHANGE)
        return {name: repr(getattr(self, name)) for name in names}

    @classmethod
    def from_file(cls, path: str | Path) -> TrainConfig:
        """Read a YAML file; relative paths in it start from its folder.

        Raises:
            CarlError: the file cannot be read, has an unknown key or lacks one, or a value does not
                fit; the message names the file and the key.
        """
        folder = Path(path).parent.resolve()
        return load_yaml(path, lambda values: cls.from_dict(values, folder))

    @classmethod
    def from_dict(cls, values: Any, folder: Path = Path()) -> TrainConfig:
        """Parse the keys and values of such a file.

        Args:
            values: a mapping from keys to values.
            folder: folder that relative paths start from.

        Raises:
            CarlError: a key is unknown or missing, or a value does not fit.
        """
        if isinstance(values, Mapping) and "head" in values:
            values = {**values, "head": HeadConfig.parse(values["head"])}
        config = parse_dataclass(cls, values)
        local = folder / config.model
        return replace(
            config,
            output=folder / config.output,
            pairs=tuple(each.resolve(folder) for each in config.pairs),
            validation=tuple(each.resolve(folder) for each in config.validation),
            geobench=None if config.geobench is None else folder / config.geobench,
            model=str(local) if local.is_file() else config.model,
        )
