"""Kill every command at each of its file operations, run it again, and compare the results.

A command runs in a process of its own. An audit hook counts its operations on files (open, rename,
remove, make and remove folders) and sends SIGKILL at the n-th one. Then every file under its final
name must be the old one or the complete new one. The command is run again, with --resume where it
left a checkpoint: the files must be those of a run that was not disturbed, byte for byte, with
nothing left over. Needs `os.fork`, and pre-training needs Lightning.

    python benchmarks/killed.py [--case embed ...] [--sample N]
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from machine import machine_line

import carl
import carl.learning.head_training
from carl.cli.app import run
from carl.inference import Embedding, feature_maps
from carl.inference.tile_grid import TileLayout, overlapping_tiles
from carl.io import export_results, write_labels
from carl.learning import cube_features
from carl.model import CARL, CARLConfig, download, save_model
from carl.model.checkpoint import read_training_state
from napari_carl.stroke_versions import StrokeVersions

CHECKPOINTS = ("head.ckpt", "run/last.ckpt")
"""Files from which a run resumes, relative to the folder of the results."""
HISTORY = "run/history.jsonl"
FEATURES = "home/features/"
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime")
"""Audit events of operations on files; `os.replace` is a rename, `os.unlink` a removal."""
NM = np.linspace(450, 800, 8)
SHAPE = (40, 48)
WEIGHTS = bytes(range(256)) * 4096
NETWORK = {
    "patch_size": 4,
    "spec_encoder_kwargs": {"embed_dim": 16, "depth": 1, "num_heads": 2, "layer_scale": None},
    "spat_encoder_kwargs": {
        "model_name": "vit_tiny_patch16_224",
        "model_kwargs": {"embed_dim": 24, "num_heads": 2, "depth": 1},
    },
}


@dataclass(frozen=True)
class Case:
    """A command, or a function that the plugin calls to write its files.

    Attributes:
        name: as in the table.
        work: runs it in the folder of the results; takes the folder of the inputs, returns the exit
            status.
        old: files of the folder that exist before, with other content.
    """

    name: str
    work: Callable[[Path], int]
    old: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """Errors found in the runs of a case.

    Attributes:
        n_operations: file operations of an undisturbed run.
        n_kills: number of runs that were killed.
        errors: one sentence each.
    """

    n_operations: int
    n_kills: int
    errors: tuple[str, ...]


def command(*arguments: object) -> int:
    """Run a command of the command line; return its exit status."""
    return run([str(each) for each in arguments])


def resume_options() -> list[str]:
    """Return the option to resume a run that left a checkpoint."""
    return ["--resume"] if any(Path(each).exists() for each in CHECKPOINTS) else []


def embed(inputs: Path) -> int:
    """Embed a cube in many tiles."""
    layout = TileLayout(8, 4, 1)
    feature_maps._BLOCK_BYTES = 10_000
    feature_maps.overlapping_tiles = lambda h, w: overlapping_tiles(h, w, layout)
    return command(
        "embed", inputs / "two.hdr", "-o", "features.npz", "--pca", "features.png", "--model",
        inputs / "tiny.safetensors", "--speed", "turbo",
    )  # fmt: skip


def fit(inputs: Path) -> int:
    """Fit a segmenter; its features go to the cache."""
    pair = inputs / "two.hdr", inputs / "labels.png"
    model = inputs / "tiny.safetensors"
    return command("fit", "--pair", *pair, "-o", "two.carl", "--model", model)


def fit_large(inputs: Path) -> int:
    """Fit a segmenter with features in scratch folders."""
    cube_features._SMALL_PIXELS = 0
    cube, model = carl.read_cube(inputs / "two.hdr"), carl.load_model(inputs / "tiny.safetensors")
    features = carl.compute_features(cube, model, max_bytes=1)
    labels = carl.read_labels(inputs / "labels.png").labels
    carl.Segmenter(model).fit(features, labels).save("large.carl")
    return 0


def predict(inputs: Path) -> int:
    """Predict a cube with the probabilities."""
    segmenter = inputs / "two.carl"
    return command(
        "predict", inputs / "two.hdr", "--model", segmenter, "-o", "maps", "--probabilities"
    )


def train(inputs: Path) -> int:
    """Train a head, with checkpoints."""
    values = {
        "output": "head.carl", "model": str(inputs / "tiny.safetensors"), "steps": 5, "crop": 16,
        "pairs": [{"cube": str(inputs / "two.hdr"), "labels": str(inputs / "truth.png")}],
        "batch_size": 2, "checkpoint_every": 2, "held_out": 0,
    }  # fmt: skip
    Path("train.yaml").write_text(yaml.safe_dump(values))
    return command("train", "train.yaml", "--device", "cpu", *resume_options())


def pretrain(inputs: Path) -> int:
    """Pre-train a network, with checkpoints and a history."""
    values = {
        "data": [{"kind": "folder", "path": str(inputs), "files": ["two.hdr"], "name": "ward"}],
        "output": "run", "name": "tiny", "model": NETWORK, "steps": 5, "crop": 16, "batch_size": 2,
        "workers": 0, "accelerator": "cpu", "checkpoint_every": 2, "log_every": 1,
    }  # fmt: skip
    Path("pretrain.yaml").write_text(yaml.safe_dump(values))
    return command("pretrain", "pretrain.yaml", *resume_options())


def simulate(inputs: Path) -> int:
    """Simulate another camera."""
    camera = inputs / "camera.csv"
    return command("simulate", inputs / "two.hdr", "--camera", camera, "-o", "other.hdr")


def import_(inputs: Path) -> int:
    """Import a checkpoint of the original implementation."""
    folder = Path(__file__).parents[1] / "tests" / "data" / "carl_reference" / "vit_small_case"
    config = folder / "config.json"
    return command(
        "import", folder / "checkpoint.ckpt", "--config", config, "-o", "imported.safetensors"
    )


def download_weights(inputs: Path) -> int:
    """Download weights from a server on this machine."""
    digest = hashlib.md5(WEIGHTS, usedforsecurity=False).hexdigest()
    address = (inputs / "server.txt").read_text()
    remote = download.RemoteFile(address, len(WEIGHTS), f"md5:{digest}")
    download.zenodo_file = lambda record, name: remote
    return command("download", "carl-small-satellite")


def clear_cache(inputs: Path) -> int:
    """Cache features, and remove them."""
    carl.compute_features(
        carl.read_cube(inputs / "two.hdr"), carl.load_model(inputs / "tiny.safetensors")
    )
    return command("cache", "--clear")


def info(inputs: Path) -> int:
    """Describe a cube."""
    return command("info", inputs / "two.hdr")


def evaluate(inputs: Path) -> int:
    """Compare two label maps."""
    return command("evaluate", inputs / "labels.png", inputs / "truth.png")


def export(inputs: Path) -> int:
    """Export everything, as the plugin does."""
    labels = carl.read_labels(inputs / "truth.png")
    contents = ("label map", "masks", "table", "regions", "pictures")
    cube = carl.read_cube(inputs / "two.hdr")
    export_results("exported", "two", labels.labels, labels.classes, cube, contents=contents)
    return 0


def save_labels(inputs: Path) -> int:
    """Save a label map with the names of its classes."""
    labels = carl.read_labels(inputs / "truth.png")
    write_labels("labels.tif", labels.labels, labels.classes)
    return 0


def save_strokes(inputs: Path) -> int:
    """Save strokes as the plugin does, and read the newest version."""
    cube, labels = carl.read_cube(inputs / "two.hdr"), carl.read_labels(inputs / "labels.png")
    with closing(StrokeVersions(cube)) as versions:
        versions.save(labels.labels, labels.classes)
    with closing(StrokeVersions(cube)) as versions:
        newest = versions.latest
        if versions.unreadable or newest is None:
            return 1
    write_labels("strokes.tif", newest.strokes.labels, newest.strokes.classes)
    return 0


CASES = (
    Case("info", info),
    Case("evaluate", evaluate),
    Case("embed", embed, ("features.npz", "features.png")),
    Case("fit", fit, ("two.carl",)),
    Case("fit, large cube", fit_large, ("large.carl",)),
    Case("predict", predict, ("maps/two_labels.tif", "maps/two_probabilities.tif")),
    Case("train", train, ("head.carl",)),
    Case("pretrain", pretrain),
    Case("simulate", simulate, ("other.hdr", "other.dat")),
    Case("import", import_, ("imported.safetensors",)),
    Case("download", download_weights),
    Case("cache --clear", clear_cache),
    Case("export", export, ("exported/two_labels.tif", "exported/two_classes.csv")),
    Case("save labels", save_labels, ("labels.tif", "labels.json")),
    Case("save strokes", save_strokes),
)


class Killing:
    """Audit hook that counts operations on the files of a folder, and kills at the n-th one."""

    def __init__(self, folder: Path, kill_at: int) -> None:
        self._folder, self._kill_at = str(folder), kill_at
        self.n_operations = 0
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if os.path.abspath(os.fsdecode(arguments[0])).startswith(self._folder):
            self.n_operations += 1
            if self.n_operations == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], int], log: Path) -> int:
    """Run some work in a forked process; return its exit status, or minus the number of a signal.

    Its output goes to the file `log`.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            status = work()
            sys.stdout.flush()
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_case(case: Case, root: Path, kill_at: int = 0) -> tuple[int, int]:
    """Run a case in ``root/results``; return its exit status and the number of file operations."""
    results, counted = root / "results", root / "operations.txt"

    def work() -> int:
        os.chdir(results)
        os.environ["CARL_HOME"] = str(results / "home")
        killing = Killing(results, kill_at)
        status = case.work(root / "inputs")
        gc.collect()  # removes scratch folders, as the end of a program does
        counted.write_text(str(killing.n_operations))
        return status

    status = in_child(work, root / "log.txt")
    return status, int(counted.read_text()) if counted.exists() else 0


def begin(case: Case, root: Path) -> None:
    """Empty the folder of the results but for the old files."""
    results = root / "results"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir()
    for name in case.old:
        (results / name).parent.mkdir(exist_ok=True)
        (results / name).write_bytes(b"old")


def files_of(root: Path) -> dict[str, bytes]:
    """Return the content of the files of the results by name.

    Left out are logs for TensorBoard and versions of strokes, whose names and content contain the
    time.
    """
    results = root / "results"
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in sorted(results.rglob("*"))
        if path.is_file()
        and "tensorboard" not in path.parts
        and path.parent.parent.name != "strokes"
    }


def is_temporary(name: str) -> bool:
    """Return whether a file may be left by a killed process."""
    folders, last = Path(name).parts[:-1], Path(name).parts[-1]
    return (
        any(each.startswith(".carl-") or each.endswith(".partial") for each in folders)
        or "scratch" in folders
        or last.endswith((".part", ".lock"))
        or name in CHECKPOINTS
    )


def unfinished(case: Case, root: Path, whole: dict[str, bytes]) -> Iterator[str]:
    """Yield a sentence for each file of a killed run that is not old, complete or temporary."""
    for name, content in files_of(root).items():
        if name in CHECKPOINTS:
            read_training_state(root / "results" / name)
        elif name.startswith(FEATURES) and name.count("/") == 2:
            Embedding.load(root / "results" / name)
        elif name == HISTORY:
            if not whole[name].startswith(content):
                yield f"{name} is not the beginning of the history"
        elif is_temporary(name) or content == whole.get(name):
            continue
        elif not (name in case.old and content == b"old") and not name.endswith(".yaml"):
            yield f"{name} is half-written" if name in whole else f"{name} is unknown"


def check(case: Case, root: Path, sample: int | None = None) -> Outcome:
    """Kill a case at each file operation, or at `sample` of them, and run it again."""
    begin(case, root)
    status, n_operations = run_case(case, root)
    whole = files_of(root)
    if status != 0:
        return Outcome(n_operations, 0, ((root / "log.txt").read_text(),))
    wanted = list(range(1, n_operations + 1))
    if sample is not None and sample < n_operations:
        wanted = np.linspace(1, n_operations, sample).round().astype(int).tolist()
    errors, n_kills = [], 0
    for kill_at in wanted:
        begin(case, root)
        status, _ = run_case(case, root, kill_at)
        if status != -signal.SIGKILL:  # threads may need fewer operations this time
            continue
        n_kills += 1
        errors += [f"killed at {kill_at}: {each}" for each in unfinished(case, root, whole)]
        status, _ = run_case(case, root)
        if status != 0:
            errors.append(f"killed at {kill_at}: {(root / 'log.txt').read_text()}")
            continue
        again = files_of(root)
        errors += [
            f"killed at {kill_at}, run again: {name} is "
            + ("left over" if name not in whole else "missing" if name not in again else "another")
            for name in sorted(whole.keys() | again.keys())
            if whole.get(name) != again.get(name) and not (name in CHECKPOINTS and name in whole)
        ]  # Lightning counts in a checkpoint how often the run was resumed
    return Outcome(n_operations, n_kills, tuple(errors))


def write_inputs(folder: Path) -> None:
    """Write a cube, labels, a network and a segmenter."""
    truth = np.ones(SHAPE, np.uint8)
    truth[:, SHAPE[1] // 2 :] = 2
    spectra = np.stack([np.zeros(8), np.linspace(0.2, 0.9, 8), np.linspace(0.9, 0.2, 8)])
    noise = np.random.default_rng(0).normal(0, 0.02, (*SHAPE, 8))
    cube = carl.SpectralCube((spectra[truth] + noise).astype(np.float32), NM)
    carl.write_cube(folder / "two.hdr", cube)
    carl.write_labels(folder / "truth.png", truth)
    labels = np.where(np.random.default_rng(1).random(SHAPE) < 0.1, truth, 0).astype(np.uint8)
    carl.write_labels(folder / "labels.png", labels)
    rows = [f"{centre:.1f},20" for centre in np.linspace(480, 760, 5)]
    (folder / "camera.csv").write_text("\n".join(["wavelength,fwhm", *rows]))
    torch.manual_seed(0)
    save_model(CARL(CARLConfig.from_dict(NETWORK), name="tiny"), folder / "tiny.safetensors")
    carl.Segmenter(None).fit(cube, labels).save(folder / "two.carl")


class WeightsHandler(BaseHTTPRequestHandler):
    """Serves the weights, from the first byte that is asked for."""

    def do_GET(self) -> None:
        """Answer a request."""
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(WEIGHTS) - start))
        last = len(WEIGHTS) - 1
        self.send_header("Content-Range", f"bytes {start}-{last}/{len(WEIGHTS)}")
        self.end_headers()
        for begin in range(start, len(WEIGHTS), 1 << 18):
            self.wfile.write(WEIGHTS[begin : begin + (1 << 18)])

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def served_weights() -> Iterator[str]:
    """Yield the address of the weights on a server in a process of its own."""
    server = HTTPServer(("127.0.0.1", 0), WeightsHandler)
    child = os.fork()
    if child == 0:
        server.serve_forever()
    try:
        yield f"http://127.0.0.1:{server.server_port}/weights"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        server.server_close()


def main() -> None:
    """Print a table, and exit with status 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", nargs="*", help="names of the cases; all by default")
    parser.add_argument("--sample", type=int, help="number of operations to kill each case at")
    options = parser.parse_args()
    torch.set_num_threads(1)
    has_lightning = find_spec("lightning") is not None
    if has_lightning:  # imported once, not by every process
        import carl.pretraining.lightning_trainer  # noqa: F401
    cases = [each for each in CASES if each.name != "pretrain" or has_lightning]
    n_errors = 0
    print(machine_line())
    print(f"{'case':18}{'operations':>12}{'killed':>8}{'wrong':>7}")
    with tempfile.TemporaryDirectory() as folder, served_weights() as address:
        root = Path(folder)
        (root / "inputs").mkdir()
        (root / "inputs" / "server.txt").write_text(address)
        if in_child(lambda: write_inputs(root / "inputs") or 0, root / "log.txt") != 0:
            sys.exit((root / "log.txt").read_text())
        for case in cases:
            if options.case and case.name not in options.case:
                continue
            found = check(case, root, options.sample)
            print(f"{case.name:18}{found.n_operations:12}{found.n_kills:8}{len(found.errors):7}")
            for number, error in zip(count(1), found.errors[:10], strict=False):
                print(f"  {number}. {error}")
            n_errors += len(found.errors)
            sys.stdout.flush()
    sys.exit(1 if n_errors else 0)


if __name__ == "__main__":
    main()
