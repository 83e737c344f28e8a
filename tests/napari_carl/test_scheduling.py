"""Which background jobs a state of the session calls for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_carl.jobs import JobKind
from napari_carl.pictures import DisplayMode
from napari_carl.scheduling import FeatureLevel, SchedulingState, wanted_jobs

PICTURE, SPECTRA = JobKind.PICTURE, JobKind.SPECTRA
PRECOMPUTING, EMBEDDING, SEGMENTING = (
    JobKind.PRECOMPUTING,
    JobKind.EMBEDDING,
    JobKind.SEGMENTING,
)
OPENED = SchedulingState(cube=1, has_wavelengths=True, picture_request=1, network=1)
LABELLED = replace(OPENED, strokes=1, can_segment=True)
REQUESTED = replace(LABELLED, segmentation_request=1)


def with_features(state, level, network=0):
    return replace(state, features=level, features_network=network)


@pytest.mark.parametrize(
    ("state", "kinds"),
    [
        pytest.param(SchedulingState(), set(), id="no cube"),
        pytest.param(
            SchedulingState(cube=1, picture_request=1), {PICTURE}, id="cube without wavelengths"
        ),
        pytest.param(
            SchedulingState(cube=1, picture_request=1, strokes=1, segmentation_request=1),
            {PICTURE, SPECTRA},
            id="strokes on a cube without wavelengths",
        ),
        pytest.param(OPENED, {PICTURE, PRECOMPUTING}, id="cube with wavelengths"),
        pytest.param(
            with_features(OPENED, FeatureLevel.PREVIEW),
            {PICTURE, PRECOMPUTING},
            id="features of a reduced cube",
        ),
        pytest.param(
            with_features(OPENED, FeatureLevel.FILTER_BANK),
            {PICTURE, PRECOMPUTING, EMBEDDING},
            id="features of the whole cube",
        ),
        pytest.param(
            replace(OPENED, display_mode=DisplayMode.THREE_BANDS),
            {PICTURE, PRECOMPUTING},
            id="three bands",
        ),
        pytest.param(
            replace(OPENED, display_mode=DisplayMode.SINGLE_BAND),
            {PRECOMPUTING},
            id="a single band needs no picture",
        ),
        pytest.param(
            replace(OPENED, display_mode=DisplayMode.EMBEDDING),
            {PRECOMPUTING},
            id="no picture of the embedding before there is one",
        ),
        pytest.param(
            replace(OPENED, display_mode=DisplayMode.EMBEDDING, embedding=1),
            {PICTURE, PRECOMPUTING},
            id="picture of the embedding",
        ),
        pytest.param(
            REQUESTED, {PICTURE, SPECTRA, PRECOMPUTING}, id="strokes before there are features"
        ),
        pytest.param(
            with_features(LABELLED, FeatureLevel.FILTER_BANK),
            {PICTURE, SPECTRA, PRECOMPUTING, EMBEDDING},
            id="strokes, but no segmentation requested",
        ),
        pytest.param(
            with_features(replace(REQUESTED, can_segment=False), FeatureLevel.FILTER_BANK),
            {PICTURE, SPECTRA, PRECOMPUTING, EMBEDDING},
            id="strokes of one class",
        ),
        pytest.param(
            with_features(REQUESTED, FeatureLevel.PREVIEW),
            {PICTURE, SPECTRA, PRECOMPUTING, SEGMENTING},
            id="coarse segmentation",
        ),
        pytest.param(
            with_features(REQUESTED, FeatureLevel.FILTER_BANK),
            {PICTURE, SPECTRA, PRECOMPUTING, EMBEDDING, SEGMENTING},
            id="segmentation without the network",
        ),
        pytest.param(
            with_features(REQUESTED, FeatureLevel.EXACT, network=1),
            {PICTURE, SPECTRA, PRECOMPUTING, EMBEDDING, SEGMENTING},
            id="segmentation with the network",
        ),
        pytest.param(
            replace(OPENED, segmentation_request=1, can_segment=True, model=3),
            {PICTURE, PRECOMPUTING, SEGMENTING},
            id="a loaded predictor needs neither strokes nor features",
        ),
    ],
)
def test_wanted_kinds(state, kinds):
    assert {job.kind for job in wanted_jobs(state)} == kinds


def changed_kinds(before, after):
    """Kinds of the jobs that have to run in `after` and did not in `before`."""
    return {job.kind for job in set(wanted_jobs(after)) - set(wanted_jobs(before))}


BANK = with_features(REQUESTED, FeatureLevel.FILTER_BANK)
TURBO = with_features(REQUESTED, FeatureLevel.TURBO, network=1)
EXACT = with_features(REQUESTED, FeatureLevel.EXACT, network=1)
LOADED = replace(BANK, model=3)


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        pytest.param(EXACT, EXACT, set(), id="nothing changed"),
        pytest.param(
            EXACT,
            replace(EXACT, cube=2),
            {PICTURE, SPECTRA, PRECOMPUTING, EMBEDDING, SEGMENTING},
            id="another cube",
        ),
        pytest.param(
            EXACT,
            replace(EXACT, strokes=2, segmentation_request=2),
            {SPECTRA, SEGMENTING},
            id="a stroke computes no features",
        ),
        pytest.param(
            EXACT, replace(EXACT, strokes=2), {SPECTRA}, id="a stroke without automatic mode"
        ),
        pytest.param(
            EXACT, replace(EXACT, segmentation_request=2), {SEGMENTING}, id="segmentation requested"
        ),
        pytest.param(BANK, TURBO, {SEGMENTING}, id="approximate embedding added"),
        pytest.param(TURBO, EXACT, {SEGMENTING}, id="exact embedding added"),
        pytest.param(
            EXACT,
            with_features(replace(EXACT, network=2), FeatureLevel.FILTER_BANK),
            {EMBEDDING, SEGMENTING},
            id="another network",
        ),
        pytest.param(
            EXACT,
            replace(EXACT, network=2),
            {EMBEDDING},
            id="a fine-tuned network; the segmentation stays until its features are computed",
        ),
        pytest.param(
            replace(EXACT, network=2),
            with_features(replace(EXACT, network=2), FeatureLevel.TURBO, network=2),
            {SEGMENTING},
            id="features of a fine-tuned network",
        ),
        pytest.param(
            LOADED,
            with_features(LOADED, FeatureLevel.EXACT, network=1),
            set(),
            id="better features do not replace the segmentation of a loaded predictor",
        ),
        pytest.param(
            LOADED,
            replace(LOADED, model=0, segmentation_request=2),
            {SEGMENTING},
            id="a stroke after loading a predictor",
        ),
        pytest.param(
            OPENED, replace(OPENED, picture_request=2), {PICTURE}, id="another picture requested"
        ),
        pytest.param(
            replace(OPENED, display_mode=DisplayMode.EMBEDDING, embedding=1),
            replace(OPENED, display_mode=DisplayMode.EMBEDDING, embedding=2),
            {PICTURE},
            id="the displayed embedding became better",
        ),
        pytest.param(
            OPENED, replace(OPENED, embedding=2), set(), id="an embedding that is not displayed"
        ),
    ],
)
def test_changes_of_state_that_require_a_job(before, after, kinds):
    assert changed_kinds(before, after) == kinds


def test_at_most_one_job_of_a_kind_is_wanted():
    kinds = [job.kind for job in wanted_jobs(EXACT)]

    assert len(kinds) == len(set(kinds))
