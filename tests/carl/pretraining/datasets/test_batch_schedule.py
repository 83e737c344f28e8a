from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from carl.pretraining.datasets.batch_schedule import BatchPlan, BatchSchedule, ScheduledBatches

CAMERAS = st.lists(st.tuples(st.integers(1, 60), st.floats(0.05, 5)), min_size=1, max_size=5)


def batches(
    lengths: list[int], weights: list[float], *, n: int, n_crops: int, world: int, seed: int,
    per_epoch: int | None = None, start: int = 0,
) -> list[list[BatchPlan]]:  # fmt: skip
    """Return the batches of each process from some epoch on."""
    per_epoch = per_epoch or n
    found = []
    for rank in range(world):
        schedule = BatchSchedule(lengths, weights, n_crops * world, seed)
        sampler = ScheduledBatches(
            schedule, n_batches=n, per_epoch=per_epoch, crops_per_process=n_crops, rank=rank
        )
        own = []
        for epoch in range(start, -(-n // per_epoch)):
            sampler.set_epoch(epoch)
            own.extend(sampler)
        found.append(own)
    return found


@given(cameras=CAMERAS, seed=st.integers(0, 2**31), n=st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_batches_of_each_camera_are_proportional_to_its_weight(
    cameras: list[tuple[int, float]], seed: int, n: int
) -> None:
    lengths, weights = zip(*cameras, strict=True)
    chosen = BatchSchedule(lengths, weights, 4, seed).cameras(n)
    for start in range(0, n, max(1, n // 3)):
        stretch = chosen[start:]
        counts = np.bincount(stretch, minlength=len(lengths))
        wanted = np.array(weights) / sum(weights) * len(stretch)
        assert np.abs(counts - wanted).max() <= 4  # a sequence of low discrepancy: O(log n)


@given(
    cameras=CAMERAS,
    seed=st.integers(0, 2**31),
    n_crops=st.integers(1, 5),
    world=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_every_image_is_used_before_any_is_repeated(
    cameras: list[tuple[int, float]], seed: int, n_crops: int, world: int
) -> None:
    """No data set is truncated to the shortest, and processes use disjoint items."""
    lengths, weights = map(list, zip(*cameras, strict=True))
    ranks = batches(lengths, weights, n=200, n_crops=n_crops, world=world, seed=seed)
    for camera, length in enumerate(lengths):
        used: list[int] = []
        for plans in zip(*ranks, strict=True):
            assert len({(plan.position, plan.camera) for plan in plans}) == 1  # one camera for all
            assert [plan.first for plan in plans] == [rank * n_crops for rank in range(world)]
            if plans[0].camera == camera:
                items = [item for plan in plans for item in plan.items]
                assert len(items) == n_crops * world
                used.extend(items)
        for start in range(0, len(used) - length + 1, length):
            assert sorted(used[start : start + length]) == list(range(length))


@given(
    cameras=CAMERAS,
    seed=st.integers(0, 2**31),
    per_epoch=st.integers(1, 40),
    start=st.integers(0, 4),
)
@settings(max_examples=40, deadline=None)
def test_later_epochs_continue_the_schedule(
    cameras: list[tuple[int, float]], seed: int, per_epoch: int, start: int
) -> None:
    lengths, weights = map(list, zip(*cameras, strict=True))
    whole = batches(lengths, weights, n=90, n_crops=3, world=2, seed=seed)
    later = batches(
        lengths, weights, n=90, n_crops=3, world=2, seed=seed, per_epoch=per_epoch, start=start
    )
    for one, other in zip(whole, later, strict=True):
        assert other == one[start * per_epoch :]


def test_longer_runs_start_with_the_same_batches_and_seeds_differ() -> None:
    short, long = (batches([9, 4], [1, 2], n=n, n_crops=2, world=1, seed=1)[0] for n in (30, 60))
    assert long[:30] == short
    assert batches([9, 4], [1, 2], n=30, n_crops=2, world=1, seed=2)[0] != short


def test_order_of_images_differs_between_passes() -> None:
    plans = batches([8], [1.0], n=20, n_crops=8, world=1, seed=0)[0]
    assert len({plan.items for plan in plans}) > 15
    assert Counter(item for plan in plans for item in plan.items) == dict.fromkeys(range(8), 20)
