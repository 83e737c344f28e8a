"""Pre-train on folders of cubes in any readable format."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import CarlError, CubeError
from carl.io import is_readable, read_cube
from carl.pretraining.datasets.augment import random_start
from carl.pretraining.datasets.images import ImageSet, ImageWindow, OneCamera, require_folder
from carl.spectra.normalise import sample_spectra

_MAX_OPEN = 32
"""Number of cubes kept open, which bounds the number of open files."""
_N_SPECTRA = 4096
"""Number of sampled spectra by which a cube is normalised."""
_ITEM_PIXELS = 128 * 128
"""Number of pixels per item: larger cubes have more items and are drawn more often."""


@dataclass(frozen=True)
class FolderOptions:
    """A folder of cubes.

    Attributes:
        path: the folder.
        files: glob patterns of file names; ``**/`` includes subfolders.
        wavelengths: wavelengths of cubes whose files have none: a range such as 380:770:10, or a
            CSV.
        camera: name of a camera, for cubes whose files have no wavelengths.
        variable: name of the array, in files with several.
    """

    path: Path
    files: tuple[str, ...] = ("**/*",)
    wavelengths: str | None = None
    camera: str | None = None
    variable: str | None = None

    def open(self) -> list[ImageSet]:
        """Open the cubes, one set per camera.

        Raises:
            CarlError: the folder does not exist, it holds no cube, or a cube cannot be used.
        """
        require_folder(self.path, "cubes")
        by_camera = defaultdict(list)
        for path in self._cubes():
            cube = self.read(path)
            known = tuple(np.round(cube.require_wavelengths(), 3))
            by_camera[known].append(_CubeFile(path, cube.shape[:2]))
        if not by_camera:
            raise CubeError(
                f"{self.path} holds no cube that can be read and is named like "
                f"{' or '.join(self.files)}: correct 'path' or 'files' in its set."
            )
        return [CubeFiles(self, files, np.array(known)) for known, files in by_camera.items()]

    def read(self, path: Path) -> SpectralCube:
        """Open one of the cubes, without its bad bands."""
        return read_cube(
            path, wavelengths=self.wavelengths, camera=self.camera, variable=self.variable
        ).usable_bands()

    def _cubes(self) -> Iterator[Path]:
        """Yield readable files in the order of their names; of ENVI files, the headers."""
        found = sorted({path for pattern in self.files for path in self.path.glob(pattern)})
        headers = {path.with_suffix("") for path in found if path.suffix.lower() == ".hdr"}
        for path in found:
            is_data = path.suffix.lower() != ".hdr" and headers & {path, path.with_suffix("")}
            if path.is_file() and not is_data and is_readable(path):
                yield path


@dataclass(frozen=True)
class _CubeFile:
    path: Path
    shape: tuple[int, int]

    @property
    def n_items(self) -> int:
        return max(1, round(self.shape[0] * self.shape[1] / _ITEM_PIXELS))


class CubeFiles(OneCamera):
    """Cubes of one camera, read by windows."""

    def __init__(
        self,
        options: FolderOptions,
        files: Sequence[_CubeFile],
        wavelengths: NDArray[np.float64],
    ) -> None:
        super().__init__(wavelengths)
        self._options = options
        self._files = files
        self._last = np.cumsum([each.n_items for each in files])
        self._opened: OrderedDict[int, SpectralCube] = OrderedDict()
        self._spectra: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return int(self._last[-1])

    def read(self, item: int, size: int, random: np.random.Generator) -> ImageWindow:
        """Read a random window of the cube that the item belongs to."""
        number = int(np.searchsorted(self._last, item, side="right"))
        cube = self._open(number)
        if number not in self._spectra:
            self._spectra[number], _ = sample_spectra(cube, _N_SPECTRA)
        spans = []
        for length in cube.shape[:2]:
            start = random_start(length, size, random)
            spans.append(slice(start, start + size))
        values = cube.read(*spans)
        return ImageWindow(values, self._spectra[number], cube.nodata is not None, cube.name)

    def _open(self, number: int) -> SpectralCube:
        """Return a cube; the least recently used one is closed if too many are open."""
        if number not in self._opened:
            path = self._files[number].path
            cube = self._options.read(path)
            if cube.shape[:2] != self._files[number].shape:
                raise CarlError(f"{path} has changed since the run started: start it again.")
            self._opened[number] = cube
        self._opened.move_to_end(number)
        if len(self._opened) > _MAX_OPEN:
            self._opened.popitem(last=False)
        return self._opened[number]
