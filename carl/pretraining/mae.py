"""A spatial-spectral masked autoencoder: pixels of hidden patches and hidden bands, told again.

After "A general purpose spectral foundational model for both proximal and remote sensing spectral
imaging" (2025) and He et al. 2022, "Masked autoencoders are scalable vision learners": patches and
bands are hidden together, channels are known by a code of their wavelength, and the reconstruction
is of pixels. The encoder is CARL; its two predictors, one after the other, are the decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from carl.errors import CarlError, ModelError
from carl.model.carl import CARL, check_inputs
from carl.pretraining.context import encode_context
from carl.pretraining.predictors import SpatialPredictor, SpectralPredictor

_EPS = 1e-6


class MAEMasks(NamedTuple):
    """What the network sees of B images, and what it has to tell.

    Attributes:
        context: (B, n) indices of the patches it sees, rising.
        bands: (B, n, c) indices of the bands it sees of each of them, rising.
        told: (B, h·w, d) indices of the bands it has to tell of every patch, all hidden.
    """

    context: Tensor
    bands: Tensor
    told: Tensor

    def of_images(self, images: slice) -> MAEMasks:
        """The masks of some of the images."""
        return MAEMasks(self.context[images], self.bands[images], self.told[images])

    def to(self, device: torch.device) -> MAEMasks:
        """The same masks on another device."""
        return MAEMasks(self.context.to(device), self.bands.to(device), self.told.to(device))


class MAEOutput(NamedTuple):
    """Pixels of one step.

    Attributes:
        prediction: (B, h·w, d·P²).
        target: the same, as they are.
    """

    prediction: Tensor
    target: Tensor


class MAELoss(NamedTuple):
    """The loss of one step.

    Attributes:
        total: mean squared error of hidden pixels.
    """

    total: Tensor


@dataclass(frozen=True)
class MAEMasking:
    """Patches hidden altogether, and bands hidden in the others.

    Attributes:
        hidden_patches: share of the patches of which no band is seen.
        hidden_bands: share of the bands hidden in each other patch, other ones in each.
        told_bands: hidden bands told per patch, at most.
    """

    hidden_patches: float = 0.75
    hidden_bands: float = 0.5
    told_bands: int = 8

    def __post_init__(self) -> None:
        for name in ("hidden_patches", "hidden_bands"):
            if not 0 < getattr(self, name) < 1:
                raise CarlError(f"mae.{name} is {getattr(self, name)}: it lies between 0 and 1.")
        if self.told_bands < 1:
            raise CarlError(f"mae.told_bands is {self.told_bands}: it must be 1 or more.")

    def __call__(
        self, batch: int, n_patches: int, n_bands: int, generator: Generator | None = None
    ) -> MAEMasks:
        """Draw masks for images of one camera.

        Args:
            batch: B, images.
            n_patches: h·w.
            n_bands: C.
            generator: of random numbers, on the CPU.

        Raises:
            ModelError: there is but one band.
        """
        if n_bands < 2:
            raise ModelError("A masked autoencoder needs two bands at least, one of them hidden.")
        n_seen = min(max(round((1 - self.hidden_patches) * n_patches), 1), n_patches)
        c = min(max(round((1 - self.hidden_bands) * n_bands), 1), n_bands - 1)
        d = min(self.told_bands, n_bands - c)
        order = torch.rand((batch, n_patches), generator=generator).argsort(dim=1)
        context = order[:, :n_seen].sort(dim=1).values
        bands = torch.rand((batch, n_patches, n_bands), generator=generator).argsort(dim=2)
        seen = bands.gather(1, context[..., None].expand(-1, -1, n_bands))[..., :c]
        return MAEMasks(
            context, seen.sort(dim=2).values, bands[..., n_bands - d :].sort(dim=2).values
        )


class CARLMAE(nn.Module):
    """The network and its decoder.

    Args:
        student: the network to train; its configuration has those of both predictors.
        masking: how patches and bands are hidden.

    Raises:
        ModelError: the configuration says nothing of predictors.
    """

    def __init__(self, student: CARL, masking: MAEMasking | None = None) -> None:
        super().__init__()
        config = student.config
        if config.spec_predictor_kwargs is None or config.spat_predictor_kwargs is None:
            raise ModelError(
                "The configuration has no predictors: give spec_predictor_kwargs and "
                "spat_predictor_kwargs."
            )
        self.student = student
        self.masking = masking or MAEMasking()
        self.spatial_decoder = SpatialPredictor(config.spat_predictor_kwargs, student.embed_dim)
        self.spectral_decoder = SpectralPredictor(
            config.spec_predictor_kwargs, student.embed_dim, n_queries=1
        )
        self.to_pixels = nn.Linear(student.embed_dim, config.patch_size**2)

    def draw_masks(self, image: Tensor, generator: Generator | None = None) -> MAEMasks:
        """Masks for one step on images (B, C, H, W), on their device."""
        batch, n_bands, height, width = image.shape
        size = self.student.patch_size
        masks = self.masking(batch, -(-height // size) * -(-width // size), n_bands, generator)
        return masks.to(image.device)

    def forward(self, image: Tensor, wavelengths_um: Tensor, masks: MAEMasks) -> MAEOutput:
        """Hidden pixels as told by the network, and as they are.

        Args:
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.
            masks: of this step.

        Raises:
            ModelError: the image is not of that shape.
            WavelengthError: the wavelengths do not fit the image, or are not in µm.
        """
        table = check_inputs(image, wavelengths_um).expand(len(image), -1)
        patches = self.student.patchify(image)
        grid = (patches.shape[1], patches.shape[2])
        patches = patches.flatten(1, 2)  # (B, h·w, C, P²)
        features = self._encode(patches, table, grid, masks)
        everywhere = torch.arange(patches.shape[1], device=image.device)
        told = self.spatial_decoder(
            features, masks.context, everywhere.expand(1, len(image), -1), grid
        )
        tokens = self.spectral_decoder(
            told.flatten(0, 1)[:, None],
            table.repeat_interleave(patches.shape[1], dim=0),
            masks.told.flatten(0, 1)[None],
        )
        prediction = self.to_pixels(tokens).view(*patches.shape[:2], -1)
        return MAEOutput(prediction, _targets(patches, masks.told))

    def loss(self, output: MAEOutput) -> MAELoss:
        """The loss of one step's output."""
        return MAELoss(F.mse_loss(output.prediction.float(), output.target.float()))

    def _encode(
        self, patches: Tensor, table: Tensor, grid: tuple[int, int], masks: MAEMasks
    ) -> Tensor:
        """(B, n, D) features of the patches that are seen."""
        rows = torch.arange(len(patches), device=patches.device)[:, None]
        seen = patches[rows, masks.context].flatten(0, 1)
        return encode_context(
            self.student,
            seen,
            table.repeat_interleave(masks.context.shape[1], dim=0),
            masks.bands.flatten(0, 1),
            masks.context,
            grid,
        ).features


def _targets(patches: Tensor, told: Tensor) -> Tensor:
    """(B, h·w, d·P²) pixels, each patch with mean 0 and variance 1 over all its bands together.

    What a patch looks like, its spectra included, is kept; how bright it is, is not.
    """
    mean = patches.mean(dim=(2, 3), keepdim=True)
    deviation = torch.sqrt(patches.var(dim=(2, 3), keepdim=True) + _EPS)
    pixels = (patches - mean) / deviation
    index = told[..., None].expand(-1, -1, -1, pixels.shape[3])
    return pixels.gather(2, index).flatten(2)
