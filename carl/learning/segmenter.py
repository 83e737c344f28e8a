"""Few-stroke segmenter: fitted to a few labelled pixels, predicts cubes of any camera."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.errors import LabelError, ModelError
from carl.inference.options import ComputeOptions, Precision, Speed
from carl.io import LabelClass, default_classes
from carl.learning.corrections import (
    KnownPixels,
    PredictedMap,
    join_pixels,
    mean_pixels,
    predict_map,
    stroke_pixels,
)
from carl.learning.cube_features import (
    MAX_BYTES,
    CubeFeatures,
    StreamedFeatures,
    compute_joint_features,
    features_in_space,
)
from carl.learning.discriminant_mixture import (
    DiscriminantMixture,
    LabelledPixels,
    class_scores,
    fit_mixture,
    mean_accuracy,
    refit_mixture,
)
from carl.learning.feature_space import NETWORK_GROUPS, FeatureSpace
from carl.learning.features import FeatureStack, Region
from carl.learning.kernel_mixture import KernelMixture, fit_kernels
from carl.learning.labelled_pixels import sample_labelled_pixels
from carl.learning.predictor import (
    AnyCube,
    BoundPredictor,
    Prediction,
    Predictor,
    classes_from_json,
    classes_to_json,
    renamed_classes,
)
from carl.learning.spectral_views import VIEWS
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
_VERSION = 2
"""Version of the file: 2 added the kernels."""
_UNLABELLED = 500
"""Pairs of neighbouring pixels that the smoothness of maps is measured at."""
_MIXTURE_KEYS = {
    "means": "means",
    "scatter": "scatter",
    "masks": "seen",
    "temperatures": "temperatures",
    "weights": "shares",
}
"""Names in the file of the arrays of a `DiscriminantMixture`."""
_LATER_MIXTURE_KEYS = {"mode_classes": "mode_classes", "accuracies": "accuracies"}
"""Of those that files of earlier versions lack."""
_DESCRIPTION = "few-stroke segmenter"
_REFINED = "few-stroke segmenter, refined"
_REFINED_WITHOUT_PIXELS = (
    "few-stroke segmenter, refined; the file holds no training pixels, so that confident labels of "
    "its own map stand for them"
)


@dataclass(frozen=True)
class FitReport:
    """Result of fitting a segmenter.

    Attributes:
        held_out_accuracy: accuracy on held-out strokes, averaged over the judged classes; NaN where
            there are none.
        judged_classes: names of the classes with strokes that can be held out; a class of one
            stroke is not judged.
        other_classes: names of the other classes.
        network_weight: total weight of the components that use the network's features.
        component_weights: weight of each group of features, by name; they sum to 1. For segmenters
            of several cameras, of each component of the mixture.

    Examples:
        >>> from carl import FitReport
        >>> weights = {"texture 20 px": 0.75, "CARL": 0.25}
        >>> report = FitReport(0.95, ("lumen",), ("stroma",), 0.25, weights)
        >>> max(report.component_weights, key=report.component_weights.get)
        'texture 20 px'
        >>> report.accuracy_text
        '95 % right on held-out strokes of lumen'
        >>> report.evidence_text
        'neighbourhood 75 %, network 25 %'
    """

    held_out_accuracy: float
    judged_classes: tuple[str, ...]
    other_classes: tuple[str, ...]
    network_weight: float
    component_weights: dict[str, float]

    @property
    def evidence_text(self) -> str:
        """Weights of the spectrum of a pixel, of its neighbourhood and of the network."""
        weights = dict.fromkeys(("spectrum", "neighbourhood", "network"), 0.0)
        for name, weight in self.component_weights.items():
            if "CARL" in name:
                weights["network"] += weight
            elif name in (*VIEWS, "spectrum"):
                weights["spectrum"] += weight
            else:
                weights["neighbourhood"] += weight
        return ", ".join(f"{name} {100 * each:.0f} %" for name, each in weights.items() if each)

    @property
    def accuracy_text(self) -> str:
        """The accuracy and the classes it is of, or why there is none."""
        if not self.judged_classes:
            return "one stroke each: cannot be judged yet"
        text = f"{100 * self.held_out_accuracy:.0f} % right on held-out strokes"
        return f"{text} of {', '.join(self.judged_classes)}" if self.other_classes else text


@dataclass(frozen=True, eq=False)
class _Settings:
    """Network, its options and the classes of a segmenter."""

    model: CARL | None
    options: ComputeOptions
    classes: tuple[LabelClass, ...]


@dataclass(frozen=True, eq=False)
class _Fitted(_Settings):
    """Result of a fit. One object replaces it, so that no thread meets parts of two fits.

    Attributes:
        space: that the features are computed in.
        kernels: classify cubes of the camera that was fitted to; None in files of earlier versions,
            and for cubes of different cameras.
        mixture: classifies cubes of other cameras, and all if there are no kernels.
        components: names of the components of the mixture.
        pixels: that the mixture was fitted to; None for files of earlier versions.
        features: of the cubes that were fitted to.
        description: the kind of model.
    """

    space: FeatureSpace
    mixture: DiscriminantMixture
    components: tuple[str, ...]
    pixels: LabelledPixels | None
    features: tuple[CubeFeatures, ...] = ()
    description: str = _DESCRIPTION
    kernels: KernelMixture | None = None

    @property
    def accuracies(self) -> NDArray[np.float64]:
        """(K,) accuracy of each class on held-out strokes; NaN where there is none."""
        return self.mixture.accuracies if self.kernels is None else self.kernels.accuracies


class Segmenter(Predictor):
    """Learns classes from a few labelled pixels and predicts whole cubes of any camera.

    Args:
        model: network whose features are added to the filter bank's; None for the bank alone.
        classes: names and colours; labels without one get default names and colours.
        precision: of the network, as in `carl.embed`.
        speed: of the network, as in `carl.embed`.

    A fit replaces all results of the one before at once, so that other threads may predict
    meanwhile.

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
        options = ComputeOptions(precision=precision, speed=speed)
        self._state = _Settings(model, options, tuple(classes))

    def __repr__(self) -> str:
        state = self._state
        network = "no network" if state.model is None else state.model.name
        if not isinstance(state, _Fitted):
            return f"<Segmenter: {network}, not fitted>"
        names = ", ".join(each.name for each in state.classes)
        return f"<Segmenter: {network}, fitted to {names}>"

    @property
    def model(self) -> CARL | None:
        """The network as given, or that of the features that were fitted to."""
        return self._state.model

    @property
    def options(self) -> ComputeOptions:
        """Options of the network's computation."""
        return self._state.options

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes as given, or those that were fitted."""
        return self._state.classes

    def with_class_names(self, classes: Iterable[LabelClass]) -> Segmenter:
        """Return the same segmenter with other names and colours of its classes."""
        renamed = Segmenter()
        renamed._state = replace(self._state, classes=renamed_classes(self._state.classes, classes))
        return renamed

    @property
    def training_features(self) -> tuple[CubeFeatures, ...]:
        """Features of the cubes that were fitted to, for further use."""
        state = self._state
        return state.features if isinstance(state, _Fitted) else ()

    @property
    def description(self) -> str:
        """The kind of model, in a few words."""
        state = self._state
        return state.description if isinstance(state, _Fitted) else _DESCRIPTION

    @property
    def uses_network(self) -> bool:
        """Whether a network's features take part."""
        return self.model is not None

    @property
    def trained_wavelengths(self) -> Float64Array | None:
        """(T,) wavelengths in nm at which spectra are compared; None before a fit."""
        state = self._state
        return np.asarray(state.space.bank.grid) if isinstance(state, _Fitted) else None

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
        before, features = self._state, known
        if len(known) < len(given):
            features = compute_joint_features(
                plain, before.model, before.options, progress=subprogress(progress, 0.0, 0.95)
            )
        pixels = sample_labelled_pixels([each.stack for each in features], label_maps, values)
        progress(0.95, "Fitting the segmenter")
        first = features[0]
        names, mixture = _fit_components(first, pixels)
        has_views = all(_has_views(each.stack) for each in features)
        kernels = _fit_kernels(first.stack, pixels) if has_views else None
        self._state = _Fitted(
            first.model,
            first.options,
            _named(values, before.classes),
            first.space,
            mixture,
            names,
            pixels,
            tuple(features),
            kernels=kernels,
        )
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
        fitted = self._fitted()
        return features_in_space(
            cube, fitted.space, fitted.model, fitted.options, max_bytes=max_bytes, progress=progress
        )

    def bind(
        self, cube: AnyCube, *, precompute: bool = False, progress: Progress = no_progress
    ) -> BoundPredictor:
        """Prepare to predict windows of a cube; see `Predictor.bind`.

        Features that are given or were fitted to are used as they are. Otherwise they are computed
        window by window, unless `precompute` is set.
        """
        fitted = self._fitted()
        features: CubeFeatures | StreamedFeatures
        held = _held(cube, fitted)
        if held is not None:
            features = held
        elif isinstance(cube, CubeFeatures):
            same = cube.model is not None and cube.model is fitted.model
            embedding = cube.embedding if same and cube.options == fitted.options else None
            features = features_in_space(
                cube.cube,
                fitted.space,
                fitted.model,
                fitted.options,
                embedding=embedding,
                progress=progress,
            )
        elif precompute:
            features = features_in_space(
                cube, fitted.space, fitted.model, fitted.options, progress=progress
            )
        else:
            features = StreamedFeatures(
                cube, fitted.space, fitted.model, fitted.options, progress=progress
            )
        plain = cube.cube if isinstance(cube, CubeFeatures) else cube
        return BoundSegmenter(fitted, plain, features)

    @property
    def report(self) -> FitReport:
        """Accuracy on held-out strokes, and the weight of every component.

        Raises:
            ModelError: not fitted yet.
        """
        fitted = self._fitted()
        if fitted.kernels is None:
            weights = dict(zip(fitted.components, fitted.mixture.weights.tolist(), strict=True))
        else:
            weights = fitted.kernels.group_weights
        network = sum(weight for name, weight in weights.items() if "CARL" in name)
        is_judged = ~np.isnan(fitted.accuracies)
        judged, others = (
            tuple(each.name for each, chosen in zip(fitted.classes, which, strict=True) if chosen)
            for which in (is_judged, ~is_judged)
        )
        accuracy = mean_accuracy(fitted.accuracies)
        return FitReport(accuracy, judged, others, network, weights)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to predict and to refine: safetensors with a JSON header.

        The weights of the network are included unless they are installed under its name. The
        features of the pixels that were fitted to are included: at most 2000 pixels for each class
        of a cube, with at most 136 features of 4 bytes. Four classes of three strokes each add
        about 50 kB.

        Raises:
            ModelError: not fitted yet.
            OutputError: the file cannot be written.
        """
        fitted = self._fitted()
        model, mixture = fitted.model, fitted.mixture
        arrays = {f"space.{name}": values for name, values in fitted.space.to_arrays().items()}
        keys = _MIXTURE_KEYS | _LATER_MIXTURE_KEYS
        arrays |= {f"head.{key}": getattr(mixture, name) for name, key in keys.items()}
        if fitted.pixels is not None:
            pixels = {
                each.name: getattr(fitted.pixels, each.name) for each in fields(LabelledPixels)
            }
            pixels["features"] = pixels["features"].astype(np.float32)  # as they were computed
            arrays |= {f"pixels.{name}": values for name, values in pixels.items()}
        kernels = fitted.kernels
        if kernels is not None:
            named = {name: each for name, each in vars(kernels).items() if name != "groups"}
            arrays |= {f"kernels.{name}": each for name, each in named.items()}
        tensors = {name: torch.from_numpy(np.array(each)) for name, each in arrays.items()}
        header: dict[str, Any] = {
            "version": _VERSION,
            "classes": classes_to_json(fitted.classes),
            "experts": fitted.components,
            "groups": None if kernels is None else kernels.groups,
            "accuracy": None if np.isnan(mixture.accuracy) else mixture.accuracy,
            "precision": fitted.options.precision,
            "speed": fitted.options.speed,
            "description": fitted.description,
            "model": None,
        }
        if model is not None:
            metadata, fingerprint = model_metadata(model), model.fingerprint
            header["model"] = {"facts": metadata, "fingerprint": fingerprint}
            if not _is_installed(model):
                weights = model.state_dict()
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
            model = _load_network(header["model"], weights, path, device)
            arrays = {name: each.numpy() for name, each in _under("space.", tensors).items()}
            space = FeatureSpace.from_arrays(arrays)
            space.check_network(None if model is None else model.embed_dim)
            classes = classes_from_json(header["classes"])
            mixture = _mixture_from(tensors, header["accuracy"], len(classes))
            fitted = _Fitted(
                model,
                ComputeOptions(precision=header["precision"], speed=header["speed"]),
                classes,
                space,
                mixture,
                tuple(str(name) for name in header["experts"]),
                _pixels_from(_under("pixels.", tensors), mixture),
                description=str(header.get("description", _DESCRIPTION)),
                kernels=_kernels_from(header.get("groups"), _under("kernels.", tensors), space),
            )
        sizes = len(mixture.accuracies), mixture.means.shape[1], len(mixture.weights)
        widths = {_width_without_views(space), space.width}
        is_contradictory = (
            sizes != (len(classes), _width_without_views(space), len(fitted.components))
            or (fitted.pixels is not None and fitted.pixels.features.shape[1] not in widths)
            or (fitted.kernels is not None and len(fitted.kernels.accuracies) != len(classes))
        )
        if is_contradictory:
            raise ModelError(f"{path} contradicts itself and is damaged: save the segmenter again.")
        segmenter = cls()
        segmenter._state = fitted
        return segmenter

    def _fitted(self) -> _Fitted:
        state = self._state
        if not isinstance(state, _Fitted):
            raise ModelError("The segmenter is not fitted: fit it to labelled pixels first.")
        return state


class BoundSegmenter(BoundPredictor):
    """A fitted segmenter and the features of a cube, held or computed window by window."""

    def __init__(
        self, fitted: _Fitted, cube: SpectralCube, features: CubeFeatures | StreamedFeatures
    ) -> None:
        self._fitted = fitted
        self._cube = cube
        self._features = features
        self._discriminant: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self.classes = fitted.classes
        self.windows = features.windows
        self.is_precomputed = isinstance(features, CubeFeatures)

    def predict_window(self, region: Region, progress: Progress = no_progress) -> Prediction:
        """Predict the pixels of a window; see `BoundPredictor.predict_window`."""
        mixture, kernels = self._fitted.mixture, self._fitted.kernels
        stack, inside = self._features.window(region, progress)
        valid = None if stack.valid is None else stack.valid[inside]
        if kernels is not None and _has_views(stack):
            return Prediction(kernels.scores(stack, inside), self.classes, valid)
        stack = _without_views(stack)
        if self._discriminant is None:  # the error variance is the same in all windows
            self._discriminant = mixture.discriminant(stack.error_variance)
        scores = class_scores(stack.scores(*self._discriminant, inside), mixture.mode_classes)
        return Prediction(scores, self.classes, valid)

    def prepare_refinement(self, progress: Progress = no_progress) -> Refinement:
        """Prepare to refine the model on this cube; see `BoundPredictor.prepare_refinement`."""
        fitted, features = self._fitted, self._features
        if not isinstance(features, CubeFeatures):
            features = features_in_space(
                self._cube,
                fitted.space,
                fitted.model,
                fitted.options,
                progress=subprogress(progress, 0.0, 0.8),
            )
        bound = BoundSegmenter(fitted, self._cube, features)
        own_map = predict_map(bound, features.stack, subprogress(progress, 0.8, 1.0))
        mixture, values = fitted.mixture, tuple(each.value for each in fitted.classes)
        if fitted.pixels is None:
            known, description = mean_pixels(mixture.means, values), _REFINED_WITHOUT_PIXELS
        else:
            known, description = KnownPixels(fitted.pixels, values), _REFINED
        kernels = fitted.kernels if _has_views(features.stack) else None
        return Refinement(
            features,
            fitted.classes,
            known,
            own_map,
            mixture,
            fitted.components,
            description,
            kernels,
        )


@dataclass(frozen=True, eq=False, repr=False)
class Refinement:
    """A loaded model and a cube, ready to be fitted again together with strokes that correct it.

    Make it by `BoundPredictor.prepare_refinement`, once for a model and a cube. Every `fit` starts
    from the loaded model, so that a stroke that is removed leaves no trace.

    Attributes:
        features: of the cube, in the space that the refined segmenter uses.
        classes: of the model.
        known: pixels the model was fitted to.
        own_map: the map the model predicts.
        mixture: that the strokes are added to.
        components: names of its components.
        description: of the refined segmenter.
        kernels: that the strokes are added to; None for a cube of another camera.

    Examples:
        >>> import numpy as np
        >>> from carl import Segmenter, SpectralCube
        >>> truth = np.repeat([[1, 2]], 24, axis=1).repeat(48, axis=0)
        >>> spectra = np.array([[0.2, 0.8, 0.3], [0.9, 0.4, 0.7], [0.5, 0.1, 0.1]])
        >>> noise = np.random.default_rng(0).normal(0, 0.02, (48, 48, 3))
        >>> nm = [450, 550, 650]
        >>> segmenter = Segmenter().fit(SpectralCube(spectra[truth - 1] + noise, nm), truth)
        >>> truth[:16, :20] = 3
        >>> refinement = segmenter.bind(
        ...     SpectralCube(spectra[truth - 1] + noise, nm), precompute=True
        ... ).prepare_refinement()
        >>> strokes = np.zeros_like(truth)
        >>> strokes[5, 2:16] = 3
        >>> refined = refinement.fit(strokes)
        >>> [each.name for each in refined.classes]
        ['class 1', 'class 2', 'class 3']
    """

    features: CubeFeatures
    classes: tuple[LabelClass, ...]
    known: KnownPixels
    own_map: PredictedMap
    mixture: DiscriminantMixture
    components: tuple[str, ...]
    description: str
    kernels: KernelMixture | None = None

    def fit(
        self,
        labels: NDArray[np.integer],
        *,
        classes: Sequence[LabelClass] = (),
        progress: Progress = no_progress,
    ) -> Segmenter:
        """Return a segmenter fitted to what the model knows and to strokes on the cube.

        Args:
            labels: (H, W) integers, 0 = unlabelled, with the numbers of the model's classes; other
                numbers add classes. One class is enough.
            classes: names and colours; the model's are used where none are given.
            progress: called often; cancels by raising.

        Raises:
            LabelError: labels do not fit the cube, or nothing is labelled.
            Cancelled: by `progress`.
        """
        progress(0.0, "Refining the model")
        (strokes,) = check_labels([self.features.cube], labels)
        if not strokes.any():
            raise LabelError("Nothing is labelled: draw a stroke where the map is wrong.")
        parts = [
            self.known,
            self.own_map.uncontradicted(strokes),
            stroke_pixels(self.features.stack, strokes),
        ]
        n_features = min(each.pixels.features.shape[1] for each in parts)
        joined = join_pixels([each.with_features(n_features) for each in parts])
        named = {each.value: each for each in (*self.classes, *classes)}
        refined = Segmenter()
        refined._state = _Fitted(
            self.features.model,
            self.features.options,
            _named(joined.values, tuple(named.values())),
            self.features.space,
            refit_mixture(self.mixture, _without_view_columns(self.features.space, joined.pixels)),
            self.components,
            joined.pixels,
            (self.features,),
            self.description,
            None if self.kernels is None else self.kernels.refit(joined.pixels),
        )
        progress(1.0, "Model refined")
        return refined


def refinement_of_map(
    features: CubeFeatures, classes: Sequence[LabelClass], own_map: PredictedMap, description: str
) -> Refinement:
    """Prepare to refine a model of which only its map of a cube is known.

    A mixture is fitted to the confident labels. The mean of every class stays known where strokes
    contradict all of its labels.
    """
    confident = own_map.confident
    names, mixture = _fit_components(features, confident.pixels)
    known = mean_pixels(mixture.means, confident.values)
    description = f"{_REFINED} from confident labels of the map of a head ({description})"
    return Refinement(features, tuple(classes), known, own_map, mixture, names, description)


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


def _fit_components(
    features: CubeFeatures, pixels: LabelledPixels
) -> tuple[tuple[str, ...], DiscriminantMixture]:
    """Fit a mixture to pixels, and return the names of its components and the mixture."""
    trained = features.model is not None and features.model.trained
    columns = _without_views(features.stack).columns()
    names, masks, prior = mixture_components(columns, trained)
    return names, fit_mixture(pixels.with_features(masks.shape[1]), masks, prior)


def _fit_kernels(stack: FeatureStack, pixels: LabelledPixels) -> KernelMixture:
    """Fit kernels to pixels, and to pairs of neighbours that are spread over the cube."""
    height, width = stack.shape
    generator = np.random.default_rng(0)
    rows, columns = (
        generator.integers(0, height, _UNLABELLED),
        generator.integers(0, max(width - 1, 1), _UNLABELLED),
    )
    beside = np.minimum(columns + 1, width - 1)
    unlabelled = np.stack([stack.at(rows, columns), stack.at(rows, beside)])
    return fit_kernels(pixels, stack.columns(), unlabelled)


def _has_views(stack: FeatureStack) -> bool:
    return any(each.name in VIEWS for each in stack.maps)


def _without_views(stack: FeatureStack) -> FeatureStack:
    return stack.select({each.name for each in stack.maps} - set(VIEWS))


def _width_without_views(space: FeatureSpace) -> int:
    views = space.bank.views
    return space.width - (0 if views is None else sum(views.widths.values()))


def _without_view_columns(space: FeatureSpace, pixels: LabelledPixels) -> LabelledPixels:
    """Return pixels with the features that a cube of any camera has, which come first."""
    return pixels.with_features(_width_without_views(space))


def _held(cube: AnyCube, fitted: _Fitted) -> CubeFeatures | None:
    """Return the features of a cube in the space of a fit, if they are known."""
    if isinstance(cube, CubeFeatures):
        return cube if cube.space is fitted.space else None
    return next((each for each in fitted.features if each.cube is cube), None)


def _mixture_from(
    tensors: dict[str, Tensor], accuracy: float | None, n_classes: int
) -> DiscriminantMixture:
    """Return the mixture of a file; earlier versions wrote one accuracy and no modes."""
    arrays = {name: tensors[f"head.{key}"].numpy() for name, key in _MIXTURE_KEYS.items()}
    average = np.nan if accuracy is None else float(accuracy)
    later = {"mode_classes": np.arange(n_classes), "accuracies": np.full(n_classes, average)}
    for name, key in _LATER_MIXTURE_KEYS.items():
        if f"head.{key}" in tensors:
            later[name] = tensors[f"head.{key}"].numpy()
    mixture = DiscriminantMixture(**arrays, **later)
    mixture.check()
    return mixture


def _pixels_from(tensors: dict[str, Tensor], mixture: DiscriminantMixture) -> LabelledPixels | None:
    """Return the training pixels of a file; None for one of an earlier version."""
    if not tensors:
        return None
    arrays = {each.name: tensors[each.name].numpy() for each in fields(LabelledPixels)}
    pixels = LabelledPixels(**arrays | {"features": arrays["features"].astype(np.float64)})
    pixels.check(mixture)
    return pixels


def _kernels_from(
    groups: Any, tensors: dict[str, Tensor], space: FeatureSpace
) -> KernelMixture | None:
    """Return the kernels of a file; None for one of an earlier version or of several cameras."""
    if groups is None:
        return None
    arrays = {name: each.numpy() for name, each in tensors.items()}
    kernels = KernelMixture(tuple(str(name) for name in groups), **arrays)
    kernels.check()
    if kernels.centres.shape[1] != space.width or not set(VIEWS) & set(kernels.groups):
        raise ValueError("the kernels are those of other features")
    return kernels


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
