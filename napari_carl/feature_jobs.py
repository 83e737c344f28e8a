"""Compute the features of a cube and fine-tune the network: functions that background jobs run.

PyTorch is imported inside the functions, so that opening the dock does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.progress import Progress, subprogress
from napari_carl.layer_data import every_nth_pixel
from napari_carl.torch_loading import load_torch

if TYPE_CHECKING:
    from carl.inference import Embedding
    from carl.learning import CubeFeatures, FineTuneResult, StepReport, Tune
    from carl.model import CARL

_PREVIEW_PIXELS = 1 << 17
"""Largest number of pixels of the reduced cube for a coarse label map: as many as its filter bank
is computed for within a second, and enough to recognise structures."""
N_TUNING_STEPS = 150
"""Default number of fine-tuning steps, as in `carl.learning.finetune`."""
_PREVIEW_PATCHES = 512
"""Largest number of patches of the reduced cube for a first picture of the embedding: as many as a
small network embeds within seconds, and enough to recognise structures."""


@dataclass(frozen=True)
class Network:
    """A network by its name.

    Attributes:
        name: as `carl.load_model` takes it.
        version: number that differs for every network chosen or fine-tuned in a session.
        model: the network, or None until it is loaded with the first embedding.
        device: description of the device it computes on; empty until it is loaded.
        is_tuned: whether it was fine-tuned on strokes.
    """

    name: str
    version: int
    model: CARL | None = None
    device: str = ""
    is_tuned: bool = False


@dataclass(frozen=True)
class EmbeddedCube:
    """A network's embedding of a cube.

    Attributes:
        network: which was loaded if need be.
        embedding: of the cube, or of every `step`-th pixel of every `step`-th row.
        step: above 1 for a preview, which is only good for a picture.
        features: the filter-bank features of the cube with the embedding added; None for a preview.
    """

    network: Network
    embedding: Embedding
    step: int = 1
    features: CubeFeatures | None = None


@dataclass(frozen=True)
class FineTuningRun:
    """A run of fine-tuning.

    Attributes:
        tune: which part of the network is trained.
        steps: reports so far; the training thread appends to it.
        result: None until the run is over.
    """

    tune: Tune
    steps: list[StepReport] = field(default_factory=list)
    result: FineTuneResult | None = None


def preview_stride(shape: tuple[int, ...]) -> int:
    """Return the stride that reduces (H, W, …) pixels to a coarse label map; 1 for small cubes."""
    return max(1, ceil(sqrt(shape[0] * shape[1] / _PREVIEW_PIXELS)))


def precompute(cube: SpectralCube, progress: Progress) -> Iterator[CubeFeatures]:
    """Compute the filter-bank features of a cube.

    Yields:
        of a large cube first the features of a reduced one, then those of the cube itself.
    """
    load_torch(progress)
    from carl.learning import compute_features

    if (n := preview_stride(cube.shape)) > 1:
        yield compute_features(_reduced(cube, n), progress=subprogress(progress, 0.0, 0.1))
    yield compute_features(cube, progress=subprogress(progress, 0.1, 1.0))


def embed_cube(
    features: CubeFeatures, network: Network, device: str, progress: Progress
) -> Iterator[EmbeddedCube]:
    """Embed a cube with a network and add the embedding to the cube's features.

    Args:
        features: filter-bank features of the cube.
        network: loaded if need be.
        device: to load it on, as `carl.load_model` takes it.
        progress: called often; cancels by raising.

    Yields:
        of a large cube a preview for a first picture; then the embedding computed at speed "turbo",
        for a label map within seconds, and the exact one.
    """
    load_torch(progress)
    progress(0.0, f"Loading {network.name}")
    from carl.inference import ComputeOptions, embed
    from carl.model import device_label, load_model

    cube = features.cube
    model = network.model or load_model(network.name, device=device)
    network = replace(network, model=model, device=device_label(next(model.parameters()).device))
    n = ceil(sqrt(cube.shape[0] * cube.shape[1] / (_PREVIEW_PATCHES * model.patch_size**2)))
    if n > 1:
        small, of_step = _reduced(cube, n), subprogress(progress, 0.0, 0.1)
        preview = embed(small, model, precision="float32", speed="turbo", progress=of_step)
        yield EmbeddedCube(network, preview, n)
    for options, of_step in (
        (ComputeOptions(speed="turbo"), subprogress(progress, 0.1, 0.2)),
        (ComputeOptions(speed="exact"), subprogress(progress, 0.2, 1.0)),
    ):
        embedded = features.add_network(model, options, progress=of_step)
        assert embedded.embedding is not None  # of the network just added
        yield EmbeddedCube(network, embedded.embedding, features=embedded)
        if embedded.embedding.speed == "exact":
            break


def fine_tune(
    features: CubeFeatures,
    strokes: NDArray[np.unsignedinteger[Any]],
    tune: Tune,
    steps: int,
    on_step: Callable[[StepReport], None],
    progress: Progress,
) -> FineTuneResult:
    """Train the network on strokes; the result is the tuned one only if it scores higher.

    Args:
        features: of the cube, with the network to train.
        strokes: (H, W), 0 = unlabelled.
        tune: which part of the network to train.
        steps: number of training steps.
        on_step: called with a report after every step.
        progress: called often; cancels by raising.
    """
    load_torch(progress)
    from carl.learning import finetune

    assert features.model is not None
    return finetune(
        features.model,
        features,
        strokes,
        tune=tune,
        steps=steps,
        on_step=on_step,
        progress=progress,
    )


def _reduced(cube: SpectralCube, n: int) -> SpectralCube:
    """Return every n-th pixel of every n-th row, in memory because it is read several times."""
    small = every_nth_pixel(cube, n)
    return replace(small, data=np.array(small.data))
