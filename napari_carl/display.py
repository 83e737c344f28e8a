"""Pieces of a session's state."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from napari_carl.computations import Tune

if TYPE_CHECKING:
    from carl.learning.finetune import FineTuneResult, StepReport


class DisplayMode(StrEnum):
    """What a cube is shown as."""

    TRUE_COLOUR = "true colour"
    THREE_BANDS = "three bands"
    SINGLE_BAND = "single band"
    EMBEDDING = "embedding"


@dataclass(frozen=True)
class FineTuning:
    """A run of fine-tuning: its curve so far, and its result once it is over."""

    tune: Tune
    steps: list[StepReport] = field(default_factory=list)
    result: FineTuneResult | None = None
