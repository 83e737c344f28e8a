"""Pre-train networks on spectral images without labels.

In CARL-SSL, a student encodes some patches of an image and some of their bands, and predictors
estimate from its features those that a teacher computes from the whole image; the teacher is a
moving average of the student. Other objectives predict pixels, or statistics of spectra. `pretrain`
runs a whole pre-training and is the only function here that needs Lightning.
"""

from carl.pretraining.carl_ssl import (
    CARLSSL,
    SSLMasks,
    momentum_at,
    read_ssl_checkpoint,
    update_teacher,
)
from carl.pretraining.losses import INTLLoss, VICRegLoss
from carl.pretraining.mae import CARLMAE, MAEMasking
from carl.pretraining.masked_prediction import SpatialPredictor, SpectralPredictor
from carl.pretraining.masking import SpatialMasking, SpatialMasks, SpectralMasking, SpectralMasks
from carl.pretraining.pretrain_config import PretrainConfig
from carl.pretraining.pretraining_run import PretrainResult, pretrain
from carl.pretraining.statistics import CARLStatistics, StatisticsMasking

__all__ = [
    "CARLMAE",
    "CARLSSL",
    "CARLStatistics",
    "INTLLoss",
    "MAEMasking",
    "PretrainConfig",
    "PretrainResult",
    "SSLMasks",
    "SpatialMasking",
    "SpatialMasks",
    "SpatialPredictor",
    "SpectralMasking",
    "SpectralMasks",
    "SpectralPredictor",
    "StatisticsMasking",
    "VICRegLoss",
    "momentum_at",
    "pretrain",
    "read_ssl_checkpoint",
    "update_teacher",
]
