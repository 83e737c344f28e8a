"""Fine-tuning of a network on labelled pixels; the result is used only if it scores better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.inference.backend import NumberFormat
from carl.inference.engine import Engine
from carl.inference.patches import PatchReader, normalisation
from carl.inference.planning import make_plan
from carl.inference.workers import Workers
from carl.learning.crops import StrokeCrops
from carl.learning.cube_features import CubeFeatures, add_network, compute_joint_features
from carl.learning.holdout import split_strokes
from carl.learning.options import Tune, check_tune
from carl.learning.pixel_training import PixelTraining
from carl.learning.segmenter import Segmenter, check_labels
from carl.metrics import evaluate
from carl.model import CARL
from carl.progress import Progress, no_progress, subprogress

Labels = list[NDArray[np.integer]]
Score = Callable[[CARL, Labels, Labels], float]
"""Maps (model, training labels, held-out labels) to a number that is larger for better models."""

_CROP_PIXELS = 64
"""Side in pixels of the training crops, rounded to whole patches."""
_CROPS_PER_STEP = 8
_MOST_BANDS = 16
"""Bands per crop, drawn at random: bounds the cost of a step for cubes of many bands."""
_VALIDATION_CROPS = 16
"""Crops per cube that a validation score is computed on."""
_VALIDATIONS = 6
"""Number of validations during a training."""


@dataclass(frozen=True)
class StepReport:
    """Progress of the training after one step.

    Attributes:
        step: number of steps done.
        total: number of steps to do.
        loss: cross-entropy on the crops of the step.
        validation: mIoU of the training's own classifier on held-out labels, in validation steps.

    Examples:
        >>> from carl.learning import StepReport
        >>> report = StepReport(step=30, total=150, loss=0.41)
        >>> f"step {report.step} of {report.total}"
        'step 30 of 150'
    """

    step: int
    total: int
    loss: float
    validation: float | None = None


@dataclass(frozen=True, eq=False)
class FineTuneResult:
    """Result of fine-tuning.

    Attributes:
        model: the tuned model if it scores better on held-out labels, else the given one.
        kept: whether it is the tuned one.
        score_before: score of the given model on held-out labels.
        score_after: score of the tuned model on held-out labels.
        history: one report per step.

    Examples:
        >>> import carl
        >>> import numpy as np
        >>> spectra = np.array([[0.2, 0.8, 0.3], [0.9, 0.4, 0.7]])
        >>> truth = np.repeat([1, 2], 24)[None].repeat(48, axis=0)
        >>> noise = np.random.default_rng(0).normal(0, 0.05, (48, 48, 3))
        >>> cube = carl.SpectralCube(spectra[truth - 1] + noise, [450, 550, 650])
        >>> labels = np.where(np.indices(truth.shape)[0] % 16 == 8, truth, 0)
        >>> result = carl.finetune(carl.load_model(device="cpu"), cube, labels, steps=1)
        >>> result.score_before > 0.9, len(result.history)
        (True, 1)
    """

    model: CARL = field(repr=False)
    kept: bool
    score_before: float
    score_after: float
    history: tuple[StepReport, ...] = field(repr=False)


def finetune(
    model: CARL,
    cubes: SpectralCube | CubeFeatures | Sequence[SpectralCube] | Sequence[CubeFeatures],
    labels: Any,
    *,
    tune: Tune | Literal["head"] = "last_blocks",
    steps: int = 150,
    seed: int = 0,
    score: Score | None = None,
    progress: Progress = no_progress,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> FineTuneResult:
    """Fine-tune a copy of a model on labelled pixels; the given model is not changed.

    A linear classifier on the patch features is trained together with a part of the network, by the
    cross-entropy of its interpolated logits on labelled pixels. Some strokes of every class are
    held out. The weights with the best validation score are taken. They replace the given ones only
    if the few-stroke segmenter, fitted to the other strokes, scores better on the held-out ones.

    Args:
        model: to start from.
        cubes: one cube or several, with known wavelengths; or their features, so that those of the
            filter bank are not computed again.
        labels: (H, W) integers for each cube, 0 = unlabelled.
        tune: part of the network to train. "last_blocks": the last blocks of both encoders and the
            projection between them; "lora": low-rank adapters of all attention layers, merged at
            the end; "full": all weights. "head" is an older name of "last_blocks".
        steps: number of optimiser steps.
        seed: of the held-out strokes, crops, bands and new weights.
        score: function to compare models by; by default the mIoU of
            `carl.learning.segmenter.Segmenter`.
        progress: called after every step; cancels by raising.
        on_step: called with a report after every step.

    Raises:
        LabelError: labels do not fit the cubes, or there are fewer than two classes.
        WavelengthError: the wavelengths of a cube are not known.
        CarlError: unknown `tune`, or the loss is not finite.
        Cancelled: by `progress`.
    """
    tune = check_tune(tune)
    given: list[SpectralCube | CubeFeatures]
    given = [cubes] if isinstance(cubes, SpectralCube | CubeFeatures) else [*cubes]
    plain = [each.cube if isinstance(each, CubeFeatures) else each for each in given]
    label_maps = check_labels(plain, labels)
    classes = sorted({int(value) for each in label_maps for value in np.unique(each)} - {0})
    if len(classes) < 2:
        raise LabelError("At least two classes are needed for fine-tuning: label pixels of each.")
    train, held_out = _split(label_maps, seed)
    features = [each for each in given if isinstance(each, CubeFeatures)]
    if score is None and len(features) < len(given):
        features = compute_joint_features(plain, progress=subprogress(progress, 0.0, 0.02))

    def compare(candidate: CARL, start: float, stop: float) -> float:
        score_progress = subprogress(progress, start, stop)
        if score is None:
            return few_stroke_score(candidate, features, train, held_out, progress=score_progress)
        score_progress(0.0, "Scoring on held-out labels")
        return score(candidate, train, held_out)

    score_before = compare(model, 0.02, 0.1)
    scales = [normalisation(cube, model, subprogress(progress, 0.1, 0.1)) for cube in plain]
    with Workers(next(model.parameters()).device) as workers:
        training = PixelTraining(
            deepcopy(model),
            tune,
            len(classes),
            steps=steps,
            seed=seed,
            precision=_precision(model, plain, scales, workers),
            workers=workers,
        )
        history = _train(
            training,
            _crops(plain, train, classes, model.patch_size, scales),
            _crops(plain, held_out, classes, model.patch_size, scales),
            steps=steps,
            seed=seed,
            progress=subprogress(progress, 0.1, 0.9),
            on_step=on_step,
        )
        tuned = training.finish()
    score_after = compare(tuned, 0.9, 1.0)
    kept = score_after > score_before
    return FineTuneResult(tuned if kept else model, kept, score_before, score_after, history)


def few_stroke_score(
    model: CARL,
    features: Sequence[CubeFeatures],
    train: Labels,
    held_out: Labels,
    *,
    progress: Progress = no_progress,
) -> float:
    """Compute the mIoU on held-out labels of a few-stroke segmenter fitted to the others.

    `train` and `held_out` are (H, W) labels of each cube whose features are given.
    """
    if any(each.model is not model for each in features):
        features = add_network(features, model, progress=subprogress(progress, 0.0, 0.8))
    segmenter = Segmenter(model).fit(features, train)
    predicted = []
    for number, each in enumerate(features):
        progress(0.8 + 0.2 * number / len(features), "Scoring on held-out labels")
        predicted.append(segmenter.predict(each).labels)
    return evaluate(_flat(predicted), _flat(held_out)).miou


def _train(
    training: PixelTraining,
    crops: list[StrokeCrops],
    validated: list[StrokeCrops],
    *,
    steps: int,
    seed: int,
    progress: Progress,
    on_step: Callable[[StepReport], None],
) -> tuple[StepReport, ...]:
    """Train, and restore the weights with the best validation score."""
    random = np.random.default_rng(seed)
    every = max(1, steps // _VALIDATIONS)
    history: list[StepReport] = []
    best = -1.0
    for step in range(1, steps + 1):
        drawn = [crops[random.integers(len(crops))] for _ in range(_CROPS_PER_STEP)]
        loss = training.step([each.draw(_MOST_BANDS, random) for each in drawn])
        validation = None
        if step % every == 0 or step == steps:
            validation = _validation(training, validated)
            if validation > best:
                best = validation
                training.snapshot()
        report = StepReport(step, steps, loss, validation)
        history.append(report)
        on_step(report)
        progress(step / steps, f"Fine-tuning: step {step} of {steps}")
    training.restore()
    return tuple(history)


def _validation(training: PixelTraining, labelled: list[StrokeCrops]) -> float:
    """Compute the mIoU of the training's own classifier on held-out labels."""
    crops = [crop for each in labelled for crop in each.fixed(_VALIDATION_CROPS, _MOST_BANDS)]
    predicted = [classes + 1 for classes in training.predict(crops)]
    return evaluate(_flat(predicted), _flat([crop.target.numpy() + 1 for crop in crops])).miou


def _precision(
    model: CARL,
    cubes: Sequence[SpectralCube],
    scales: Sequence[tuple[float, float]],
    workers: Workers,
) -> NumberFormat:
    """Return bf16 if inference would choose it for all cubes."""
    readers = (
        PatchReader(cube.usable_bands(), model.patch_size, *scale)
        for cube, scale in zip(cubes, scales, strict=True)
    )
    engine = Engine(model, workers)
    plans = (make_plan(reader, model, engine) for reader in readers)
    return "bf16" if all(plan.spectral_format == "bf16" for plan in plans) else "float32"


def _crops(
    cubes: Sequence[SpectralCube],
    labels: Labels,
    classes: list[int],
    patch_size: int,
    scales: list[tuple[float, float]],
) -> list[StrokeCrops]:
    """Return a source of crops for each cube with labels."""
    size = patch_size * max(1, _CROP_PIXELS // patch_size)
    return [
        StrokeCrops(cube, label_map, classes, size, scale)
        for cube, label_map, scale in zip(cubes, labels, scales, strict=True)
        if label_map.any()
    ]


def _split(labels: Labels, seed: int) -> tuple[Labels, Labels]:
    """Split the strokes of each cube into those to train on and those held out."""
    train, held_out = [], []
    for label_map in labels:
        is_empty = not label_map.any()
        parts = (label_map, label_map) if is_empty else split_strokes(label_map, seed)
        train.append(parts[0])
        held_out.append(parts[1])
    if not any(each.any() for each in held_out):
        raise LabelError("There are too few strokes to hold some out: label more of each class.")
    return train, held_out


def _flat(maps: Sequence[NDArray[np.integer]]) -> NDArray[np.integer]:
    return np.concatenate([each.ravel() for each in maps])
