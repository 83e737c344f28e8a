"""Commands that are killed at some of their file operations; the benchmark tries all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a fork without threads")

UNSAFE = """
import sys
from pathlib import Path
from killed import Case, check

def write_in_place(inputs):
    with open("map.tif", "w") as file:
        file.write("half, ")
        file.flush()
        Path("scratch-0").mkdir(exist_ok=True)
        file.write("and whole")
    if not Path("left").exists():
        Path("left").mkdir()
        Path("left", "x").touch()
    return 0

found = check(Case("unsafe", write_in_place, ("map.tif",)), Path(sys.argv[1]))
print(found.n_operations, found.n_kills, *found.errors, sep="\\n")
"""


def run_python(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=BENCHMARKS,
        env=environment | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_killed_commands_leave_sound_files_and_give_the_same_result() -> None:
    found = run_python("killed.py", "--sample", 2)
    assert (found.returncode, found.stderr) == (0, ""), found.stdout
    killed = [line.split() for line in found.stdout.splitlines() if line.endswith(" 0")]
    assert sum(int(words[-2]) for words in killed) >= 20


def test_files_that_are_written_in_place_are_found(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    found = run_python("-c", UNSAFE, tmp_path)
    n_operations, n_kills, *errors = found.stdout.splitlines()
    assert n_operations == n_kills
    assert any("map.tif is half-written" in error for error in errors)
    assert any("run again: left/x is missing" in error for error in errors)
