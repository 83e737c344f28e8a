"""Draw the masks of CARL-SSL: visible and hidden patches, visible and hidden bands.

All masks of a step are drawn at once. All sequences of a step have the same length, because the
network processes them as a batch: surplus tokens of longer sequences are dropped at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor

from carl.errors import ModelError

_CANDIDATES = 32
"""Number of random positions tried per context block, to find one with enough visible patches."""
_FEW_BANDS = 20
"""Number of bands below which a single range of `_FEW_DROPPED` bands is dropped."""
_FEW_DROPPED = (2, 3)
"""Smallest and largest number of bands dropped from cameras with few bands."""

T = TypeVar("T", bound=tuple[Any, ...])


class SpatialMasks(NamedTuple):
    """Masks over the patches of B images.

    Attributes:
        context: (B, n) indices of the visible patches, ascending.
        targets: (T, B, m) indices of the patches of each target block, ascending.

    Examples:
        >>> import torch
        >>> from carl.pretraining import SpatialMasks
        >>> SpatialMasks(torch.tensor([[0, 1]]), torch.tensor([[[2, 3]]]))  # of 2 × 2 patches
        SpatialMasks(context=tensor([[0, 1]]), targets=tensor([[[2, 3]]]))
    """

    context: Tensor
    targets: Tensor


class SpectralMasks(NamedTuple):
    """Masks over the bands of N patches.

    Attributes:
        context: (N, c) indices of the visible bands, ascending.
        targets: (T, N, d) indices of the bands of each dropped range, ascending.

    Examples:
        >>> import torch
        >>> from carl.pretraining import SpectralMasks
        >>> SpectralMasks(torch.tensor([[0, 3]]), torch.tensor([[[1, 2]]]))  # of 4 bands
        SpectralMasks(context=tensor([[0, 3]]), targets=tensor([[[1, 2]]]))
    """

    context: Tensor
    targets: Tensor


@dataclass(frozen=True)
class SpatialMasking:
    """Masking with one context block per image, minus target blocks.

    The masking of I-JEPA (Assran et al. 2023, "Self-supervised learning from images with a
    joint-embedding predictive architecture").

    Attributes:
        enc_mask_scale: smallest and largest fraction of the image in the square context block.
        pred_mask_scale: smallest and largest fraction of the image in a target block.
        aspect_ratio: smallest and largest height / width of a target block.
        npred: T, target blocks per image.
        min_keep: the context should have more visible patches than this.
        allow_overlap: whether patches of the targets may be visible.

    Examples:
        >>> from carl.pretraining import SpatialMasking
        >>> masks = SpatialMasking(npred=3)(batch=2, grid=(14, 14))
        >>> masks.targets.shape[:2]  # (T, B, m)
        torch.Size([3, 2])
    """

    enc_mask_scale: tuple[float, float] = (0.5, 0.75)
    pred_mask_scale: tuple[float, float] = (0.3, 0.5)
    aspect_ratio: tuple[float, float] = (0.75, 1.5)
    npred: int = 2
    min_keep: int = 4
    allow_overlap: bool = False

    def __call__(
        self, batch: int, grid: tuple[int, int], generator: Generator | None = None
    ) -> SpatialMasks:
        """Draw masks for a batch of images.

        Args:
            batch: B, number of images.
            grid: (h, w), patches.
            generator: random generator on the CPU.
        """
        target_size = _block_size(
            grid,
            _uniform(self.pred_mask_scale, generator),
            _uniform(self.aspect_ratio, generator),
        )
        context_size = _block_size(grid, _uniform(self.enc_mask_scale, generator), 1.0)
        targets = random_blocks(target_size, grid, (self.npred, batch), generator)
        candidates = random_blocks(context_size, grid, (_CANDIDATES, batch), generator)
        context = self._context(candidates, targets)
        return SpatialMasks(
            indices(context.flatten(1), generator), indices(targets.flatten(2), generator)
        )

    def _context(self, candidates: Tensor, targets: Tensor) -> Tensor:
        """Choose (B, h, w) contexts: per image, the first candidate with enough visible patches.

        Targets are subtracted from the (M, B, h, w) candidates. If no candidate has enough patches
        left, fewer and fewer targets are subtracted.
        """
        n_avoided = 0 if self.allow_overlap else len(targets)
        levels = torch.stack(
            [candidates & ~targets[:n].any(dim=0) for n in range(n_avoided, -1, -1)]
        )
        options = levels.flatten(0, 1)  # ordered by preference
        counts = options.sum(dim=(2, 3))
        enough = counts > self.min_keep
        choice = torch.where(enough.any(dim=0), enough.int().argmax(dim=0), counts.argmax(dim=0))
        return options[choice, torch.arange(options.shape[1])]


@dataclass(frozen=True)
class SpectralMasking:
    """Masking that drops contiguous ranges of bands from every patch.

    With fewer than 20 bands, a single range of 2 or 3 bands is dropped, and at most a third of all.

    Attributes:
        pred_mask_scale: smallest and largest fraction of the bands in a range.
        npred: T, ranges per patch.

    Examples:
        >>> from carl.pretraining import SpectralMasking
        >>> masks = SpectralMasking((0.25, 0.25))(n_patches=5, n_bands=40)
        >>> masks.targets.shape  # (T, N, d)
        torch.Size([2, 5, 10])
    """

    pred_mask_scale: tuple[float, float] = (0.15, 0.3)
    npred: int = 2

    def __call__(
        self, n_patches: int, n_bands: int, generator: Generator | None = None
    ) -> SpectralMasks:
        """Draw masks for patches of one camera.

        Args:
            n_patches: N.
            n_bands: C; bands are assumed to be in order of wavelength.
            generator: random generator on the CPU.

        Raises:
            ModelError: there is only one band.
        """
        if n_bands < 2:
            raise ModelError("Self-supervision needs at least two bands, to hide one of them.")
        if n_bands < _FEW_BANDS:
            low, high = _FEW_DROPPED
            drawn = int(torch.randint(low, high + 1, (), generator=generator))
            n_ranges, size = 1, min(drawn, max(1, n_bands // 3))
        else:
            fraction = _uniform(self.pred_mask_scale, generator)
            n_ranges, size = self.npred, max(1, int(fraction * n_bands))
        shape = (n_ranges, n_patches)
        dropped = random_blocks((1, size), (1, n_bands), shape, generator).squeeze(2)
        return SpectralMasks(indices(~dropped.any(dim=0), generator), indices(dropped, generator))


def to_device(masks: T, device: torch.device) -> T:
    """Copy the tensors of a named tuple, and of those that it contains, to a device."""
    return type(masks)(
        *(
            each.to(device) if isinstance(each, Tensor) else to_device(each, device)
            for each in masks
        )
    )


def random_blocks(
    size: tuple[int, int],
    grid: tuple[int, int],
    shape: tuple[int, ...],
    generator: Generator | None = None,
) -> Tensor:
    """Draw random positions of blocks of one size: (*shape, *grid) masks, True inside."""
    inside = []
    for length, extent in zip(size, grid, strict=True):
        start = torch.randint(0, extent - length + 1, shape, generator=generator)[..., None]
        position = torch.arange(extent)
        inside.append((position >= start) & (position < start + length))
    rows, columns = inside
    return rows[..., :, None] & columns[..., None, :]


def indices(mask: Tensor, generator: Generator | None = None) -> Tensor:
    """Return (..., n) ascending indices at which each row of a mask (..., L) is True.

    n is the smallest number of True values in any row; rows with more lose indices at random.
    """
    n = int(mask.sum(dim=-1).min())
    order = torch.rand(mask.shape, generator=generator).masked_fill(~mask, 2.0)
    return order.argsort(dim=-1)[..., :n].sort(dim=-1).values


def _block_size(grid: tuple[int, int], fraction: float, aspect_ratio: float) -> tuple[int, int]:
    """Return (height, width) of a block that covers a fraction of the grid but no whole side."""
    area = fraction * grid[0] * grid[1]
    sides = math.sqrt(area * aspect_ratio), math.sqrt(area / aspect_ratio)
    height, width = (
        min(max(round(side), 1), max(extent - 1, 1))
        for side, extent in zip(sides, grid, strict=True)
    )
    return height, width


def _uniform(limits: tuple[float, float], generator: Generator | None) -> float:
    low, high = limits
    return low + (high - low) * float(torch.rand((), generator=generator))
