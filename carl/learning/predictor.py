"""What every model that segments cubes has in common: windows of a cube in, class scores out."""

from __future__ import annotations

import operator
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from carl.arrays import Float32Array, Float64Array
from carl.cube import SpectralCube
from carl.errors import ModelError
from carl.io import LabelClass
from carl.learning.features import Region
from carl.progress import Progress, no_progress, subprogress

if TYPE_CHECKING:
    from carl.learning.cube_features import CubeFeatures
    from carl.learning.segmenter import Refinement, Segmenter

Output = Literal["label map", "image classes"]
_LARGEST_VALUE = 65535
"""Largest label of a class: label maps have 16 bits."""
AnyCube: TypeAlias = "SpectralCube | CubeFeatures"
"""A cube, or its features where they are known."""


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Class scores of a cube, or of a window of it.

    Attributes:
        scores: (H, W, K) log-probabilities of the classes, up to a constant per pixel.
        classes: the K classes.
        valid: (H, W) False where the cube has no data, or None.

    Examples:
        >>> import numpy as np
        >>> from carl import LabelClass, Prediction
        >>> scores = np.log(np.array([[[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]]))
        >>> classes = LabelClass(1, "lumen", (9, 0, 0)), LabelClass(2, "stroma", (0, 9, 0))
        >>> prediction = Prediction(scores.astype(np.float32), classes)
        >>> prediction
        <Prediction: 1 × 4 pixels; lumen 50.0%, stroma 50.0%>
        >>> prediction.labels
        array([[1, 1, 2, 2]], dtype=uint8)
        >>> prediction.confidence.round(1)
        array([[0.9, 0.8, 0.7, 0.6]], dtype=float32)
    """

    scores: Float32Array
    classes: tuple[LabelClass, ...]
    valid: NDArray[np.bool_] | None = None

    @cached_property
    def labels(self) -> NDArray[np.unsignedinteger[Any]]:
        """(H, W) label of every pixel; 0 where the cube has no data."""
        values = np.array([each.value for each in self.classes])
        small = values.astype(np.min_scalar_type(values.max()))
        labels: NDArray[np.unsignedinteger[Any]] = small[self.scores.argmax(axis=2)]
        if self.valid is not None:
            labels[~self.valid] = 0
        return labels

    @cached_property
    def probabilities(self) -> Float32Array:
        """(H, W, K) probability of every class, calibrated on held-out labels."""
        return np.asarray(softmax(self.scores, axis=2), np.float32)

    @property
    def confidence(self) -> Float32Array:
        """(H, W) probability of the predicted class."""
        return np.asarray(self.probabilities.max(axis=2))

    def fractions(self) -> dict[str, float]:
        """Return the fraction of the pixels predicted as each class, by name."""
        return {each.name: float((self.labels == each.value).mean()) for each in self.classes}

    def __repr__(self) -> str:
        height, width = self.scores.shape[:2]
        fractions = ", ".join(
            f"{name} {fraction:.1%}" for name, fraction in self.fractions().items()
        )
        return f"<Prediction: {height} × {width} pixels; {fractions}>"

    def _repr_html_(self) -> str:
        from html import escape

        colours = {each.name: "rgb({}, {}, {})".format(*each.colour) for each in self.classes}
        rows = "".join(
            f'<tr><td style="background:{colours[name]}">&emsp;</td><td>{escape(name)}</td>'
            f"<td>{fraction:.1%}</td></tr>"
            for name, fraction in self.fractions().items()
        )
        height, width = self.scores.shape[:2]
        return f"<table><caption>{height} × {width} pixels</caption>{rows}</table>"


def classes_to_json(classes: Sequence[LabelClass]) -> list[Any]:
    """Return value, name and colour of each class, for the header of a file."""
    return [[each.value, each.name, list(each.colour)] for each in classes]


def classes_from_json(values: Any) -> tuple[LabelClass, ...]:
    """Return the classes whose `classes_to_json` are given.

    Raises:
        TypeError, ValueError: the values are something else.
    """
    classes = tuple(_class_from_json(*entry) for entry in values)
    if not classes or len({each.value for each in classes}) < len(classes):
        raise ValueError("no classes, or two of one value")
    return classes


def _class_from_json(value: Any, name: Any, colour: Any) -> LabelClass:
    red, green, blue = (operator.index(each) for each in colour)
    is_valid = 0 < operator.index(value) <= _LARGEST_VALUE and isinstance(name, str)
    if not is_valid or not all(0 <= each <= 255 for each in (red, green, blue)):
        raise ValueError("a value, name or colour of a class is invalid")
    name.encode()  # a UnicodeEncodeError, which is a ValueError, if it cannot be shown
    return LabelClass(value, name, (red, green, blue))


class BoundPredictor(ABC):
    """A predictor and a cube, ready to predict any window.

    Attributes:
        classes: the K classes.
        windows: rectangles that cover the cube, in the order in which it is read once.
        is_precomputed: whether the features of the whole cube are there. Then any window, also one
            with steps, takes milliseconds; otherwise it takes as long as all of its pixels.

    Examples:
        >>> import numpy as np
        >>> from carl import Segmenter, SpectralCube
        >>> labels = np.repeat([[1, 2]], 24, axis=1).repeat(48, axis=0)
        >>> spectra = np.array([[0.2, 0.8, 0.3], [0.9, 0.4, 0.7]])
        >>> cube = SpectralCube(spectra[labels - 1], [450, 550, 650])
        >>> bound = Segmenter().fit(cube, labels).bind(cube)
        >>> bound.predict_window(np.s_[0:8, 0:24])
        <Prediction: 8 × 24 pixels; class 1 100.0%, class 2 0.0%>
    """

    classes: tuple[LabelClass, ...]
    windows: Sequence[Region]
    is_precomputed: bool

    @abstractmethod
    def predict_window(self, region: Region, progress: Progress = no_progress) -> Prediction:
        """Predict the pixels of a window.

        Args:
            region: rows and columns; steps above 1 leave pixels out.
            progress: called often; cancels by raising.

        Raises:
            CubeError: the cube cannot be read.
            Cancelled: by `progress`.
        """

    @abstractmethod
    def prepare_refinement(self, progress: Progress = no_progress) -> Refinement:
        """Prepare to refine the model by strokes on this cube, as often as needed.

        Predicts the map of the cube, and computes features where they are not there.
        `Refinement.fit` then takes a fraction of a second for each change of the strokes.

        Args:
            progress: called often; cancels by raising.

        Raises:
            CubeError, OutputError, Cancelled: as `Predictor.bind`.
        """


class Predictor(ABC):
    """A model that segments cubes, or classifies them as a whole.

    Attributes:
        classes: the K classes.

    Examples:
        >>> import numpy as np
        >>> from carl import Segmenter, SpectralCube
        >>> labels = np.repeat([[1, 2]], 24, axis=1).repeat(48, axis=0)
        >>> spectra = np.array([[0.2, 0.8, 0.3], [0.9, 0.4, 0.7]])
        >>> cube = SpectralCube(spectra[labels - 1], [450, 550, 650])
        >>> Segmenter().fit(cube, labels).save("two.carl")
        >>> from carl import load_predictor
        >>> predictor = load_predictor("two.carl")
        >>> predictor.output, [each.name for each in predictor.classes]
        ('label map', ['class 1', 'class 2'])
        >>> predictor.predict(cube)
        <Prediction: 48 × 48 pixels; class 1 50.0%, class 2 50.0%>
    """

    if TYPE_CHECKING:  # read-only, which a subclass may give as a field or as a property

        @property
        @abstractmethod
        def classes(self) -> tuple[LabelClass, ...]:
            """The K classes."""

    @property
    def output(self) -> Output:
        """What the model predicts."""
        return "label map"

    @property
    @abstractmethod
    def description(self) -> str:
        """The kind of model, in a few words."""

    @property
    @abstractmethod
    def uses_network(self) -> bool:
        """Whether a network's features take part."""

    @property
    def trained_wavelengths(self) -> Float64Array | None:
        """(T,) wavelengths of the training in nm, at least first and last; None if unknown."""
        return None

    @abstractmethod
    def bind(
        self, cube: AnyCube, *, precompute: bool = False, progress: Progress = no_progress
    ) -> BoundPredictor:
        """Prepare to predict windows of a cube of any size, in bounded memory.

        Args:
            cube: of any camera, or the features of a cube where they are known.
            precompute: compute all features now where that makes windows in any order fast.
            progress: called often; cancels by raising.

        Raises:
            ModelError: not fitted yet, or the model predicts no label maps.
            WavelengthError: wavelengths are missing, or do not cover those of the training.
            CubeError: the cube has no usable values.
            OutputError: the disk is too full for the features of a large cube.
            Cancelled: by `progress`.
        """

    @abstractmethod
    def with_class_names(self, classes: Iterable[LabelClass]) -> Predictor:
        """Return the same model with the names and colours of these classes, matched by value."""

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file.

        Raises:
            ModelError: not fitted yet.
            OutputError: the file cannot be written.
        """

    def predict(self, cube: AnyCube, *, progress: Progress = no_progress) -> Prediction:
        """Predict all pixels of a cube.

        Args:
            cube: of any camera, or the features of a cube where they are known.
            progress: called often; cancels by raising.

        Raises:
            ModelError, WavelengthError, CubeError, OutputError, Cancelled: as `bind`.
        """
        bound = self.bind(cube, progress=subprogress(progress, 0.0, 0.7))
        return predict_all(bound, subprogress(progress, 0.7, 1.0))

    def refine(
        self,
        cube: AnyCube,
        labels: NDArray[np.integer],
        *,
        classes: Sequence[LabelClass] = (),
        progress: Progress = no_progress,
    ) -> Segmenter:
        """Return a new segmenter: this model, corrected by strokes on a cube of any camera.

        The model itself stays as it is. A segmenter is fitted again to the pixels that it was
        fitted to, which are part of its file, to confident labels of its own map of this cube, and
        to the strokes. For a model without such pixels, which are trained heads and segmenters of
        files of earlier versions, the confident labels stand for them; classes that a head predicts
        nowhere on this cube are then unknown to the result.

        To refine a model by strokes that are drawn one by one, call `BoundPredictor.
        prepare_refinement` once and `Refinement.fit` for every stroke.

        Args:
            cube: of any camera, or the features of a cube where they are known.
            labels: (H, W) integers, 0 = unlabelled, with the numbers of the model's classes; other
                numbers add classes. One class is enough.
            classes: names and colours; the model's are used where none are given.
            progress: called often; cancels by raising.

        Raises:
            LabelError: labels do not fit the cube, or nothing is labelled.
            ModelError, WavelengthError, CubeError, OutputError, Cancelled: as `bind`.
        """
        bound = self.bind(cube, precompute=True, progress=subprogress(progress, 0.0, 0.7))
        refinement = bound.prepare_refinement(subprogress(progress, 0.7, 0.95))
        return refinement.fit(labels, classes=classes, progress=subprogress(progress, 0.95, 1.0))

    def classify(self, cube: SpectralCube, *, progress: Progress = no_progress) -> dict[str, float]:
        """Return the probability of each class for the cube as a whole, by name.

        Raises:
            ModelError: the model predicts label maps.
            WavelengthError, CubeError, Cancelled: as `bind`.
        """
        raise ModelError("The model predicts label maps, not classes of images: use 'predict'.")


def predict_windows(
    bound: BoundPredictor, progress: Progress = no_progress
) -> Iterator[tuple[Region, Prediction]]:
    """Yield all windows of a cube, in their order, with their predictions."""
    n = len(bound.windows)
    for done, region in enumerate(bound.windows):
        of_window = subprogress(progress, done / n, (done + 1) / n)
        yield region, bound.predict_window(region, of_window)


def predict_all(bound: BoundPredictor, progress: Progress = no_progress) -> Prediction:
    """Predict all windows of a cube and put them together."""
    height, width = (max(region[axis].stop for region in bound.windows) for axis in (0, 1))
    scores = np.empty((height, width, len(bound.classes)), np.float32)
    valid = np.ones((height, width), bool)
    for region, window in predict_windows(bound, progress):
        scores[region] = window.scores
        if window.valid is not None:
            valid[region] = window.valid
    progress(1.0, "Segmentation complete")
    return Prediction(scores, bound.classes, None if valid.all() else valid)


def renamed_classes(
    classes: Iterable[LabelClass], names: Iterable[LabelClass]
) -> tuple[LabelClass, ...]:
    """Return classes with the names and colours that other classes of the same values have."""
    known = {each.value: each for each in names}
    return tuple(known.get(each.value, each) for each in classes)
