"""Pre-train on the images of GEO-Bench data sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carl.arrays import Float32Array
from carl.io.geobench import GeoBenchSplit
from carl.pretraining.datasets.images import Images, PatchImages


@dataclass(frozen=True)
class GeoBenchOptions:
    """One GEO-Bench data set.

    Attributes:
        path: folder of the data set, such as ``classification_v1.0/m-eurosat``.
        split: train, valid or test.
    """

    path: Path
    split: str = "train"

    def open(self) -> list[Images]:
        """Open the images of the split.

        Raises:
            CarlError: the folder or the split does not exist, the layout differs, or the
                wavelengths of the bands are unknown.
        """
        return [GeoBenchImages(GeoBenchSplit(self.path, self.split))]


class GeoBenchImages(PatchImages):
    """Images of one split.

    Args:
        split: reads the images.
    """

    def __init__(self, split: GeoBenchSplit) -> None:
        super().__init__(split.wavelengths, len(split))
        self._split = split

    def path_of(self, item: int, random: np.random.Generator) -> Path:
        """Return the file of a sample."""
        return self._split.paths[item]

    def load(self, path: Path) -> Float32Array:
        """Read (h, w, C) values as stored."""
        return self._split.read_image(path)
