"""One YAML file says all there is to say about a run of pre-training."""

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
_FREE_TO_CHANGE = ("accelerator", "devices", "nodes", "workers", "log_every", "monitors", "output")
"""Keys that may differ when a run is resumed: they do not change what is learned.

The number of devices times the crops of each must still be the same.
"""


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW and the course of its learning rate.

    Attributes:
        learning_rate: at its highest.
        final_learning_rate: that half a cosine falls to at the last step.
        warmup_steps: over which the learning rate rises first.
        hold_steps: for how many steps the learning rate stays the same; the original changes it
            once per pass through the data.
        weight_decay: of all weights.
        clip_norm: longest gradient; longer ones are shortened to it.
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
    """Labelled images on which the network is probed while it learns.

    Attributes:
        cube: the file of a cube, to be given with `labels`.
        labels: its label map.
        geobench: in place of a cube, the folder of a set of GeoBench.
        every: steps between two probings.
        name: what to call it; that of the cube or the folder by default.
        wavelengths: of a cube that does not tell its own.
        camera: of a cube without wavelengths.
        neighbours: k of the k nearest neighbours.
        samples: of GeoBench, at most so many to fit to, and as many to score on.
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

    def within(self, folder: Path) -> MonitorConfig:
        """The same with relative paths starting from a folder, and with a name."""
        paths = {
            name: folder / path
            for name in ("cube", "labels", "geobench")
            if (path := getattr(self, name)) is not None
        }
        name = self.name or (paths.get("geobench") or paths["cube"]).stem
        return replace(self, name=name, **paths)


@dataclass(frozen=True)
class PretrainConfig:
    """A run of pre-training.

    Attributes:
        data: the sets of images.
        output: folder of the run: checkpoints, logs, and the network in the end.
        steps: of the optimiser.
        model: a name from `carl models`, or a table under the original's keys.
        name: of the network in the end, and of its file.
        start: weights to start from: "random", "public" (timm and DINOv2, downloaded if need be),
            or a network in a file of ours.
        objective: "ssl" (CARL-SSL), "mae" (masked autoencoder) or "statistics" (local spectral
            statistics of all bands, and the truth of simulated scenes).
        loss: of CARL-SSL: "vicreg" or "intl".
        crop: side of the crops, pixels; a multiple of the patch size.
        batch_size: crops per device and pass.
        accumulate: passes whose gradients are added up for one step of the optimiser.
        precision: "float32" or "bf16".
        seed: of weights, data and masks.
        checkpoint_every: steps between two checkpoints.
        log_every: steps between two lines of the history.
        optimiser: AdamW and its learning rate.
        ema: momentum of the teacher at the first and at the last step.
        export: which network of CARL-SSL is kept in the end, "teacher" or "student".
        half: keep it in half precision.
        spatial_masking: how CARL-SSL hides patches.
        spectral_masking: how CARL-SSL hides bands.
        spatial_loss: weights of the terms of VICReg, for patches.
        spectral_loss: weights of the terms of VICReg, for bands.
        spatial_weight: of the patches in the total loss.
        spectral_weight: of the bands in the total loss.
        mae: how the masked autoencoder hides patches and bands.
        statistics: how patches are hidden whose statistics are to be told.
        monitors: labelled cubes to probe on.
        accelerator: "auto", "cpu", "gpu" or "mps".
        devices: per node.
        nodes: machines.
        workers: processes per device that read crops.
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
            raise CarlError("data is empty: name one set of images at least.")
        if min(self.seed, self.workers) < 0:
            raise CarlError("seed and workers must be 0 or more.")
        if self.batch_size * self.devices * self.nodes < 2 and self.objective == "ssl":
            raise CarlError("batch_size is 1: the variance of the features needs 2 crops or more.")
        if not 0 <= self.ema[0] <= self.ema[1] <= 1:
            raise CarlError(f"ema is {list(self.ema)}: give two momenta from 0 to 1, rising.")
        if self.crop % self.network.patch_size:
            raise CarlError(
                f"crop is {self.crop}: it must be a multiple of the patch size, "
                f"{self.network.patch_size}."
            )

    @property
    def described_patch(self) -> int | None:
        """Side of the patches the objective wants described, pixels; None if it wants none."""
        return self.network.patch_size if self.objective == "statistics" else None

    @property
    def network(self) -> CARLConfig:
        """What the network is made of, its predictors included."""
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
        """What to call the network in the end."""
        return self.name or (self.model if isinstance(self.model, str) else "carl")

    @property
    def n_batches(self) -> int:
        """Batches in the whole run, each shown by all devices together."""
        return self.steps * self.accumulate

    @classmethod
    def from_file(cls, path: str | Path) -> PretrainConfig:
        """From a YAML file; relative paths in it start from its folder.

        Raises:
            CarlError: it cannot be read, has an unknown key or lacks one, or a value does not fit;
                the message names the file and the key.
        """
        folder = Path(path).parent.resolve()
        return load_yaml(path, lambda values: cls.from_dict(values, folder))

    @classmethod
    def from_dict(cls, values: Any, folder: Path = Path()) -> PretrainConfig:
        """From what such a file holds.

        Args:
            values: its keys and values.
            folder: that relative paths start from.

        Raises:
            CarlError: an unknown key or a missing one, or a value that does not fit.
        """
        if not isinstance(values, Mapping):
            raise CarlError(
                "It holds no table of keys and values: name 'data', 'output' and 'steps' at least."
            )
        values = dict(values)
        if isinstance(sets := values.get("data"), list):
            values["data"] = [
                SetConfig.parse(each, f"data[{number}]", folder) for number, each in enumerate(sets)
            ]
        if isinstance(values.get("model"), Mapping):
            values["model"] = CARLConfig.from_dict(values["model"])
        config = parse_dataclass(cls, values)
        start = config.start
        return replace(
            config,
            output=folder / config.output,
            start=start if start in ("random", "public") else str(folder / start),
            monitors=tuple(each.within(folder) for each in config.monitors),
        )

    def facts(self) -> dict[str, str]:
        """What decides on the course of a run, to compare runs by."""
        facts = {
            each.name: repr(getattr(self, each.name))
            for each in fields(self)
            if each.name not in _FREE_TO_CHANGE
        }
        facts["batch_size"] = str(self.batch_size * self.devices * self.nodes)
        return facts


def with_predictors(config: CARLConfig) -> CARLConfig:
    """The configuration with predictors as wide as its spectral encoder, where it names none."""
    spectral = config.spec_encoder_kwargs
    width, heads = spectral.embed_dim, spectral.num_heads
    step = math.lcm(heads, 4)  # the code of places has four parts
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
