"""Training heads for segmentation and classification on top of a CARL network."""

from carl.learning.tasks.config import PairConfig, TrainConfig
from carl.learning.tasks.run import TrainReport
from carl.learning.tasks.trained import TrainedHead, load_trained
from carl.learning.tasks.training import TrainResult, train

__all__ = [
    "PairConfig",
    "TrainConfig",
    "TrainReport",
    "TrainResult",
    "TrainedHead",
    "load_trained",
    "train",
]
