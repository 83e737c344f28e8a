"""Measure pre-training in crops per second: data alone, steps alone, and both.

A run that reads its crops in the training process gives the waiting time and the computation time
of each batch; a run with reader processes gives the time of both in parallel. Rates are medians
over batches, with quartiles.

    python benchmarks/pretraining_speed.py
    python benchmarks/pretraining_speed.py --model carl-small --bands 64 --batches 5
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from time import perf_counter
from typing import Any

import numpy as np
import torch
from cases import SHARED
from lightning.pytorch import Callback, Trainer
from machine import machine_line

from carl.files import resource_path
from carl.model import build_model
from carl.model.named_models import DEFAULT_MODEL, NAMED_MODELS
from carl.pretraining import PretrainConfig
from carl.pretraining.datasets import open_sources
from carl.pretraining.lightning_module import PretrainModule, build_objective
from carl.pretraining.lightning_trainer import PretrainingData

OBJECTIVES = ("statistics", "ssl", "mae")
_WARM_UP = 2
"""Number of batches that are not measured."""
_PRECISIONS: dict[str, Any] = {"float32": "32-true", "bf16": "bf16-mixed"}


class Clock(Callback):
    """Record when each batch arrives and when its step is finished."""

    def __init__(self) -> None:
        self._arrived: list[float] = []
        self._finished: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Record the arrival of a batch."""
        self._arrived.append(_now())

    def on_train_batch_end(self, *_: Any) -> None:
        """Record the end of its step."""
        self._finished.append(_now())

    def seconds(self) -> dict[str, np.ndarray]:
        """Return waiting time, computation time and their sum for each batch after the warm-up."""
        arrived, finished = np.array(self._arrived), np.array(self._finished)
        measured = {
            "data": arrived[1:] - finished[:-1],
            "step": finished[1:] - arrived[1:],
            "both": np.diff(finished),
        }
        return {name: each[_WARM_UP:] for name, each in measured.items()}


def data_sets(bands: int) -> dict[str, dict[str, Any]]:
    """Return data sets by name: a real cube as other cameras record it, and simulated scenes."""
    if SHARED.is_dir():
        path, file, wavelengths = SHARED / "hims_bladder", "hims_bladder_uint16.tif", "380:770:10"
    else:
        path, file, wavelengths = resource_path("sample"), "bladder.tif", None
    cube = {"kind": "folder", "path": str(path), "files": [file], "wavelengths": wavelengths}
    return {
        "cube as other cameras": {**cube, "bands": [bands, bands], "other_cameras": 1.0},
        "simulated scenes": {"kind": "simulated", "band_count": [bands, bands]},
    }


def time_batches(
    values: dict[str, Any], workers: int, batches: int, folder: str
) -> dict[str, np.ndarray]:
    """Measure seconds per batch of a pre-training with a number of processes that read crops."""
    steps = batches + _WARM_UP + 1
    run = {"output": folder, "steps": steps, "checkpoint_every": steps, "workers": workers}
    config = PretrainConfig.from_dict({**values, **run})
    module = PretrainModule(build_objective(build_model(config.network), config), config)
    clock = Clock()
    trainer = Trainer(
        accelerator=config.accelerator,
        devices=1,
        precision=_PRECISIONS[config.precision],
        max_epochs=1,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=PretrainingData(open_sources(config.data), config))
    return clock.seconds()


def format_rate(seconds: np.ndarray, crops: int) -> str:
    """Format crops per second: median and quartiles."""
    low, middle, high = crops / np.percentile(seconds, (75, 50, 25))
    return f"{middle:.1f} ({low:.1f}-{high:.1f})"


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=NAMED_MODELS, default=DEFAULT_MODEL)
    parser.add_argument("--precision", choices=_PRECISIONS, default="bf16")
    parser.add_argument("--crop", type=int, default=96, help="side in pixels")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--bands", type=int, default=16)
    parser.add_argument("--batches", type=int, default=10, help="measured batches per run")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that read crops in parallel"
    )
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    crop = f"{options.crop} × {options.crop} pixels × {options.bands} bands"
    print(
        f"{machine_line()}\n{options.model}, {options.precision}, {torch.get_num_threads()} threads"
    )
    print(f"{options.batch_size} crops of {crop}; crops per second: median (quartiles)\n")
    parallel = f"both, {options.workers} readers"
    print(f"| objective | data | data alone | step alone | both in sequence | {parallel} |")
    print("|---" * 6 + "|")
    common = {"model": options.model, "precision": options.precision, "crop": options.crop}
    with tempfile.TemporaryDirectory() as folder:
        for objective in OBJECTIVES:
            for name, images in data_sets(options.bands).items():
                values = {**common, "objective": objective, "batch_size": options.batch_size}
                values["data"] = [images]
                alone = time_batches(values, 0, options.batches, folder)
                both = time_batches(values, options.workers, options.batches, folder)["both"]
                cells = (format_rate(each, options.batch_size) for each in (*alone.values(), both))
                print(f"| {objective} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
