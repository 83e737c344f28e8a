"""One step of CARL-SSL: what the student predicts, what the teacher says, how far they differ."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from carl.errors import ModelError
from carl.model.carl import CARL, check_inputs
from carl.model.spectral_encoder import take_tokens
from carl.pretraining.context import encode_context, normalised
from carl.pretraining.ema import update_teacher
from carl.pretraining.intl import INTLLoss, INTLTerms
from carl.pretraining.losses import LossTerms, VICRegLoss
from carl.pretraining.masking import SpatialMasking, SpatialMasks, SpectralMasking, SpectralMasks
from carl.pretraining.predictors import SpatialPredictor, SpectralPredictor


class Masks(NamedTuple):
    """All masks of one step on B images.

    Attributes:
        spatial: which patches the student sees, and which it has to tell.
        spectral: the same for the bands of each of the B·n patches it sees, image after image.
        selected: (S,) which of those B·n patches have their hidden bands predicted.
    """

    spatial: SpatialMasks
    spectral: SpectralMasks
    selected: Tensor

    def of_images(self, images: slice) -> Masks:
        """The masks of neighbouring images."""
        start, stop, _ = images.indices(len(self.spatial.context))
        n_seen = self.spatial.context.shape[1]
        patches = slice(start * n_seen, stop * n_seen)
        mine = (self.selected >= patches.start) & (self.selected < patches.stop)
        return Masks(
            SpatialMasks(self.spatial.context[images], self.spatial.targets[:, images]),
            SpectralMasks(self.spectral.context[patches], self.spectral.targets[:, patches]),
            self.selected[mine] - patches.start,
        )

    def to(self, device: torch.device) -> Masks:
        """The same masks on another device."""
        return Masks(
            SpatialMasks(self.spatial.context.to(device), self.spatial.targets.to(device)),
            SpectralMasks(self.spectral.context.to(device), self.spectral.targets.to(device)),
            self.selected.to(device),
        )


class SSLOutput(NamedTuple):
    """Predictions and targets of one step, all with mean 0 and variance 1 over their channels.

    Attributes:
        spatial_prediction: (T·B, m, D) of hidden patches.
        spatial_target: the same of the teacher.
        spectral_prediction: (T'·S, d, D') of hidden bands.
        spectral_target: the same of the teacher.
    """

    spatial_prediction: Tensor
    spatial_target: Tensor
    spectral_prediction: Tensor
    spectral_target: Tensor


class SSLLoss(NamedTuple):
    """The loss of one step.

    Attributes:
        total: weighted mean of both branches.
        spatial: of hidden patches.
        spectral: of hidden bands.
    """

    total: Tensor
    spatial: LossTerms | INTLTerms
    spectral: LossTerms | INTLTerms


class CARLSSL(nn.Module):
    """A student, its teacher and the two predictors.

    Args:
        student: the network to train; its configuration has those of both predictors.
        spatial_masking: how patches are hidden.
        spectral_masking: how bands are hidden.
        spatial_loss: of hidden patches.
        spectral_loss: of hidden bands.
        spatial_weight: of the spatial branch in the total.
        spectral_weight: of the spectral branch in the total.

    Raises:
        ModelError: the configuration says nothing of predictors.
    """

    def __init__(
        self,
        student: CARL,
        *,
        spatial_masking: SpatialMasking | None = None,
        spectral_masking: SpectralMasking | None = None,
        spatial_loss: VICRegLoss | INTLLoss | None = None,
        spectral_loss: VICRegLoss | INTLLoss | None = None,
        spatial_weight: float = 1.0,
        spectral_weight: float = 1.0,
    ) -> None:
        super().__init__()
        config = student.config
        if config.spec_predictor_kwargs is None or config.spat_predictor_kwargs is None:
            raise ModelError(
                "The configuration has no predictors: give spec_predictor_kwargs and "
                "spat_predictor_kwargs."
            )
        spectral = config.spec_encoder_kwargs
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False).eval()
        self.spectral_predictor = SpectralPredictor(
            config.spec_predictor_kwargs, spectral.embed_dim, spectral.n_queries
        )
        self.spatial_predictor = SpatialPredictor(config.spat_predictor_kwargs, student.embed_dim)
        self.spatial_masking = spatial_masking or SpatialMasking()
        self.spectral_masking = spectral_masking or SpectralMasking()
        self.spatial_loss = spatial_loss or VICRegLoss()
        self.spectral_loss = spectral_loss or VICRegLoss()
        self.spatial_weight = spatial_weight
        self.spectral_weight = spectral_weight

    def train(self, mode: bool = True) -> CARLSSL:
        """Switch student and predictors to training; the teacher never drops anything."""
        super().train(mode)
        self.teacher.eval()
        return self

    def draw_masks(self, image: Tensor, generator: Generator | None = None) -> Masks:
        """Masks for one step on images (B, C, H, W), on their device.

        One patch of each image has its hidden bands predicted.
        """
        batch, n_bands, height, width = image.shape
        size = self.student.patch_size
        spatial = self.spatial_masking(batch, (-(-height // size), -(-width // size)), generator)
        n_seen = spatial.context.shape[1]
        spectral = self.spectral_masking(batch * n_seen, n_bands, generator)
        chosen = torch.randint(0, n_seen, (batch,), generator=generator)
        selected = torch.arange(0, batch * n_seen, n_seen) + chosen
        return Masks(spatial, spectral, selected).to(image.device)

    def forward(self, image: Tensor, wavelengths_um: Tensor, masks: Masks) -> SSLOutput:
        """Predictions of the student and targets of the teacher.

        Args:
            image: (B, C, H, W), normalised; bands in order of wavelength.
            wavelengths_um: (C,) or (B, C) in µm.
            masks: of this step.

        Raises:
            ModelError: the image is not of that shape.
            WavelengthError: the wavelengths do not fit the image, or are not in µm.
        """
        table = check_inputs(image, wavelengths_um).expand(len(image), -1)
        patches = self.student.patchify(image)
        grid = (patches.shape[1], patches.shape[2])
        context = masks.spatial.context
        seen = patches.flatten(1, 2)
        seen = seen[torch.arange(len(image), device=image.device)[:, None], context].flatten(0, 1)
        table = table.repeat_interleave(context.shape[1], dim=0)
        spatial, spectral = self._predict(seen, table, grid, masks)
        spatial_target = self._spatial_target(image, wavelengths_um, masks.spatial.targets)
        spectral_target = self._spectral_target(
            seen[masks.selected],
            table[masks.selected],
            masks.spectral.targets[:, masks.selected],
        )
        return SSLOutput(normalised(spatial), spatial_target, normalised(spectral), spectral_target)

    def loss(self, output: SSLOutput) -> SSLLoss:
        """The loss of one step's output."""
        spatial = self.spatial_loss(output.spatial_prediction, output.spatial_target)
        spectral = self.spectral_loss(output.spectral_prediction, output.spectral_target)
        total = self.spatial_weight * spatial.total + self.spectral_weight * spectral.total
        return SSLLoss(total / (self.spatial_weight + self.spectral_weight), spatial, spectral)

    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student, which gives the share 1 - `momentum`."""
        update_teacher(self.teacher, self.student, momentum)

    def _predict(
        self, seen: Tensor, wavelengths_um: Tensor, grid: tuple[int, int], masks: Masks
    ) -> tuple[Tensor, Tensor]:
        """Hidden patches and hidden bands from the (B·n, C, P²) patches the student sees."""
        context = masks.spatial.context
        queries, features = encode_context(
            self.student, seen, wavelengths_um, masks.spectral.context, context, grid
        )
        spectral = self.spectral_predictor(
            queries[masks.selected],
            wavelengths_um[masks.selected],
            masks.spectral.targets[:, masks.selected],
        )
        spatial = self.spatial_predictor(features, context, masks.spatial.targets, grid)
        return spatial, spectral

    @torch.no_grad()
    def _spatial_target(self, image: Tensor, wavelengths_um: Tensor, targets: Tensor) -> Tensor:
        """(T·B, m, D): what the teacher makes of hidden patches, seeing everything."""
        features = self.teacher(image, wavelengths_um).spatial.flatten(2).transpose(1, 2)
        features = normalised(features).repeat(len(targets), 1, 1)
        return take_tokens(features, targets.flatten(0, 1))

    @torch.no_grad()
    def _spectral_target(self, patches: Tensor, wavelengths_um: Tensor, targets: Tensor) -> Tensor:
        """(T·S, d, D): what the teacher makes of hidden bands of (S, C, P²) patches."""
        encoder = self.teacher.spectral_encoder
        encoding = encoder.wavelength_encoding(wavelengths_um)
        tokens = encoder(self.teacher.embed_patches(patches), encoding).tokens
        tokens = normalised(tokens).repeat(len(targets), 1, 1)
        return take_tokens(tokens, targets.flatten(0, 1))
