"""Trained heads: prediction of cubes, saving and loading."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors
import torch
from cachetools import LRUCache
from numpy.typing import NDArray

from carl.arrays import Float32Array, Float64Array
from carl.cube import SpectralCube
from carl.errors import ModelError
from carl.files import check_regular
from carl.inference import normalisation
from carl.inference.tile_grid import Tile, TileLayout, overlapping_tiles
from carl.inference.workers import Workers
from carl.io import LabelClass
from carl.learning.corrections import predict_map
from carl.learning.cube_features import CubeFeatures, compute_features
from carl.learning.features import Region, grid_windows
from carl.learning.predictor import (
    AnyCube,
    BoundPredictor,
    Output,
    Prediction,
    Predictor,
    classes_from_json,
    classes_to_json,
    renamed_classes,
)
from carl.learning.segmenter import Refinement, Segmenter, refinement_of_map
from carl.model.checkpoint import (
    load_weights,
    model_from_metadata,
    model_metadata,
    read_tensors,
    unreadable_as,
    write_tensors,
)
from carl.model.device import resolve_device
from carl.model.heads import HeadConfig, build_head
from carl.model.heads.base import Head
from carl.progress import Progress, no_progress, subprogress
from carl.spectra.normalise import fill_missing

_HEADER = "carl_head"
"""Key of the JSON header in the metadata of the file."""
_VERSION = 1
_NETWORK = "carl."
"""Prefix of the network's tensors in the file."""
_LEAST_PROBABILITY = 1e-6
"""Probabilities below count as this much, so that their logarithms are finite."""
_WINDOW_TILES = 2
"""Tiles along a side of a window."""
_LARGEST_SIZE = 4096
"""Largest side in pixels of the tiles that a file may state: one tile then takes gigabytes."""
_CACHED_BYTES = 256 << 20
"""Predictions of tiles held for the windows that share them: a row of tiles of a wide cube."""


@dataclass(frozen=True, eq=False, repr=False)
class TrainedHead(Predictor):
    """A trained head with its network, its classes and the configuration of its training.

    Attributes:
        head: in eval mode.
        config: sizes of the head.
        classes: the K classes.
        size: side in pixels of the images of the training, and of the tiles of a prediction.
        training: configuration and scores of the training, for information.

    Examples:
        >>> import carl
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from carl.learning.head_training import PairConfig
        >>> spectra = np.array([[0.2, 0.8, 0.3], [0.9, 0.4, 0.7]])
        >>> truth = np.repeat([1, 2], 24)[None].repeat(48, axis=0)
        >>> path = carl.write_labels("truth.png", truth)
        >>> cube = carl.SpectralCube(spectra[truth - 1], [450, 550, 650])
        >>> files = carl.write_cube("cube.hdr", cube)
        >>> pair = PairConfig(cube=Path("cube.hdr"), labels=Path("truth.png"))
        >>> config = carl.TrainConfig(Path("two.carl"), (pair,), steps=1, batch_size=2, crop=16)
        >>> result = carl.train(config, device="cpu")
        >>> result.trained.save("two.carl")
        >>> trained = carl.load_predictor("two.carl", "cpu")
        >>> trained  # doctest: +ELLIPSIS
        <TrainedHead: linear, held-out mIoU ...; class 1, class 2>
        >>> trained.predict(cube).labels.shape
        (48, 48)
    """

    head: Head
    config: HeadConfig
    classes: tuple[LabelClass, ...]
    size: int
    training: Mapping[str, Any]

    def __repr__(self) -> str:
        names = ", ".join(each.name for each in self.classes)
        return f"<TrainedHead: {self.description}; {names}>"

    @property
    def output(self) -> Output:
        """What the head predicts."""
        return "label map" if self.head.task == "segmentation" else "image classes"

    @property
    def trained_wavelengths(self) -> Float64Array | None:
        """(2,) first and last wavelength in nm of the network's training; None if unknown."""
        limits = self.head.carl.wavelength_range_um
        return None if limits is None else 1e3 * np.asarray(limits)

    @property
    def description(self) -> str:
        """Name of the head and its held-out score."""
        miou = self.training.get("scores", {}).get("miou")
        return self.config.name + ("" if miou is None else f", held-out mIoU {miou:.2f}")

    @property
    def uses_network(self) -> bool:
        """Whether a network's features take part: always."""
        return True

    def with_class_names(self, classes: Iterable[LabelClass]) -> TrainedHead:
        """Return the same head with other names and colours of its classes."""
        return replace(self, classes=renamed_classes(self.classes, classes))

    def bind(
        self, cube: AnyCube, *, precompute: bool = False, progress: Progress = no_progress
    ) -> BoundPredictor:
        """Prepare to predict windows of a cube; see `Predictor.bind`."""
        if self.output != "label map":
            names = ", ".join(each.name for each in self.classes)
            raise ModelError(
                f"The model classifies whole images ({names}) and predicts no label maps: use it "
                "with 'classify' or 'carl predict', or load a model for segmentation."
            )
        return BoundHead(self, cube, progress)

    def classify(self, cube: SpectralCube, *, progress: Progress = no_progress) -> dict[str, float]:
        """Return the probability of each class for the cube as a whole, by name.

        The mean over tiles for one class per image, the maximum for several classes per image.

        Raises:
            ModelError: the head predicts label maps.
            WavelengthError: wavelengths are missing.
            CubeError: the cube has no usable values.
            Cancelled: by `progress`.
        """
        if self.output == "label map":
            return super().classify(cube, progress=progress)
        tiles = HeadTiles(self, cube, subprogress(progress, 0.0, 0.1))
        probabilities = np.stack(
            [each for _, each in tiles.predict(tiles.layout, subprogress(progress, 0.1, 1.0))]
        )
        several = self.head.task == "multilabel"
        of_image = probabilities.max(axis=0) if several else probabilities.mean(axis=0)
        return {each.name: float(value) for each, value in zip(self.classes, of_image, strict=True)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write head, network and header into one file: safetensors with a JSON header.

        Raises:
            OutputError: the file cannot be written.
        """
        header = {
            "version": _VERSION,
            "head": asdict(self.config),
            "network": model_metadata(self.head.carl),
            "classes": classes_to_json(self.classes),
            "size": self.size,
            "training": dict(self.training),
        }
        write_tensors(path, _HEADER, header, self.head.state_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "auto") -> Self:
        """Read a file written by `save`.

        Raises:
            ModelError: the file cannot be read, or needs transformers, which is not installed.
        """
        path = Path(path)
        with unreadable_as("a trained head", path):
            header, weights = read_tensors(path, _HEADER, _VERSION)
            classes = classes_from_json(header["classes"])
            config = HeadConfig.parse(header["head"])
            network = {
                name.removeprefix(_NETWORK): tensor
                for name, tensor in weights.items()
                if name.startswith(_NETWORK)
            }
            carl = model_from_metadata(header["network"], network, path)
            with torch.random.fork_rng(devices=[]):
                head = build_head(config, carl, len(classes))
            load_weights(head, weights, path)
            size, training = operator.index(header["size"]), dict(header["training"])
            if not 0 < size <= _LARGEST_SIZE:
                raise ValueError(f"tiles of {size} pixels")
            float(dict(training.get("scores", {})).get("miou") or 0)  # a number, if it is there
        return cls(head.to(resolve_device(device)).eval(), config, classes, size, training)


class HeadTiles:
    """Runs a head on tiles of a cube of any camera.

    Attributes:
        layout: overlapping tiles that cover the cube; their weights sum to 1 at every pixel.

    Raises:
        WavelengthError: wavelengths are missing.
        CubeError: the cube has no usable values.
    """

    def __init__(self, trained: TrainedHead, cube: SpectralCube, progress: Progress) -> None:
        self._head = trained.head
        self._cube = cube.usable_bands()
        self._nm = self._cube.require_wavelengths()
        self._mean, self._std = normalisation(self._cube, trained.head.carl, progress)
        self._device = next(trained.head.parameters()).device
        self._wavelengths_um = torch.as_tensor(
            self._nm / 1000, dtype=torch.float32, device=self._device
        )
        layout = TileLayout(trained.size, trained.size // 4, trained.size // 16)
        self.layout = overlapping_tiles(*cube.shape[:2], layout)

    def predict(
        self, chosen: Sequence[Tile], progress: Progress
    ) -> Iterator[tuple[NDArray[np.bool_], Float32Array]]:
        """Yield, for each tile, where it has data, and (h, w, K) or (K,) class probabilities."""
        done = 0

        def report() -> None:
            progress(done / len(chosen), "Predicting")

        with Workers(self._device) as workers:
            for predicted in workers.map(self._predict_tile, chosen, report):
                done += 1
                report()
                yield predicted

    def _predict_tile(self, tile: Tile) -> tuple[NDArray[np.bool_], Float32Array]:
        values = self._cube.read(tile.rows, tile.columns)
        known = np.asarray(np.isfinite(values).any(axis=2))
        values = (values - np.float32(self._mean)) / np.float32(self._std)
        fill_missing(values, self._nm)
        image = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]
        return known, self._probabilities(image.to(self._device))

    @torch.inference_mode()
    def _probabilities(self, image: torch.Tensor) -> Float32Array:
        """Return (h, w, K) of a segmentation, (K,) of a classification."""
        logits = self._head(image, self._wavelengths_um).float()
        several = self._head.task == "multilabel"
        probabilities = (logits.sigmoid() if several else logits.softmax(dim=1))[0]
        result: Float32Array = probabilities.movedim(0, -1).cpu().numpy()
        return result


class BoundHead(BoundPredictor):
    """A trained head for segmentation and a cube: windows are blended from overlapping tiles."""

    is_precomputed = False

    def __init__(self, trained: TrainedHead, given: AnyCube, progress: Progress) -> None:
        cube = given.cube if isinstance(given, CubeFeatures) else given
        self.classes = trained.classes
        self._trained = trained
        self._given = given
        self._shape = cube.shape[:2]
        self._tiles = HeadTiles(trained, cube, progress)
        step = trained.size - trained.size // 4
        self.windows = grid_windows(cube.shape, _WINDOW_TILES * step)
        self._cache: LRUCache[int, tuple[NDArray[np.bool_], Float32Array]] = LRUCache(
            _CACHED_BYTES, getsizeof=lambda each: each[0].nbytes + each[1].nbytes
        )

    def predict_window(self, region: Region, progress: Progress = no_progress) -> Prediction:
        """Predict the pixels of a window; see `BoundPredictor.predict_window`."""
        rows, columns = (range(n)[span] for n, span in zip(self._shape, region, strict=True))
        shape = rows[-1] + 1 - rows.start, columns[-1] + 1 - columns.start
        blended = np.zeros((*shape, len(self.classes)), np.float32)
        valid = np.zeros(shape, bool)
        for tile, (known, probabilities) in self._touching(rows, columns, progress):
            assert tile.weights is not None
            here, inside = zip(
                _overlap(rows.start, rows[-1] + 1, tile.rows),
                _overlap(columns.start, columns[-1] + 1, tile.columns),
                strict=True,
            )
            blended[here] += probabilities[inside] * tile.weights[inside][..., None]
            valid[here] |= known[inside]
        steps = slice(None, None, rows.step), slice(None, None, columns.step)
        scores = np.log(np.maximum(blended[steps], _LEAST_PROBABILITY))
        return Prediction(scores, self.classes, valid[steps])

    def prepare_refinement(self, progress: Progress = no_progress) -> Refinement:
        """Prepare to refine the model on this cube; see `BoundPredictor.prepare_refinement`.

        Confident labels of the head's map stand for its training data. The features are those the
        head was bound to, or those of the filter bank and of the head's network.
        """
        features = self._given
        if isinstance(features, SpectralCube):
            features = compute_features(
                features, self._trained.head.carl, progress=subprogress(progress, 0.0, 0.5)
            )
        own_map = predict_map(self, features.stack, subprogress(progress, 0.5, 1.0))
        return refinement_of_map(features, self.classes, own_map, self._trained.description)

    def _touching(
        self, rows: range, columns: range, progress: Progress
    ) -> Iterator[tuple[Tile, tuple[NDArray[np.bool_], Float32Array]]]:
        """Yield the tiles that overlap a window; those that are not cached are predicted."""
        numbers = [
            number
            for number, tile in enumerate(self._tiles.layout)
            if tile.rows.start <= rows[-1]
            and rows.start < tile.rows.stop
            and tile.columns.start <= columns[-1]
            and columns.start < tile.columns.stop
        ]
        predicted = {n: self._cache[n] for n in numbers if n in self._cache}
        missing = [n for n in numbers if n not in predicted]
        chosen = [self._tiles.layout[n] for n in missing]
        for number, each in zip(missing, self._tiles.predict(chosen, progress), strict=True):
            predicted[number] = each
            with suppress(ValueError):  # larger than the cache
                self._cache[number] = each
        for number in numbers:
            yield self._tiles.layout[number], predicted[number]


def _overlap(start: int, stop: int, span: slice) -> tuple[slice, slice]:
    """Return where a tile's span overlaps start..stop, relative to start and to the span."""
    first, last = max(start, span.start), min(stop, span.stop)
    return slice(first - start, last - start), slice(first - span.start, last - span.start)


def load_predictor(path: str | os.PathLike[str], device: str = "auto") -> Predictor:
    """Load a model written by `carl fit`, `carl train` or the plugin.

    Args:
        path: ``*.carl``.
        device: as `carl.load_model` takes it.

    Raises:
        ModelError: the file cannot be read, or needs a network or library that is not installed.
    """
    try:
        check_regular(path)
        with safetensors.safe_open(path, framework="np") as file:
            is_head = _HEADER in (file.metadata() or {})
    except (OSError, safetensors.SafetensorError):
        is_head = False
    return TrainedHead.load(path, device) if is_head else Segmenter.load(path, device)
