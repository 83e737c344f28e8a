"""The sets of a run, as its configuration names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from carl.errors import CarlError
from carl.parsing import parse_dataclass
from carl.pretraining.datasets.augment import BandChoice
from carl.pretraining.datasets.bigearthnet import BigEarthNetOptions
from carl.pretraining.datasets.crops import Source
from carl.pretraining.datasets.enmap import HySpecNetOptions, SpectralEarthOptions
from carl.pretraining.datasets.folder import FolderOptions
from carl.pretraining.datasets.geobench import GeoBenchOptions
from carl.pretraining.datasets.images import Images
from carl.pretraining.datasets.simulated import SimulatedOptions
from carl.progress import Progress, no_progress


class SetOptions(Protocol):
    """Where the images of a set are, and all it takes to read them."""

    def open(self) -> list[Images]:
        """The images, those of one camera together.

        Raises:
            CarlError: they are not there, or cannot be used.
        """


KINDS: Mapping[str, type[Any]] = {
    "folder": FolderOptions,
    "bigearthnet": BigEarthNetOptions,
    "hyspecnet": HySpecNetOptions,
    "spectralearth": SpectralEarthOptions,
    "geobench": GeoBenchOptions,
    "simulated": SimulatedOptions,
}
"""What a set can be, and the class of its own options."""


@dataclass(frozen=True)
class SetConfig:
    """A set of images, beside the options of its kind.

    Attributes:
        kind: a key of `KINDS`.
        name: what to call it in messages; the last part of its path by default.
        weight: share of the batches, up to a factor.
        bands: fewest and most bands that a batch shows; all by default.
        contiguous: share of the batches that show neighbouring bands.
        other_cameras: share of the batches seen through the filters of a random other camera.
        zoom: least and greatest magnification of crops, for structures of all sizes.
        missing: what to do with values that are missing although the file does not declare it:
            stop, or fill them from neighbouring bands.
        options: of its kind.
    """

    kind: str
    name: str = ""
    weight: float = 1.0
    bands: tuple[int, int] | None = None
    contiguous: float = 0.0
    other_cameras: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    missing: Literal["error", "fill"] = "error"
    options: SetOptions | None = None

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise CarlError(f"The weight of the set '{self.name}' is {self.weight}: it must be >0.")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise CarlError(
                f"The zoom of the set '{self.name}' is {list(self.zoom)}: give the least and the "
                "greatest magnification, above 0."
            )
        _ = self.band_choice  # which complains of what does not fit

    @property
    def band_choice(self) -> BandChoice:
        """What batches of the set show of its bands."""
        return BandChoice(self.bands, self.contiguous, self.other_cameras)

    @classmethod
    def parse(cls, values: Any, where: str, folder: Path) -> SetConfig:
        """From the table of a set.

        Args:
            values: its keys and those of its kind.
            where: what the table is called, for messages.
            folder: that relative paths start from.

        Raises:
            CarlError: an unknown kind or key, or a value that does not fit.
        """
        if not isinstance(values, Mapping) or values.get("kind") not in KINDS:
            kind = values.get("kind") if isinstance(values, Mapping) else values
            raise CarlError(f"{where}.kind is {kind!r}: choose one of {', '.join(KINDS)}.")
        common = {each.name for each in fields(cls)} - {"options"}
        own = {key: value for key, value in values.items() if key not in common}
        options = parse_dataclass(KINDS[values["kind"]], own, where)
        if hasattr(options, "path"):
            options = replace(options, path=folder / options.path)
        config = parse_dataclass(cls, {key: values[key] for key in common & set(values)}, where)
        name = config.name or getattr(options, "path", Path(config.kind)).name
        return replace(config, name=name, options=cast(SetOptions, options))

    def open(self) -> list[Source]:
        """The cameras of the set, which share its weight by how much each has seen.

        Raises:
            CarlError: the images are not there, or cannot be used; the message names the set.
        """
        assert self.options is not None
        try:
            cameras = self.options.open()
        except CarlError as error:
            raise type(error)(f"The set '{self.name}': {error}") from error
        n_items = sum(len(images) for images in cameras)
        return [
            Source(
                self.name,
                images,
                self.band_choice,
                self.missing == "fill",
                self.weight * len(images) / n_items,
                self.zoom,
            )
            for images in cameras
        ]


def open_sources(sets: Sequence[SetConfig], progress: Progress = no_progress) -> list[Source]:
    """All cameras of all sets.

    Raises:
        CarlError: a set is not there, or cannot be used.
    """
    sources = []
    for number, each in enumerate(sets):
        progress(number / len(sets), f"Opening the set '{each.name}'")
        sources.extend(each.open())
    return sources
