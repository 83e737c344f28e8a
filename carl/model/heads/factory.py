"""Configuration of the task heads, and the function that builds them by name.

This module imports neither PyTorch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from carl.errors import CarlError, ModelError
from carl.parsing import parse_dataclass

if TYPE_CHECKING:
    from carl.model.carl import CARL
    from carl.model.heads.base import Head

Task = Literal["segmentation", "classification", "multilabel"]
"""One class per pixel, one class per image, or any number of classes per image."""


class HeadInfo(NamedTuple):
    """Summary of a head.

    Attributes:
        task: the task it solves.
        description: one line for the user.
    """

    task: Task
    description: str


HEADS = {
    "linear": HeadInfo("segmentation", "linear classifier of patches"),
    "vit-adapter-upernet": HeadInfo(
        "segmentation", "ViT-Adapter around the spatial encoder, UperNet"
    ),
    "vit-adapter-mask2former": HeadInfo(
        "segmentation", "ViT-Adapter around the spatial encoder, Mask2Former"
    ),
    "swin-mask2former": HeadInfo(
        "segmentation", "Swin in place of the spatial encoder, Mask2Former"
    ),
    "classification": HeadInfo("classification", "one class per image"),
    "multilabel": HeadInfo("multilabel", "any number of classes per image"),
}
"""The heads by name."""


@dataclass(frozen=True)
class AdapterOptions:
    """Options of the ViT-Adapter.

    Attributes:
        interactions: number of groups into which the blocks of the spatial encoder are divided,
            each followed by an exchange of features; limited by the number of blocks.
        num_heads: number of heads of the deformable attention.
        n_points: number of sampling points per head and map.
        ratio: channels of the attention's values relative to those of the network.
        mlp_ratio: width of the hidden layer of the extractors relative to that of the network.
        channels: channels of the finest scale of the spatial prior; a multiple of 8.
        n_colours: number of virtual colours that the spatial prior computes from the bands.
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
    """Options of the Swin transformer; the defaults are those of Swin-T.

    Attributes:
        embed_dim: channels of the first stage, doubled in each later one.
        depths: number of blocks of the four stages.
        num_heads: number of attention heads of the four stages.
        window: side of the attention windows, in patches.
        drop_path: stochastic depth rate of the last block.
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
    """Options of UperNet.

    Attributes:
        hidden_size: number of channels; 512 in the paper.
        auxiliary_weight: weight of the loss of an auxiliary head, which has half the channels and
            is used in training only; 0 for no auxiliary head, 0.4 in the PSPNet paper.
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
    """Options of Mask2Former; the defaults are those of the paper.

    Attributes:
        hidden_size: number of channels; a multiple of 64 and of `num_heads`.
        num_heads: number of attention heads.
        encoder_layers: number of layers of the pixel decoder's deformable attention.
        decoder_layers: number of predictions of the transformer decoder: one from the initial
            queries and one after each layer, so that 10 means the 9 layers of the paper.
        queries: number of queries, the largest number of segments; at least the number of classes.
        points: largest number of labelled pixels per image used by the loss, drawn at random.
    """

    hidden_size: int = 256
    num_heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 10
    queries: int = 100
    points: int = 12544

    def __post_init__(self) -> None:
        # transformers applies GroupNorm with 32 groups: a group of one channel would be all zeros.
        if self.hidden_size < 1 or self.hidden_size % 64 or self.hidden_size % self.num_heads:
            raise ModelError(
                f"hidden_size of Mask2Former is {self.hidden_size}: it must be a multiple of 64 "
                f"and of num_heads ({self.num_heads})."
            )
        if min(self.encoder_layers, self.queries, self.points) < 1 or self.decoder_layers < 2:
            raise ModelError(
                "encoder_layers, queries and points must be 1 or more, decoder_layers 2 or more."
            )


@dataclass(frozen=True)
class HeadConfig:
    """Configuration of a head; options of parts that the head does not have are ignored.

    Attributes:
        name: a key of `HEADS`.
        adapter: options of the ViT-Adapter.
        swin: options of the Swin transformer.
        upernet: options of UperNet.
        mask2former: options of Mask2Former.

    Examples:
        >>> from carl.model.heads import HeadConfig
        >>> config = HeadConfig.parse({"name": "swin-mask2former", "swin": {"window": 4}})
        >>> config.swin.window, config.mask2former.queries
        (4, 100)
    """

    name: Literal[
        "linear",
        "vit-adapter-upernet",
        "vit-adapter-mask2former",
        "swin-mask2former",
        "classification",
        "multilabel",
    ] = "linear"
    adapter: AdapterOptions = field(default_factory=AdapterOptions)
    swin: SwinOptions = field(default_factory=SwinOptions)
    upernet: UperNetOptions = field(default_factory=UperNetOptions)
    mask2former: Mask2FormerOptions = field(default_factory=Mask2FormerOptions)

    @classmethod
    def parse(cls, values: Any) -> HeadConfig:
        """Parse the name of a head, or a mapping with its name and options.

        Raises:
            ModelError: the head or a key is unknown, or a value is invalid.
        """
        table = values if isinstance(values, Mapping) else {"name": values}
        try:
            return parse_dataclass(cls, table, "head")
        except CarlError as error:
            raise ModelError(str(error)) from error


def build_head(head: str | HeadConfig, carl: CARL, n_classes: int) -> Head:
    """Build a head with random weights on top of a CARL network.

    Args:
        head: a key of `HEADS`, or a configuration.
        carl: the network, which becomes a submodule of the head.
        n_classes: K.

    Raises:
        ModelError: the head is unknown, its options are invalid, or transformers is not installed.

    Examples:
        >>> import carl, torch
        >>> from carl.model.heads import build_head
        >>> head = build_head("linear", carl.load_model("carl-nano", "cpu"), n_classes=3)
        >>> head(torch.rand(1, 4, 24, 32), torch.linspace(0.4, 0.7, 4)).shape
        torch.Size([1, 3, 24, 32])
    """
    config = head if isinstance(head, HeadConfig) else HeadConfig.parse(head)
    from carl.model.heads import linear

    if config.name == "linear":
        return linear.LinearSegmentationHead(carl, n_classes)
    if config.name == "classification":
        return linear.ClassificationHead(carl, n_classes)
    if config.name == "multilabel":
        return linear.MultiLabelClassificationHead(carl, n_classes)
    if find_spec("transformers") is None:
        raise ModelError(
            f"The head '{config.name}' needs transformers: pip install \"napari-carl[heads]\"."
        )
    return _build_pyramid_head(config, carl, n_classes)


def _build_pyramid_head(config: HeadConfig, carl: CARL, n_classes: int) -> Head:
    """Build a head that works on features at four scales; its modules import transformers."""
    from carl.model.heads.mask2former import Mask2Former

    if config.name == "swin-mask2former":
        from carl.model.heads.swin import SwinPyramid

        return Mask2Former(carl, n_classes, SwinPyramid(carl, config.swin), config.mask2former)

    from carl.model.heads.vit_adapter import ViTAdapter

    adapter = ViTAdapter(carl, config.adapter)
    if config.name == "vit-adapter-mask2former":
        return Mask2Former(carl, n_classes, adapter, config.mask2former)

    from carl.model.heads.upernet import UperNet

    return UperNet(carl, n_classes, adapter, config.upernet)
