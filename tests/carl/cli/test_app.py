"""Exit statuses, unexpected errors and the progress line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import carl
from carl.cli import app, terminal


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


NAME = "vessel\x1b[2J\x9b1m\u202etxet\udcff"


def test_control_characters_of_names_do_not_reach_the_terminal(capsys, monkeypatch):
    terminal.print_rows({NAME: NAME})
    terminal.print_table([NAME, "number"], [[NAME, 1]])
    app._print_error(f"{NAME} is damaged.")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with terminal.progress_line() as progress:
        progress(0.5, NAME)
    out, err = capsys.readouterr()
    shown = r"vessel\x1b[2J\x9b1m\u202etxet\udcff"
    assert out.count(shown) == 4
    assert err.count(shown) == 2
    assert not set("\x9b\u202e\udcff") & set(out + err)
    assert err.count("\x1b") == 2  # of the progress line itself


def test_control_characters_of_names_are_escaped_in_json(capsys):
    terminal.print_json({NAME: [NAME, "µm"]})
    out = capsys.readouterr().out
    assert json.loads(out) == {NAME: [NAME, "µm"]}
    assert not set("\x1b\x9b\u202e\udcff") & set(out)
    assert "µm" in out


def test_a_file_name_cannot_change_the_terminal(call, tmp_path: Path):
    name = tmp_path / "\x1b]0;title\x07.tif"
    name.write_bytes(b"no cube")
    status, out, err = call("info", name)
    assert (status, out) == (2, "")
    assert "\x1b" not in err
    assert r"\x1b]0;title\x07.tif" in err
