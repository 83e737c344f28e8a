"""Images to pre-train on: from sets on disk, or simulated, to batches of one camera each."""

from carl.pretraining.datasets.augment import BandChoice
from carl.pretraining.datasets.crops import Batch, Crops, Source, check_batch
from carl.pretraining.datasets.images import Images, PatchImages, Window
from carl.pretraining.datasets.mixing import BatchPlan, MixedBatches, Mixture
from carl.pretraining.datasets.sets import KINDS, SetConfig, open_sources

__all__ = [
    "KINDS",
    "BandChoice",
    "Batch",
    "BatchPlan",
    "Crops",
    "Images",
    "MixedBatches",
    "Mixture",
    "PatchImages",
    "SetConfig",
    "Source",
    "Window",
    "check_batch",
    "open_sources",
]
