"""The forward pass of a network on an image of 224 × 224 pixels: time, memory, and what changes.

- naive: all patches at once, float32, the modules of the network one after the other, as the
  original does it (the tests hold this path against the original's numbers);
- exact: `carl.embed`'s engine in float32; bf16: the same in bf16; compiled: bf16 through
  `torch.compile`;
- turbo: merged bands, in bf16 where the processor has it; its fidelity is measured on a sample
  first, which is not in the time but shown beside it.

Each way runs in a process of its own. "core s" is the time that all cores together worked, which
other programs disturb less than the time that passes; with `--threads 1` the ratio of both is that
of an undisturbed machine. Memory is the peak above what the process held before, the
network and the image. Differences are those of the spectral features to the naive ones: the largest
of all values, and the mean and the smallest cosine over patches; "spatial" is the mean cosine of
the spatial features.

    python benchmarks/forward.py                     # carl-nano, the bundled cube in 3 to 224 bands
    python benchmarks/forward.py --model carl-small --bands 100
    python benchmarks/forward.py --real              # 100 bands of each cube in ../shared/data
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine_line
from real_cubes import REAL_CUBES, square

import carl
from carl.cube import SpectralCube
from carl.files import resource_path
from carl.inference.blocks import PatchReader, normalisation
from carl.inference.engine import Engine
from carl.inference.plan import Plan, make_plan
from carl.inference.precision import has_fast_bf16
from carl.inference.workers import Workers
from carl.model import CARL, build_model, list_models

SIDE = 224
WAYS = ("naive", "exact", "bf16", "compiled", "turbo")
CPU = torch.device("cpu")

Features = tuple[np.ndarray, np.ndarray]
"""Spectral and spatial features, each (n, D)."""


def network(name: str) -> CARL:
    """With its trained weights, if there are any, else with random ones."""
    trained = {info.name for info in list_models() if info.trained}
    if name in trained:
        return carl.load_model(name, "cpu")
    torch.manual_seed(0)
    return build_model(name).eval()


def bundled(n_bands: int) -> SpectralCube:
    """The bundled cube, its spectra interpolated to so many bands."""
    cube = carl.read_cube(resource_path("sample") / "bladder.tif")
    nm = cube.require_wavelengths()
    wanted = np.linspace(nm[0], nm[-1], n_bands)
    pixels = cube.read(slice(0, SIDE), slice(0, SIDE))
    low = np.clip(np.searchsorted(nm, wanted, side="right") - 1, 0, nm.size - 2)
    share = ((wanted - nm[low]) / (nm[low + 1] - nm[low])).astype(np.float32)
    return SpectralCube(pixels[..., low] * (1 - share) + pixels[..., low + 1] * share, wanted)


def naive(model: CARL, strip: np.ndarray, nm: np.ndarray) -> Features:
    """All patches at once through the plain modules."""
    h = w = SIDE // model.patch_size
    image = torch.from_numpy(strip)[None]
    bands = torch.tensor(nm / 1000, dtype=torch.float32)
    with torch.inference_mode():
        spectral = model.spectral_features(image, bands, patches_per_chunk=h * w)
        spatial = model.spatial_features(spectral.view(1, -1, h, w))
    return spectral[0].flatten(1).T.numpy(), spatial[0].flatten(1).T.numpy()


def by_engine(model: CARL, plan: Plan, strip: np.ndarray, nm: np.ndarray, **how: Any) -> Features:
    """By the engine, with the threads that `carl.embed` uses."""
    h = w = SIDE // model.patch_size
    with Workers(CPU) as workers:
        engine = Engine(model, plan.precision, workers, plan.spatial_precision, **how)
        spectral = plan.spectral(engine, strip, nm)
        spatial = next(engine.spatial([spectral.reshape(h, w, -1)]))
        if engine.note:
            print(f"  ({engine.note})", file=sys.stderr)
    return spectral, spatial.reshape(h * w, -1)


def measure(way: str, args: argparse.Namespace, n_bands: int, folder: Path) -> dict[str, Any]:
    """Run one way in this process; the features go into a file."""
    model = network(args.model)
    cube = REAL_CUBES[args.cube](n_bands) if args.cube else bundled(n_bands)
    cube = square(cube, SIDE)
    reader = PatchReader(cube, model.patch_size, *normalisation(cube, model))
    strip, nm = reader.strip(slice(None)), cube.require_wavelengths()
    facts: dict[str, Any] = {"way": way, "bands": cube.n_bands}
    plan = Plan("float32" if way == "exact" else "bf16", None, None)
    if way == "turbo":
        with Workers(CPU) as workers:
            make_plan(reader, model, workers, "auto", "turbo")  # packs the weights
            began = time.perf_counter()
            plan = make_plan(reader, model, workers, "auto", "turbo")
        facts["planned_in"] = time.perf_counter() - began
        facts["groups"] = None if plan.groups is None else plan.groups.starts.size
        facts["fidelity"] = plan.fidelity
        facts["precision"] = f"{plan.precision} and {plan.spatial_precision or plan.precision}"
    run: Callable[[], Features]
    if way == "naive":
        run = lambda: naive(model, strip, nm)  # noqa: E731
    else:
        run = lambda: by_engine(model, plan, strip, nm, compiled=way == "compiled")  # noqa: E731
    held = reset_peak()
    features = run()  # also warms up
    facts["memory"] = peak() - held
    facts["seconds"], facts["core_seconds"] = [], []
    repeats, least_seconds = (1, 0.0) if args.quick else (5, 1.0)
    while len(facts["seconds"]) < repeats or sum(facts["seconds"]) < least_seconds:
        began, worked = time.perf_counter(), time.process_time()
        features = run()
        facts["seconds"].append(time.perf_counter() - began)
        facts["core_seconds"].append(time.process_time() - worked)
        if sum(facts["seconds"]) > args.most_seconds:
            break
    reference = folder / "naive.npz"
    if way == "naive":
        np.savez(reference, spectral=features[0], spatial=features[1])
    with np.load(reference, allow_pickle=False) as expected:
        cosines = cosine(expected["spectral"], features[0])
        facts["difference"] = float(np.abs(expected["spectral"] - features[0]).max())
        facts["cosine"] = [float(cosines.mean()), float(cosines.min())]
        facts["spatial"] = float(cosine(expected["spatial"], features[1]).mean())
    return facts


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the rows of two tables."""
    return np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def reset_peak() -> int:
    """Forget the peak of memory so far; bytes in use now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _status("VmRSS")


def peak() -> int:
    """The largest memory since `reset_peak`, in bytes."""
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def table(args: argparse.Namespace, n_bands: int) -> None:
    """Print the rows of one image."""
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in args.ways:
            command = [sys.executable, __file__, *sys.argv[1:], "--measure", way, folder]
            command += ["--bands", str(n_bands), *(["--cube", args.cube] if args.cube else [])]
            finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows[way] = json.loads(finished.stdout)
            _print_row(rows[way], rows["naive"], f"{args.cube or 'bundled'} {rows[way]['bands']}")


def _print_row(row: dict[str, Any], plain: dict[str, Any], name: str) -> None:
    seconds, base = np.array(row["seconds"]), np.median(plain["seconds"])
    middle = float(np.median(seconds))
    worked, base_worked = (np.median(each["core_seconds"]) for each in (row, plain))
    note = ""
    if row["way"] == "turbo":
        merged = f"{row['groups']} groups" if row["groups"] else "all bands"
        note = f"{merged}, {row['precision']}, sample {row['fidelity']:.4f}, "
        note += f"planned in {row['planned_in']:.2f} s"
    print(
        f"{name:16}{row['way']:10}{middle:9.3f} [{seconds.min():.3f}–{seconds.max():.3f}]"
        f"{base / middle:7.1f}×{worked:9.3f}{base_worked / worked:7.1f}×{row['memory'] / 1e6:9.0f}"
        f"{row['memory'] / plain['memory']:7.2f}{row['difference']:10.1e}"
        f"{row['cosine'][0]:10.5f}{row['cosine'][1]:9.4f}{row['spatial']:9.4f}  {note}",
        flush=True,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="carl-nano")
    parser.add_argument("--bands", type=int, nargs="+")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--real", action="store_true", help="the cubes in ../shared/data")
    parser.add_argument("--cube", choices=REAL_CUBES, help="one of them")
    parser.add_argument("--quick", action="store_true", help="one repeat, 12 and 100 bands")
    parser.add_argument("--most-seconds", type=float, default=60, help="of the repeats of a way")
    parser.add_argument("--threads", type=int, help="as many as there are cores by default")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.measure:
        way, folder = args.measure
        print(json.dumps(measure(way, args, args.bands[0], Path(folder))))
        return
    print(machine_line())
    print(f"{torch.get_num_threads()} threads · fast bf16: {has_fast_bf16(CPU)} · {args.model}")
    print(
        f"{'image, bands':16}{'way':10}{'s, median':>9} {'[least–most]':13}{'speed':>8}"
        f"{'core s':>9}{'speed':>8}{'MB':>9}"
        f"{'share':>7}{'max diff':>10}{'cosine':>10}{'least':>9}{'spatial':>9}"
    )
    for cube in REAL_CUBES if args.real else [args.cube]:
        args.cube = cube
        default = [100] if cube else [12, 100] if args.quick else [3, 12, 100, 224]
        for n_bands in args.bands or default:
            table(args, n_bands)


if __name__ == "__main__":
    main()
