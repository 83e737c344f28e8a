"""Tests of the import contracts, of what an import loads, and of forbidden code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("carl", "napari_carl")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
PROGRAMS = sorted(
    path for name in ("scripts", "benchmarks") for path in (ROOT / name).rglob("*.py")
)

HEAVY = {"torch", "timm", "napari", "qtpy", "skimage", "sklearn", "scipy", "tifffile", "h5py"}
UNSAFE = re.compile(
    r"\b(pickle|cloudpickle|dill|joblib)\.(loads?|Unpickler)\b|allow_pickle\s*=\s*True|weights_only\s*=\s*False"
    r"|\byaml\.(load|unsafe_load|full_load)\(|(?<![.\w])(eval|exec)\(",
    re.MULTILINE,
)


def python(code: str) -> str:
    """Return what a new interpreter prints."""
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return finished.stdout


def test_import_contracts_hold():
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    finished = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_import_loads_no_heavy_packages():
    loaded = python("import sys, carl; print(*sys.modules)")
    assert not HEAVY & set(loaded.split())


def test_import_loads_few_modules():
    assert int(python("import sys, carl; print(len(sys.modules))")) < 100


def test_reading_and_showing_files_does_not_import_torch():
    loaded = python("import sys, carl.io, carl.spectra.colour, carl.cli; print(*sys.modules)")
    assert not {"torch", "timm", "napari"} & set(loaded.split())


def test_readers_writers_and_samples_import_neither_napari_nor_qt():
    modules = "napari_carl.readers, napari_carl.writers, napari_carl.samples"
    loaded = python(f"import sys, {modules}; print(*sys.modules)")
    assert not {"torch", "napari", "qtpy", "magicgui"} & set(loaded.split())


def offenders(paths: list[Path], forbidden: re.Pattern[str]) -> list[str]:
    """Return the files that contain a forbidden pattern."""
    return [str(path) for path in paths if forbidden.search(path.read_text(encoding="utf-8"))]


def test_no_source_executes_what_it_reads():
    assert not offenders(SOURCES + PROGRAMS, UNSAFE)


def test_no_source_uses_private_attributes_of_napari():
    assert not offenders(SOURCES + PROGRAMS, re.compile("_qt_viewer"))


def test_no_test_of_the_window_waits_for_a_time():
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__).resolve()]
    assert not offenders(tests, re.compile(r"qtbot\.wait\(|qWait\(|process_events\("))
