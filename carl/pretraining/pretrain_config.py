"""Configure a pre-training, from a YAML file or in Python."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from carl.errors import CarlError
from carl.model.config import (
    CARLConfig,
    SpatialPredictorConfig,
    SpectralPredictorConfig,
)
from carl.model.named_models import NAMED_MODELS
from carl.parsing import load_yaml, parse_dataclass
from carl.pretraining.datasets.sets import SetConfig
from carl.pretraining.losses import VICRegLoss
from carl.pretraining.mae import MAEMasking
from carl.pretraining.masking import SpatialMasking, SpectralMasking
from carl.pretraining.statistics import StatisticsMasking

_PREDICTOR_DEPTH = 3
"""Number of blocks of each predictor, where the configuration of the network has none."""
_FREE_TO_CHANGE = ("accelerator", "devices", "nodes", "workers", "log_every", "monitors", "output")
"""Keys that may differ when a run is resumed, because they do not change its result.

The number of devices times the crops of each must still be the same.
"""
_FORMER_NAMES = {"told_bands": "predicted_bands"}
"""Keys of `mae` in earlier versions, and their present names."""


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW and its learning-rate schedule.

    Attributes:
        learning_rate: peak learning rate.
        final_learning_rate: learning rate after the last step, at the end of half a cosine.
        warmup_steps: number of steps in which the learning rate rises to its peak.
        hold_steps: number of steps between two changes of the learning rate; the original CARL
            changes it once per epoch.
        weight_decay: weight decay of all weights.
        clip_norm: largest norm of the gradients; larger ones are scaled down.
    """

    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-6
    warmup_steps: int = 0
    hold_steps: int = 1
    weight_decay: float = 0.01
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        _require_positive(self, "optimiser", "learning_rate", "hold_steps", "clip_norm")
        for name in ("final_learning_rate", "warmup_steps", "weight_decay"):
            if getattr(self, name) < 0:
                raise CarlError(f"optimiser.{name} is {getattr(self, name)}: it must be 0 or more.")


@dataclass(frozen=True)
class MonitorConfig:
    """Labelled images to probe the network on during the run.

    Attributes:
        cube: file of a cube, to be given with `labels`.
        labels: label map of the cube.
        geobench: folder of a GEO-Bench data set, in place of a cube.
        every: steps between two probings.
        name: name in the logs; that of the cube or the folder by default.
        wavelengths: wavelengths of a cube whose file has none.
        camera: name of a camera, for a cube whose file has no wavelengths.
        neighbours: k of the k-NN classifier.
        samples: largest number of GEO-Bench samples to fit to, and to score on.
    """

    cube: Path | None = None
    labels: Path | None = None
    geobench: Path | None = None
    every: int = 500
    name: str = ""
    wavelengths: str | None = None
    camera: str | None = None
    neighbours: int = 20
    samples: int = 500

    def __post_init__(self) -> None:
        _require_positive(self, "monitors", "every", "neighbours", "samples")
        on_cube = self.cube is not None and self.labels is not None
        if on_cube == (self.geobench is not None):
            raise CarlError("A monitor needs either 'cube' and 'labels', or 'geobench'.")

    def resolve(self, folder: Path) -> MonitorConfig:
        """Return a copy whose relative paths start from a folder, and which has a name."""
        paths = {
            name: folder / path
            for name in ("cube", "labels", "geobench")
            if (path := getattr(self, name)) is not None
        }
        name = self.name or (paths.get("geobench") or paths["cube"]).stem
        return replace(self, name=name, **paths)


@dataclass(frozen=True)
class PretrainConfig:
    """Configuration of a pre-training.

    Attributes:
        data: sets of images.
        output: folder of the run: checkpoints, logs, and the network at the end.
        steps: number of optimiser steps.
        model: a name from `carl models`, or a table with the keys of the original CARL.
        name: name of the network and of its file.
        start: initial weights: "random", "public" (timm and DINOv2, downloaded if necessary), or
            the file of a network.
        objective: "ssl" (CARL-SSL), "mae" (masked autoencoder) or "statistics" (local spectral
            statistics of all bands, and the ground truth of simulated scenes).
        loss: loss of CARL-SSL: "vicreg" or "intl".
        crop: side of the crops, pixels; a multiple of the patch size.
        batch_size: crops per device and forward pass.
        accumulate: number of forward passes whose gradients are summed for one step.
        precision: "float32" or "bf16".
        seed: seed of weights, data and masks.
        checkpoint_every: steps between two checkpoints.
        log_every: steps between two lines of the history.
        optimiser: AdamW and its learning-rate schedule.
        ema: momentum of the teacher at the first and at the last step.
        export: network of CARL-SSL that is written at the end, "teacher" or "student".
        half: write the network in half precision.
        spatial_masking: distribution of the patches hidden by CARL-SSL.
        spectral_masking: distribution of the bands hidden by CARL-SSL.
        spatial_loss: weights of the VICReg terms for patches.
        spectral_loss: weights of the VICReg terms for bands.
        spatial_weight: weight of the patches in the total loss.
        spectral_weight: weight of the bands in the total loss.
        mae: distribution of the patches and bands hidden by the masked autoencoder.
        statistics: distribution of the patches hidden by the objective "statistics".
        monitors: labelled images to probe on.
        accelerator: "auto", "cpu", "gpu" or "mps".
        devices: number of devices per node.
        nodes: number of machines.
        workers: number of processes per device that read crops.

    Examples:
        >>> from carl.pretraining import PretrainConfig
        >>> config = PretrainConfig.from_dict(
        ...     {"data": [{"kind": "simulated"}], "output": "runs/first", "steps": 1000}
        ... )
        >>> config.objective, config.optimiser.learning_rate, config.network.patch_size
        ('ssl', 0.0001, 8)
    """

    data: tuple[SetConfig, ...]
    output: Path
    steps: int
    model: str | CARLConfig = "carl-nano"
    name: str = ""
    start: str = "random"
    objective: Literal["ssl", "mae", "statistics"] = "ssl"
    loss: Literal["vicreg", "intl"] = "vicreg"
    crop: int = 64
    batch_size: int = 16
    accumulate: int = 1
    precision: Literal["float32", "bf16"] = "float32"
    seed: int = 0
    checkpoint_every: int = 500
    log_every: int = 10
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    ema: tuple[float, float] = (0.996, 0.99999)
    export: Literal["teacher", "student"] = "teacher"
    half: bool = False
    spatial_masking: SpatialMasking = field(default_factory=SpatialMasking)
    spectral_masking: SpectralMasking = field(default_factory=SpectralMasking)
    spatial_loss: VICRegLoss = field(default_factory=VICRegLoss)
    spectral_loss: VICRegLoss = field(default_factory=VICRegLoss)
    spatial_weight: float = 1.0
    spectral_weight: float = 1.0
    mae: MAEMasking = field(default_factory=MAEMasking)
    statistics: StatisticsMasking = field(default_factory=StatisticsMasking)
    monitors: tuple[MonitorConfig, ...] = ()
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: int = 1
    nodes: int = 1
    workers: int = 2

    def __post_init__(self) -> None:
        _require_positive(
            self, "", "steps", "crop", "batch_size", "accumulate", "checkpoint_every",
            "log_every", "devices", "nodes",
        )  # fmt: skip
        if not self.data:
            raise CarlError("data is empty: name at least one set of images.")
        if min(self.seed, self.workers) < 0:
            raise CarlError("seed and workers must be 0 or more.")
        if self.batch_size * self.devices * self.nodes < 2 and self.objective == "ssl":
            raise CarlError("batch_size is 1: the variance of the features needs 2 crops or more.")
        if not 0 <= self.ema[0] <= self.ema[1] <= 1:
            raise CarlError(f"ema is {list(self.ema)}: give two values from 0 to 1, ascending.")
        if self.crop % self.network.patch_size:
            raise CarlError(
                f"crop is {self.crop}: it must be a multiple of the patch size, "
                f"{self.network.patch_size}."
            )

    @property
    def target_patch_size(self) -> int | None:
        """Side in pixels of the patches with targets of `statistics`; None for other objectives."""
        return self.network.patch_size if self.objective == "statistics" else None

    @property
    def network(self) -> CARLConfig:
        """Configuration of the network, including both predictors."""
        if isinstance(self.model, CARLConfig):
            return with_predictors(self.model)
        if self.model not in NAMED_MODELS:
            raise CarlError(
                f"model is '{self.model}': choose one of {', '.join(NAMED_MODELS)}, or describe a "
                "network in a table."
            )
        return with_predictors(NAMED_MODELS[self.model].config)

    @property
    def network_name(self) -> str:
        """Name of the pre-trained network."""
        return self.name or (self.model if isinstance(self.model, str) else "carl")

    @property
    def n_batches(self) -> int:
        """Number of batches of the whole run, each processed by all devices together."""
        return self.steps * self.accumulate

    @classmethod
    def from_file(cls, path: str | Path) -> PretrainConfig:
        """Read a YAML file; relative paths in it start from its folder.

        Raises:
            CarlError: the file cannot be read, has an unknown key or lacks one, or a value does not
                fit; the message names the file and the key.
        """
        folder = Path(path).parent.resolve()
        return load_yaml(path, lambda values: cls.from_dict(values, folder))

    @classmethod
    def from_dict(cls, values: Any, folder: Path = Path()) -> PretrainConfig:
        """Parse the keys and values of such a file.

        Args:
            values: a mapping from keys to values.
            folder: folder that relative paths start from.

        Raises:
            CarlError: a key is unknown or missing, or a value does not fit.
        """
        if not isinstance(values, Mapping):
            raise CarlError(
                "It is not a table of keys and values: give at least 'data', 'output' and 'steps'."
            )
        values = dict(values)
        if isinstance(sets := values.get("data"), list):
            values["data"] = [
                SetConfig.parse(each, f"data[{number}]", folder) for number, each in enumerate(sets)
            ]
        if isinstance(values.get("model"), Mapping):
            values["model"] = CARLConfig.from_dict(values["model"])
        if isinstance(mae := values.get("mae"), Mapping):
            values["mae"] = {_FORMER_NAMES.get(key, key): value for key, value in mae.items()}
        config = parse_dataclass(cls, values)
        start = config.start
        return replace(
            config,
            output=folder / config.output,
            start=start if start in ("random", "public") else str(folder / start),
            monitors=tuple(each.resolve(folder) for each in config.monitors),
        )

    def resume_settings(self) -> dict[str, str]:
        """Return the settings that must be unchanged when a run is resumed."""
        settings = {
            each.name: repr(getattr(self, each.name))
            for each in fields(self)
            if each.name not in _FREE_TO_CHANGE
        }
        settings["batch_size"] = str(self.batch_size * self.devices * self.nodes)
        return settings


def current_setting_names(settings: Mapping[str, str]) -> dict[str, str]:
    """Replace former names of keys in the settings of a checkpoint."""
    renamed = dict(settings)
    for old, new in _FORMER_NAMES.items():
        renamed = {key: value.replace(f"{old}=", f"{new}=") for key, value in renamed.items()}
    return renamed


def with_predictors(config: CARLConfig) -> CARLConfig:
    """Add missing predictors, as wide as the spectral encoder, to a configuration."""
    spectral = config.spec_encoder_kwargs
    width, heads = spectral.embed_dim, spectral.num_heads
    step = math.lcm(heads, 4)  # the 2-D sine-cosine code has four parts
    spatial_width = -(-width // step) * step
    return replace(
        config,
        spec_predictor_kwargs=config.spec_predictor_kwargs
        or SpectralPredictorConfig(
            width, _PREDICTOR_DEPTH, heads, pos_enc_sigma=spectral.pos_enc_sigma
        ),
        spat_predictor_kwargs=config.spat_predictor_kwargs
        or SpatialPredictorConfig(spatial_width, _PREDICTOR_DEPTH, heads),
    )


def _require_positive(config: object, where: str, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value <= 0:
            key = f"{where}.{name}" if where else name
            raise CarlError(f"{key} is {value}: it must be positive.")
