"""The heads by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from carl.errors import CarlError, ModelError
from carl.model.heads.options import (
    AdapterOptions,
    Mask2FormerOptions,
    SwinOptions,
    UperNetOptions,
)
from carl.parsing import parse_dataclass

if TYPE_CHECKING:
    from carl.model.carl import CARL
    from carl.model.heads.base import Head

Task = Literal["segmentation", "classification", "multilabel"]
"""A class for every pixel; one class for an image; any number of classes for an image."""


class HeadInfo(NamedTuple):
    """A head that has a name.

    Attributes:
        task: what it is for.
        description: one line for a person.
    """

    task: Task
    description: str


HEADS = {
    "linear": HeadInfo("segmentation", "one matrix from patches to classes"),
    "vit-adapter-upernet": HeadInfo(
        "segmentation", "ViT-Adapter around the spatial encoder, UperNet"
    ),
    "vit-adapter-mask2former": HeadInfo(
        "segmentation", "ViT-Adapter around the spatial encoder, Mask2Former"
    ),
    "swin-mask2former": HeadInfo(
        "segmentation", "Swin in place of the spatial encoder, Mask2Former"
    ),
    "classification": HeadInfo("classification", "one class for an image"),
    "multilabel": HeadInfo("multilabel", "any number of classes for an image"),
}
"""The heads by name."""


@dataclass(frozen=True)
class HeadConfig:
    """A head and the sizes of its parts; a head without such a part takes no notice of it.

    Attributes:
        name: a key of `HEADS`.
        adapter: the ViT-Adapter.
        swin: the Swin transformer.
        upernet: UperNet.
        mask2former: Mask2Former.
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
        """From a name, or a table with a name and sizes.

        Raises:
            ModelError: there is no such head or key, or a value does not fit.
        """
        table = values if isinstance(values, Mapping) else {"name": values}
        try:
            return parse_dataclass(cls, table, "head")
        except CarlError as error:
            raise ModelError(str(error)) from error


def build_head(head: str | HeadConfig, carl: CARL, n_classes: int) -> Head:
    """A network for a task: a head of random weights on top of a CARL network.

    Args:
        head: a key of `HEADS`, or a head with its sizes.
        carl: the network below, which becomes a part of the result.
        n_classes: K.

    Raises:
        ModelError: there is no such head, its sizes do not fit, or it needs transformers, which is
            not installed.
    """
    config = head if isinstance(head, HeadConfig) else HeadConfig.parse(head)
    if config.name == "linear":
        from carl.model.heads.linear import LinearSegmentation

        return LinearSegmentation(carl, n_classes)
    if config.name in ("classification", "multilabel"):
        from carl.model.heads import classification

        if config.name == "classification":
            return classification.Classification(carl, n_classes)
        return classification.MultiLabelClassification(carl, n_classes)
    if find_spec("transformers") is None:
        raise ModelError(
            f"The head '{config.name}' needs transformers: pip install \"napari-carl[heads]\"."
        )
    return _on_a_pyramid(config, carl, n_classes)


def _on_a_pyramid(config: HeadConfig, carl: CARL, n_classes: int) -> Head:
    """A head that looks at four scales; its modules need transformers."""
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
