"""Learning features of spectral images without labels.

In CARL-SSL a student sees some patches of an image and some bands of those; predictors tell from
what it makes of them what a teacher makes of the rest. The teacher is a moving average of the
student. Other objectives tell pixels, or statistics of spectra, in place of a teacher's features.
`pretrain` does a whole run; it needs Lightning, nothing else here does.
"""

from carl.pretraining.checkpoint import read_ssl_checkpoint
from carl.pretraining.ema import momentum_at, update_teacher
from carl.pretraining.intl import INTLLoss
from carl.pretraining.losses import LossTerms, VICRegLoss
from carl.pretraining.mae import CARLMAE, MAEMasking
from carl.pretraining.masking import SpatialMasking, SpatialMasks, SpectralMasking, SpectralMasks
from carl.pretraining.module import CARLSSL, Masks, SSLLoss, SSLOutput
from carl.pretraining.predictors import SpatialPredictor, SpectralPredictor
from carl.pretraining.pretrain_config import PretrainConfig
from carl.pretraining.runner import PretrainResult, pretrain
from carl.pretraining.statistics import CARLStatistics, StatisticsMasking

__all__ = [
    "CARLMAE",
    "CARLSSL",
    "CARLStatistics",
    "INTLLoss",
    "LossTerms",
    "MAEMasking",
    "Masks",
    "PretrainConfig",
    "PretrainResult",
    "SSLLoss",
    "SSLOutput",
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
