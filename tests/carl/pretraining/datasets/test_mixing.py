from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from carl.pretraining.datasets.mixing import BatchPlan, MixedBatches, Mixture

CAMERAS = st.lists(st.tuples(st.integers(1, 60), st.floats(0.05, 5)), min_size=1, max_size=5)


def batches(
    lengths: list[int], weights: list[float], *, n: int, share: int, world: int, seed: int,
    part: int | None = None, start: int = 0,
) -> list[list[BatchPlan]]:  # fmt: skip
    """The batches of each process from some part on."""
    part = part or n
    found = []
    for rank in range(world):
        mixture = Mixture(lengths, weights, share * world, seed)
        sampler = MixedBatches(mixture, n_batches=n, part=part, share=share, rank=rank)
        mine = []
        for epoch in range(start, -(-n // part)):
            sampler.set_epoch(epoch)
            mine.extend(sampler)
        found.append(mine)
    return found


@given(cameras=CAMERAS, seed=st.integers(0, 2**31), n=st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_each_camera_has_its_share_over_any_stretch(
    cameras: list[tuple[int, float]], seed: int, n: int
) -> None:
    lengths, weights = zip(*cameras, strict=True)
    chosen = Mixture(lengths, weights, 4, seed).cameras(n)
    for start in range(0, n, max(1, n // 3)):
        stretch = chosen[start:]
        counts = np.bincount(stretch, minlength=len(lengths))
        wanted = np.array(weights) / sum(weights) * len(stretch)
        assert np.abs(counts - wanted).max() <= 4  # a sequence of low discrepancy: O(log n)


@given(
    cameras=CAMERAS,
    seed=st.integers(0, 2**31),
    share=st.integers(1, 5),
    world=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_every_image_is_shown_before_any_comes_again(
    cameras: list[tuple[int, float]], seed: int, share: int, world: int
) -> None:
    """No set is cut to the shortest, and processes share out what there is."""
    lengths, weights = map(list, zip(*cameras, strict=True))
    ranks = batches(lengths, weights, n=200, share=share, world=world, seed=seed)
    for camera, length in enumerate(lengths):
        shown: list[int] = []
        for plans in zip(*ranks, strict=True):
            assert len({(plan.position, plan.camera) for plan in plans}) == 1  # one camera for all
            assert [plan.first for plan in plans] == [rank * share for rank in range(world)]
            if plans[0].camera == camera:
                items = [item for plan in plans for item in plan.items]
                assert len(items) == share * world
                shown.extend(items)
        for start in range(0, len(shown) - length + 1, length):
            assert sorted(shown[start : start + length]) == list(range(length))


@given(
    cameras=CAMERAS,
    seed=st.integers(0, 2**31),
    part=st.integers(1, 40),
    start=st.integers(0, 4),
)
@settings(max_examples=40, deadline=None)
def test_it_goes_on_where_it_was(
    cameras: list[tuple[int, float]], seed: int, part: int, start: int
) -> None:
    lengths, weights = map(list, zip(*cameras, strict=True))
    whole = batches(lengths, weights, n=90, share=3, world=2, seed=seed)
    later = batches(lengths, weights, n=90, share=3, world=2, seed=seed, part=part, start=start)
    for one, other in zip(whole, later, strict=True):
        assert other == one[start * part :]


def test_longer_runs_begin_the_same_and_seeds_differ() -> None:
    short, long = (batches([9, 4], [1, 2], n=n, share=2, world=1, seed=1)[0] for n in (30, 60))
    assert long[:30] == short
    assert batches([9, 4], [1, 2], n=30, share=2, world=1, seed=2)[0] != short


def test_passes_differ_in_their_order() -> None:
    plans = batches([8], [1.0], n=20, share=8, world=1, seed=0)[0]
    assert len({plan.items for plan in plans}) > 15
    assert Counter(item for plan in plans for item in plan.items) == dict.fromkeys(range(8), 20)
