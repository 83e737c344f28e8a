"""What simulated scenes know of themselves, as a target that is the same from any camera.

A scene of `carl.simulation` comes with maps of what tissue contains and with its regions. Told from
whatever bands a random camera shows, they teach a network what matters in a spectrum and what is
only the camera's; images that are not simulated know nothing of it, and are silent.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from carl.arrays import Float32Array
from carl.pretraining.scales import RunningScale, known_error
from carl.simulation import PARAMETERS, REGIONS, Scene

_AMOUNTS: Final = {
    "blood": 1e-3, "bilirubin": 0.1, "melanin": 1e-3, "scatter": 1.0, "glare": 1e-2,
    "haematoxylin": 0.02, "eosin": 0.02,
}  # fmt: skip
"""Parameters that span decades, and the amount below which they are as good as absent: these are
told as logarithms."""
N_PARAMETERS: Final = len(PARAMETERS)
_NAMES: Final = tuple((kind, name) for kind, names in REGIONS.items() for name in names)
N_REGIONS: Final = len(_NAMES)
"""Number of all kinds of regions of all kinds of scenes."""
N_TRUTHS: Final = N_PARAMETERS + N_REGIONS


def scene_truth(scene: Scene) -> Float32Array:
    """Everything there is to tell of every pixel of a scene, (H, W, N_TRUTHS).

    First the parameters, NaN where they have no meaning, then the share of every kind of region.
    """
    truth = np.zeros((*scene.labels.shape, N_TRUTHS), np.float32)
    for i, name in enumerate(PARAMETERS):
        values = scene.parameters[name]
        floor = _AMOUNTS.get(name)
        truth[..., i] = values if floor is None else np.log(np.maximum(values, 0) + floor)
    for value, name in enumerate(scene.classes, start=1):
        truth[..., N_PARAMETERS + _NAMES.index((scene.kind, name))] += scene.labels == value
    return truth


def patch_truth(truth: Float32Array | None, size: int, patch_size: int) -> Float32Array:
    """Means over patches, (N_TRUTHS, S/P, S/P); NaN where a pixel is unknown.

    Args:
        truth: (S, S, N_TRUTHS) of `scene_truth`; None if nothing is known.
        size: S, pixels.
        patch_size: P, a divisor of S.
    """
    n = size // patch_size
    if truth is None:
        return np.full((N_TRUTHS, n, n), np.nan, np.float32)
    patches = truth.reshape(n, patch_size, n, patch_size, N_TRUTHS)
    return np.ascontiguousarray(patches.mean(axis=(1, 3)).transpose(2, 0, 1))


class TruthHeads(nn.Module):
    """Linear maps from features to the truth: the features themselves have to be telling.

    Args:
        embed_dim: D of the features.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.scale = RunningScale(N_PARAMETERS)
        self.from_spatial = nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, N_TRUTHS))
        self.from_spectral = nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, N_TRUTHS))

    def forward(self, spatial: Tensor, spectral: Tensor) -> tuple[Tensor, Tensor]:
        """The truth as told by both feature maps (B, D, h, w): (B, N_TRUTHS, h, w) each."""
        told_spatial = self.from_spatial(spatial.movedim(1, -1)).movedim(-1, 1)
        told_spectral = self.from_spectral(spectral.movedim(1, -1)).movedim(-1, 1)
        return told_spatial, told_spectral

    def follow(self, target: Tensor) -> None:
        """Move the scales of parameters towards those of a batch (B, N_TRUTHS, h, w)."""
        self.scale.follow(target[:, :N_PARAMETERS])

    def error(self, told: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """How wrong (B, N_TRUTHS, h, w) is: smooth L1 of parameters, cross-entropy of regions."""
        wanted = self.scale(target[:, :N_PARAMETERS])
        parameters = known_error(told[:, :N_PARAMETERS], wanted)
        logits = told[:, N_PARAMETERS:].movedim(1, -1).flatten(0, 2)
        shares = target[:, N_PARAMETERS:].movedim(1, -1).flatten(0, 2)
        known = shares.isfinite().all(dim=1)
        if not known.any():
            return parameters, 0 * logits.sum()
        return parameters, F.cross_entropy(logits[known], shares[known])
