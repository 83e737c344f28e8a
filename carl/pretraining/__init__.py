"""CARL-SSL: learning features of spectral images without labels.

A student sees some patches of an image and some bands of those; predictors tell from what it makes
of them what a teacher makes of the rest. The teacher is a moving average of the student.
"""

from carl.pretraining.checkpoint import read_ssl_checkpoint
from carl.pretraining.ema import momentum_at, update_teacher
from carl.pretraining.losses import LossTerms, VICRegLoss
from carl.pretraining.masking import SpatialMasking, SpatialMasks, SpectralMasking, SpectralMasks
from carl.pretraining.module import CARLSSL, Masks, SSLLoss, SSLOutput
from carl.pretraining.predictors import SpatialPredictor, SpectralPredictor

__all__ = [
    "CARLSSL",
    "LossTerms",
    "Masks",
    "SSLLoss",
    "SSLOutput",
    "SpatialMasking",
    "SpatialMasks",
    "SpatialPredictor",
    "SpectralMasking",
    "SpectralMasks",
    "SpectralPredictor",
    "VICRegLoss",
    "momentum_at",
    "read_ssl_checkpoint",
    "update_teacher",
]
