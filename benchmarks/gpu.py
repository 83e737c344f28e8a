"""Measure which fraction of a GPU's matrix-product throughput the engine reaches, and profile it.

The throughput is that of one large matrix product in bf16, measured here. The operations are those
of the plain forward pass, counted by PyTorch: operations that the engine avoids count as done.

    python benchmarks/gpu.py                        # carl-small, 100 bands
    python benchmarks/gpu.py --model carl-base --bands 224
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from machine import machine_line
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from carl.inference.backend import NumberFormat, has_fast_bf16
from carl.inference.engine import Engine
from carl.inference.plan import Plan
from carl.inference.workers import Workers
from carl.model import CARL, build_model, resolve_device

SIDE = 224
REPEATS = 5
COUNTED = 4
"""Number of patches whose operations are counted; all patches cost the same."""


def seconds(run: Callable[[], object], device: torch.device) -> list[float]:
    """Return the elapsed times of some repeats, after two that warm up."""
    times = []
    for _ in range(REPEATS + 2):
        synchronise(device)
        began = time.perf_counter()
        run()
        synchronise(device)
        times.append(time.perf_counter() - began)
    return times[2:]


def synchronise(device: torch.device) -> None:
    """Wait for the queued operations."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_peak(device: torch.device, size: int = 8192) -> float:
    """Return operations per second of the product of two square matrices in bf16."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: a @ b, device))


def spectral_operations(model: CARL, n_bands: int, n_patches: int) -> float:
    """Return the operations of the spectral half: two per multiplication of matrix elements."""
    image = torch.zeros(1, n_bands, model.patch_size, COUNTED * model.patch_size)
    bands = torch.linspace(0.4, 1.0, n_bands)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.spectral_features(image, bands, patches_per_chunk=COUNTED)
    return counter.get_total_flops() / COUNTED * n_patches


def report(args: argparse.Namespace, device: torch.device) -> None:
    """Print the table and the profile."""
    torch.manual_seed(0)
    model = build_model(args.model).eval()
    n_patches = args.images * (SIDE // model.patch_size) ** 2
    operations = spectral_operations(model, args.bands, n_patches)
    model.to(device)
    size = model.patch_size
    random = np.random.default_rng(0)
    strip = random.normal(size=(args.bands, size, n_patches * size)).astype(np.float32)
    nm = np.linspace(400, 1000, args.bands)
    formats: tuple[NumberFormat, ...] = ("float32", "bf16")
    peak = matmul_peak(device)
    print(machine_line())
    print(f"{device} · {args.model}, {args.bands} bands, {args.images} images of {SIDE} px")
    print(f"bf16 matmul peak, measured: {peak / 1e12:.1f} TFLOP/s")
    print(
        f"{'':10}{'s, median':>10} {'[least–most]':17}{'images/s':>9}{'TFLOP/s':>9}{'of peak':>9}"
    )
    with Workers(device) as workers:
        engine = Engine(model, workers)
        for number_format in formats:
            plan = Plan(number_format)
            times = seconds(lambda plan=plan: engine.encode_spectral(strip, nm, plan), device)
            rate = operations / median(times)
            print(
                f"{number_format:10}{median(times):10.4f} [{min(times):.4f}–{max(times):.4f}]"
                f"{args.images / median(times):9.1f}{rate / 1e12:9.1f}{rate / peak:9.1%}"
                f"  {engine.note}"
            )
        activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
        with profile(activities=activities) as profiled:
            engine.encode_spectral(strip, nm, plan)
    print("\nProfile in bf16:")
    print(profiled.key_averages().table(sort_by="self_cuda_time_total", row_limit=15))


def main() -> None:
    """Measure, if there is a GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="carl-small")
    parser.add_argument("--bands", type=int, default=100)
    parser.add_argument("--images", type=int, default=16, help="of 224 × 224 px, at once")
    args = parser.parse_args()
    device = resolve_device("auto")
    if device.type != "cuda" or not has_fast_bf16(device):
        sys.exit("No GPU that computes in bf16 was found: this benchmark needs one.")
    report(args, device)


if __name__ == "__main__":
    main()
