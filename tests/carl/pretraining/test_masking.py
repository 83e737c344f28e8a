from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.overrides import TorchFunctionMode

from carl.errors import ModelError
from carl.pretraining.masking import SpatialMasking, SpectralMasking, indices, random_blocks


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def extent(index: Tensor, width: int) -> tuple[int, int]:
    """Return (height, width) of the bounding box of patches."""
    rows, columns = index // width, index % width
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


@given(seed=st.integers(0, 10**6), height=st.integers(4, 20), width=st.integers(4, 20))
@settings(max_examples=40, deadline=None)
def test_targets_are_rectangles_and_context_is_not_empty(
    seed: int, height: int, width: int
) -> None:
    masking = SpatialMasking()
    masks = masking(3, (height, width), seeded(seed))
    n_patches = height * width
    assert masks.targets.shape[:2] == (2, 3)
    assert masks.context.shape[0] == 3
    for target in masks.targets.flatten(0, 1):
        tall, wide = extent(target, width)
        assert tall * wide == len(target) == len(target.unique())
        assert len(target) < n_patches
    assert masks.context.shape[1] > 0
    assert bool((masks.context.diff(dim=1) > 0).all())
    assert int(masks.context.max()) < n_patches


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_context_and_targets_are_disjoint_on_16_by_16_patches(seed: int) -> None:
    masks = SpatialMasking()(4, (16, 16), seeded(seed))
    for image in range(4):
        context = set(masks.context[image].tolist())
        assert len(context) > 4
        assert not context & set(masks.targets[:, image].flatten().tolist())


def test_fractions_of_visible_and_hidden_patches() -> None:
    draws = [SpatialMasking()(1, (24, 24), seeded(seed)) for seed in range(200)]
    fractions = torch.tensor([mask.targets.shape[2] / 576 for mask in draws])
    assert 0.27 < float(fractions.min()) < 0.33
    assert 0.45 < float(fractions.max()) < 0.53  # whole sides: ±2 %
    free = [SpatialMasking(allow_overlap=True)(1, (24, 24), seeded(seed)) for seed in range(200)]
    fractions = torch.tensor([mask.context.shape[1] / 576 for mask in free])
    assert 0.47 < float(fractions.min()) < 0.55
    assert 0.7 < float(fractions.max()) < 0.78


def test_large_targets_may_be_visible_if_context_would_be_too_small() -> None:
    masking = SpatialMasking(pred_mask_scale=(0.9, 0.95), min_keep=20)
    masks = masking(2, (8, 8), seeded(0))
    assert masks.context.shape[1] > 20


@given(seed=st.integers(0, 10**6), n_bands=st.integers(20, 224))
@settings(max_examples=40, deadline=None)
def test_two_contiguous_ranges_of_bands_are_hidden(seed: int, n_bands: int) -> None:
    masks = SpectralMasking()(6, n_bands, seeded(seed))
    n_dropped = masks.targets.shape[2]
    assert masks.targets.shape[:2] == (2, 6)
    assert int(0.15 * n_bands) <= n_dropped <= int(0.3 * n_bands)
    assert torch.equal(
        masks.targets, masks.targets[..., :1] + torch.arange(n_dropped).expand(2, 6, -1)
    )
    assert masks.context.shape[1] >= n_bands - 2 * n_dropped
    for patch in range(6):
        dropped = set(masks.targets[:, patch].flatten().tolist())
        assert not dropped & set(masks.context[patch].tolist())


@pytest.mark.parametrize(
    ("n_bands", "sizes"), [(2, {1}), (3, {1}), (6, {2}), (9, {2, 3}), (12, {2, 3}), (19, {2, 3})]
)
def test_one_short_range_is_hidden_from_few_bands(n_bands: int, sizes: set[int]) -> None:
    drawn = [SpectralMasking()(5, n_bands, seeded(seed)) for seed in range(20)]
    assert {mask.targets.shape[2] for mask in drawn} == sizes
    for mask in drawn:
        assert mask.targets.shape[0] == 1
        assert mask.context.shape[1] == n_bands - mask.targets.shape[2]


def test_single_band_is_refused() -> None:
    with pytest.raises(ModelError, match="two bands"):
        SpectralMasking()(4, 1)


def test_masks_differ_between_patches_and_are_reproducible_by_seed() -> None:
    first, again, other = (SpectralMasking()(64, 60, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.targets, again.targets)
    assert torch.equal(first.context, again.context)
    assert not torch.equal(first.context, other.context)
    assert len(first.targets[0, :, 0].unique()) > 10


def test_blocks_are_drawn_at_every_position() -> None:
    blocks = random_blocks((2, 3), (4, 5), (500,), seeded(0))
    assert blocks.shape == (500, 4, 5)
    assert torch.equal(blocks.sum(dim=(1, 2)), torch.full((500,), 6))
    assert blocks.any(dim=0).all()
    assert len(blocks.flatten(1).unique(dim=0)) == 9


def test_surplus_indices_are_dropped_uniformly() -> None:
    mask = torch.ones(2000, 4, dtype=torch.bool)
    mask[0, 2:] = False
    chosen = indices(mask, seeded(0))
    assert chosen[0].tolist() == [0, 1]
    assert bool((chosen[:, 0] < chosen[:, 1]).all())
    counts = torch.bincount(chosen[1:].flatten(), minlength=4)
    assert bool(((counts > 900) & (counts < 1100)).all())


class CallCounter(TorchFunctionMode):
    """Counts the calls of functions of PyTorch."""

    n_calls = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.n_calls += 1
        return func(*args, **(kwargs or {}))


def test_masks_of_a_batch_are_drawn_without_a_loop_over_it() -> None:
    def n_calls(batch_size: int) -> int:
        with CallCounter() as counter:
            masks = SpatialMasking()(batch_size, (16, 16), seeded(0))
            SpectralMasking()(masks.context.numel(), 224, seeded(0))
        return counter.n_calls

    assert 0 < n_calls(64) < 2 * n_calls(2)
