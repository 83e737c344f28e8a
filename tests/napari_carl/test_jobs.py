"""Results of replaced and cancelled jobs are dropped, in whatever order jobs end."""

from __future__ import annotations

import pytest

from carl.errors import Cancelled
from napari_carl.jobs import JobKind, Jobs, JobState


@pytest.fixture
def jobs(runner):
    return Jobs(runner)


def test_a_result_is_passed_on(jobs, runner):
    taken = []
    jobs.start(JobKind.SEGMENTING, lambda progress: "map", taken.append)
    assert jobs.state(JobKind.SEGMENTING) == JobState()

    runner.go(JobKind.SEGMENTING)

    assert taken == ["map"]
    assert jobs.state(JobKind.SEGMENTING) is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_late_result_of_an_older_job_is_dropped(jobs, runner, order):
    taken = []
    jobs.start(JobKind.SEGMENTING, lambda progress: "older", taken.append)
    jobs.start(JobKind.SEGMENTING, lambda progress: "newer", taken.append)
    older, newer = runner.of(JobKind.SEGMENTING)

    for index in order:
        (older, newer)[index].go()

    assert taken == ["newer"]


def test_an_older_job_does_not_change_the_state_of_a_newer_one(jobs, runner):
    jobs.start(JobKind.SEGMENTING, lambda progress: progress(0.9, "older"), lambda _: None)
    jobs.start(JobKind.SEGMENTING, lambda progress: None, lambda _: None)

    runner.of(JobKind.SEGMENTING)[0].go()

    assert jobs.state(JobKind.SEGMENTING) == JobState()


def test_kinds_are_independent(jobs, runner):
    taken = []
    jobs.start(JobKind.EMBEDDING, lambda progress: "features", taken.append)
    jobs.start(JobKind.SEGMENTING, lambda progress: "map", taken.append)

    runner.go(JobKind.SEGMENTING)
    runner.go(JobKind.EMBEDDING)

    assert taken == ["map", "features"]


def test_the_result_of_a_cancelled_job_is_dropped(jobs, runner):
    taken, failures = [], []
    jobs.failed.connect(lambda *failure: failures.append(failure))
    jobs.start(JobKind.SEGMENTING, lambda progress: "map", taken.append)

    jobs.cancel(JobKind.SEGMENTING)
    runner.go(JobKind.SEGMENTING)

    assert runner.of(JobKind.SEGMENTING)[0].cancelled
    assert jobs.state(JobKind.SEGMENTING) is None
    assert (taken, failures) == ([], [])


def test_several_kinds_are_cancelled_at_once(jobs, runner):
    jobs.start(JobKind.EMBEDDING, lambda progress: None, lambda _: None)
    jobs.start(JobKind.SEGMENTING, lambda progress: None, lambda _: None)

    jobs.cancel(JobKind.EMBEDDING, JobKind.SEGMENTING)

    assert all(job.cancelled for job in runner.jobs)
    assert jobs.state(JobKind.EMBEDDING) is jobs.state(JobKind.SEGMENTING) is None


def test_errors_are_reported_but_not_cancellations(jobs, runner):
    failures = []
    jobs.failed.connect(lambda *failure: failures.append(failure))

    def fail(error):
        def job(progress):
            raise error

        return job

    jobs.start(JobKind.SEGMENTING, fail(Cancelled("Cancelled.")), lambda _: None)
    runner.go(JobKind.SEGMENTING)
    assert failures == []

    error = ValueError("broken")
    jobs.start(JobKind.SEGMENTING, fail(error), lambda _: None)
    runner.go(JobKind.SEGMENTING)
    assert failures == [(JobKind.SEGMENTING, error)]
    assert jobs.state(JobKind.SEGMENTING) is None


def test_progress_changes_the_state(jobs, runner):
    seen = []
    jobs.changed.connect(lambda kind: seen.append((kind, jobs.state(kind))))
    jobs.start(JobKind.SEGMENTING, lambda progress: progress(0.5, "half"), lambda _: None)

    runner.go(JobKind.SEGMENTING)

    assert seen == [
        (JobKind.SEGMENTING, JobState()),
        (JobKind.SEGMENTING, JobState(0.5, "half")),
        (JobKind.SEGMENTING, None),
    ]
