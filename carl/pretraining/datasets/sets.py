"""Configure the data sets of a run and open them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from carl.errors import CarlError
from carl.parsing import parse_dataclass
from carl.pretraining.datasets.augment import BandSampling
from carl.pretraining.datasets.crops import ImageSource
from carl.pretraining.datasets.folder import FolderOptions
from carl.pretraining.datasets.satellite import (
    BigEarthNetOptions,
    GeoBenchOptions,
    HySpecNetOptions,
    SpectralEarthOptions,
)
from carl.pretraining.datasets.simulated import SimulatedOptions
from carl.progress import Progress, no_progress

SetOptions = (
    FolderOptions
    | BigEarthNetOptions
    | HySpecNetOptions
    | SpectralEarthOptions
    | GeoBenchOptions
    | SimulatedOptions
)
"""Location and format of the images of a data set."""
KINDS: Mapping[str, type[SetOptions]] = {
    "folder": FolderOptions,
    "bigearthnet": BigEarthNetOptions,
    "hyspecnet": HySpecNetOptions,
    "spectralearth": SpectralEarthOptions,
    "geobench": GeoBenchOptions,
    "simulated": SimulatedOptions,
}
"""Options class by kind of data set."""


@dataclass(frozen=True)
class SetConfig:
    """Configuration of a data set.

    Attributes:
        kind: a key of `KINDS`.
        name: name in messages; the last part of its path by default.
        weight: relative number of batches.
        bands: smallest and largest number of bands of a batch; all by default.
        contiguous: fraction of the batches with neighbouring bands.
        other_cameras: fraction of the batches with the bands of a random simulated camera.
        zoom: smallest and largest magnification of crops.
        missing: what to do with missing values that the file does not declare: stop ("error"), or
            fill them from neighbouring bands ("fill").
        options: options of its kind.
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
                f"The zoom of the set '{self.name}' is {list(self.zoom)}: give the smallest "
                "and the largest magnification, above 0."
            )
        _ = self.band_sampling  # validates its values

    @property
    def band_sampling(self) -> BandSampling:
        """Distribution of the bands of a batch."""
        return BandSampling(self.bands, self.contiguous, self.other_cameras)

    @classmethod
    def parse(cls, values: Any, where: str, folder: Path) -> SetConfig:
        """Parse the table of a data set, whose common keys and those of its kind are mixed.

        Messages name the table as `where`, and relative paths start from `folder`.

        Raises:
            CarlError: the kind or a key is unknown, or a value does not fit.
        """
        kind = values.get("kind") if isinstance(values, Mapping) else values
        if not isinstance(values, Mapping) or not isinstance(kind, str) or kind not in KINDS:
            raise CarlError(f"{where}.kind is {kind!r}: choose one of {', '.join(KINDS)}.")
        common = {each.name for each in fields(cls)} - {"options"}
        own = {key: value for key, value in values.items() if key not in common}
        options = parse_dataclass(KINDS[values["kind"]], own, where)
        if not isinstance(options, SimulatedOptions):
            options = replace(options, path=folder / options.path)
        config = parse_dataclass(cls, {key: values[key] for key in common & set(values)}, where)
        name = config.name or getattr(options, "path", Path(config.kind)).name
        return replace(config, name=name, options=options)

    def open(self) -> list[ImageSource]:
        """Open the cameras of the data set, each with a weight proportional to its items.

        Raises:
            CarlError: the images do not exist, or cannot be used; the message names the set.
        """
        assert self.options is not None
        try:
            cameras = self.options.open()
        except CarlError as error:
            raise type(error)(f"The set '{self.name}': {error}") from error
        n_items = sum(len(images) for images in cameras)
        return [
            ImageSource(
                self.name,
                images,
                self.band_sampling,
                self.missing == "fill",
                self.weight * len(images) / n_items,
                self.zoom,
            )
            for images in cameras
        ]


def open_sources(sets: Sequence[SetConfig], progress: Progress = no_progress) -> list[ImageSource]:
    """Open all cameras of all data sets.

    Raises:
        CarlError: a data set does not exist, or cannot be used.
    """
    sources = []
    for number, each in enumerate(sets):
        progress(number / len(sets), f"Opening the set '{each.name}'")
        sources.extend(each.open())
    return sources
