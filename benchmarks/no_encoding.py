"""What the wavelength encoding is good for: two networks learn the same, one without it.

Both are pre-trained on the same cube as random cameras see it, with the same recipe and seed; their
only difference is the key `pos_enc_sigma`, 0 for no encoding. Then a linear probe learns classes
from the cube as one simulated camera sees it and tells them as another one does, for every pair of
the cameras of `cameras.py`. Networks that are there already are not trained again, and a training
that was stopped goes on.

    python benchmarks/no_encoding.py                    # two trainings, minutes each
    python benchmarks/no_encoding.py --steps 1500 --output build/no_encoding_1500
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from cameras import DRAWS, as_seen, carl_features, heading, matrices, probes, rows
from cases import CASES, PROTOCOLS, SHARED, present
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
    """carl-nano with this σ of its wavelength encoding."""
    nano = NAMED_MODELS[DEFAULT_MODEL].config
    encoder = replace(nano.spec_encoder_kwargs, pos_enc_sigma=sigma)
    return replace(nano, spec_encoder_kwargs=encoder)


def recipe(data: str, sigma: float, steps: int, output: Path) -> PretrainConfig:
    """The same training for every σ."""
    path, file, wavelengths = _SETS[data]
    seen = {"bands": [3, 24], "other_cameras": 1.0, "wavelengths": wavelengths}
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
            "data": [{"kind": "folder", "path": str(path), "files": [file], **seen}],
        }
    )


def trained(config: PretrainConfig) -> CARL:
    """The network of a recipe, trained as far as it is not trained yet."""
    weights = config.output / f"{config.network_name}.safetensors"
    if not weights.is_file():

        def tell(fraction: float, message: str) -> None:
            print(f"\r{config.network_name}: {fraction:4.0%} {message:60}", end="", file=sys.stderr)

        pretrain(config, resume=(config.output / "last.ckpt").is_file(), progress=tell)
        print(file=sys.stderr)
    return read_model(weights).eval()


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=_SETS, default=present("bladder")[0])
    parser.add_argument("--steps", type=int, default=400, help="of each training")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the trainings")
    parser.add_argument("--scored-on", choices=PROTOCOLS, default="other pixels")
    options = parser.parse_args()
    networks = {
        f"{name}, {options.steps} steps": trained(
            recipe(options.data, sigma, options.steps, options.output)
        )
        for name, sigma in SIGMAS.items()
    }
    networks |= {
        f"{name}, untrained": build_model(network(sigma)).eval() for name, sigma in SIGMAS.items()
    }
    case = CASES[options.data]()
    cubes = as_seen(case.cube)
    print(f"{machine_line()}\ncarl-nano, {options.steps} steps on {case.name} as random cameras")
    print(f"mIoU on {options.scored_on}, mean of all pairs and {DRAWS} draws\n{heading(cubes)}")
    for name, model in networks.items():
        transfer = probes(name, partial(carl_features, model), case.labels)
        found = matrices(transfer, cubes, case.labels, options.scored_on, COUNTS)
        print("\n".join(rows(found, COUNTS, cubes)), flush=True)


if __name__ == "__main__":
    main()
