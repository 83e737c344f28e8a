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
from carl.pretraining.scales import LEAST_VARIANCE, RunningScale, contrast_error, known_error
from carl.pretraining.truth import TruthHeads
from carl.spectra.normalise import optical_density
from carl.spectra.resample import interpolation_matrix

RANGES_NM = ((400.0, 760.0), (800.0, 2300.0))
"""Ranges that are described each by itself, where the images cover them."""
_GRID = 24
_COMPONENTS = 8
N_COMPONENTS = _COMPONENTS * len(RANGES_NM)
"""Number of components of a spectrum: the slowest cosines over each range."""
_SLACK = 0.12
"""Share of a range that may be missing at its ends; the last band stands for it."""
_WHITE = 2.0
"""White is taken to be so many standard deviations above the mean of an image."""
_SIGMAS = (0.0, 1.0, 2.0, 4.0)
"""Sizes of the neighbourhoods, in patches; 0 is the patch itself."""
_ALONE = 1.0
"""Weight of what is told from a patch alone."""
_REGIONS = 0.3
"""Weight of the regions of simulated scenes, whose cross-entropy is larger than other errors."""
_LEAST_SPREAD = 0.1
"""Least unit of what differs within an image, over the usual spread of a statistic."""


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
    density = optical_density(values, white)
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
        spatial_truth: (B, N_TRUTHS, h, w) of simulated scenes, from the spatial features.
        spectral_truth: the same, from the spectral features.
        truth: as it is; NaN where unknown.
    """

    spatial: Tensor
    spectral: Tensor
    target: Tensor
    spatial_truth: Tensor
    spectral_truth: Tensor
    truth: Tensor


class StatisticsLoss(NamedTuple):
    """The loss of one step.

    Attributes:
        total: sum of all, what is told from the patch alone and the regions at lower weights.
        spatial: smooth L1 errors of the statistics of all neighbourhoods, of their levels and of
            what differs within an image, each over its spread.
        spectral: that of the statistics of patches, from the patch alone.
        parameters: smooth L1 error of the parameters of simulated scenes, each of variance 1.
        regions: cross-entropy of their regions.
    """

    total: Tensor
    spatial: Tensor
    spectral: Tensor
    parameters: Tensor
    regions: Tensor


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
    """

    def __init__(self, student: CARL, masking: StatisticsMasking | None = None) -> None:
        super().__init__()
        self.student = student
        self.masking = masking or StatisticsMasking()
        d, n_targets = student.embed_dim, 2 * N_COMPONENTS * len(_SIGMAS)
        # Linear maps have to do, so that the features themselves are telling.
        self.from_spatial = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, n_targets))
        self.from_spectral = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * N_COMPONENTS))
        self.scale = RunningScale(n_targets)
        self.truth = TruthHeads(d)

    def draw_masks(self, image: Tensor, generator: Generator | None = None) -> HiddenPatches:
        """Masks for one step on images (B, C, H, W), on their device."""
        size = self.student.patch_size
        grid = (-(-image.shape[2] // size), -(-image.shape[3] // size))
        return self.masking(len(image), grid, generator).to(image.device)

    def forward(
        self,
        image: Tensor,
        wavelengths_um: Tensor,
        masks: HiddenPatches,
        moments: Tensor,
        truth: Tensor,
    ) -> StatisticsOutput:
        """Statistics and the truth of scenes as told by the network, and as they are.

        Args:
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.
            masks: of this step.
            moments: (B, 2·N_COMPONENTS, h, w) of `patch_moments`.
            truth: (B, N_TRUTHS, h, w) of `carl.pretraining.truth.patch_truth`.

        Raises:
            ModelError: the image is not of that shape.
            WavelengthError: the wavelengths do not fit the image, or are not in µm.
        """
        n_patches = moments.shape[2] * moments.shape[3]
        features = self.student.spectral_features(
            image, wavelengths_um, patches_per_chunk=len(image) * n_patches
        )
        among_others = self.student.spatial_features(features, masks.visible)
        spatial_truth, spectral_truth = self.truth(among_others, features)
        return StatisticsOutput(
            self.from_spatial(among_others.movedim(1, -1)).movedim(-1, 1),
            self.from_spectral(features.movedim(1, -1)).movedim(-1, 1),
            neighbourhood_statistics(moments),
            spatial_truth,
            spectral_truth,
            truth,
        )

    def loss(self, output: StatisticsOutput) -> StatisticsLoss:
        """The loss of one step's output; in training it also moves the scales of the targets."""
        target, truth = output.target.float(), output.truth.float()
        if self.training:
            self.scale.follow(target)
            self.truth.follow(truth)
        scaled = self.scale(target)
        spatial = _error(output.spatial.float(), scaled)
        n = output.spectral.shape[1]
        spectral = _error(output.spectral.float(), scaled[:, :n])
        parameters, regions = self.truth.error(output.spatial_truth.float(), truth)
        parameters_alone, regions_alone = self.truth.error(output.spectral_truth.float(), truth)
        return StatisticsLoss(
            spatial + parameters + _REGIONS * regions
            + _ALONE * (spectral + parameters_alone + _REGIONS * regions_alone),
            spatial, spectral, parameters, regions,
        )  # fmt: skip


def _error(told: Tensor, scaled: Tensor) -> Tensor:
    """Of the level of statistics, and of what differs within an image."""
    return known_error(told, scaled) + contrast_error(told, scaled, _LEAST_SPREAD)


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
        variance = (second - first.square()).clamp_min(LEAST_VARIANCE)
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
