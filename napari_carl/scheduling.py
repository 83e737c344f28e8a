"""Decide which background jobs a session needs, from its state alone."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import IntEnum

from napari_carl.jobs import JobKind
from napari_carl.pictures import DisplayMode


class FeatureLevel(IntEnum):
    """Features of the current cube that a session holds, each level better than the one before."""

    NONE = 0
    PREVIEW = 1
    """Filter bank of a reduced cube: enough for a coarse label map."""
    FILTER_BANK = 2
    """Filter bank of the whole cube."""
    TURBO = 3
    """Filter bank, and the network's embedding computed at speed "turbo"."""
    EXACT = 4
    """Filter bank, and the network's exact embedding."""


@dataclass(frozen=True)
class SchedulingState:
    """What decides which jobs run.

    Versions are numbers that change whenever the thing they stand for does; 0 means there is none.

    Attributes:
        cube: version of the current cube.
        has_wavelengths: whether its wavelengths are known.
        display_mode: how the cube is displayed.
        picture_request: version of the requested picture.
        embedding: version of the newest embedding, which may be a preview.
        strokes: version of the strokes.
        can_segment: whether wavelengths are known, and there are strokes of two classes or a model.
        segmentation_request: version of the requested segmentation.
        model: version of the loaded model that the strokes correct.
        features: level of the features held.
        features_network: version of the network whose embedding they include.
        network: version of the chosen network.
    """

    cube: int = 0
    has_wavelengths: bool = False
    display_mode: DisplayMode = DisplayMode.TRUE_COLOUR
    picture_request: int = 0
    embedding: int = 0
    strokes: int = 0
    can_segment: bool = False
    segmentation_request: int = 0
    model: int = 0
    features: FeatureLevel = FeatureLevel.NONE
    features_network: int = 0
    network: int = 0


@dataclass(frozen=True)
class WantedJob:
    """A job whose result is wanted.

    Attributes:
        kind: kind of the job.
        key: what it is computed from; the job has to run again when this changes.
    """

    kind: JobKind
    key: tuple[Hashable, ...]


def wanted_jobs(state: SchedulingState) -> tuple[WantedJob, ...]:
    """Return the jobs whose results a state calls for, at most one of each kind, urgent ones first.

    Jobs that are running or done are included: whoever starts jobs compares their keys.
    """
    if not state.cube:
        return ()
    keys: dict[JobKind, tuple[Hashable, ...]] = {}
    if state.display_mode in (DisplayMode.TRUE_COLOUR, DisplayMode.THREE_BANDS):
        keys[JobKind.PICTURE] = (state.picture_request,)
    elif state.display_mode is DisplayMode.EMBEDDING and state.embedding:
        keys[JobKind.PICTURE] = (state.picture_request, state.embedding)
    if state.segmentation_request and state.can_segment and state.model:
        keys[JobKind.SEGMENTING] = (state.segmentation_request, state.model)
    elif state.segmentation_request and state.can_segment and state.features:
        keys[JobKind.SEGMENTING] = (
            state.segmentation_request,
            state.features,
            state.features_network,
        )
    if state.strokes:
        keys[JobKind.SPECTRA] = (state.strokes,)
    if state.has_wavelengths:
        keys[JobKind.PRECOMPUTING] = ()
    if state.features >= FeatureLevel.FILTER_BANK:
        keys[JobKind.EMBEDDING] = (state.network,)
    return tuple(WantedJob(kind, (state.cube, *key)) for kind, key in keys.items())
