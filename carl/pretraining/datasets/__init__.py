"""Read images to pre-train on, from data sets or the simulator, as batches of one camera each."""

from carl.pretraining.datasets.augment import BandSampling
from carl.pretraining.datasets.batch_schedule import BatchPlan, BatchSchedule, ScheduledBatches
from carl.pretraining.datasets.crops import CropDataset, ImageSource, PretrainingBatch, check_batch
from carl.pretraining.datasets.images import ImageSet, ImageWindow, PatchImages
from carl.pretraining.datasets.sets import KINDS, SetConfig, open_sources

__all__ = [
    "KINDS",
    "BandSampling",
    "BatchPlan",
    "BatchSchedule",
    "CropDataset",
    "ImageSet",
    "ImageSource",
    "ImageWindow",
    "PatchImages",
    "PretrainingBatch",
    "ScheduledBatches",
    "SetConfig",
    "check_batch",
    "open_sources",
]
