"""CARL-SSL: predict a teacher's features of hidden patches and bands.

The student encodes some patches of an image and some bands of those patches. From its features, two
predictors estimate the features that the teacher computes from the whole image. The teacher is an
exponential moving average of the student.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from carl.model.carl import CARL, check_inputs
from carl.model.checkpoint import load_weights, read_checkpoint, read_state_dict, select_weights
from carl.model.config import CARLConfig
from carl.model.spectral_encoder import take_tokens
from carl.pretraining.losses import INTLLoss, INTLTerms, VICRegLoss, VICRegTerms
from carl.pretraining.masked_prediction import (
    SpatialPredictor,
    SpectralPredictor,
    encode_visible,
    normalise_channels,
    predictor_configs,
)
from carl.pretraining.masking import (
    SpatialMasking,
    SpatialMasks,
    SpectralMasking,
    SpectralMasks,
    to_device,
)

_POSITION_CODE = "spatial_predictor.predictor_pos_embed"
"""Position code stored in the original's checkpoints; here it is computed for the actual grid."""


class SSLMasks(NamedTuple):
    """All masks of one step on B images.

    Attributes:
        spatial: visible and hidden patches.
        spectral: visible and hidden bands of each of the B·n visible patches, image after image.
        selected: (S,) indices of the visible patches whose hidden bands are predicted.

    Examples:
        >>> import torch
        >>> from carl.pretraining import SpatialMasking, SpectralMasking, SSLMasks
        >>> spatial = SpatialMasking()(batch=2, grid=(8, 8))
        >>> n_visible = spatial.context.shape[1]
        >>> spectral = SpectralMasking()(2 * n_visible, n_bands=30)
        >>> masks = SSLMasks(spatial, spectral, selected=torch.tensor([0, n_visible]))
        >>> masks.select_images(slice(1, 2)).selected
        tensor([0])
    """

    spatial: SpatialMasks
    spectral: SpectralMasks
    selected: Tensor

    def select_images(self, images: slice) -> SSLMasks:
        """Return the masks of a contiguous range of images."""
        start, stop, _ = images.indices(len(self.spatial.context))
        n_visible = self.spatial.context.shape[1]
        patches = slice(start * n_visible, stop * n_visible)
        inside = (self.selected >= patches.start) & (self.selected < patches.stop)
        return SSLMasks(
            SpatialMasks(self.spatial.context[images], self.spatial.targets[:, images]),
            SpectralMasks(self.spectral.context[patches], self.spectral.targets[:, patches]),
            self.selected[inside] - patches.start,
        )


class SSLOutput(NamedTuple):
    """Predictions and targets of one step, all with mean 0 and variance 1 over their channels.

    Attributes:
        spatial_prediction: (T·B, m, D) predicted features of hidden patches.
        spatial_target: (T·B, m, D) features of the teacher.
        spectral_prediction: (T'·S, d, D') predicted tokens of hidden bands.
        spectral_target: (T'·S, d, D') tokens of the teacher.
    """

    spatial_prediction: Tensor
    spatial_target: Tensor
    spectral_prediction: Tensor
    spectral_target: Tensor


class SSLLoss(NamedTuple):
    """Loss of one step.

    Attributes:
        total: weighted mean of both branches.
        spatial: loss of hidden patches.
        spectral: loss of hidden bands.
    """

    total: Tensor
    spatial: VICRegTerms | INTLTerms
    spectral: VICRegTerms | INTLTerms


class CARLSSL(nn.Module):
    """Student, teacher and both predictors.

    Args:
        student: network to train; its configuration includes both predictors.
        spatial_masking: distribution of hidden patches.
        spectral_masking: distribution of hidden bands.
        spatial_loss: loss of hidden patches.
        spectral_loss: loss of hidden bands.
        spatial_weight: weight of the spatial branch in the total loss.
        spectral_weight: weight of the spectral branch in the total loss.

    Raises:
        ModelError: the configuration has no predictors.

    Examples:
        >>> import torch
        >>> from carl.model import build_model
        >>> from carl.model.named_models import NAMED_MODELS
        >>> from carl.pretraining import CARLSSL
        >>> from carl.pretraining.pretrain_config import with_predictors
        >>> config = with_predictors(NAMED_MODELS["carl-nano"].config)
        >>> objective = CARLSSL(build_model(config))
        >>> image, wavelengths_um = torch.randn(2, 20, 32, 32), torch.linspace(0.4, 0.9, 20)
        >>> output = objective(image, wavelengths_um, objective.draw_masks(image))
        >>> objective.loss(output).total.backward()
        >>> objective.update_teacher(momentum=0.996)
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
        spectral_predictor, spatial_predictor = predictor_configs(student.config)
        spectral = student.config.spec_encoder_kwargs
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False).eval()
        self.spectral_predictor = SpectralPredictor(
            spectral_predictor, spectral.embed_dim, spectral.n_queries
        )
        self.spatial_predictor = SpatialPredictor(spatial_predictor, student.embed_dim)
        self.spatial_masking = spatial_masking or SpatialMasking()
        self.spectral_masking = spectral_masking or SpectralMasking()
        self.spatial_loss = spatial_loss or VICRegLoss()
        self.spectral_loss = spectral_loss or VICRegLoss()
        self.spatial_weight = spatial_weight
        self.spectral_weight = spectral_weight

    def train(self, mode: bool = True) -> CARLSSL:
        """Set the mode of student and predictors; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def draw_masks(self, image: Tensor, generator: Generator | None = None) -> SSLMasks:
        """Draw the masks of one step for images (B, C, H, W), on their device.

        The hidden bands of one visible patch per image are predicted.
        """
        batch, n_bands, height, width = image.shape
        size = self.student.patch_size
        spatial = self.spatial_masking(batch, (-(-height // size), -(-width // size)), generator)
        n_visible = spatial.context.shape[1]
        spectral = self.spectral_masking(batch * n_visible, n_bands, generator)
        chosen = torch.randint(0, n_visible, (batch,), generator=generator)
        selected = torch.arange(0, batch * n_visible, n_visible) + chosen
        return to_device(SSLMasks(spatial, spectral, selected), image.device)

    def forward(self, image: Tensor, wavelengths_um: Tensor, masks: SSLMasks) -> SSLOutput:
        """Compute predictions of the student and targets of the teacher.

        Args:
            image: (B, C, H, W), normalised; bands in order of wavelength.
            wavelengths_um: (C,) or (B, C) in µm.
            masks: masks of this step.

        Raises:
            ModelError: the image has another shape.
            WavelengthError: the wavelengths do not fit the image, or are not in µm.
        """
        table = check_inputs(image, wavelengths_um).expand(len(image), -1)
        patches = self.student.patchify(image)
        grid = (patches.shape[1], patches.shape[2])
        context, selected = masks.spatial.context, masks.selected
        visible = encode_visible(self.student, patches, table, masks.spectral.context, context)
        selected_wavelengths_um = visible.wavelengths_um[selected]
        hidden_bands = masks.spectral.targets[:, selected]
        spectral = self.spectral_predictor(
            visible.queries[selected], selected_wavelengths_um, hidden_bands
        )
        spatial = self.spatial_predictor(visible.features, context, masks.spatial.targets, grid)
        spatial_target = self._spatial_target(image, wavelengths_um, masks.spatial.targets)
        spectral_target = self._spectral_target(
            visible.patches[selected], selected_wavelengths_um, hidden_bands
        )
        return SSLOutput(
            normalise_channels(spatial),
            spatial_target,
            normalise_channels(spectral),
            spectral_target,
        )

    def loss(self, output: SSLOutput) -> SSLLoss:
        """Compute the loss of the output of one step."""
        spatial = self.spatial_loss(output.spatial_prediction, output.spatial_target)
        spectral = self.spectral_loss(output.spectral_prediction, output.spectral_target)
        total = self.spatial_weight * spatial.total + self.spectral_weight * spectral.total
        return SSLLoss(total / (self.spatial_weight + self.spectral_weight), spatial, spectral)

    def update_teacher(self, momentum: float) -> None:
        """Update the teacher: θ_t ← m·θ_t + (1 − m)·θ_s."""
        update_teacher(self.teacher, self.student, momentum)

    @torch.no_grad()
    def _spatial_target(self, image: Tensor, wavelengths_um: Tensor, targets: Tensor) -> Tensor:
        """Return (T·B, m, D) features of hidden patches from the teacher's view of all patches."""
        features = self.teacher(image, wavelengths_um).spatial.flatten(2).transpose(1, 2)
        features = normalise_channels(features).repeat(len(targets), 1, 1)
        return take_tokens(features, targets.flatten(0, 1))

    @torch.no_grad()
    def _spectral_target(self, patches: Tensor, wavelengths_um: Tensor, targets: Tensor) -> Tensor:
        """Return (T·S, d, D) tokens of hidden bands from the teacher, given (S, C, P²) patches."""
        encoder = self.teacher.spectral_encoder
        encoding = encoder.wavelength_encoding(wavelengths_um)
        tokens = encoder(self.teacher.embed_patches(patches), encoding).tokens
        tokens = normalise_channels(tokens).repeat(len(targets), 1, 1)
        return take_tokens(tokens, targets.flatten(0, 1))


def momentum_at(step: int, n_steps: int, start: float = 0.996, end: float = 0.99999) -> float:
    """Return the EMA momentum of the teacher at a step, rising linearly from `start` to `end`."""
    return start + (end - start) * min(step / n_steps, 1.0)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Update an exponential moving average in place: θ_t ← m·θ_t + (1 − m)·θ_s.

    Args:
        teacher: network with weights θ_t, of the same architecture as the student.
        student: network with weights θ_s.
        momentum: m, between 0 and 1.
    """
    for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        old.lerp_(new.to(old.dtype), 1.0 - momentum)


def read_ssl_checkpoint(
    path: str | Path, config: CARLConfig | Mapping[str, Any] | str | Path
) -> CARLSSL:
    """Read student, teacher and predictors from a self-supervision checkpoint of the original CARL.

    Args:
        path: the ``.ckpt`` file.
        config: configuration of the networks, or the JSON or YAML file with it.

    Raises:
        ModelError: the file is not such a checkpoint, contains code, or does not fit the
            configuration.
    """
    path = Path(path)
    module = CARLSSL(read_checkpoint(path, config))
    teacher = read_checkpoint(path, module.student.config, "teacher")
    module.teacher.load_state_dict(teacher.state_dict())
    weights = select_weights("student", read_state_dict(path), path)
    for name in ("spectral_predictor", "spatial_predictor"):
        predictor = module.get_submodule(name)
        original = {
            key.removeprefix(f"{name}."): tensor
            for key, tensor in weights.items()
            if key.startswith(f"{name}.") and key != _POSITION_CODE
        }
        names = {key: _original_name(key) for key in predictor.state_dict()}
        load_weights(predictor, original, path, names)
    return module


def _original_name(name: str) -> str:
    """Return the original's name of a weight of a predictor."""
    if name == "wavelength_encoding.frequencies":
        return "positional_embedding.dims"
    if name in ("queries_pos_enc", "mask_token"):
        return name
    return f"predictor_{name}"
