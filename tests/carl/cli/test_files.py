"""Slow reads are abandoned when a command is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from carl.cli import files
from carl.cli.files import InterruptibleArray
from carl.errors import Cancelled, CubeError

_TIMEOUT = 120
"""Seconds; reached only where something is wrong. The slow read takes ten times as long."""

SLOW_READ = """
import hashlib, sys
from dataclasses import replace
from carl.cli import app, files

n_reads = int(sys.argv[1])
read_cube = files.read_cube

class SlowArray:
    def __init__(self, source):
        self.source, self.shape, self.dtype, self.reads = source, source.shape, source.dtype, 0

    def __getitem__(self, key):
        self.reads += 1
        if self.reads > n_reads:
            print("reading", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # handles no signals
        return self.source[key]

def read_slow_cube(*arguments, **options):
    cube = read_cube(*arguments, **options)
    return replace(cube, data=SlowArray(cube.data))

files.read_cube = read_slow_cube
app.run_and_exit(sys.argv[2:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize("n_reads", [0, 40])
@pytest.mark.parametrize("command", ["embed", "predict"])
def test_sigterm_while_a_block_is_read(
    cube_path: Path, segmenter_path: Path, tmp_path: Path, command: str, n_reads: int
) -> None:
    arguments = {
        "embed": ("embed", cube_path, "-o", tmp_path / "out" / "two.npz", "--device", "cpu"),
        "predict": ("predict", cube_path, "--model", segmenter_path, "-o", tmp_path / "out"),
    }[command]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_READ, str(n_reads), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    time.sleep(0.2)  # the read has begun then; if not, the process must end as well
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=_TIMEOUT)
    assert process.returncode == 130
    assert stderr.startswith("carl: Interrupted: ")
    assert stderr.count("\n") == 1
    # `embed` saves what is computed so far and reports where.
    left = list((tmp_path / "out").glob("*"))
    assert left == ([tmp_path / "out" / "two.npz.partial"] if "are saved in" in stderr else [])


class Pixels:
    """Array whose blocks are returned when `release` is set."""

    shape = (4, 5, 6)
    dtype = np.dtype(np.float32)

    def __init__(self) -> None:
        self.started, self.release = Event(), Event()
        self.error: Exception | None = None

    def __getitem__(self, key: Any) -> Any:
        self.started.set()
        assert self.release.wait(_TIMEOUT)
        if self.error is not None:
            raise self.error
        return np.arange(120, dtype=np.float32).reshape(self.shape)[key]


def test_blocks_and_errors_are_passed_on() -> None:
    source = Pixels()
    source.release.set()
    pixels = InterruptibleArray(source)
    assert (pixels.shape, pixels.dtype) == (source.shape, source.dtype)
    assert np.array_equal(pixels[1:3, :, 2], source[1:3, :, 2])
    source.error = CubeError("a.tif is cut off.")
    with pytest.raises(CubeError, match=r"a\.tif is cut off\."):
        pixels[0]


def test_waiting_threads_are_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "cancelled", Event())
    source = Pixels()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(InterruptibleArray(source).__getitem__, 0)
        assert source.started.wait(_TIMEOUT)
        files.cancelled.set()
        with pytest.raises(Cancelled):
            waiting.result(_TIMEOUT)
    source.release.set()
