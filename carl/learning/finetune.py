"""Tune a network to a task by its strokes, and keep the result only if it is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.inference.blocks import PatchReader, normalisation
from carl.inference.plan import make_plan
from carl.inference.precision import Precision
from carl.inference.workers import Workers
from carl.learning.crops import StrokeCrops
from carl.learning.holdout import split_strokes
from carl.learning.options import Tune, check_tune
from carl.learning.pixel_training import PixelTraining
from carl.learning.segmenter import Segmenter, check_labels
from carl.metrics import evaluate
from carl.model import CARL
from carl.progress import Progress, no_progress, subprogress

Labels = list[NDArray[np.integer]]
Score = Callable[[CARL, Labels, Labels], float]
"""(model, training labels, held-out labels) to a number that is larger for better models."""

_CROP_PIXELS = 64
_CROPS_A_STEP = 8
_MOST_BANDS = 16
_CHECKED_CROPS = 16
_CHECKS = 6


@dataclass(frozen=True)
class StepReport:
    """Where the training stands after a step.

    Attributes:
        step: number of steps done.
        total: number of steps to do.
        loss: cross-entropy on the crops of the step.
        validation: mIoU of the training's own head on held-out strokes, in steps that measure it.
    """

    step: int
    total: int
    loss: float
    validation: float | None = None


@dataclass(frozen=True, eq=False)
class FineTuneResult:
    """What fine-tuning came to.

    Attributes:
        model: the tuned model if it is better on held-out strokes, else the one that was given.
        kept: whether it is the tuned one.
        score_before: score of the given model on the held-out strokes.
        score_after: score of the tuned model on them.
        history: one report a step.
    """

    model: CARL
    kept: bool
    score_before: float
    score_after: float
    history: tuple[StepReport, ...]


def finetune(
    model: CARL,
    cubes: SpectralCube | Sequence[SpectralCube],
    labels: Any,
    *,
    tune: Tune = "last_blocks",
    steps: int = 150,
    seed: int = 0,
    score: Score | None = None,
    progress: Progress = no_progress,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> FineTuneResult:
    """Tune a copy of a model on strokes; the given model is never changed.

    A new head classifies patches, its answers are interpolated to pixels, and their cross-entropy
    on painted pixels trains the head together with a part of the network. Some strokes of every
    class are held out. The state of the training that does best on them is taken, and kept only if
    the few-stroke learner, fitted to the other strokes, does better on them than with the given
    model.

    Args:
        model: to start from.
        cubes: one cube or several, with known wavelengths.
        labels: (H, W) integers for each cube, 0 = unlabelled.
        tune: which weights to train. "last_blocks": those of the last blocks of both encoders and
            of the projection between them; "lora": low-rank adapters of all attention layers,
            merged at the end; "full": all.
        steps: number of optimiser steps.
        seed: of the strokes held out, crops, bands and new weights.
        score: the judge of "better"; by default mIoU of `carl.learning.segmenter.Segmenter`.
        progress: told after every step; cancels by raising.
        on_step: told the loss after every step.

    Raises:
        LabelError: labels do not fit the cubes, or there are not two classes to tell apart.
        WavelengthError: the wavelengths of a cube are not known.
        CarlError: no such way to tune, or the loss is not a number any more.
        Cancelled: by `progress`.
    """
    tune = check_tune(tune)
    cubes = [cubes] if isinstance(cubes, SpectralCube) else list(cubes)
    strokes = check_labels(cubes, labels)
    classes = sorted({int(value) for each in strokes for value in np.unique(each)} - {0})
    if len(classes) < 2:
        raise LabelError("Fine-tuning learns to tell classes apart: paint strokes of at least two.")
    train, held = _split(strokes, seed)

    def judged(candidate: CARL, start: float, stop: float) -> float:
        told = subprogress(progress, start, stop)
        if score is None:
            return few_stroke_score(candidate, cubes, train, held, progress=told)
        told(0.0, "Scoring on held-out strokes")
        return score(candidate, train, held)

    score_before = judged(model, 0.0, 0.1)
    scales = [normalisation(cube, model, subprogress(progress, 0.1, 0.1)) for cube in cubes]
    with Workers(next(model.parameters()).device) as workers:
        training = PixelTraining(
            deepcopy(model),
            tune,
            len(classes),
            steps=steps,
            seed=seed,
            precision=_precision(model, cubes, scales, workers),
            workers=workers,
        )
        history = _train(
            training,
            _crops(cubes, train, classes, model.patch_size, scales),
            _crops(cubes, held, classes, model.patch_size, scales),
            steps=steps,
            seed=seed,
            progress=subprogress(progress, 0.1, 0.9),
            on_step=on_step,
        )
        tuned = training.finish()
    score_after = judged(tuned, 0.9, 1.0)
    kept = score_after > score_before
    return FineTuneResult(tuned if kept else model, kept, score_before, score_after, history)


def few_stroke_score(
    model: CARL,
    cubes: Sequence[SpectralCube],
    train: Labels,
    held: Labels,
    *,
    progress: Progress = no_progress,
) -> float:
    """MIoU on held-out strokes of the few-stroke learner fitted to the others.

    Args:
        model: whose features the learner sees.
        cubes: the cubes.
        train: (H, W) labels of each cube to fit to.
        held: (H, W) labels of each cube to score on.
        progress: told while features are computed.
    """
    segmenter = Segmenter(model).fit(list(cubes), train, progress=subprogress(progress, 0.0, 0.5))
    share = 0.5 / len(cubes)
    predicted = [
        segmenter.predict(
            cube, progress=subprogress(progress, 0.5 + i * share, 0.5 + (i + 1) * share)
        ).labels
        for i, cube in enumerate(cubes)
    ]
    return evaluate(_flat(predicted), _flat(held)).miou


def _train(
    training: PixelTraining,
    crops: list[StrokeCrops],
    checked: list[StrokeCrops],
    *,
    steps: int,
    seed: int,
    progress: Progress,
    on_step: Callable[[StepReport], None],
) -> tuple[StepReport, ...]:
    """Train, and leave the training in the state that did best on the held-out strokes."""
    random = np.random.default_rng(seed)
    every = max(1, steps // _CHECKS)
    history: list[StepReport] = []
    best = -1.0
    for step in range(1, steps + 1):
        drawn = [crops[random.integers(len(crops))] for _ in range(_CROPS_A_STEP)]
        loss = training.step([each.draw(_MOST_BANDS, random) for each in drawn])
        validation = None
        if step % every == 0 or step == steps:
            validation = _validation(training, checked)
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
    """MIoU of the training's own head on held-out strokes."""
    crops = [crop for each in labelled for crop in each.fixed(_CHECKED_CROPS, _MOST_BANDS)]
    predicted = [classes + 1 for classes in training.predict(crops)]
    return evaluate(_flat(predicted), _flat([crop.target.numpy() + 1 for crop in crops])).miou


def _precision(
    model: CARL,
    cubes: Sequence[SpectralCube],
    scales: Sequence[tuple[float, float]],
    workers: Workers,
) -> Precision:
    """Bf16 where the device is fast in it and the features of all cubes survive it."""
    readers = (
        PatchReader(cube.usable_bands(), model.patch_size, *scale)
        for cube, scale in zip(cubes, scales, strict=True)
    )
    plans = (make_plan(reader, model, workers, "auto", "exact") for reader in readers)
    return "bf16" if all(plan.precision == "bf16" for plan in plans) else "float32"


def _crops(
    cubes: Sequence[SpectralCube],
    labels: Labels,
    classes: list[int],
    patch_size: int,
    scales: list[tuple[float, float]],
) -> list[StrokeCrops]:
    """Where to draw crops from: the cubes with labels."""
    size = patch_size * max(1, _CROP_PIXELS // patch_size)
    return [
        StrokeCrops(cube, painted, classes, size, scale)
        for cube, painted, scale in zip(cubes, labels, scales, strict=True)
        if painted.any()
    ]


def _split(labels: Labels, seed: int) -> tuple[Labels, Labels]:
    """Strokes to train on and strokes held out, of the cubes together."""
    train, held = [], []
    for painted in labels:
        parts = split_strokes(painted, seed) if painted.any() else (painted, painted)
        train.append(parts[0])
        held.append(parts[1])
    if not any(each.any() for each in held):
        raise LabelError("There are too few strokes to put some aside: paint more of each class.")
    return train, held


def _flat(maps: Sequence[NDArray[np.integer]]) -> NDArray[np.integer]:
    return np.concatenate([each.ravel() for each in maps])
