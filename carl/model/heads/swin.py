"""Four scales of features from a Swin transformer on CARL's spectral features.

Liu et al. 2021, "Swin Transformer" (https://arxiv.org/abs/2103.14030), as transformers has it. It
takes the place of the spatial encoder: where it would see colours, it sees the camera-agnostic
features of the patches.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers import SwinBackbone, SwinConfig

from carl.model.carl import CARL
from carl.model.heads.options import SwinOptions

_STAGES = 4


class SwinPyramid(nn.Module):
    """The Swin transformer above a CARL network, which it does not own.

    Args:
        carl: whose spectral features it sees.
        options: its sizes.

    Attributes:
        channels: of the four maps.
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
                out_features=[f"stage{number}" for number in range(1, _STAGES + 1)],
            )
        )
        self.channels = tuple(options.embed_dim << stage for stage in range(_STAGES))

    def forward(self, carl: CARL, image: Tensor, wavelengths_um: Tensor) -> list[Tensor]:
        """Features at four scales, from as fine as the patches to eight times as coarse.

        Args:
            carl: the network.
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.
        """
        return list(self.swin(carl.spectral_features(image, wavelengths_um)).feature_maps)
