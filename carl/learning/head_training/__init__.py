"""Train heads for segmentation and classification on top of a CARL network."""

from carl.learning.head_training.train import TrainReport, TrainResult, train, train_to_file
from carl.learning.head_training.train_config import PairConfig, TrainConfig
from carl.learning.head_training.trained_head import TrainedHead, load_predictor

__all__ = [
    "PairConfig",
    "TrainConfig",
    "TrainReport",
    "TrainResult",
    "TrainedHead",
    "load_predictor",
    "train",
    "train_to_file",
]
