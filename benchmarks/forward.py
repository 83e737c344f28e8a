"""Measure time, memory and accuracy of the network on an image of 224 × 224 pixels.

- naive: all patches at once in float32, the modules of the network one after the other, as in the
  original implementation, whose numbers the tests compare this with;
- exact: `carl.embed` in float32; bf16: the same in bf16;
- turbo: merged bands and a part of the encoder, in bf16 if the processor has instructions for it.

The first columns are the computation of the features alone. The columns "whole call" are
`carl.embed` from the cube to the embedding, with normalisation and planning: the first cube of a
camera; another cube of the same camera, for which the remembered plan is checked; and the same cube
again. Loading the network is not included.

Each way runs in a process of its own. "core s" is the time of all cores together, which other
programs affect less than elapsed time; with `--threads 1`, ratios of core time are those of an idle
machine. Memory is the peak above what the process used before, with the network and the image.
"max diff", "cosine" and "least" compare the spectral features with those of naive: the largest
absolute difference, and the mean and the smallest cosine over patches; "spatial" is the mean cosine
of the spatial features.

    python benchmarks/forward.py                     # carl-nano, the bundled cube in 3 to 224 bands
    python benchmarks/forward.py --model carl-small --bands 100
    python benchmarks/forward.py --real              # 100 bands of each cube in ../shared/data
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine_line
from real_cubes import REAL_CUBES, square

import carl
from carl.cube import SpectralCube
from carl.files import resource_path
from carl.inference import has_fast_bf16, planning
from carl.inference.backend import PlainBackend
from carl.inference.engine import Engine
from carl.inference.options import ComputeOptions
from carl.inference.patches import PatchReader, normalisation
from carl.inference.plan import Plan
from carl.inference.workers import Workers
from carl.model import CARL, build_model, list_models
from carl.user_folders import plans_folder

SIDE = 224
OPTIONS = {
    "exact": ComputeOptions("float32"),
    "bf16": ComputeOptions("bf16"),
    "turbo": ComputeOptions("auto", "turbo"),
}
WAYS = ("naive", *OPTIONS)
CALLS = ("first", "other", "again")
CPU = torch.device("cpu")

Features = tuple[np.ndarray, np.ndarray]
"""Spectral and spatial features, each (n, D)."""


def network(name: str) -> CARL:
    """Return a network with its trained weights if there are any, else with random ones."""
    trained = {info.name for info in list_models() if info.trained}
    if name in trained:
        return carl.load_model(name, "cpu")
    torch.manual_seed(0)
    return build_model(name).eval()


def bundled(n_bands: int) -> SpectralCube:
    """Return the bundled cube, its spectra interpolated to a number of bands."""
    cube = carl.read_cube(resource_path("sample") / "bladder.tif")
    nm = cube.require_wavelengths()
    wanted = np.linspace(nm[0], nm[-1], n_bands)
    pixels = cube.read(slice(0, SIDE), slice(0, SIDE))
    low = np.clip(np.searchsorted(nm, wanted, side="right") - 1, 0, nm.size - 2)
    weight = ((wanted - nm[low]) / (nm[low + 1] - nm[low])).astype(np.float32)
    return SpectralCube(pixels[..., low] * (1 - weight) + pixels[..., low + 1] * weight, wanted)


def naive(model: CARL, strip: np.ndarray, nm: np.ndarray) -> Features:
    """Compute the features of all patches at once with the plain modules."""
    h = w = SIDE // model.patch_size
    plain = PlainBackend(model)
    wavelengths_um = torch.tensor(nm / 1000, dtype=torch.float32)
    spectral = plain.encode_spectral(torch.from_numpy(strip), wavelengths_um)
    spatial = plain.encode_spatial(spectral.T.reshape(1, -1, h, w))
    return spectral.numpy(), spatial[0].flatten(1).T.numpy()


def by_engine(model: CARL, plan: Plan, strip: np.ndarray, nm: np.ndarray) -> Features:
    """Compute the features with the engine, with the threads that `carl.embed` uses."""
    h = w = SIDE // model.patch_size
    with Workers(CPU) as workers:
        engine = Engine(model, workers)
        spectral = engine.encode_spectral(strip, nm, plan)
        spatial = next(engine.encode_spatial([spectral.reshape(h, w, -1)], plan))
        if engine.note:
            print(f"  ({engine.note})", file=sys.stderr)
    return spectral, spatial.reshape(h * w, -1)


def make_plan(model: CARL, reader: PatchReader, way: str) -> Plan:
    """Return the plan that `carl.embed` chooses."""
    with Workers(CPU) as workers:
        return planning.make_plan(reader, model, Engine(model, workers), OPTIONS[way])


def measure(way: str, args: argparse.Namespace, n_bands: int, folder: Path) -> dict[str, Any]:
    """Measure one way in this process. The features of naive are written to the folder."""
    os.environ["CARL_HOME"] = str(folder / way)
    model = network(args.model)
    cube = REAL_CUBES[args.cube](n_bands) if args.cube else bundled(n_bands)
    cube = square(cube, SIDE)
    reader = PatchReader(cube, model.patch_size, *normalisation(cube, model))
    strip, nm = reader.strip(slice(None)), cube.require_wavelengths()
    row: dict[str, Any] = {"way": way, "bands": cube.n_bands}
    run: Callable[[], Features]
    if way == "naive":
        run = lambda: naive(model, strip, nm)  # noqa: E731
    else:
        plan = make_plan(model, reader, way)
        row["groups"] = None if plan.groups is None else plan.groups.starts.size
        row["fidelity"] = plan.fidelity
        row["formats"] = f"{plan.spectral_format} and {plan.spatial_format}"
        run = lambda: by_engine(model, plan, strip, nm)  # noqa: E731
    used = reset_peak()
    features = run()  # also warms up
    row["memory"] = peak() - used
    row["seconds"], row["core_seconds"] = [], []
    repeats, min_seconds = (1, 0.0) if args.quick else (5, 1.0)
    while len(row["seconds"]) < repeats or sum(row["seconds"]) < min_seconds:
        began, worked = time.perf_counter(), time.process_time()
        features = run()
        row["seconds"].append(time.perf_counter() - began)
        row["core_seconds"].append(time.process_time() - worked)
        if sum(row["seconds"]) > args.most_seconds:
            break
    if way != "naive":
        row["calls"] = whole_calls(model, cube, way, 1 if args.quick else 3)
    reference = folder / "naive.npz"
    if way == "naive":
        np.savez(reference, spectral=features[0], spatial=features[1])
    with np.load(reference, allow_pickle=False) as expected:
        cosines = cosine(expected["spectral"], features[0])
        row["difference"] = float(np.abs(expected["spectral"] - features[0]).max())
        row["cosine"] = [float(cosines.mean()), float(cosines.min())]
        row["spatial"] = float(cosine(expected["spatial"], features[1]).mean())
    return row


def whole_calls(model: CARL, cube: SpectralCube, way: str, repeats: int) -> dict[str, list[float]]:
    """Return median elapsed and core seconds of `carl.embed`, see `CALLS`."""
    options = OPTIONS[way]
    other = replace(cube, data=np.ascontiguousarray(np.asarray(cube.data)[::-1]))
    times: dict[str, list[tuple[float, float]]] = {call: [] for call in CALLS}
    for _ in range(repeats):
        planning._plans.discard(lambda _: True)
        plans_folder().clear()
        for call, embedded in zip(CALLS, (cube, other, cube), strict=True):
            began, worked = time.perf_counter(), time.process_time()
            carl.embed(embedded, model, precision=options.precision, speed=options.speed)
            times[call].append((time.perf_counter() - began, time.process_time() - worked))
    return {call: np.median(each, axis=0).tolist() for call, each in times.items()}


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosines (n,) between the rows of two tables (n, D)."""
    return np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def reset_peak() -> int:
    """Reset the peak of memory; return the bytes in use."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _status("VmRSS")


def peak() -> int:
    """Return the largest memory in use since `reset_peak`, in bytes."""
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
    calls = "  ".join(
        f"{elapsed:6.2f} ({core:5.2f})" for elapsed, core in row.get("calls", {}).values()
    )
    note = ""
    if row["way"] == "turbo":
        merged = f"{row['groups']} groups" if row["groups"] else "all bands"
        note = f"{merged}, {row['formats']}, sample {row['fidelity']}"
    print(
        f"{name:16}{row['way']:8}{middle:9.3f} [{seconds.min():.3f}–{seconds.max():.3f}]"
        f"{base / middle:7.1f}×{worked:9.3f}{base_worked / worked:7.1f}×{row['memory'] / 1e6:7.0f}"
        f"{row['memory'] / plain['memory']:7.2f}{row['difference']:10.1e}"
        f"{row['cosine'][0]:10.5f}{row['cosine'][1]:9.4f}{row['spatial']:9.4f}  {calls:48}{note}",
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
    parser.add_argument("--most-seconds", type=float, default=60, help="for the repeats of a way")
    parser.add_argument("--threads", type=int, help="default: the number of cores")
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
    calls = "  ".join(f"{call:>14}" for call in CALLS)
    print(f"{'':128}whole call, s (core s)")
    print(
        f"{'image, bands':16}{'way':8}{'s, median':>9} {'[range]':13}{'speed':>8}"
        f"{'core s':>9}{'speed':>8}{'MB':>7}"
        f"{'ratio':>7}{'max diff':>10}{'cosine':>10}{'least':>9}{'spatial':>9}  {calls}"
    )
    for cube in REAL_CUBES if args.real else [args.cube]:
        args.cube = cube
        default = [100] if cube else [12, 100] if args.quick else [3, 12, 100, 224]
        for n_bands in args.bands or default:
            table(args, n_bands)


if __name__ == "__main__":
    main()
