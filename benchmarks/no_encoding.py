"""Ablation of the wavelength encoding: accuracy across cameras with and without it.

Two networks are pre-trained on the same cube as seen by random cameras, with the same recipe and
seed; they differ only in `pos_enc_sigma`, which is 0 for no encoding. Linear probes are then
compared for every pair of the simulated cameras of `cameras.py`. Networks that were trained before
are reused, and interrupted trainings are resumed.

    python benchmarks/no_encoding.py                    # two trainings, minutes each
    python benchmarks/no_encoding.py --steps 1500 --output build/no_encoding_1500
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from cameras import (
    DRAWS,
    carl_features,
    probes,
    simulated_cubes,
    table_heading,
    table_rows,
    transfer_scores,
)
from cases import CASES, SHARED, SPLITS, available
from machine import machine_line

from carl.files import resource_path
from carl.model import CARL, CARLConfig, build_model, read_model
from carl.model.named_models import DEFAULT_MODEL, NAMED_MODELS
from carl.pretraining import PretrainConfig, pretrain

SIGMAS = {"wavelength encoding": 3.0, "no encoding": 0.0}
COUNTS = (100,)
OUTPUT = Path(__file__).resolve().parents[1] / "build" / "no_encoding"
_SETS = {
    "bladder": (SHARED / "hims_bladder", "hims_bladder_uint16.tif", "380:770:10"),
    "sample": (resource_path("sample"), "bladder.tif", None),
}


def network(sigma: float) -> CARLConfig:
    """Return the configuration of carl-nano with this σ of the wavelength encoding."""
    nano = NAMED_MODELS[DEFAULT_MODEL].config
    encoder = replace(nano.spec_encoder_kwargs, pos_enc_sigma=sigma)
    return replace(nano, spec_encoder_kwargs=encoder)


def recipe(data: str, sigma: float, steps: int, output: Path) -> PretrainConfig:
    """Return the training configuration, which is the same for every σ."""
    path, file, wavelengths = _SETS[data]
    cameras = {"bands": [3, 24], "other_cameras": 1.0, "wavelengths": wavelengths}
    return PretrainConfig.from_dict(
        {
            "output": str(output / f"{data}-sigma{sigma:g}-{steps}"),
            "name": f"sigma{sigma:g}",
            "model": network(sigma).to_dict(),
            "objective": "statistics",
            "steps": steps,
            "crop": 64,
            "batch_size": 8,
            "precision": "bf16",
            "workers": 0,
            "accelerator": "cpu",
            "checkpoint_every": 100,
            "optimiser": {"learning_rate": 1e-3, "warmup_steps": steps // 10, "clip_norm": 1.0},
            "data": [{"kind": "folder", "path": str(path), "files": [file], **cameras}],
        }
    )


def load_or_train(config: PretrainConfig) -> CARL:
    """Return the network of a recipe, training it first if its file does not exist."""
    weights = config.output / f"{config.network_name}.safetensors"
    if not weights.is_file():

        def report(fraction: float, message: str) -> None:
            print(f"\r{config.network_name}: {fraction:4.0%} {message:60}", end="", file=sys.stderr)

        pretrain(config, resume=(config.output / "last.ckpt").is_file(), progress=report)
        print(file=sys.stderr)
    return read_model(weights).eval()


def main() -> None:
    """Train the networks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=_SETS, default=available("bladder")[0])
    parser.add_argument("--steps", type=int, default=400, help="steps of each training")
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="folder for the trained networks"
    )
    parser.add_argument("--scored-on", choices=SPLITS, default="other pixels")
    options = parser.parse_args()
    networks = {
        f"{name}, {options.steps} steps": load_or_train(
            recipe(options.data, sigma, options.steps, options.output)
        )
        for name, sigma in SIGMAS.items()
    }
    networks |= {
        f"{name}, untrained": build_model(network(sigma)).eval() for name, sigma in SIGMAS.items()
    }
    case = CASES[options.data]()
    cubes = simulated_cubes(case.cube)
    print(f"{machine_line()}\ncarl-nano, {options.steps} steps on {case.name} with random cameras")
    print(
        f"mIoU on {options.scored_on}, mean of all pairs and {DRAWS} draws\n{table_heading(cubes)}"
    )
    for name, model in networks.items():
        methods = probes(name, partial(carl_features, model), case.labels)
        scores = transfer_scores(methods, cubes, case.labels, options.scored_on, COUNTS)
        print("\n".join(table_rows(scores, COUNTS, cubes)), flush=True)


if __name__ == "__main__":
    main()
