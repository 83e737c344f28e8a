"""Check that inference has not become slower relative to the plain network.

The processor time of one thread is measured, the ways in turns, so that other programs and the
number of cores do not matter; with a small image, so that it takes seconds. It fails if a ratio
falls below half of that in ratios.json: it detects a fast way that is no longer used, not noise.

    python benchmarks/guard.py            # a table; exit status 1 if a ratio is too low
    python benchmarks/guard.py --write    # measure, and write ratios.json anew
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import torch
from machine import machine_line

from carl.inference.backend import PlainBackend, has_fast_bf16
from carl.inference.engine import Engine
from carl.inference.plan import Plan
from carl.inference.turbo import BandGroups
from carl.inference.workers import Workers
from carl.model import CARL, CARLConfig
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig

RATIOS = Path(__file__).with_name("ratios.json")
TOLERATED = 0.5
"""Smallest ratio that is accepted, as a fraction of the committed one."""
N_BANDS, GRID, N_GROUPS, REPEATS = 100, 6, 12, 5
CONFIG = CARLConfig(  # a quarter of the spectral encoder of the paper, one spatial block
    spec_encoder_kwargs=SpectralEncoderConfig(embed_dim=384, n_queries=8, depth=2, num_heads=6),
    spat_encoder_kwargs=SpatialEncoderConfig("vit_tiny_patch16_224", depth=1),
)
CPU = torch.device("cpu")


def measured() -> dict[str, float]:
    """Return how many times as fast each way is as the one it is compared with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with Workers(CPU) as workers:
            seconds = _seconds(_ways(workers))
    finally:
        torch.set_num_threads(threads)
    ratios = {
        "exact over naive": seconds["naive"] / seconds["exact"],
        "turbo over exact": seconds["exact"] / seconds["turbo"],
    }
    if "bf16" in seconds:
        ratios["bf16 over exact"] = seconds["exact"] / seconds["bf16"]
    return ratios


def too_low(ratios: dict[str, float]) -> list[str]:
    """Return a sentence for each ratio that is too low."""
    committed = _committed()[_kind()]
    return [
        f"{name}: {ratio:.2f} times as fast, and it was {committed[name]:.2f} times."
        for name, ratio in ratios.items()
        if ratio < TOLERATED * committed[name]
    ]


def _kind() -> str:
    """Return the kind of processor, as the ratios depend on it."""
    return "processor with bf16" if has_fast_bf16(CPU) else "processor without bf16"


def _committed() -> dict[str, dict[str, float]]:
    """Return the committed ratios by kind of processor."""
    return json.loads(RATIOS.read_text(encoding="utf-8"))


def _ways(workers: Workers) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    model = CARL(CONFIG).eval()
    size, nm = model.patch_size, np.linspace(400, 1000, N_BANDS)
    strip = np.random.default_rng(0).normal(size=(N_BANDS, size, size * GRID**2))
    strip = strip.astype(np.float32)
    wavelengths_um = torch.tensor(nm / 1000, dtype=torch.float32)
    plain = PlainBackend(model)

    def naive() -> None:
        features = plain.encode_spectral(torch.from_numpy(strip), wavelengths_um)
        plain.encode_spatial(features.T.reshape(1, -1, GRID, GRID))

    def by_engine(plan: Plan) -> Callable[[], None]:
        def run() -> None:
            engine = Engine(model, workers)
            features = engine.encode_spectral(strip, nm, plan)
            list(engine.encode_spatial([features.reshape(GRID, GRID, -1)], plan))

        return run

    groups = BandGroups.of(nm, N_GROUPS)
    ways: dict[str, Callable[[], object]] = {
        "naive": naive,
        "exact": by_engine(Plan()),
        "turbo": by_engine(Plan(groups=groups)),
    }
    if has_fast_bf16(CPU):
        ways["bf16"] = by_engine(Plan("bf16", "bf16"))
    return ways


def _seconds(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return median processor times; the ways take turns, the first turn warms up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS + 1):
        for name, run in ways.items():
            began = process_time()
            run()
            times[name].append(process_time() - began)
    return {name: median(each[1:]) for name, each in times.items()}


def main() -> None:
    """Print the ratios and the committed ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write ratios.json anew")
    ratios = measured()
    if parser.parse_args().write:
        rounded = {name: round(ratio, 1) for name, ratio in ratios.items()}
        both = _committed() | {_kind(): rounded}
        RATIOS.write_text(json.dumps(both, indent=2) + "\n", encoding="utf-8")
    print(machine_line())
    committed = _committed()[_kind()]
    for name, ratio in ratios.items():
        print(f"{name:20}{ratio:7.2f}   committed {committed[name]:5.2f}")
    sys.exit("\n".join(too_low(ratios)) or 0)


if __name__ == "__main__":
    main()
