"""Predict local spectral statistics, and the ground truth of simulated scenes.

Masked-feature methods predict histograms of gradients at hidden positions (Wei et al. 2022, "Masked
feature prediction for self-supervised visual pre-training"). The equivalent for spectra is mean and
standard deviation of optical densities in neighbourhoods of several sizes, on a fixed grid of
wavelengths. They are computed from all bands of an image; the network predicts them, for visible
and hidden patches, from the bands that a random camera has.

Simulated scenes add maps of tissue parameters and regions as targets, which do not depend on the
camera. Images that are not simulated have no such targets and do not contribute to this loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from carl.errors import CarlError
from carl.model.carl import CARL
from carl.pretraining.masking import to_device
from carl.pretraining.statistics_targets import N_COMPONENTS, N_PARAMETERS, N_TRUTHS

_SIGMAS = (0.0, 1.0, 2.0, 4.0)
"""Standard deviations of the Gaussian neighbourhoods, in patches; 0 is the patch itself."""
_REGION_WEIGHT = 0.3
"""Weight of the regions of simulated scenes, whose cross-entropy exceeds the other errors."""
_MIN_CONTRAST = 0.1
"""Smallest unit of the contrast within an image, relative to the variability of a statistic: less
is noise."""
_MIN_VARIANCE = 1e-6
"""Lower bound of variances, before a logarithm or a division."""
_MEMORY = 0.99
"""Weight of the past in the running mean and variance of the targets."""


class HiddenPatches(NamedTuple):
    """Masks of one step on B images.

    Attributes:
        visible: (B, h, w) False where a patch is hidden from the others.
    """

    visible: Tensor

    def select_images(self, images: slice) -> HiddenPatches:
        """Return the masks of some of the images."""
        return HiddenPatches(self.visible[images])


class StatisticsOutput(NamedTuple):
    """Predictions and targets of one step.

    Attributes:
        spatial: (B, T, h, w) statistics of all neighbourhoods, predicted from spatial features.
        spectral: (B, 2·N_COMPONENTS, h, w) statistics of the patch, predicted from spectral
            features.
        target: (B, T, h, w) true statistics, those of the patch first; NaN where unknown.
        spatial_truth: (B, N_TRUTHS, h, w) of simulated scenes, predicted from spatial features.
        spectral_truth: (B, N_TRUTHS, h, w), predicted from spectral features.
        truth: (B, N_TRUTHS, h, w) ground truth; NaN where unknown.
    """

    spatial: Tensor
    spectral: Tensor
    target: Tensor
    spatial_truth: Tensor
    spectral_truth: Tensor
    truth: Tensor


class StatisticsLoss(NamedTuple):
    """Loss of one step.

    Attributes:
        total: sum of all terms from spatial and from spectral features; regions are weighted.
        spatial: smooth L1 error of the statistics of all neighbourhoods, of their levels and of
            their contrast within an image, each relative to its variability.
        spectral: the same for the statistics of the patch, from spectral features.
        parameters: smooth L1 error of the parameters of simulated scenes, scaled to variance 1.
        regions: cross-entropy of the regions of simulated scenes.
    """

    total: Tensor
    spatial: Tensor
    spectral: Tensor
    parameters: Tensor
    regions: Tensor


@dataclass(frozen=True)
class StatisticsMasking:
    """Masking that hides random patches from the spatial encoder.

    Attributes:
        hidden: largest fraction of hidden patches; each step draws one from 0 to this.

    Examples:
        >>> from carl.pretraining import StatisticsMasking
        >>> StatisticsMasking(hidden=0.5)(batch=2, grid=(8, 8)).visible.shape
        torch.Size([2, 8, 8])
    """

    hidden: float = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.hidden < 1:
            raise CarlError(f"statistics.hidden is {self.hidden}: give a fraction below 1.")

    def __call__(
        self, batch: int, grid: tuple[int, int], generator: Generator | None = None
    ) -> HiddenPatches:
        """Draw masks for B images of (h, w) patches."""
        fraction = float(torch.rand((), generator=generator)) * self.hidden
        return HiddenPatches(torch.rand((batch, *grid), generator=generator) >= fraction)


class CARLStatistics(nn.Module):
    """Network and linear maps from its features to the targets.

    The maps are linear so that the features themselves have to represent the targets.

    Args:
        student: network to train.
        masking: distribution of hidden patches.

    Examples:
        >>> import torch
        >>> from carl.model import build_model
        >>> from carl.pretraining import CARLStatistics
        >>> from carl.pretraining.statistics_targets import N_COMPONENTS, N_TRUTHS
        >>> objective = CARLStatistics(build_model("carl-nano"))
        >>> image, wavelengths_um = torch.randn(2, 6, 32, 32), torch.linspace(0.4, 0.9, 6)
        >>> moments = torch.randn(2, 2 * N_COMPONENTS, 4, 4)
        >>> unknown = torch.full((2, N_TRUTHS, 4, 4), torch.nan)
        >>> masks = objective.draw_masks(image)
        >>> objective.loss(objective(image, wavelengths_um, masks, moments, unknown))._fields
        ('total', 'spatial', 'spectral', 'parameters', 'regions')
    """

    def __init__(self, student: CARL, masking: StatisticsMasking | None = None) -> None:
        super().__init__()
        self.student = student
        self.masking = masking or StatisticsMasking()
        d, n_targets = student.embed_dim, 2 * N_COMPONENTS * len(_SIGMAS)
        self.from_spatial = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, n_targets))
        self.from_spectral = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * N_COMPONENTS))
        self.scale = RunningScale(n_targets)
        self.truth = TruthHeads(d)

    def draw_masks(self, image: Tensor, generator: Generator | None = None) -> HiddenPatches:
        """Draw the masks of one step for images (B, C, H, W), on their device."""
        size = self.student.patch_size
        grid = (-(-image.shape[2] // size), -(-image.shape[3] // size))
        return to_device(self.masking(len(image), grid, generator), image.device)

    def forward(
        self,
        image: Tensor,
        wavelengths_um: Tensor,
        masks: HiddenPatches,
        moments: Tensor,
        truth: Tensor,
    ) -> StatisticsOutput:
        """Predict statistics and ground truth, and return them with the true ones.

        Args:
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.
            masks: masks of this step.
            moments: (B, 2·N_COMPONENTS, h, w) of `patch_moments`.
            truth: (B, N_TRUTHS, h, w) of `patch_truth`.

        Raises:
            ModelError: the image has another shape.
            WavelengthError: the wavelengths do not fit the image, or are not in µm.
        """
        n_patches = moments.shape[2] * moments.shape[3]
        spectral = self.student.spectral_features(
            image, wavelengths_um, patches_per_chunk=len(image) * n_patches
        )
        spatial = self.student.spatial_features(spectral, masks.visible)
        spatial_truth, spectral_truth = self.truth(spatial, spectral)
        return StatisticsOutput(
            _apply_to_channels(self.from_spatial, spatial),
            _apply_to_channels(self.from_spectral, spectral),
            neighbourhood_statistics(moments),
            spatial_truth,
            spectral_truth,
            truth,
        )

    def loss(self, output: StatisticsOutput) -> StatisticsLoss:
        """Compute the loss of one step; in training, also update the scales of the targets."""
        target, truth = output.target.float(), output.truth.float()
        if self.training:
            self.scale.update(target)
            self.truth.scale.update(truth[:, :N_PARAMETERS])
        scaled = self.scale(target)
        spatial = _statistics_error(output.spatial.float(), scaled)
        n = output.spectral.shape[1]
        spectral = _statistics_error(output.spectral.float(), scaled[:, :n])
        parameters, regions = self.truth.error(output.spatial_truth.float(), truth)
        spectral_parameters, spectral_regions = self.truth.error(
            output.spectral_truth.float(), truth
        )
        return StatisticsLoss(
            spatial + parameters + _REGION_WEIGHT * regions
            + (spectral + spectral_parameters + _REGION_WEIGHT * spectral_regions),
            spatial, spectral, parameters, regions,
        )  # fmt: skip


class RunningScale(nn.Module):
    """Scale N targets to mean 0 and variance 1 by their running mean and variance.

    Args:
        n_targets: N.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, n_targets: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_targets))
        self.register_buffer("variance", torch.ones(n_targets))
        self.register_buffer("count", torch.zeros(n_targets))

    def forward(self, target: Tensor) -> Tensor:
        """Scale (B, N, h, w) targets."""
        return (target - self.mean[:, None, None]) / self.variance.sqrt()[:, None, None]

    @torch.no_grad()
    def update(self, target: Tensor) -> None:
        """Update mean and variance from a batch (B, N, h, w), except for targets it lacks.

        The k-th update has the weight max(1/k, 0.01): a plain mean first, then an exponential one.
        """
        values = target.movedim(1, 0).flatten(1)
        known = values.isfinite()
        n_known = known.sum(dim=1)
        present = n_known > 0
        self.count += present
        rate = torch.maximum(1 / self.count.clamp_min(1), torch.tensor(1 - _MEMORY)) * present
        n_known = n_known.clamp_min(1)
        values = torch.where(known, values, self.mean[:, None])
        self.mean += rate * (values - self.mean[:, None]).sum(dim=1) / n_known
        offsets = torch.where(known, values - self.mean[:, None], 0)
        self.variance += rate * (offsets.square().sum(dim=1) / n_known - self.variance)
        self.variance.clamp_min_(_MIN_VARIANCE)


class TruthHeads(nn.Module):
    """Linear maps from features to the ground truth of simulated scenes.

    Args:
        embed_dim: D of the features.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.scale = RunningScale(N_PARAMETERS)
        self.from_spatial = nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, N_TRUTHS))
        self.from_spectral = nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, N_TRUTHS))

    def forward(self, spatial: Tensor, spectral: Tensor) -> tuple[Tensor, Tensor]:
        """Predict (B, N_TRUTHS, h, w) from each of two feature maps (B, D, h, w)."""
        return (
            _apply_to_channels(self.from_spatial, spatial),
            _apply_to_channels(self.from_spectral, spectral),
        )

    def error(self, predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Compute smooth L1 of parameters and cross-entropy of regions, of (B, N_TRUTHS, h, w)."""
        scaled = self.scale(truth[:, :N_PARAMETERS])
        parameters = level_error(predicted[:, :N_PARAMETERS], scaled)
        logits = predicted[:, N_PARAMETERS:].movedim(1, -1).flatten(0, 2)
        fractions = truth[:, N_PARAMETERS:].movedim(1, -1).flatten(0, 2)
        known = fractions.isfinite().all(dim=1)
        if not known.any():
            return parameters, 0 * logits.sum()
        return parameters, F.cross_entropy(logits[known], fractions[known])


def level_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Compute the mean smooth L1 error over known targets; 0 if none is known."""
    known = target.isfinite()
    target = torch.where(known, target, predicted.detach())
    error = F.smooth_l1_loss(predicted, target, reduction="sum")
    return error / known.sum().clamp_min(1)


def contrast_error(predicted: Tensor, target: Tensor, min_contrast: float) -> Tensor:
    """Compute the smooth L1 error of deviations from the image mean, relative to their spread.

    Two fields of one image may differ by far less than images of a data set do, and must be
    distinguished nevertheless. Targets (B, N, h, w) are NaN where unknown; deviations below
    `min_contrast` are noise.
    """
    known = target.isfinite()
    n_known = known.sum(dim=(2, 3), keepdim=True).clamp_min(1)

    def centred(values: Tensor) -> Tensor:
        values = torch.where(known, values, 0)
        mean = values.sum(dim=(2, 3), keepdim=True) / n_known
        return torch.where(known, values - mean, 0)

    deviations = centred(target)
    unit = (deviations.square().sum(dim=(2, 3), keepdim=True) / n_known).sqrt()
    unit = unit.clamp_min(min_contrast)
    error = F.smooth_l1_loss(centred(predicted) / unit, deviations / unit, reduction="sum")
    return error / known.sum().clamp_min(1)


def neighbourhood_statistics(moments: Tensor) -> Tensor:
    """Compute mean and log standard deviation in Gaussian neighbourhoods of every size.

    Args:
        moments: (B, 2n, h, w): n first and n second moments of patches.

    Returns:
        (B, 2n·S, h, w): n means and n log standard deviations for each of the S sizes, the
        smallest first.
    """
    statistics = []
    for sigma in _SIGMAS:
        first, second = _gaussian_mean(moments, sigma).chunk(2, dim=1)
        variance = (second - first.square()).clamp_min(_MIN_VARIANCE)  # E[x²] − E[x]²
        statistics += [first, 0.5 * variance.log()]
    return torch.cat(statistics, dim=1)


def _gaussian_mean(maps: Tensor, sigma: float) -> Tensor:
    """Compute Gaussian means of (B, N, h, w) maps; weights are normalised at the border."""
    if sigma == 0:
        return maps
    radius = ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())

    def weighted_sum(values: Tensor) -> Tensor:
        flat = values.flatten(0, 1)[:, None]
        rows = F.conv2d(flat, kernel.view(1, 1, -1, 1), padding=(radius, 0))
        return F.conv2d(rows, kernel.view(1, 1, 1, -1), padding=(0, radius)).view_as(values)

    return weighted_sum(maps) / weighted_sum(torch.ones_like(maps[:1, :1]))


def _statistics_error(predicted: Tensor, scaled: Tensor) -> Tensor:
    """Add the errors of levels and of contrasts."""
    return level_error(predicted, scaled) + contrast_error(predicted, scaled, _MIN_CONTRAST)


def _apply_to_channels(layer: nn.Module, maps: Tensor) -> Tensor:
    """Apply a layer to the channels of (B, D, h, w) maps."""
    result: Tensor = layer(maps.movedim(1, -1)).movedim(-1, 1)
    return result
