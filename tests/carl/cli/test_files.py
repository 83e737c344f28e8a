"""Commands end at once although a read does not."""

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

_PATIENCE = 120
"""Seconds for a process to get going; only ever waited for where something is wrong."""
_PROMPT = 15
"""Seconds within which it has to end on any machine; the read goes on for many minutes."""

STUCK = """
import hashlib, sys
from dataclasses import replace
from carl.cli import app, files

n_reads = int(sys.argv[1])
read_cube = files.read_cube

class Stuck:
    def __init__(self, source):
        self.source, self.shape, self.dtype, self.reads = source, source.shape, source.dtype, 0

    def __getitem__(self, key):
        self.reads += 1
        if self.reads > n_reads:
            print("stuck", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # looks at no signals
        return self.source[key]

def stuck(*arguments, **options):
    cube = read_cube(*arguments, **options)
    return replace(cube, data=Stuck(cube.data))

files.read_cube = stuck
app.main(sys.argv[2:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize("n_reads", [0, 60])
@pytest.mark.parametrize("command", ["embed", "predict"])
def test_terminated_while_a_block_does_not_come(
    cube_path: Path, segmenter_path: Path, tmp_path: Path, command: str, n_reads: int
) -> None:
    arguments = {
        "embed": ("embed", cube_path, "-o", tmp_path / "out" / "two.npz", "--device", "cpu"),
        "predict": ("predict", cube_path, "--model", segmenter_path, "-o", tmp_path / "out"),
    }[command]
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(n_reads), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "stuck\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=_PROMPT)
    assert process.returncode == 130
    assert said.startswith("carl: Interrupted: ")
    assert said.count("\n") == 1
    # What `embed` found out of the cube by then is kept for the next time, and it says so.
    left = list((tmp_path / "out").glob("*"))
    assert left == ([tmp_path / "out" / "two.npz.partial"] if "are saved in" in said else [])


class Pixels:
    """A source that waits."""

    shape = (4, 5, 6)
    dtype = np.dtype(np.float32)

    def __init__(self) -> None:
        self.begun, self.go_on = Event(), Event()
        self.error: Exception | None = None

    def __getitem__(self, key: Any) -> Any:
        self.begun.set()
        assert self.go_on.wait(_PATIENCE)
        if self.error is not None:
            raise self.error
        return np.arange(120, dtype=np.float32).reshape(self.shape)[key]


def test_blocks_and_errors_come_through() -> None:
    source = Pixels()
    source.go_on.set()
    pixels = InterruptibleArray(source)
    assert (pixels.shape, pixels.dtype) == (source.shape, source.dtype)
    assert np.array_equal(pixels[1:3, :, 2], source[1:3, :, 2])
    source.error = CubeError("a.tif is cut off.")
    with pytest.raises(CubeError, match=r"a\.tif is cut off\."):
        pixels[0]


def test_a_mapped_block_is_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(24).reshape(2, 3, 4))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    block = InterruptibleArray(mapped)[:, 1]
    assert type(block) is np.ndarray
    assert not np.shares_memory(block, mapped)
    assert np.array_equal(block, mapped[:, 1])


def test_threads_that_wait_for_a_block_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "cancelled", Event())
    source = Pixels()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(InterruptibleArray(source).__getitem__, 0)
        assert source.begun.wait(_PATIENCE)
        files.cancelled.set()
        with pytest.raises(Cancelled):
            waiting.result(_PROMPT)
    source.go_on.set()
