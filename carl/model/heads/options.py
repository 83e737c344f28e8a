"""The sizes of heads; reading this needs neither PyTorch nor transformers."""

from __future__ import annotations

from dataclasses import dataclass

from carl.errors import ModelError


@dataclass(frozen=True)
class AdapterOptions:
    """A ViT-Adapter.

    Attributes:
        interactions: groups the blocks of the spatial encoder are divided into; not more than it
            has blocks.
        num_heads: of the deformable attention.
        n_points: each head looks at, per map.
        ratio: channels of the attention's values over those of the network.
        mlp_ratio: width of the hidden layer after an extraction over that of the network.
        channels: of the finest scale of the spatial prior.
        n_colours: virtual colours the spatial prior makes of the bands.
    """

    interactions: int = 4
    num_heads: int = 6
    n_points: int = 4
    ratio: float = 0.5
    mlp_ratio: float = 0.25
    channels: int = 64
    n_colours: int = 16

    def __post_init__(self) -> None:
        if min(self.interactions, self.num_heads, self.n_points, self.n_colours) < 1:
            raise ModelError("interactions, num_heads, n_points and n_colours must be 1 or more.")
        if self.channels < 8 or self.channels % 8:
            raise ModelError(f"channels is {self.channels}: it must be a multiple of 8.")


@dataclass(frozen=True)
class SwinOptions:
    """A Swin transformer; the defaults are those of Swin-T.

    Attributes:
        embed_dim: channels of the first stage, doubled by each later one.
        depths: blocks of the four stages.
        num_heads: attention heads of the four stages.
        window: side of the windows within which patches attend to each other.
        drop_path: stochastic depth of the last block.
    """

    embed_dim: int = 96
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    num_heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    window: int = 7
    drop_path: float = 0.1

    def __post_init__(self) -> None:
        if min(self.embed_dim, self.window, *self.depths, *self.num_heads) < 1:
            raise ModelError("embed_dim, depths, num_heads and window must be 1 or more.")
        for stage, heads in enumerate(self.num_heads):
            if (self.embed_dim << stage) % heads:
                raise ModelError(
                    f"Stage {stage + 1} of Swin has {self.embed_dim << stage} channels, which must "
                    f"be a multiple of its {heads} heads."
                )


@dataclass(frozen=True)
class UperNetOptions:
    """An UperNet.

    Attributes:
        hidden_size: channels; 512 in the paper.
        auxiliary_weight: of the loss of an auxiliary head, which has half the channels and is there
            in training only; 0 for none, 0.4 is usual.
    """

    hidden_size: int = 256
    auxiliary_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.hidden_size < 1:
            raise ModelError("hidden_size of UperNet must be 1 or more.")
        if self.auxiliary_weight < 0:
            raise ModelError("auxiliary_weight of UperNet must be 0 or more.")


@dataclass(frozen=True)
class Mask2FormerOptions:
    """A Mask2Former; the defaults are the paper's.

    Attributes:
        hidden_size: channels; a multiple of 64 and of `num_heads`.
        num_heads: attention heads.
        encoder_layers: of deformable attention over the scales.
        decoder_layers: of the queries, one of which only looks at the pixels.
        queries: most segments of one image; at least the number of classes.
        points: labelled pixels of an image that the loss looks at, drawn at random from more.
    """

    hidden_size: int = 256
    num_heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 10
    queries: int = 100
    points: int = 12544

    def __post_init__(self) -> None:
        # Transformers normalises groups of 1/32 of the channels, of which one alone would vanish.
        if self.hidden_size < 1 or self.hidden_size % 64 or self.hidden_size % self.num_heads:
            raise ModelError(
                f"hidden_size of Mask2Former is {self.hidden_size}: it must be a multiple of 64 "
                f"and of num_heads, {self.num_heads}."
            )
        if min(self.encoder_layers, self.queries, self.points) < 1 or self.decoder_layers < 2:
            raise ModelError(
                "encoder_layers, queries and points must be 1 or more, decoder_layers 2 or more."
            )
