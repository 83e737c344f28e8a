"""CARL: network that computes camera-agnostic features of a spectral image.

Baumann et al. 2026, "CARL: Camera-Agnostic Representation Learning for Spectral Image Analysis"
(ICLR, https://arxiv.org/abs/2504.19223). The spectral encoder maps the bands of each patch to one
camera-agnostic vector; the spatial encoder relates the patches of an image to each other.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carl.arrays import mirror_indices
from carl.errors import ModelError, WavelengthError
from carl.model.config import CARLConfig
from carl.model.spatial_encoder import SpatialEncoder
from carl.model.spectral_encoder import Readout, SpectralEncoder

_CPU_TOKEN_VALUES = 1 << 18
"""Token values (patches × bands × D) per chunk on a CPU: 1 MB in float32 fits a core's cache."""
_GPU_TOKEN_VALUES = 1 << 26
"""Token values per chunk on a GPU: about 4 GB with all activations, enough to keep it busy."""
_CPU_CHUNK_RANGE = (8, 64)
"""Smallest and largest number of patches per chunk on a CPU: smaller chunks are dominated by the
overhead per call, larger ones are not faster."""
_LONGEST_WAVELENGTH_UM = 100.0
"""Longest accepted wavelength in µm; larger values are taken for nm given by mistake."""


class CARLOutput(NamedTuple):
    """Features of an image, one vector per patch.

    Attributes:
        spatial: (B, D, h, w), computed from all patches of the image.
        spectral: (B, D, h, w), computed from the bands of each patch alone.

    Examples:
        >>> import torch
        >>> from carl.model import build_model
        >>> model = build_model("carl-nano").eval()
        >>> spatial, spectral = model(torch.rand(2, 3, 16, 24), torch.tensor([0.45, 0.55, 0.65]))
        >>> spatial.shape == spectral.shape == (2, model.embed_dim, 2, 3)
        True
    """

    spatial: Tensor
    spectral: Tensor


class CARL(nn.Module):
    """The CARL network.

    Args:
        config: architecture.
        name: name shown to users and stored in files.
        trained: whether the weights have been trained; False for random initialisation.
        normalisation: mean and standard deviation of the training data, used to normalise images;
            None if each cube is normalised by its own statistics.
        wavelength_range_um: shortest and longest wavelength of the training data in µm, if known.

    Attributes:
        patch_size: P in pixels.
        embed_dim: D, channels of the features.

    Examples:
        >>> import torch
        >>> from carl.model import CARL, CARLConfig
        >>> from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig
        >>> config = CARLConfig(
        ...     patch_size=4,
        ...     spec_encoder_kwargs=SpectralEncoderConfig(embed_dim=16, depth=2, num_heads=2),
        ...     spat_encoder_kwargs=SpatialEncoderConfig("vit_tiny_patch16_224", depth=1),
        ... )
        >>> model = CARL(config).eval()
        >>> image = torch.rand(1, 5, 32, 24)  # (batch, bands, height, width)
        >>> features = model(image, wavelengths_um=torch.linspace(0.4, 0.8, 5))
        >>> features.spatial.shape, features.spectral.shape
        (torch.Size([1, 192, 8, 6]), torch.Size([1, 192, 8, 6]))
    """

    def __init__(
        self,
        config: CARLConfig,
        *,
        name: str = "carl",
        trained: bool = False,
        normalisation: tuple[float, float] | None = None,
        wavelength_range_um: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.name = name
        self.trained = trained
        self.normalisation = normalisation
        self.wavelength_range_um = wavelength_range_um
        self.patch_size = config.patch_size

        spectral = config.spec_encoder_kwargs
        self.patch_embedding = nn.Conv2d(
            1, spectral.embed_dim, config.patch_size, config.patch_size
        )
        self.spectral_encoder = SpectralEncoder(spectral)
        self.readout = Readout(spectral.readout, spectral.n_queries, spectral.embed_dim)
        self.spatial_encoder = SpatialEncoder(config.spat_encoder_kwargs)
        self.embed_dim = self.spatial_encoder.embed_dim
        self.connector = nn.Linear(self.readout.out_dim, self.embed_dim)
        self._fingerprint: tuple[object, str] | None = None

    def forward(self, image: Tensor, wavelengths_um: Tensor) -> CARLOutput:
        """Compute the features of an image.

        Args:
            image: (B, C, H, W), normalised. Sides that are not multiples of P are padded on the
                right and at the bottom by reflection.
            wavelengths_um: (C,) or (B, C) in µm, in any order.

        Returns:
            spatial and spectral features, both (B, D, ⌈H/P⌉, ⌈W/P⌉).

        Raises:
            ModelError: the image has another number of axes or an empty axis.
            WavelengthError: the wavelengths do not match the bands, or are not in µm.
        """
        spectral = self.spectral_features(image, wavelengths_um)
        return CARLOutput(self.spatial_features(spectral), spectral)

    def spectral_features(
        self, image: Tensor, wavelengths_um: Tensor, *, patches_per_chunk: int | None = None
    ) -> Tensor:
        """Compute the spectral features, the first half of `forward`.

        The patches pass through the spectral encoder in chunks. This bounds the memory and, on a
        CPU, is several times faster than all patches at once.

        Args:
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.
            patches_per_chunk: number of patches per chunk; by default chosen for the device and
                the number of bands.

        Returns:
            (B, D, ⌈H/P⌉, ⌈W/P⌉).

        Raises:
            ModelError: the image has another number of axes or an empty axis.
            WavelengthError: the wavelengths do not match the bands, or are not in µm.
        """
        wavelengths_um = check_inputs(image, wavelengths_um)
        patches = self.patchify(image)
        batch, h, w = patches.shape[:3]
        patches = patches.flatten(0, 2)
        encoding = self.spectral_encoder.wavelength_encoding(wavelengths_um)
        chunk = patches_per_chunk or self._patches_per_chunk(image)
        features = []
        for start in range(0, len(patches), chunk):
            tokens = self.embed_patches(patches[start : start + chunk])
            if len(encoding) == 1:
                chunk_encoding = encoding
            else:  # one encoding per image: repeat it for each patch of that image
                rows = torch.arange(start, start + len(tokens), device=encoding.device)
                chunk_encoding = encoding[rows // (h * w)]
            features.append(self.read_out(self.spectral_encoder(tokens, chunk_encoding).queries))
        return torch.cat(features).view(batch, h, w, -1).permute(0, 3, 1, 2)

    def spatial_features(self, feature_map: Tensor, visible: Tensor | None = None) -> Tensor:
        """Compute the spatial features, the second half of `forward`.

        Args:
            feature_map: (B, D, h, w) from `spectral_features`.
            visible: (B, h, w) bool, False at masked patches; all visible by default.

        Returns:
            (B, D, h, w).
        """
        features: Tensor = self.spatial_encoder(feature_map, visible)
        return features

    def patchify(self, image: Tensor) -> Tensor:
        """Split (B, C, H, W) into patches (B, h, w, C, P·P), padding by reflection if needed."""
        size = self.patch_size
        image = reflect_to_multiple(image, size)
        patches = image.unfold(2, size, size).unfold(3, size, size)
        return patches.permute(0, 2, 3, 1, 4, 5).flatten(-2)

    def embed_patches(self, patches: Tensor) -> Tensor:
        """Compute band tokens (..., C, D) from patches (..., C, P·P).

        Every band is embedded alone, with the same weights: the convolution `patch_embedding`
        (kernel and stride P) written as a matrix product.
        """
        weight = self.patch_embedding.weight
        return F.linear(patches.to(weight.dtype), weight.flatten(1), self.patch_embedding.bias)

    def read_out(self, queries: Tensor) -> Tensor:
        """Compute vectors (N, D) of the spatial encoder's width from queries (N, K, D)."""
        # Linear(LayerNorm(readout(queries))); the LayerNorm has no parameters and eps 1e-5.
        vectors = self.readout(queries)
        connected: Tensor = self.connector(F.layer_norm(vectors, vectors.shape[-1:]))
        return connected

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of configuration and weights, recomputed when they change."""
        tensors = self.state_dict()
        state = tuple((tensor.data_ptr(), _version(tensor)) for tensor in tensors.values())
        if self._fingerprint is None or self._fingerprint[0] != state:
            self._fingerprint = (state, self._digest(tensors))
        return self._fingerprint[1]

    def _digest(self, tensors: dict[str, Tensor]) -> str:
        digest = hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True).encode())
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def _patches_per_chunk(self, image: Tensor) -> int:
        values_per_patch = image.shape[1] * self.config.spec_encoder_kwargs.embed_dim
        if image.device.type == "cpu":
            fewest, most = _CPU_CHUNK_RANGE
            return min(max(_CPU_TOKEN_VALUES // values_per_patch, fewest), most)
        return max(_GPU_TOKEN_VALUES // values_per_patch, 1)


def check_inputs(image: Tensor, wavelengths_um: Tensor) -> Tensor:
    """Check an image and its wavelengths.

    Args:
        image: (B, C, H, W).
        wavelengths_um: (C,) or (B, C) in µm.

    Returns:
        the wavelengths as (B, C), or (1, C) where all images share them.

    Raises:
        ModelError: the image is not (B, C, H, W), or an axis is empty.
        WavelengthError: the wavelengths do not match the bands, or are not in µm.
    """
    if image.ndim != 4 or 0 in image.shape:
        raise ModelError(
            f"The image has the shape {tuple(image.shape)}: give a tensor of shape (batch, bands, "
            "height, width) without empty axes."
        )
    batch, bands = image.shape[:2]
    table = wavelengths_um[None] if wavelengths_um.ndim == 1 else wavelengths_um
    if table.ndim != 2 or table.shape[1] != bands or table.shape[0] not in (1, batch):
        raise WavelengthError(
            f"The wavelengths have the shape {tuple(wavelengths_um.shape)}, but the batch has "
            f"{batch} images of {bands} bands: give one wavelength per band, in µm."
        )
    shortest, longest = (float(value) for value in table.aminmax())
    if not 0 < shortest <= longest < float("inf"):
        raise WavelengthError("The wavelengths must be positive, finite numbers in µm.")
    if longest > _LONGEST_WAVELENGTH_UM:
        raise WavelengthError(
            f"The longest wavelength is {longest:g} µm, which is probably in nm: divide by 1000."
        )
    return table


def reflect_to_multiple(image: Tensor, size: int) -> Tensor:
    """Pad (..., H, W) on the right and at the bottom to multiples of `size`, by reflection.

    The reflection is repeated where the padding is longer than the image, which
    `torch.nn.functional.pad` does not support.
    """
    for axis in (-2, -1):
        length = image.shape[axis]
        padded = -(-length // size) * size
        if padded == length:
            continue
        positions = torch.from_numpy(mirror_indices(np.arange(padded), length))
        image = image.index_select(axis, positions.to(image.device))
    return image


def _version(tensor: Tensor) -> int:
    """Return PyTorch's count of in-place changes; -1 for inference tensors, which have none."""
    return -1 if tensor.is_inference() else tensor._version
