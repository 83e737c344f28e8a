"""A trained head: one file, and what it says of cubes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from carl.cube import SpectralCube
from carl.errors import ModelError
from carl.files import atomic_write
from carl.inference import normalisation
from carl.inference.tile_grid import Tile
from carl.inference.tiling import TileLayout, tiles
from carl.inference.workers import Workers
from carl.io import LabelClass
from carl.learning.features import Region
from carl.learning.segmenter import Prediction, Segmenter
from carl.model.checkpoint import (
    load_weights,
    model_from_metadata,
    model_metadata,
    preserve_rng_state,
)
from carl.model.device import resolve_device
from carl.model.heads import HeadConfig, build_head
from carl.model.heads.base import Head
from carl.progress import Progress, no_progress, subprogress
from carl.spectra.normalise import fill_missing

_HEADER = "carl_head"
_VERSION = 1
_NETWORK = "carl."
_LEAST_PROBABILITY = 1e-6

Order = Callable[[Sequence[Tile]], Iterable[Tile]]
"""Says in which order tiles are looked at."""


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """A head, what it tells apart, and how it was trained.

    Attributes:
        head: in eval mode.
        config: what it is made of.
        classes: the K classes.
        size: side of the images it was trained on, pixels; cubes are seen in tiles of this size.
        training: the configuration and the scores, to be shown.
    """

    head: Head
    config: HeadConfig
    classes: tuple[LabelClass, ...]
    size: int
    training: Mapping[str, Any]

    @property
    def classifies(self) -> bool:
        """Whether it tells the classes of whole images, not of pixels."""
        return self.head.task != "segmentation"

    def predict(self, cube: SpectralCube, *, progress: Progress = no_progress) -> Prediction:
        """The map of a cube, of this camera or another.

        Raises:
            ModelError: the head classifies whole images.
            WavelengthError: wavelengths are missing.
            CubeError: the cube has no usable values.
            Cancelled: by `progress`.
        """
        height, width, _ = cube.shape
        scores = np.zeros((height, width, len(self.classes)), np.float32)
        valid = np.zeros((height, width), bool)
        for region, drawn in self.draw(cube, progress=progress):
            scores[region], valid[region] = drawn.scores, drawn.valid
        return Prediction(scores, self.classes, None if valid.all() else valid)

    def draw(
        self, cube: SpectralCube, order: Order = iter, *, progress: Progress = no_progress
    ) -> Iterator[tuple[Region, Prediction]]:
        """The map of a cube tile by tile.

        Tiles overlap: what a later one says of the same pixels takes the tiles before it into
        account. The rim of a tile, which is context alone, is not valid until a neighbour is there.

        Args:
            cube: of this camera or another.
            order: of the tiles; each is asked for a moment before it is looked at.
            progress: told after every tile; cancels by raising.

        Yields:
            rows and columns, and the prediction there.

        Raises:
            ModelError, WavelengthError, CubeError, Cancelled: as `predict`.
        """
        if self.classifies:
            raise ModelError("The model classifies whole images and draws no maps: use 'classify'.")
        height, width, _ = cube.shape
        total = np.zeros((height, width, len(self.classes)), np.float32)
        for piece, known, probabilities in self._tiles(cube, order, progress):
            assert piece.weights is not None
            at = piece.rows, piece.columns
            total[at] += probabilities * piece.weights[..., None]
            scores = np.log(np.maximum(total[at], _LEAST_PROBABILITY))
            yield at, Prediction(scores, self.classes, known & total[at].any(axis=2))

    def classify(self, cube: SpectralCube, *, progress: Progress = no_progress) -> dict[str, float]:
        """The probability of each class in a whole cube.

        Of several tiles it is the mean where one class is to be told, and the largest where any
        number of classes may be there.

        Raises:
            ModelError: the head draws maps.
            WavelengthError: wavelengths are missing.
            CubeError: the cube has no usable values.
            Cancelled: by `progress`.
        """
        if not self.classifies:
            raise ModelError("The model draws maps and classifies no images: use 'predict'.")
        of_tiles = np.stack([each for _, _, each in self._tiles(cube, iter, progress)])
        several = self.head.task == "multilabel"
        probabilities = of_tiles.max(axis=0) if several else of_tiles.mean(axis=0)
        return {
            each.name: float(value) for each, value in zip(self.classes, probabilities, strict=True)
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything into one file: safetensors with a JSON header.

        Raises:
            OutputError: the file cannot be written.
        """
        header = {
            "version": _VERSION,
            "head": asdict(self.config),
            "network": model_metadata(self.head.carl),
            "classes": [[each.value, each.name, list(each.colour)] for each in self.classes],
            "size": self.size,
            "training": dict(self.training),
        }
        weights = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in self.head.state_dict().items()
        }
        with atomic_write(path) as temporary:
            temporary.write_bytes(save(weights, {_HEADER: json.dumps(header)}))

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "auto") -> Self:
        """Read what `save` wrote.

        Raises:
            ModelError: the file cannot be read, or needs transformers, which is not installed.
        """
        path = Path(path)
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})[_HEADER])
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            classes = tuple(
                LabelClass(int(value), str(name), (int(r), int(g), int(b)))
                for value, name, (r, g, b) in header["classes"]
            )
            config = HeadConfig.parse(header["head"])
            network = {
                name.removeprefix(_NETWORK): tensor
                for name, tensor in weights.items()
                if name.startswith(_NETWORK)
            }
            carl = model_from_metadata(header["network"], network, path)
            with preserve_rng_state():
                head = build_head(config, carl, len(classes))
            load_weights(head, weights, path)
            size, training = int(header["size"]), dict(header["training"])
        except (KeyError, TypeError, ValueError, OSError, safetensors.SafetensorError) as error:
            raise ModelError(
                f"{path} cannot be read as a trained head: it is missing, damaged or of another "
                "kind."
            ) from error
        return cls(head.to(resolve_device(device)).eval(), config, classes, size, training)

    def _tiles(
        self, cube: SpectralCube, order: Order, progress: Progress
    ) -> Iterator[tuple[Tile, NDArray[np.bool_], NDArray[np.float32]]]:
        """Tiles of a cube, where they hold values, and the probabilities the head sees in them."""
        cube = cube.usable_bands()
        nm = cube.require_wavelengths()
        device = next(self.head.parameters()).device
        wavelengths_um = torch.as_tensor(nm / 1000, dtype=torch.float32, device=device)
        mean, std = normalisation(cube, self.head.carl, subprogress(progress, 0.0, 0.1))
        layout = TileLayout(self.size, self.size // 4, self.size // 16)
        pieces = tiles(*cube.shape[:2], layout)

        def see(piece: Tile) -> tuple[Tile, NDArray[np.bool_], NDArray[np.float32]]:
            values = cube.read(piece.rows, piece.columns)
            known = np.asarray(np.isfinite(values).any(axis=2))
            values = (values - np.float32(mean)) / np.float32(std)
            fill_missing(values, nm)
            image = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]
            return piece, known, self._probabilities(image.to(device), wavelengths_um)

        done = 0

        def tell() -> None:
            progress(0.1 + 0.9 * done / len(pieces), "Predicting")

        with Workers(device) as workers:
            for seen in workers.map(see, order(pieces), tell):
                yield seen
                done += 1
                tell()

    @torch.inference_mode()
    def _probabilities(
        self, image: torch.Tensor, wavelengths_um: torch.Tensor
    ) -> NDArray[np.float32]:
        """(h, w, K) of a segmentation, (K,) of a classification."""
        logits = self.head(image, wavelengths_um).float()
        several = self.head.task == "multilabel"
        probabilities = (logits.sigmoid() if several else logits.softmax(dim=1))[0]
        result: NDArray[np.float32] = probabilities.movedim(0, -1).cpu().numpy()
        return result


def load_predictor(path: str | os.PathLike[str], device: str = "auto") -> Segmenter | TrainedHead:
    """What `carl fit` or `carl train` wrote.

    Raises:
        ModelError: the file cannot be read, or needs something that is not here.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            is_head = _HEADER in (file.metadata() or {})
    except (OSError, safetensors.SafetensorError):
        is_head = False
    return TrainedHead.load(path, device) if is_head else Segmenter.load(path, device)
