"""Exit statuses, unexpected errors and the progress line."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import carl
from carl.cli import terminal


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "Interrupted"),
        (MemoryError(), 2, "memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), 2, "memory"),
        (OSError(28, "No space left on device"), 2, "disk is full"),
        (ValueError("two\nlines"), 1, "Internal error of carl (ValueError: two lines)"),
    ],
)
def test_unexpected_errors_are_one_line(call, cube_path: Path, monkeypatch, error, status, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("carl.cli.files.read_cube", fail)
    got, out, err = call("info", cube_path)
    assert (got, out) == (status, "")
    assert message in err
    assert err.count("\n") == 1


def test_traceback_with_carl_debug(call, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("CARL_DEBUG", "1")
    err = call("info", tmp_path / "missing.hdr")[2]
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("carl: ")


def test_progress_is_drawn_on_terminals_only(capsys, monkeypatch):
    with terminal.progress_line() as progress:
        progress(0.5, "Working")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with terminal.progress_line() as progress:
        progress(0.5, "Working")
    err = capsys.readouterr().err
    assert "50%  Working" in err
    assert err.endswith("\x1b[K")


def test_run_as_a_module():
    def program(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "carl", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert program("--version").stdout == f"carl {carl.__version__}\n"
    failed = program("info", "missing.hdr")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == "carl: missing.hdr does not exist: check the name and the folder.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send itself a Ctrl+C")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["typer", "numpy", "carl.cli.app", "carl.cli.cubes", "carl.io"])
def test_an_interruption_of_the_imports_is_one_line(module: str, number: int) -> None:
    program = f"""
import os, sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {int(number)})

sys.meta_path.insert(0, Interrupt())
from carl.cli import main
main(["--version"])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    expected = "carl: Interrupted: nothing was written.\n"
    assert (found.returncode, found.stdout, found.stderr) == (130, "", expected)


def test_version(call):
    assert call("--version") == (0, f"carl {carl.__version__}\n", "")


def test_help_lists_every_command(call):
    status, out, _ = call("--help")
    assert status == 0
    for command in ("info", "models", "cameras", "embed", "fit", "predict", "evaluate"):
        assert command in out
        assert call(command, "--help")[0] == 0
