"""One YAML file says all there is to say about training a head."""

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
_SMALLEST_CROP = 8
_FREE_TO_CHANGE = ("output", "checkpoint_every")
"""Keys that may differ when a training is resumed: they do not change what is learned."""


@dataclass(frozen=True)
class PairConfig:
    """A cube and its label map.

    Attributes:
        cube: its file.
        labels: the label map; 0 = unlabelled.
        wavelengths: of a cube that does not tell its own: a range as 380:770:10, or a CSV.
        camera: of a cube that does not tell its wavelengths.
        variable: which array, in files with several.
    """

    cube: Path
    labels: Path
    wavelengths: str | None = None
    camera: str | None = None
    variable: str | None = None

    def within(self, folder: Path) -> PairConfig:
        """The same with relative paths starting from a folder."""
        return replace(self, cube=folder / self.cube, labels=folder / self.labels)


@dataclass(frozen=True)
class TrainConfig:
    """Training a head.

    Attributes:
        output: the file of the trained network, ``*.carl``.
        pairs: labelled cubes to learn from.
        validation: labelled cubes to score on; without any, a share of the labels is put aside.
        held_out: that share; 0 to learn from all.
        geobench: in place of cubes, the folder of a set of GeoBench: its training split is learned
            from, its validation split is scored on.
        samples: of GeoBench, at most so many to score on.
        head: its name, or a table with its name and sizes.
        model: the network below: a name from `carl models`, or a file of ours.
        frozen: leave that network as it is, and train the head alone.
        classes: names of classes 1, 2, …; those beside the label maps by default.
        steps: of the optimiser.
        batch_size: crops of one step; they are of one cube and show the same bands.
        crop: side of the crops, pixels.
        bands: a step shows at most so many bands, drawn at random; None for all.
        learning_rate: of the head, at its highest.
        network_rate: of the network below.
        weight_decay: of all weights.
        check_every: steps between two scorings; the state that scores best is kept.
        checkpoint_every: steps between two checkpoints, from which a killed training goes on.
        seed: of new weights, crops and bands.
        precision: "float32" or "bf16".
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
        fewest = {"batch_size": 2, "crop": _SMALLEST_CROP, "bands": 1}
        for name, least in fewest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise CarlError(f"{name} is {value}: it must be {least} or more.")
        if not 0 <= self.held_out < 1:
            raise CarlError(f"held_out is {self.held_out}: it is a share, 0 or more and below 1.")

    @property
    def checkpoint(self) -> Path:
        """The file beside the output in which `carl train` keeps where it stands."""
        return self.output.with_suffix(".ckpt")

    def facts(self) -> dict[str, str]:
        """What decides on the course of the training, to compare it with another."""
        names = (each.name for each in fields(self) if each.name not in _FREE_TO_CHANGE)
        return {name: repr(getattr(self, name)) for name in names}

    @classmethod
    def from_file(cls, path: str | Path) -> TrainConfig:
        """From a YAML file; relative paths in it start from its folder.

        Raises:
            CarlError: it cannot be read, has an unknown key or lacks one, or a value does not fit;
                the message names the file and the key.
        """
        folder = Path(path).parent.resolve()
        return load_yaml(path, lambda values: cls.from_dict(values, folder))

    @classmethod
    def from_dict(cls, values: Any, folder: Path = Path()) -> TrainConfig:
        """From what such a file holds.

        Args:
            values: its keys and values.
            folder: that relative paths start from.

        Raises:
            CarlError: an unknown key or a missing one, or a value that does not fit.
        """
        if isinstance(values, Mapping) and "head" in values:
            values = {**values, "head": HeadConfig.parse(values["head"])}
        config = parse_dataclass(cls, values)
        local = folder / config.model
        return replace(
            config,
            output=folder / config.output,
            pairs=tuple(each.within(folder) for each in config.pairs),
            validation=tuple(each.within(folder) for each in config.validation),
            geobench=None if config.geobench is None else folder / config.geobench,
            model=str(local) if local.is_file() else config.model,
        )
