"""Few-stroke segmenter: fitted to a few labelled pixels, predicts cubes of any camera."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carl.cube import SpectralCube
from carl.errors import LabelError, ModelError
from carl.inference.options import ComputeOptions, Precision, Speed
from carl.io import LabelClass, default_classes
from carl.learning.cube_features import (
    MAX_BYTES,
    CubeFeatures,
    StreamedFeatures,
    compute_joint_features,
    features_in_space,
)
from carl.learning.discriminant_mixture import DiscriminantMixture, fit_mixture
from carl.learning.feature_space import NETWORK_GROUPS, FeatureSpace
from carl.learning.features import Region
from carl.learning.labelled_pixels import sample_labelled_pixels
from carl.learning.predictor import (
    AnyCube,
    BoundPredictor,
    Prediction,
    Predictor,
    classes_from_json,
    classes_to_json,
)
from carl.model import CARL, list_models, load_model
from carl.model.checkpoint import (
    model_from_metadata,
    model_metadata,
    read_tensors,
    unreadable_as,
    write_tensors,
)
from carl.model.device import resolve_device
from carl.progress import Progress, no_progress, subprogress

_WIDEST_SCALE_PRIOR = 0.55
"""Prior weight of the components that use neighbourhoods of all widths; the narrower selections
share the rest."""
_NETWORK_PRIOR = {True: 0.6, False: 0.02}
"""Prior weight of the components that use the network, for trained and untrained networks."""
_NETWORK_ALONE = 1 / 3
"""Share of that weight for the component that uses the network without the filter bank."""
_HEADER = "carl_segmenter"
"""Key of the JSON header in the metadata of the file."""
_VERSION = 1
_MIXTURE_KEYS = {
    "means": "means",
    "scatter": "scatter",
    "masks": "seen",
    "temperatures": "temperatures",
    "weights": "shares",
}
"""Names in the file of the arrays of a `DiscriminantMixture`."""


@dataclass(frozen=True)
class FitReport:
    """Result of fitting a segmenter.

    Attributes:
        held_out_accuracy: accuracy on held-out blocks of labels, averaged over classes; NaN where
            no class has two blocks.
        network_weight: total weight of the components that use the network's features.
        component_weights: weight of each component of the mixture, by name.

    Examples:
        >>> from carl import FitReport
        >>> report = FitReport(0.95, 0.25, {"texture 20 px": 0.75, "CARL": 0.25})
        >>> max(report.component_weights, key=report.component_weights.get)
        'texture 20 px'
    """

    held_out_accuracy: float
    network_weight: float
    component_weights: dict[str, float]


class Segmenter(Predictor):
    """Learns classes from a few labelled pixels and predicts whole cubes of any camera.

    Args:
        model: network whose features are added to the filter bank's; None for the bank alone.
        classes: names and colours; labels without one get default names and colours.
        precision: of the network, as in `carl.embed`.
        speed: of the network, as in `carl.embed`.

    Attributes:
        model: as given, or the network of the features that were fitted to.
        options: of the network's computation.
        training_features: features of the cubes that were fitted to, for further use.

    Examples:
        >>> import numpy as np
        >>> from carl import Segmenter, SpectralCube
        >>> spectra = np.array([[0.2, 0.8, 0.3], [0.9, 0.4, 0.7]])
        >>> truth = np.repeat([1, 2], 24)[None].repeat(48, axis=0)
        >>> noise = np.random.default_rng(0).normal(0, 0.05, (48, 48, 3))
        >>> cube = SpectralCube(spectra[truth - 1] + noise, wavelengths=[450, 550, 650])
        >>> strokes = np.where(np.indices(truth.shape)[0] == 8, truth, 0)
        >>> prediction = Segmenter().fit(cube, strokes).predict(cube)
        >>> bool((prediction.labels == truth).mean() > 0.95)
        True
    """

    def __init__(
        self,
        model: CARL | None = None,
        *,
        classes: Sequence[LabelClass] = (),
        precision: Precision = "auto",
        speed: Speed = "exact",
    ) -> None:
        self.model = model
        self.classes = tuple(classes)
        self.options = ComputeOptions(precision=precision, speed=speed)
        self.training_features: tuple[CubeFeatures, ...] = ()
        self._space: FeatureSpace | None = None
        self._mixture: DiscriminantMixture | None = None
        self._names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        network = "no network" if self.model is None else self.model.name
        if self._mixture is None:
            return f"<Segmenter: {network}, not fitted>"
        names = ", ".join(each.name for each in self.classes)
        return f"<Segmenter: {network}, fitted to {names}>"

    @property
    def description(self) -> str:
        """The kind of model, in a few words."""
        return "few-stroke segmenter"

    @property
    def uses_network(self) -> bool:
        """Whether a network's features take part."""
        return self.model is not None

    def fit(
        self,
        cubes: SpectralCube | CubeFeatures | Sequence[SpectralCube] | Sequence[CubeFeatures],
        labels: Any,
        *,
        progress: Progress = no_progress,
    ) -> Self:
        """Fit to labelled pixels.

        The features of cubes are computed and held in `training_features`. To fit several times,
        compute them once by `carl.compute_features` and give them in place of the cube: fitting
        then takes a fraction of a second.

        Args:
            cubes: one cube or several, with known wavelengths; or their features, in one space.
                The network and options of features replace those of the segmenter.
            labels: (H, W) integers for each cube, 0 = unlabelled.
            progress: called often; cancels by raising.

        Raises:
            LabelError: labels do not fit the cubes, or there are fewer than two classes.
            WavelengthError: wavelengths are missing or the cubes share no range.
            CubeError: a cube has no usable values.
            OutputError: the disk is too full for the features of a large cube.
            Cancelled: by `progress`.
        """
        given: list[SpectralCube | CubeFeatures]
        given = [cubes] if isinstance(cubes, SpectralCube | CubeFeatures) else [*cubes]
        known = [each for each in given if isinstance(each, CubeFeatures)]
        plain = [each.cube if isinstance(each, CubeFeatures) else each for each in given]
        label_maps = check_labels(plain, labels)
        values = sorted({int(v) for each in label_maps for v in np.unique(each)} - {0})
        if len(values) < 2:
            raise LabelError("At least two classes are needed: label a few pixels of each.")
        features = known
        if len(known) < len(given):
            features = compute_joint_features(
                plain, self.model, self.options, progress=subprogress(progress, 0.0, 0.95)
            )
        pixels = sample_labelled_pixels([each.stack for each in features], label_maps, values)
        progress(0.95, "Fitting the segmenter")
        first = features[0]
        trained = first.model is not None and first.model.trained
        names, masks, prior = mixture_components(first.stack.columns(), trained)
        self._mixture = fit_mixture(pixels, masks, prior)
        self._space, self._names = first.space, names
        self.model, self.options = first.model, first.options
        self.training_features = tuple(features)
        self.classes = _named(values, self.classes)
        progress(1.0, "Segmenter fitted")
        return self

    def compute_features(
        self,
        cube: SpectralCube,
        *,
        max_bytes: int = MAX_BYTES,
        progress: Progress = no_progress,
    ) -> CubeFeatures:
        """Compute the features of a cube of any camera in the feature space of this segmenter.

        Args:
            cube: with known wavelengths.
            max_bytes: size above which features are held in a scratch folder on disk.
            progress: called often; cancels by raising.

        Raises:
            ModelError: not fitted yet.
            WavelengthError: wavelengths are missing, or do not cover those of the training.
            CubeError, OutputError, Cancelled: as `carl.compute_features`.
        """
        space, _ = self._fitted()
        return features_in_space(
            cube, space, self.model, self.options, max_bytes=max_bytes, progress=progress
        )

    def bind(
        self, cube: AnyCube, *, precompute: bool = False, progress: Progress = no_progress
    ) -> BoundPredictor:
        """Prepare to predict windows of a cube; see `Predictor.bind`.

        Features that are given or were fitted to are used as they are. Otherwise they are computed
        window by window, unless `precompute` is set.
        """
        space, mixture = self._fitted()
        features: CubeFeatures | StreamedFeatures
        held = self._held(cube)
        if held is not None:
            features = held
        elif isinstance(cube, CubeFeatures):
            same = cube.model is not None and cube.model is self.model
            embedding = cube.embedding if same and cube.options == self.options else None
            features = features_in_space(
                cube.cube, space, self.model, self.options, embedding=embedding, progress=progress
            )
        elif precompute:
            features = self.compute_features(cube, progress=progress)
        else:
            features = StreamedFeatures(cube, space, self.model, self.options, progress=progress)
        return BoundSegmenter(mixture, self.classes, features)

    @property
    def report(self) -> FitReport:
        """Accuracy on held-out labels, and the weight of every component.

        Raises:
            ModelError: not fitted yet.
        """
        _, mixture = self._fitted()
        weights = dict(zip(self._names, mixture.weights.tolist(), strict=True))
        network = sum(weight for name, weight in weights.items() if "CARL" in name)
        return FitReport(mixture.accuracy, network, weights)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to predict into one file: safetensors with a JSON header.

        The weights of the network are included unless they are installed under its name.

        Raises:
            ModelError: not fitted yet.
            OutputError: the file cannot be written.
        """
        space, mixture = self._fitted()
        arrays = {f"space.{name}": values for name, values in space.to_arrays().items()}
        arrays |= {f"head.{key}": getattr(mixture, name) for name, key in _MIXTURE_KEYS.items()}
        tensors = {name: torch.from_numpy(np.array(each)) for name, each in arrays.items()}
        header: dict[str, Any] = {
            "version": _VERSION,
            "classes": classes_to_json(self.classes),
            "experts": self._names,
            "accuracy": None if np.isnan(mixture.accuracy) else mixture.accuracy,
            "precision": self.options.precision,
            "speed": self.options.speed,
            "model": None,
        }
        if self.model is not None:
            metadata, fingerprint = model_metadata(self.model), self.model.fingerprint
            header["model"] = {"facts": metadata, "fingerprint": fingerprint}
            if not _is_installed(self.model):
                weights = self.model.state_dict()
                tensors |= {f"model.{name}": tensor for name, tensor in weights.items()}
        write_tensors(path, _HEADER, header, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "auto") -> Self:
        """Read a file written by `save`.

        Raises:
            ModelError: the file cannot be read, or needs a network that is not installed.
        """
        path = Path(path)
        with unreadable_as("a saved segmenter", path):
            header, tensors = read_tensors(path, _HEADER, _VERSION)
            weights = _under("model.", tensors)
            segmenter = cls(
                _load_network(header["model"], weights, path, device),
                classes=classes_from_json(header["classes"]),
                precision=header["precision"],
                speed=header["speed"],
            )
            segmenter._names = tuple(str(name) for name in header["experts"])
            arrays = {name: each.numpy() for name, each in _under("space.", tensors).items()}
            segmenter._space = FeatureSpace.from_arrays(arrays)
            model = segmenter.model
            segmenter._space.check_network(None if model is None else model.embed_dim)
            accuracy = header["accuracy"]
            segmenter._mixture = DiscriminantMixture(
                **{name: tensors[f"head.{key}"].numpy() for name, key in _MIXTURE_KEYS.items()},
                accuracy=float("nan") if accuracy is None else float(accuracy),
            )
            segmenter._mixture.check()
        sizes = len(segmenter.classes), segmenter._space.width
        n_components = len(segmenter._mixture.weights)
        if segmenter._mixture.means.shape != sizes or len(segmenter._names) != n_components:
            raise ModelError(f"{path} contradicts itself and is damaged: save the segmenter again.")
        return segmenter

    def _held(self, cube: AnyCube) -> CubeFeatures | None:
        """Return the features of a cube in this space, if they are known."""
        if isinstance(cube, CubeFeatures):
            return cube if cube.space is self._space else None
        return next((each for each in self.training_features if each.cube is cube), None)

    def _fitted(self) -> tuple[FeatureSpace, DiscriminantMixture]:
        if self._space is None or self._mixture is None:
            raise ModelError("The segmenter is not fitted: fit it to labelled pixels first.")
        return self._space, self._mixture


class BoundSegmenter(BoundPredictor):
    """A fitted segmenter and the features of a cube, held or computed window by window."""

    def __init__(
        self,
        mixture: DiscriminantMixture,
        classes: tuple[LabelClass, ...],
        features: CubeFeatures | StreamedFeatures,
    ) -> None:
        self._mixture = mixture
        self.classes = classes
        self._features = features
        self._discriminant: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self.windows = features.windows
        self.is_precomputed = isinstance(features, CubeFeatures)

    def predict_window(self, region: Region, progress: Progress = no_progress) -> Prediction:
        """Predict the pixels of a window; see `BoundPredictor.predict_window`."""
        stack, inside = self._features.window(region, progress)
        if self._discriminant is None:  # the error variance is the same in all windows
            self._discriminant = self._mixture.discriminant(stack.error_variance)
        valid = None if stack.valid is None else stack.valid[inside]
        return Prediction(stack.scores(*self._discriminant, inside), self.classes, valid)


def check_labels(cubes: Sequence[SpectralCube], labels: Any) -> list[NDArray[np.integer]]:
    """Return label maps as a list, one per cube and of its size.

    Raises:
        LabelError: they are something else.
    """
    given = [labels] if isinstance(labels, np.ndarray) and labels.ndim == 2 else list(labels)
    if len(given) != len(cubes):
        raise LabelError(
            f"{len(given)} label maps were given for {len(cubes)} cubes: give one each."
        )
    label_maps = [np.asarray(each) for each in given]
    for cube, each in zip(cubes, label_maps, strict=True):
        if each.dtype.kind not in "iub":
            raise LabelError(f"The labels of {cube.name} are not whole numbers: use 0, 1, 2, ….")
        if each.shape != cube.shape[:2]:
            raise LabelError(
                f"The labels of {cube.name} have {_size(each.shape)} pixels, the cube has "
                f"{_size(cube.shape[:2])}: give labels drawn on this cube."
            )
        if each.size and each.min() < 0:
            raise LabelError(f"The labels of {cube.name} hold numbers below 0: use 0, 1, 2, ….")
    return label_maps


def mixture_components(
    columns: dict[str, slice], trained: bool
) -> tuple[tuple[str, ...], NDArray[np.bool_], list[float]]:
    """Define the components of the mixture: feature groups and prior weights.

    One component for each widest neighbourhood, with and without the network's groups, and one for
    the network alone. `columns` are those of each feature group, the filter bank's from narrow to
    wide; `trained` is whether the network is trained.

    Returns:
        E names, (E, p) True for the features each component uses, and E prior weights.
    """
    bank = [name for name in columns if name not in NETWORK_GROUPS]
    narrower = (1 - _WIDEST_SCALE_PRIOR) / max(len(bank) - 1, 1)
    present = [name for name in NETWORK_GROUPS if name in columns]
    additions = [[], *[[name] for name in present], *([present] if len(present) == 2 else [])]
    network_prior = _NETWORK_PRIOR[trained] if present else 0.0
    names, masks, prior = [], [], []
    n_features = max(where.stop for where in columns.values())

    def mask_of(groups: Sequence[str]) -> NDArray[np.bool_]:
        mask = np.zeros(n_features, bool)
        for name in groups:
            mask[columns[name]] = True
        return mask

    for i, widest in enumerate(bank):
        for extra in additions:
            names.append(" + ".join([widest, *extra]))
            masks.append(mask_of([*bank[: i + 1], *extra]))
            with_network = network_prior * (1 - _NETWORK_ALONE) / max(len(additions) - 1, 1)
            prior.append(
                (_WIDEST_SCALE_PRIOR if i == len(bank) - 1 else narrower)
                * (with_network if extra else 1 - network_prior)
            )
    if present:
        names.append("CARL")
        masks.append(mask_of(present))
        prior.append(network_prior * _NETWORK_ALONE)
    return tuple(names), np.array(masks), prior


def _load_network(
    header: dict[str, Any] | None, weights: dict[str, Tensor], path: Path, device: str
) -> CARL | None:
    if header is None:
        return None
    if weights:
        model = model_from_metadata(header["facts"], weights, path).to(resolve_device(device))
    else:
        model = load_model(str(header["facts"]["name"]), device)
    if model.fingerprint != header["fingerprint"]:
        raise ModelError(
            f"{path} was made with other weights of {model.name} than are installed here: fit it "
            "again, or install the version it was made with."
        )
    return model


def _is_installed(model: CARL) -> bool:
    # Random weights may differ in the last digit on another machine, so they are written out.
    if not model.trained or model.name not in {info.name for info in list_models()}:
        return False
    return load_model(model.name, "cpu").fingerprint == model.fingerprint


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)
    }


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(str(n) for n in shape)


def _named(values: Sequence[int], known: Sequence[LabelClass]) -> tuple[LabelClass, ...]:
    """Return a class per label, with default names and colours where none are known."""
    named = {each.value: each for each in known}
    defaults = {each.value: each for each in default_classes(np.array([values]))}
    return tuple(named.get(value, defaults[value]) for value in values)
