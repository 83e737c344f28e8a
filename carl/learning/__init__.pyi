from .cube_features import CubeFeatures, compute_features, compute_joint_features
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
from .predict_files import predict_to_files, prediction_names
from .predictor import BoundPredictor, Prediction, Predictor
from .segmenter import FitReport, Refinement, Segmenter

__all__ = [
    "BoundPredictor",
    "CubeFeatures",
    "FineTuneResult",
    "FitReport",
    "Prediction",
    "Predictor",
    "Refinement",
    "Segmenter",
    "StepReport",
    "TrainConfig",
    "TrainResult",
    "TrainedHead",
    "Tune",
    "compute_features",
    "compute_joint_features",
    "finetune",
    "load_predictor",
    "predict_to_files",
    "prediction_names",
    "split_strokes",
    "train",
    "train_to_file",
]
