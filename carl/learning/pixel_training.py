"""Train a network, or a part of it, to tell the classes of painted pixels apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import cos, isfinite, pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from carl.errors import CarlError
from carl.inference.precision import Precision
from carl.inference.workers import Workers
from carl.learning.crops import IGNORED, Crop
from carl.learning.lora import add_adapters, merge_adapters
from carl.learning.options import Tune
from carl.model import CARL
from carl.model.heads.base import to_pixels
from carl.model.heads.linear import PatchClassifier

RATES: dict[Tune, float] = {"last_blocks": 1e-3, "lora": 1e-3, "full": 3e-4}
"""Learning rate of the network for each way to tune it."""
_TUNED = "+tuned"
_LAST_SPATIAL_BLOCKS = 2
_HEAD_RATE = 3e-3
_WEIGHT_DECAY = 0.01
_LONGEST_GRADIENT = 1.0
_WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; it then falls as half a cosine."""


class PixelTraining:
    """A network in training with a head of its own.

    Args:
        model: trained in place.
        tune: which weights of the network to train.
        n_classes: to tell apart.
        steps: over which the learning rate runs its course.
        seed: of new weights.
        precision: to compute in; weights stay in float32.
        workers: to share the crops of a step among.
    """

    def __init__(
        self,
        model: CARL,
        tune: Tune,
        n_classes: int,
        *,
        steps: int,
        seed: int,
        precision: Precision,
        workers: Workers,
    ) -> None:
        self._model = model
        self._required_grad = {n: p.requires_grad for n, p in model.named_parameters()}
        self._device = next(model.parameters()).device
        self._in_bf16 = precision == "bf16"
        self._workers = workers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tuned = _release(model, tune)
            self._head = PatchClassifier(model.embed_dim, n_classes).to(self._device)
        groups = [
            {"params": tuned, "lr": RATES[tune]},
            {"params": list(self._head.parameters()), "lr": _HEAD_RATE},
        ]
        self._learned = tuned + list(self._head.parameters())
        self._optimiser = torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: course((step + 1) / steps)
        )
        self._best: list[Tensor] = []

    def step(self, crops: Sequence[Crop]) -> float:
        """One step of the optimiser on the mean loss of some crops; that loss, before the step.

        Raises:
            CarlError: the loss is not a number any more.
        """
        self._model.train()
        self._optimiser.zero_grad()
        total = 0.0
        # Gradients are added in the order of the crops, so that a seed gives the same numbers.
        for loss, gradients in self._workers.map(self._gradients, crops):
            total += loss / len(crops)
            for parameter, gradient in zip(self._learned, gradients, strict=True):
                if gradient is not None:
                    share = gradient / len(crops)
                    parameter.grad = share if parameter.grad is None else parameter.grad + share
        if not isfinite(total):
            raise CarlError(
                "Fine-tuning failed, its loss is not a number any more: check the cube for extreme "
                "values, or tune less of the network."
            )
        nn.utils.clip_grad_norm_(self._learned, _LONGEST_GRADIENT)
        self._optimiser.step()
        self._schedule.step()
        return total

    def predict(self, crops: Iterable[Crop]) -> Iterator[NDArray[np.int64]]:
        """(S, S) class indices of each crop."""
        self._model.eval()
        return self._workers.map(self._classes, crops)

    def remember(self) -> None:
        """Keep the weights as they are now, to come back to."""
        self._best = [parameter.detach().clone() for parameter in self._learned]

    @torch.no_grad()
    def recall(self) -> None:
        """Go back to the weights last remembered."""
        for parameter, value in zip(self._learned, self._best, strict=True):
            parameter.copy_(value)

    def finish(self) -> CARL:
        """The network as trained, ready for use; the head is left behind."""
        merge_adapters(self._model)
        self._model.name = self._model.name.removesuffix(_TUNED) + _TUNED
        self._model.trained = True
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(self._required_grad[name])
            parameter.grad = None
        return self._model.eval()

    def _gradients(self, crop: Crop) -> tuple[float, tuple[Tensor | None, ...]]:
        loss = balanced_cross_entropy(self._logits(crop), crop.target.to(self._device))
        return loss.item(), torch.autograd.grad(loss, self._learned, allow_unused=True)

    @torch.no_grad()
    def _classes(self, crop: Crop) -> NDArray[np.int64]:
        classes: NDArray[np.int64] = self._logits(crop).argmax(dim=0).cpu().numpy()
        return classes

    def _logits(self, crop: Crop) -> Tensor:
        """(K, S, S)."""
        image = crop.image[None].to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, self._in_bf16):
            features = self._model(image, crop.wavelengths_um.to(self._device))
            logits = self._head(features)
        return to_pixels(logits, self._model.patch_size, image)[0]


def balanced_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy in which every class present weighs the same, however large its strokes.

    Args:
        logits: (K, H, W).
        target: (H, W) class indices; `IGNORED` is left out.
    """
    labelled = target != IGNORED
    classes = target[labelled]
    losses = F.cross_entropy(logits[:, labelled].T, classes, reduction="none")
    counts = torch.bincount(classes, minlength=len(logits))
    return (losses / counts[classes]).sum() / (counts > 0).sum()


def _release(model: CARL, tune: str) -> list[nn.Parameter]:
    """Freeze all of the network but what is to be tuned; returns that."""
    model.requires_grad_(False)
    if tune == "lora":
        return add_adapters(model)
    released = list(model.parameters())
    if tune == "last_blocks":
        spectral = model.spectral_encoder
        last = nn.ModuleList([spectral.blocks[-1], spectral.norm, model.readout, model.connector])
        last.extend(model.spatial_encoder.blocks[-_LAST_SPATIAL_BLOCKS:])
        released = list(last.parameters())
    for parameter in released:
        parameter.requires_grad_()
    return released


def course(share: float) -> float:
    """Learning rate after a share of the steps, relative to its peak."""
    if share < _WARM_UP:
        return share / _WARM_UP
    return 0.5 * (1 + cos(pi * (share - _WARM_UP) / (1 - _WARM_UP)))
