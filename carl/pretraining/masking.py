"""What the student sees and what it has to tell: masks over patches and over bands.

All masks of a step are drawn at once. Sequences of a step have one length, as the network takes
them in batches; where masks would leave more, the surplus is left out at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from carl.errors import ModelError

_CANDIDATES = 32
"""Places tried for each context block, so that enough of it lies beside the targets."""
_FEW_BANDS = 20
"""Cameras with fewer bands have a single range of `_FEW_DROPPED` bands dropped."""
_FEW_DROPPED = (2, 3)


@dataclass(frozen=True, eq=False)
class SpatialMasks:
    """Masks over the patches of B images.

    Attributes:
        context: (B, n) indices of the patches the student sees, rising.
        targets: (T, B, m) indices of the patches of each target block, rising.
    """

    context: Tensor
    targets: Tensor


@dataclass(frozen=True, eq=False)
class SpectralMasks:
    """Masks over the bands of N patches.

    Attributes:
        context: (N, c) indices of the bands the student sees, rising.
        targets: (T, N, d) indices of the bands of each dropped range, rising.
    """

    context: Tensor
    targets: Tensor


@dataclass(frozen=True)
class SpatialMasking:
    """One context block per image, minus target blocks (as I-JEPA; Assran et al. 2023).

    Attributes:
        enc_mask_scale: least and greatest share of the image in the context block, a square.
        pred_mask_scale: least and greatest share of the image in a target block.
        aspect_ratio: least and greatest height over width of a target block.
        npred: T, target blocks per image.
        min_keep: the student should see more patches than this.
        allow_overlap: whether the student sees patches of the targets.
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
            batch: B, images.
            grid: (h, w), patches.
            generator: of random numbers, on the CPU.
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
        """(B, h, w): of each image's (M, B, h, w) candidates the first that leaves enough.

        Where none does beside all targets, the last targets are given up one by one.
        """
        n_avoided = 0 if self.allow_overlap else len(targets)
        levels = torch.stack(
            [candidates & ~targets[:n].any(dim=0) for n in range(n_avoided, -1, -1)]
        )
        options = levels.flatten(0, 1)  # in order of preference
        counts = options.sum(dim=(2, 3))
        enough = counts > self.min_keep
        choice = torch.where(enough.any(dim=0), enough.int().argmax(dim=0), counts.argmax(dim=0))
        return options[choice, torch.arange(options.shape[1])]


@dataclass(frozen=True)
class SpectralMasking:
    """Contiguous ranges of bands dropped from every patch.

    With fewer than 20 bands, a single range of 2 or 3 is dropped, never more than a third of them.

    Attributes:
        pred_mask_scale: least and greatest share of the bands in a range.
        npred: T, ranges per patch.
    """

    pred_mask_scale: tuple[float, float] = (0.15, 0.3)
    npred: int = 2

    def __call__(
        self, n_patches: int, n_bands: int, generator: Generator | None = None
    ) -> SpectralMasks:
        """Draw masks for patches of one camera.

        Args:
            n_patches: N.
            n_bands: C; the bands are taken to be in order of wavelength.
            generator: of random numbers, on the CPU.

        Raises:
            ModelError: there is but one band.
        """
        if n_bands < 2:
            raise ModelError("Self-supervision needs two bands at least, of which one is hidden.")
        if n_bands < _FEW_BANDS:
            low, high = _FEW_DROPPED
            drawn = int(torch.randint(low, high + 1, (), generator=generator))
            n_ranges, size = 1, min(drawn, max(1, n_bands // 3))
        else:
            share = _uniform(self.pred_mask_scale, generator)
            n_ranges, size = self.npred, max(1, int(share * n_bands))
        shape = (n_ranges, n_patches)
        dropped = random_blocks((1, size), (1, n_bands), shape, generator).squeeze(2)
        return SpectralMasks(indices(~dropped.any(dim=0), generator), indices(dropped, generator))


def random_blocks(
    size: tuple[int, int],
    grid: tuple[int, int],
    shape: tuple[int, ...],
    generator: Generator | None = None,
) -> Tensor:
    """Blocks of one size in random places: (*shape, *grid), True inside."""
    inside = []
    for length, extent in zip(size, grid, strict=True):
        start = torch.randint(0, extent - length + 1, shape, generator=generator)[..., None]
        position = torch.arange(extent)
        inside.append((position >= start) & (position < start + length))
    rows, columns = inside
    return rows[..., :, None] & columns[..., None, :]


def indices(mask: Tensor, generator: Generator | None = None) -> Tensor:
    """Where each row of a mask (..., L) is True: (..., n) indices, rising.

    n is the smallest count of any row; of the others, indices are left out at random.
    """
    n = int(mask.sum(dim=-1).min())
    order = torch.rand(mask.shape, generator=generator).masked_fill(~mask, 2.0)
    return order.argsort(dim=-1)[..., :n].sort(dim=-1).values


def _block_size(grid: tuple[int, int], share: float, aspect_ratio: float) -> tuple[int, int]:
    """(height, width) of a block that covers a share of the grid, never a whole side of it."""
    area = share * grid[0] * grid[1]
    sides = math.sqrt(area * aspect_ratio), math.sqrt(area / aspect_ratio)
    height, width = (
        min(max(round(side), 1), max(extent - 1, 1))
        for side, extent in zip(sides, grid, strict=True)
    )
    return height, width


def _uniform(limits: tuple[float, float], generator: Generator | None) -> float:
    low, high = limits
    return low + (high - low) * float(torch.rand((), generator=generator))
