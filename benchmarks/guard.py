"""Whether inference is still as much faster than the plain way as it was: ratios within one run.

The processor time of one thread is measured, in turns, so that other programs and the number of
cores do not matter; a small image, so that it takes seconds. A ratio may fall to half of what is
written in ratios.json before this fails: it is meant for a way that was lost, not for noise.

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

from carl.inference.engine import Engine
from carl.inference.plan import Plan
from carl.inference.precision import has_fast_bf16
from carl.inference.turbo import BandGroups
from carl.inference.workers import Workers
from carl.model import CARL, CARLConfig
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig

RATIOS = Path(__file__).with_name("ratios.json")
TOLERATED = 0.5
N_BANDS, GRID, N_GROUPS, REPEATS = 100, 6, 12, 5
CONFIG = CARLConfig(  # a quarter of the spectral encoder of the paper, and hardly more
    spec_encoder_kwargs=SpectralEncoderConfig(embed_dim=384, n_queries=8, depth=2, num_heads=6),
    spat_encoder_kwargs=SpatialEncoderConfig("vit_tiny_patch16_224", depth=1),
)
CPU = torch.device("cpu")


def measured() -> dict[str, float]:
    """How many times as fast each way is as the one it is compared with."""
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
    """One sentence for each ratio that has fallen."""
    committed = json.loads(RATIOS.read_text(encoding="utf-8"))
    return [
        f"{name}: {ratio:.2f} times as fast, and it was {committed[name]:.2f} times."
        for name, ratio in ratios.items()
        if ratio < TOLERATED * committed[name]
    ]


def _ways(workers: Workers) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    model = CARL(CONFIG).eval()
    size, nm = model.patch_size, np.linspace(400, 1000, N_BANDS)
    strip = np.random.default_rng(0).normal(size=(N_BANDS, size, size * GRID**2))
    strip = strip.astype(np.float32)
    image, bands = torch.from_numpy(strip)[None], torch.tensor(nm / 1000, dtype=torch.float32)

    def naive() -> None:
        with torch.inference_mode():
            features = model.spectral_features(image, bands, patches_per_chunk=GRID**2)
            model.spatial_features(features.view(1, -1, GRID, GRID))

    def by_engine(plan: Plan) -> Callable[[], None]:
        def run() -> None:
            engine = Engine(model, plan.precision, workers)
            features = plan.spectral(engine, strip, nm)
            list(engine.spatial([features.reshape(GRID, GRID, -1)]))

        return run

    groups = BandGroups.of(nm, N_GROUPS)
    ways: dict[str, Callable[[], object]] = {
        "naive": naive,
        "exact": by_engine(Plan("float32", None, None)),
        "turbo": by_engine(Plan("float32", groups, None)),
    }
    if has_fast_bf16(CPU):
        ways["bf16"] = by_engine(Plan("bf16", None, None))
    return ways


def _seconds(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Of processor time, the median of repeats in turns; the first turn warms up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS + 1):
        for name, run in ways.items():
            began = process_time()
            run()
            times[name].append(process_time() - began)
    return {name: median(each[1:]) for name, each in times.items()}


def main() -> None:
    """Print the ratios beside the committed ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write ratios.json anew")
    ratios = measured()
    if parser.parse_args().write:
        rounded = {name: round(ratio, 1) for name, ratio in ratios.items()}
        RATIOS.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
    print(machine_line())
    committed = json.loads(RATIOS.read_text(encoding="utf-8"))
    for name, ratio in ratios.items():
        print(f"{name:20}{ratio:7.2f}   committed {committed[name]:5.2f}")
    sys.exit("\n".join(too_low(ratios)) or 0)


if __name__ == "__main__":
    main()
