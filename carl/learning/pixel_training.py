"""Train a network, or a part of it, to classify labelled pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from carl.errors import CarlError
from carl.inference.backend import NumberFormat
from carl.inference.workers import Workers
from carl.learning.crops import IGNORED, Crop
from carl.learning.lora import add_adapters, merge_adapters
from carl.learning.options import Tune
from carl.learning_rate import warmup_cosine
from carl.model import CARL
from carl.model.heads.base import to_pixels
from carl.model.heads.linear import PatchClassifier

LEARNING_RATES: dict[Tune, float] = {"last_blocks": 1e-3, "lora": 1e-3, "full": 3e-4}
"""Peak learning rate of the tuned weights of the network."""
WARMUP = 0.1
"""Fraction of the steps in which the learning rate rises; then it falls along half a cosine."""
_TUNED = "+tuned"
_LAST_SPATIAL_BLOCKS = 2
_HEAD_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 0.01
_MAX_GRADIENT_NORM = 1.0


class PixelTraining:
    """Training of a network, in place, together with a new linear head.

    The workers share the crops of a step. `precision` is that of the forward pass; weights stay in
    float32. `steps` is the length of the learning-rate schedule, and `seed` that of new weights.
    """

    def __init__(
        self,
        model: CARL,
        tune: Tune,
        n_classes: int,
        *,
        steps: int,
        seed: int,
        precision: NumberFormat,
        workers: Workers,
    ) -> None:
        self._model = model
        self._required_grad = {n: p.requires_grad for n, p in model.named_parameters()}
        self._device = next(model.parameters()).device
        self._in_bf16 = precision == "bf16"
        self._workers = workers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tuned = _unfreeze(model, tune)
            self._head = PatchClassifier(model.embed_dim, n_classes).to(self._device)
        groups = [
            {"params": tuned, "lr": LEARNING_RATES[tune]},
            {"params": list(self._head.parameters()), "lr": _HEAD_LEARNING_RATE},
        ]
        self._trained = tuned + list(self._head.parameters())
        self._optimiser = torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: warmup_cosine((step + 1) / steps, WARMUP)
        )
        self._snapshot: list[Tensor] = []

    def step(self, crops: Sequence[Crop]) -> float:
        """Take one optimiser step on the mean loss of some crops.

        Returns:
            the mean loss before the step.

        Raises:
            CarlError: the loss is not finite.
        """
        self._model.train()
        self._optimiser.zero_grad()
        total = 0.0
        # Gradients are summed in the order of the crops, so that a seed reproduces the result.
        for loss, gradients in self._workers.map(self._gradients, crops):
            total += loss / len(crops)
            for parameter, gradient in zip(self._trained, gradients, strict=True):
                if gradient is not None:
                    mean = gradient / len(crops)
                    parameter.grad = mean if parameter.grad is None else parameter.grad + mean
        if not isfinite(total):
            raise CarlError(
                "Fine-tuning failed because the loss is no longer finite: check the cube for "
                "extreme values, or tune less of the network."
            )
        nn.utils.clip_grad_norm_(self._trained, _MAX_GRADIENT_NORM)
        self._optimiser.step()
        self._schedule.step()
        return total

    def predict(self, crops: Iterable[Crop]) -> Iterator[NDArray[np.int64]]:
        """Predict (S, S) class indices of each crop."""
        self._model.eval()
        return self._workers.map(self._classes, crops)

    def snapshot(self) -> None:
        """Copy the current weights, for `restore`."""
        self._snapshot = [parameter.detach().clone() for parameter in self._trained]

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the weights of the last snapshot."""
        for parameter, value in zip(self._trained, self._snapshot, strict=True):
            parameter.copy_(value)

    def finish(self) -> CARL:
        """Return the trained network in eval mode, without the head and with adapters merged."""
        merge_adapters(self._model)
        self._model.name = self._model.name.removesuffix(_TUNED) + _TUNED
        self._model.trained = True
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(self._required_grad[name])
            parameter.grad = None
        return self._model.eval()

    def _gradients(self, crop: Crop) -> tuple[float, tuple[Tensor | None, ...]]:
        loss = balanced_cross_entropy(self._logits(crop), crop.target.to(self._device))
        return loss.item(), torch.autograd.grad(loss, self._trained, allow_unused=True)

    @torch.no_grad()
    def _classes(self, crop: Crop) -> NDArray[np.int64]:
        classes: NDArray[np.int64] = self._logits(crop).argmax(dim=0).cpu().numpy()
        return classes

    def _logits(self, crop: Crop) -> Tensor:
        """Compute (K, S, S) logits."""
        image = crop.image[None].to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, self._in_bf16):
            features = self._model(image, crop.wavelengths_um.to(self._device))
            logits = self._head(features)
        return to_pixels(logits, self._model.patch_size, image)[0]


def balanced_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the cross-entropy with equal total weight for every class that is present.

    Args:
        logits: (K, H, W).
        target: (H, W) class indices; pixels with `IGNORED` are left out.
    """
    labelled = target != IGNORED
    classes = target[labelled]
    losses = F.cross_entropy(logits[:, labelled].T, classes, reduction="none")
    counts = torch.bincount(classes, minlength=len(logits))
    return (losses / counts[classes]).sum() / (counts > 0).sum()


def _unfreeze(model: CARL, tune: Tune) -> list[nn.Parameter]:
    """Freeze the network except for the part to tune, and return the parameters of that part."""
    model.requires_grad_(False)
    if tune == "lora":
        return add_adapters(model)
    parameters = list(model.parameters())
    if tune == "last_blocks":
        spectral = model.spectral_encoder
        last = nn.ModuleList([spectral.blocks[-1], spectral.norm, model.readout, model.connector])
        last.extend(model.spatial_encoder.blocks[-_LAST_SPATIAL_BLOCKS:])
        parameters = list(last.parameters())
    for parameter in parameters:
        parameter.requires_grad_()
    return parameters
