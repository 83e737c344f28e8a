"""Local spectral statistics as a target: what a hand-made filter bank sees, from any camera.

Masked-feature methods predict histograms of gradients in hidden places (Wei et al. 2022, "Masked
feature prediction for self-supervised visual pre-training"). The like for spectra are the mean and
the spread of optical densities in neighbourhoods of several sizes, on a fixed grid of wavelengths.
They are computed from all bands of an image; the network has to tell them from the bands a random
camera shows, for patches it sees and for patches hidden from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.fft import dct
from torch import Generator, Tensor, nn

from carl.errors import CarlError
from carl.model.carl import CARL
from carl.spectra.resample import interpolation_matrix

RANGES_NM = ((400.0, 760.0), (800.0, 2300.0))
"""Ranges that are described each by itself, where the images cover them."""
_GRID = 24
_COMPONENTS = 8
N_COMPONENTS = _COMPONENTS * len(RANGES_NM)
"""Number of components of a spectrum: the slowest cosines over each range."""
_SLACK = 0.12
"""Share of a range that may be missing at its ends; the last band stands for it."""
_DARK = 0.02
_WHITE = 2.0
"""White is taken to be so many standard deviations above the mean of an image."""
_SIGMAS = (0.0, 0.75, 1.5, 2.5)
"""Sizes of the neighbourhoods, in patches; 0 is the patch itself."""
_LEAST_VARIANCE = 1e-6
_MEMORY = 0.99


def patch_moments(
    values: NDArray[np.float32],
    wavelengths: NDArray[np.float64],
    mean: float,
    std: float,
    patch_size: int,
) -> NDArray[np.float32]:
    """First and second moments, over every patch, of the components of its spectra.

    Args:
        values: (S, S, C) of all bands; what is missing is not finite.
        wavelengths: (C,) in nm, in any order.
        mean: of the whole image.
        std: of the whole image.
        patch_size: P, a divisor of S.

    Returns:
        (2·N_COMPONENTS, S/P, S/P); NaN for a range of wavelengths that is not covered.
    """
    white = max(mean + _WHITE * std, float(np.finfo(np.float32).tiny))
    density = -np.log(np.maximum(values / np.float32(white), 0) + np.float32(_DARK))
    parts = []
    for low, high in RANGES_NM:
        slack = _SLACK * (high - low)
        if wavelengths.min() > low + slack or wavelengths.max() < high - slack:
            parts.append(np.full((*values.shape[:2], _COMPONENTS), np.nan, np.float32))
            continue
        on_grid = density @ interpolation_matrix(wavelengths, np.linspace(low, high, _GRID))
        parts.append(dct(on_grid, axis=-1, norm="ortho")[..., :_COMPONENTS])
    components = np.concatenate(parts, axis=2)
    n = values.shape[0] // patch_size
    patches = components.reshape(n, patch_size, n, patch_size, -1)
    moments = np.concatenate([patches.mean(axis=(1, 3)), (patches**2).mean(axis=(1, 3))], axis=2)
    return np.ascontiguousarray(moments.transpose(2, 0, 1), np.float32)


class HiddenPatches(NamedTuple):
    """Which patches of B images are hidden.

    Attributes:
        visible: (B, h, w) False where a patch is hidden from the others.
    """

    visible: Tensor

    def of_images(self, images: slice) -> HiddenPatches:
        """The masks of some of the images."""
        return HiddenPatches(self.visible[images])

    def to(self, device: torch.device) -> HiddenPatches:
        """The same masks on another device."""
        return HiddenPatches(self.visible.to(device))


class StatisticsOutput(NamedTuple):
    """What one step told, and what it should have.

    Attributes:
        spatial: (B, T, h, w) statistics of all neighbourhoods, from the spatial features.
        spectral: (B, 2·N_COMPONENTS, h, w) those of the patch alone, from the spectral features.
        target: (B, T, h, w), the first 2·N_COMPONENTS those of the patch; NaN where unknown.
    """

    spatial: Tensor
    spectral: Tensor
    target: Tensor


class StatisticsLoss(NamedTuple):
    """The loss of one step.

    Attributes:
        total: sum of both.
        spatial: smooth L1 error of the statistics of all neighbourhoods, each of variance 1.
        spectral: that of the statistics of patches, from the patch alone.
    """

    total: Tensor
    spatial: Tensor
    spectral: Tensor


@dataclass(frozen=True)
class StatisticsMasking:
    """Patches hidden from the spatial encoder.

    Attributes:
        hidden: highest share; each step draws one from 0 to this.
    """

    hidden: float = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.hidden < 1:
            raise CarlError(f"statistics.hidden is {self.hidden}: it is a share below 1.")

    def __call__(
        self, batch: int, grid: tuple[int, int], generator: Generator | None = None
    ) -> HiddenPatches:
        """Draw masks for B images of (h, w) patches."""
        share = float(torch.rand((), generator=generator)) * self.hidden
        return HiddenPatches(torch.rand((batch, *grid), generator=generator) >= share)


class CARLStatistics(nn.Module):
    """The network and what tells statistics from its features.

    Args:
        student: the network to train.
        masking: how patches are hidden.
        hidden_dim: width of the perceptron on the spatial features.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(
        self, student: CARL, masking: StatisticsMasking | None = None, hidden_dim: int = 384
    ) -> None:
        super().__init__()
        self.student = student
        self.masking = masking or StatisticsMasking()
        d, n_targets = student.embed_dim, 2 * N_COMPONENTS * len(_SIGMAS)
        self.from_spatial = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, n_targets)
        )
        # From the patch alone a linear map has to do, so that the features themselves are telling.
        self.from_spectral = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * N_COMPONENTS))
        self.register_buffer("mean", torch.zeros(n_targets))
        self.register_buffer("variance", torch.ones(n_targets))
        self.register_buffer("count", torch.zeros(n_targets))

    def draw_masks(self, image: Tensor, generator: Generator | None = None) -> HiddenPatches:
        """Masks for one step on images (B, C, H, W), on their device."""
        size = self.student.patch_size
        grid = (-(-image.shape[2] // size), -(-image.shape[3] // size))
        return self.masking(len(image), grid, generator).to(image.device)

    def forward(
        self, image: Tensor, wavelengths_um: Tensor, masks: HiddenPatches, moments: Tensor
    ) -> StatisticsOutput:
        """Statistics as told by the network, and as they are.

        Args:
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.
            masks: of this step.
            moments: (B, 2·N_COMPONENTS, h, w) of `patch_moments`.

        Raises:
            ModelError: the image is not of that shape.
            WavelengthError: the wavelengths do not fit the image, or are not in µm.
        """
        n_patches = moments.shape[2] * moments.shape[3]
        features = self.student.spectral_features(
            image, wavelengths_um, patches_per_chunk=len(image) * n_patches
        )
        among_others = self.student.spatial_features(features, masks.visible)
        return StatisticsOutput(
            self.from_spatial(among_others.movedim(1, -1)).movedim(-1, 1),
            self.from_spectral(features.movedim(1, -1)).movedim(-1, 1),
            neighbourhood_statistics(moments),
        )

    def loss(self, output: StatisticsOutput) -> StatisticsLoss:
        """The loss of one step's output; in training it also moves the scales of the targets."""
        target = output.target.float()
        if self.training:
            self._follow(target)
        scaled = (target - self.mean[:, None, None]) / self.variance.sqrt()[:, None, None]
        spatial = _known_error(output.spatial.float(), scaled)
        n = output.spectral.shape[1]
        spectral = _known_error(output.spectral.float(), scaled[:, :n])
        return StatisticsLoss(spatial + 0.5 * spectral, spatial, spectral)

    @torch.no_grad()
    def _follow(self, target: Tensor) -> None:
        """Move mean and variance of every statistic towards those of a batch that knows it."""
        values = target.movedim(1, 0).flatten(1)
        known = values.isfinite().all(dim=1)
        self.count += known
        rate = torch.maximum(1 / self.count.clamp_min(1), torch.tensor(1 - _MEMORY)) * known
        values = torch.where(known[:, None], values, self.mean[:, None])
        self.mean += rate * (values.mean(dim=1) - self.mean)
        spread = (values - self.mean[:, None]).square().mean(dim=1)
        self.variance += rate * (spread - self.variance)
        self.variance.clamp_min_(_LEAST_VARIANCE)


def neighbourhood_statistics(moments: Tensor) -> Tensor:
    """Mean and logarithm of the spread in Gaussian neighbourhoods of every size.

    Args:
        moments: (B, 2n, h, w): n first and n second moments of patches.

    Returns:
        (B, 2n·S, h, w): n means and n spreads for each of the S sizes, the smallest first.
    """
    statistics = []
    for sigma in _SIGMAS:
        first, second = _blurred(moments, sigma).chunk(2, dim=1)
        variance = (second - first.square()).clamp_min(_LEAST_VARIANCE)
        statistics += [first, 0.5 * variance.log()]
    return torch.cat(statistics, dim=1)


def _blurred(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian means over what lies inside the image."""
    if sigma == 0:
        return maps
    radius = int(np.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())

    def sums(values: Tensor) -> Tensor:
        flat = values.flatten(0, 1)[:, None]
        rows = F.conv2d(flat, kernel.view(1, 1, -1, 1), padding=(radius, 0))
        return F.conv2d(rows, kernel.view(1, 1, 1, -1), padding=(0, radius)).view_as(values)

    return sums(maps) / sums(torch.ones_like(maps[:1, :1]))


def _known_error(told: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 error over the targets that are known; 0 if none is."""
    known = target.isfinite()
    error = F.smooth_l1_loss(told, torch.where(known, target, told.detach()), reduction="sum")
    return error / known.sum().clamp_min(1)
