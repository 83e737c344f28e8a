"""Labels and a model in, a better model out: few-stroke segmentation, fine-tuning, scores."""

from __future__ import annotations

from carl.learning.finetune import FineTuneResult, StepReport, finetune
from carl.learning.holdout import split_strokes
from carl.learning.metrics import Scores, evaluate
from carl.learning.segmenter import Prediction, Segmenter

__all__ = [
    "FineTuneResult",
    "Prediction",
    "Scores",
    "Segmenter",
    "StepReport",
    "evaluate",
    "finetune",
    "split_strokes",
]
