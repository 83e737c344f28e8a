"""A late result never overwrites a newer one, in whatever order jobs come back."""

from __future__ import annotations

import pytest

from carl.errors import Cancelled
from napari_carl.jobs import JobKind, Jobs, JobState


@pytest.fixture
def tasks(runner):
    return Jobs(runner)


def test_result_reaches_its_taker(tasks, runner):
    taken = []
    tasks.start(JobKind.SEGMENTING, lambda progress: "map", taken.append)
    assert tasks.state(JobKind.SEGMENTING) == JobState()

    runner.go(JobKind.SEGMENTING)

    assert taken == ["map"]
    assert tasks.state(JobKind.SEGMENTING) is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_late_result_of_an_older_job_is_dropped(tasks, runner, order):
    taken = []
    tasks.start(JobKind.SEGMENTING, lambda progress: "older", taken.append)
    tasks.start(JobKind.SEGMENTING, lambda progress: "newer", taken.append)
    older, newer = runner.of(JobKind.SEGMENTING)

    for index in order:
        (older, newer)[index].go()

    assert taken == ["newer"]


def test_older_job_leaves_the_state_of_the_newer_alone(tasks, runner):
    tasks.start(JobKind.SEGMENTING, lambda progress: progress(0.9, "older"), lambda _: None)
    tasks.start(JobKind.SEGMENTING, lambda progress: None, lambda _: None)

    runner.of(JobKind.SEGMENTING)[0].go()

    assert tasks.state(JobKind.SEGMENTING) == JobState()


def test_kinds_do_not_disturb_each_other(tasks, runner):
    taken = []
    tasks.start(JobKind.EMBEDDING, lambda progress: "features", taken.append)
    tasks.start(JobKind.SEGMENTING, lambda progress: "map", taken.append)

    runner.go(JobKind.SEGMENTING)
    runner.go(JobKind.EMBEDDING)

    assert taken == ["map", "features"]


def test_cancelled_job_brings_nothing_even_if_it_ends_well(tasks, runner):
    taken, failures = [], []
    tasks.failed.connect(failures.append)
    tasks.start(JobKind.SEGMENTING, lambda progress: "map", taken.append)

    tasks.cancel(JobKind.SEGMENTING)
    runner.go(JobKind.SEGMENTING)

    assert runner.of(JobKind.SEGMENTING)[0].cancelled
    assert tasks.state(JobKind.SEGMENTING) is None
    assert (taken, failures) == ([], [])


def test_cancel_without_a_name_calls_everything_off(tasks, runner):
    tasks.start(JobKind.EMBEDDING, lambda progress: None, lambda _: None)
    tasks.start(JobKind.SEGMENTING, lambda progress: None, lambda _: None)

    tasks.cancel()

    assert all(job.cancelled for job in runner.jobs)
    assert tasks.state(JobKind.EMBEDDING) is tasks.state(JobKind.SEGMENTING) is None


def test_errors_are_told_but_not_that_of_a_cancelled_job(tasks, runner):
    failures = []
    tasks.failed.connect(failures.append)

    def fail(error):
        def job(progress):
            raise error

        return job

    tasks.start(JobKind.SEGMENTING, fail(Cancelled("Called off.")), lambda _: None)
    runner.go(JobKind.SEGMENTING)
    assert failures == []

    error = ValueError("broken")
    tasks.start(JobKind.SEGMENTING, fail(error), lambda _: None)
    runner.go(JobKind.SEGMENTING)
    assert failures == [error]
    assert tasks.state(JobKind.SEGMENTING) is None


def test_progress_is_the_state_and_is_told(tasks, runner):
    seen = []
    tasks.changed.connect(lambda task: seen.append((task, tasks.state(task))))
    tasks.start(JobKind.SEGMENTING, lambda progress: progress(0.5, "half"), lambda _: None)

    runner.go(JobKind.SEGMENTING)

    assert seen == [
        (JobKind.SEGMENTING, JobState()),
        (JobKind.SEGMENTING, JobState(0.5, "half")),
        (JobKind.SEGMENTING, None),
    ]
