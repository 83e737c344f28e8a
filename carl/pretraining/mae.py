"""Masked autoencoder: predict the pixels of hidden patches and hidden bands.

After "A general purpose spectral foundational model for both proximal and remote sensing spectral
imaging" (2025) and He et al. 2022, "Masked autoencoders are scalable vision learners": patches and
bands are hidden jointly, bands are identified by an encoding of their wavelengths, and pixels are
reconstructed. The encoder is CARL; its spatial and spectral predictors in sequence are the decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from carl.errors import CarlError, ModelError
from carl.model.carl import CARL, check_inputs
from carl.pretraining.masked_prediction import (
    SpatialPredictor,
    SpectralPredictor,
    encode_visible,
    predictor_configs,
)
from carl.pretraining.masking import to_device

_EPS = 1e-6
"""Added to the variance of a patch before the square root."""


class MAEMasks(NamedTuple):
    """Masks of one step on B images.

    Attributes:
        context: (B, n) indices of the visible patches, ascending.
        bands: (B, n, c) indices of the visible bands of each visible patch, ascending.
        predicted: (B, h·w, d) indices of the predicted bands of every patch, all hidden.
    """

    context: Tensor
    bands: Tensor
    predicted: Tensor

    def select_images(self, images: slice) -> MAEMasks:
        """Return the masks of some of the images."""
        return MAEMasks(self.context[images], self.bands[images], self.predicted[images])


class MAEOutput(NamedTuple):
    """Predicted and true pixels of one step.

    Attributes:
        prediction: (B, h·w, d·P²).
        target: (B, h·w, d·P²).
    """

    prediction: Tensor
    target: Tensor


class MAELoss(NamedTuple):
    """Loss of one step.

    Attributes:
        total: mean squared error of hidden pixels.
    """

    total: Tensor


@dataclass(frozen=True)
class MAEMasking:
    """Masking that hides whole patches, and bands of the other patches.

    Attributes:
        hidden_patches: fraction of the patches that are hidden completely.
        hidden_bands: fraction of the bands hidden in each other patch, drawn for each patch.
        predicted_bands: largest number of hidden bands predicted per patch.

    Examples:
        >>> from carl.pretraining import MAEMasking
        >>> masks = MAEMasking(hidden_patches=0.75)(batch=2, n_patches=16, n_bands=10)
        >>> masks.context.shape, masks.bands.shape, masks.predicted.shape
        (torch.Size([2, 4]), torch.Size([2, 4, 5]), torch.Size([2, 16, 5]))
    """

    hidden_patches: float = 0.75
    hidden_bands: float = 0.5
    predicted_bands: int = 8

    def __post_init__(self) -> None:
        for name in ("hidden_patches", "hidden_bands"):
            if not 0 < getattr(self, name) < 1:
                raise CarlError(f"mae.{name} is {getattr(self, name)}: give a value in (0, 1).")
        if self.predicted_bands < 1:
            raise CarlError(f"mae.predicted_bands is {self.predicted_bands}: it must be 1 or more.")

    def __call__(
        self, batch: int, n_patches: int, n_bands: int, generator: Generator | None = None
    ) -> MAEMasks:
        """Draw masks for images of one camera.

        Args:
            batch: B, number of images.
            n_patches: h·w.
            n_bands: C.
            generator: random generator on the CPU.

        Raises:
            ModelError: there is only one band.
        """
        if n_bands < 2:
            raise ModelError("A masked autoencoder needs at least two bands, to hide one of them.")
        n_visible = min(max(round((1 - self.hidden_patches) * n_patches), 1), n_patches)
        c = min(max(round((1 - self.hidden_bands) * n_bands), 1), n_bands - 1)
        d = min(self.predicted_bands, n_bands - c)
        order = torch.rand((batch, n_patches), generator=generator).argsort(dim=1)
        context = order[:, :n_visible].sort(dim=1).values
        bands = torch.rand((batch, n_patches, n_bands), generator=generator).argsort(dim=2)
        visible = bands.gather(1, context[..., None].expand(-1, -1, n_bands))[..., :c]
        predicted = bands[..., n_bands - d :]
        return MAEMasks(context, visible.sort(dim=2).values, predicted.sort(dim=2).values)


class CARLMAE(nn.Module):
    """Network and decoder of the masked autoencoder.

    Args:
        student: network to train; its configuration includes both predictors.
        masking: distribution of hidden patches and bands.

    Raises:
        ModelError: the configuration has no predictors.

    Examples:
        >>> import torch
        >>> from carl.model import build_model
        >>> from carl.model.named_models import NAMED_MODELS
        >>> from carl.pretraining import CARLMAE
        >>> from carl.pretraining.pretrain_config import with_predictors
        >>> config = with_predictors(NAMED_MODELS["carl-nano"].config)
        >>> objective = CARLMAE(build_model(config))
        >>> image, wavelengths_um = torch.randn(2, 6, 32, 32), torch.linspace(0.4, 0.9, 6)
        >>> output = objective(image, wavelengths_um, objective.draw_masks(image))
        >>> objective.loss(output)._fields
        ('total',)
    """

    def __init__(self, student: CARL, masking: MAEMasking | None = None) -> None:
        super().__init__()
        spectral, spatial = predictor_configs(student.config)
        self.student = student
        self.masking = masking or MAEMasking()
        self.spatial_decoder = SpatialPredictor(spatial, student.embed_dim)
        self.spectral_decoder = SpectralPredictor(spectral, student.embed_dim, n_queries=1)
        self.to_pixels = nn.Linear(student.embed_dim, student.config.patch_size**2)

    def draw_masks(self, image: Tensor, generator: Generator | None = None) -> MAEMasks:
        """Draw the masks of one step for images (B, C, H, W), on their device."""
        batch, n_bands, height, width = image.shape
        size = self.student.patch_size
        masks = self.masking(batch, -(-height // size) * -(-width // size), n_bands, generator)
        return to_device(masks, image.device)

    def forward(self, image: Tensor, wavelengths_um: Tensor, masks: MAEMasks) -> MAEOutput:
        """Predict the hidden pixels, and return them with the true ones.

        Args:
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.
            masks: masks of this step.

        Raises:
            ModelError: the image has another shape.
            WavelengthError: the wavelengths do not fit the image, or are not in µm.
        """
        table = check_inputs(image, wavelengths_um).expand(len(image), -1)
        patches = self.student.patchify(image)
        bands = masks.bands.flatten(0, 1)
        features = encode_visible(self.student, patches, table, bands, masks.context).features
        grid = (patches.shape[1], patches.shape[2])
        patches = patches.flatten(1, 2)  # (B, h·w, C, P²)
        all_patches = torch.arange(patches.shape[1], device=image.device)
        decoded = self.spatial_decoder(
            features, masks.context, all_patches.expand(1, len(image), -1), grid
        )
        tokens = self.spectral_decoder(
            decoded.flatten(0, 1)[:, None],
            table.repeat_interleave(patches.shape[1], dim=0),
            masks.predicted.flatten(0, 1)[None],
        )
        prediction = self.to_pixels(tokens).view(*patches.shape[:2], -1)
        return MAEOutput(prediction, _target_pixels(patches, masks.predicted))

    def loss(self, output: MAEOutput) -> MAELoss:
        """Compute the loss of the output of one step."""
        return MAELoss(F.mse_loss(output.prediction.float(), output.target.float()))


def _target_pixels(patches: Tensor, bands: Tensor) -> Tensor:
    """Return (B, h·w, d·P²) pixels of the given bands of normalised patches.

    Each patch is scaled to mean 0 and variance 1 over all its bands together, which preserves its
    texture and spectrum but removes its brightness.
    """
    mean = patches.mean(dim=(2, 3), keepdim=True)
    deviation = torch.sqrt(patches.var(dim=(2, 3), keepdim=True) + _EPS)
    pixels = (patches - mean) / deviation
    index = bands[..., None].expand(-1, -1, -1, pixels.shape[3])
    return pixels.gather(2, index).flatten(2)
