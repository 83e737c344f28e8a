"""Swin transformer on CARL's spectral features, as a feature pyramid.

Liu et al. 2021, "Swin Transformer" (https://arxiv.org/abs/2103.14030), in the implementation of
transformers. It replaces the spatial encoder; its input are the camera-agnostic spectral features
instead of an RGB image.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers import SwinBackbone, SwinConfig

from carl.model.carl import CARL
from carl.model.heads.factory import SwinOptions

_N_STAGES = 4


class SwinPyramid(nn.Module):
    """Swin transformer that takes the spectral features of a CARL network as input.

    The network is an argument of `forward` and not a submodule; `carl` here gives the channels.

    Attributes:
        channels: channels of the four maps.
    """

    def __init__(self, carl: CARL, options: SwinOptions) -> None:
        super().__init__()
        self.swin = SwinBackbone(
            SwinConfig(
                num_channels=carl.embed_dim,
                patch_size=1,
                embed_dim=options.embed_dim,
                depths=list(options.depths),
                num_heads=list(options.num_heads),
                window_size=options.window,
                drop_path_rate=options.drop_path,
                out_features=[f"stage{number}" for number in range(1, _N_STAGES + 1)],
            )
        )
        self.channels = tuple(options.embed_dim << stage for stage in range(_N_STAGES))

    def forward(self, carl: CARL, image: Tensor, wavelengths_um: Tensor) -> list[Tensor]:
        """Compute four maps, at 1, 1/2, 1/4 and 1/8 times the resolution of the patches.

        The arguments are those of `FeaturePyramid`.
        """
        return list(self.swin(carl.spectral_features(image, wavelengths_um)).feature_maps)
