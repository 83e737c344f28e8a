import carl.metrics

from .finetune import FineTuneResult, StepReport, finetune
from .head_training import (
    TrainConfig,
    TrainedHead,
    TrainResult,
    load_predictor,
    train,
    train_to_file,
)
from .holdout import split_strokes
from .options import Tune
from .predict_files import predict_to_files
from .segmenter import Prediction, Segmenter

Scores = carl.metrics.Scores
evaluate = carl.metrics.evaluate

__all__ = [
    "FineTuneResult",
    "Prediction",
    "Scores",
    "Segmenter",
    "StepReport",
    "TrainConfig",
    "TrainResult",
    "TrainedHead",
    "Tune",
    "evaluate",
    "finetune",
    "load_predictor",
    "predict_to_files",
    "split_strokes",
    "train",
    "train_to_file",
]
