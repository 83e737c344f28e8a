"""Commands on cubes: info, cameras, embed, cache, simulate."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import carl
from carl.cube import SpectralCube
from carl.io import write_cube

NM = np.linspace(450, 800, 8)  # of the cube in conftest.py
SHAPE = (40, 48)
_TIMEOUT = 600
"""Seconds; reached only where something is wrong."""


def test_info(call, call_json, cube_path: Path):
    result = call_json("info", cube_path)
    assert (result["height"], result["width"], result["bands"]) == (*SHAPE, 8)
    np.testing.assert_allclose(result["wavelengths"], NM)
    assert "450–800 nm" in call("info", cube_path)[1]


def test_info_uses_the_wavelengths_option(call_json, tmp_path: Path):
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).random((9, 11, 5), np.float32))
    (tmp_path / "bands.csv").write_text("wavelength\n500\n510\n520\n530\n545\n")
    plain = call_json("info", tmp_path / "plain.npy")
    assert plain["wavelengths"] is None
    by_range = call_json("info", tmp_path / "plain.npy", "--wavelengths", "400:440:10")
    assert by_range["wavelengths"] == [400, 410, 420, 430, 440]
    by_file = call_json("info", tmp_path / "plain.npy", "--wavelengths", tmp_path / "bands.csv")
    assert by_file["wavelengths"] == [500, 510, 520, 530, 545]


@pytest.mark.parametrize(
    ("text", "nm"),
    [
        ("400-440", [400, 410, 420, 430, 440]),
        ("0,40–0,44 µm", [400, 410, 420, 430, 440]),
        ("400, 410, 425, 430, 440", [400, 410, 425, 430, 440]),
    ],
)
def test_wavelengths_are_understood_as_they_are_typed(call_json, tmp_path: Path, text, nm):
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).random((19, 21, 5), np.float32))
    found = call_json("info", tmp_path / "plain.npy", "--wavelengths", text)
    np.testing.assert_allclose(found["wavelengths"], nm)


def test_typed_wavelengths_are_printed_on_a_terminal_as_they_were_understood(
    call, tmp_path: Path, monkeypatch
):
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).random((19, 21, 5), np.float32))
    monkeypatch.setattr("carl.cli.terminal._is_terminal", lambda: True)
    _, _, err = call("info", tmp_path / "plain.npy", "--wavelengths", "400-440")
    assert err == "plain.npy: 5 bands, 400–440 nm, step 10 nm.\n"


def test_unusual_wavelengths_cause_a_warning(call, tmp_path: Path):
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).random((19, 21, 5), np.float32))
    status, out, err = call("info", tmp_path / "plain.npy", "--wavelengths", "1-5 nm")
    assert status == 0
    assert err.startswith("carl: plain.npy: The shortest wavelength is 1 nm, below 200 nm")
    assert "below 200 nm" in out

    status, _, err = call("info", tmp_path / "plain.npy", "--wavelengths", "1:5:1")
    assert status == 2
    assert "add the unit" in err


def test_cameras(call, call_json):
    cameras = call_json("cameras")
    assert cameras
    assert all(len(c["wavelengths"]) > 0 and c["description"] for c in cameras)
    status, out, _ = call("cameras")
    assert status == 0
    assert all(camera["name"] in out for camera in cameras)


def test_embed(call_json, cube_path: Path, tmp_path: Path):
    out, picture = tmp_path / "new" / "two.npz", tmp_path / "two.png"
    result = call_json("embed", cube_path, "-o", out, "--pca", picture, "--device", "cpu")
    with np.load(out, allow_pickle=False) as arrays:
        assert list(arrays["spatial"].shape) == result["spatial"]
        assert list(arrays["spectral"].shape) == result["spectral"]
        assert np.isfinite(arrays["spatial"]).all()
    with Image.open(picture) as image:
        assert image.size == (SHAPE[1], SHAPE[0])
        assert np.ptp(np.asarray(image)) > 100


@pytest.fixture
def large_path(tmp_path: Path) -> Path:
    """A cube of several blocks."""
    values = np.random.default_rng(0).random((256, 256, 100), np.float32)
    write_cube(tmp_path / "large.hdr", SpectralCube(values, np.linspace(450, 900, 100)))
    return tmp_path / "large.hdr"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_embed_resumes_after_sigterm(call, large_path: Path, tmp_path: Path) -> None:
    options = ("--device", "cpu", "--precision", "float32")
    command = (sys.executable, "-m", "carl", "embed", large_path, "-o", "cut.npz", *options)
    partial = tmp_path / "cut.npz.partial"
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    began = time.monotonic()
    while not (partial / "spectral-000000.npy").exists():
        assert process.poll() is None
        assert time.monotonic() < began + _TIMEOUT
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=_TIMEOUT)
    assert process.returncode == 130
    assert stderr == (
        "carl: Interrupted: finished parts are saved in cut.npz.partial; run the same command "
        "again to resume.\n"
    )
    assert not (tmp_path / "cut.npz").exists()
    finished = {path: path.stat().st_mtime_ns for path in partial.glob("*.npy")}
    assert finished

    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0
    assert again.stderr.startswith("Resuming the run that was interrupted at ")
    assert not partial.exists()
    assert call("embed", large_path, "-o", tmp_path / "whole.npz", *options)[0] == 0
    assert (tmp_path / "cut.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_embed_interrupted_before_the_first_block_leaves_nothing(
    call, cube_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("carl.inference.feature_maps.normalisation", interrupted)
    status, out, err = call("embed", cube_path, "-o", tmp_path / "two.npz", "--device", "cpu")
    assert (status, out) == (130, "")
    assert err.endswith("carl: Interrupted: nothing was written.\n")
    assert not list(tmp_path.glob("two.npz*"))


def test_pca_picture_of_a_huge_cube_has_one_pixel_per_patch(
    call, cube_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carl.inference.pca._MAX_PIXELS", 40 * 48 - 1)
    output = ("-o", tmp_path / "two.npz", "--pca", tmp_path / "two.png")
    assert call("embed", cube_path, *output, "--device", "cpu")[0] == 0
    with Image.open(tmp_path / "two.png") as image:
        assert image.size == (6, 5)


def test_cache_shows_and_clears_features(
    call, call_json, carl_home: Path, cube_path: Path, labels_path: Path, tmp_path: Path
):
    result = call_json("cache")
    assert result["folder"] == str(carl_home / "features")
    assert (result["embeddings"], result["bytes"]) == (0, 0)
    call_json("fit", "--pair", cube_path, labels_path, "-o", tmp_path / "two.carl")
    result = call_json("cache")
    assert result["embeddings"] == 1
    assert 0 < result["bytes"] <= result["max_bytes"]
    assert call("cache", "--clear")[0] == 0
    assert call_json("cache")["embeddings"] == 0
    assert list((carl_home / "features").iterdir()) == []


def test_cache_rejects_an_invalid_size(call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CARL_CACHE", "much")
    status, out, err = call("cache")
    assert (status, out) == (2, "")
    assert "CARL_CACHE" in err
    assert err.count("\n") == 1


def test_a_cache_that_cannot_be_written_is_a_warning_of_one_line(
    call, monkeypatch, cube_path: Path, labels_path: Path, tmp_path: Path
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CARL_HOME", str(tmp_path / "file"))
    output = tmp_path / "two.carl"
    status, _, err = call("fit", "--pair", cube_path, labels_path, "-o", output)
    assert status == 0
    assert output.is_file()
    assert err.startswith("carl: Features are not cached for the next time")
    assert err.count("\n") == 1


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A camera with two bands inside the range of the cube and one outside."""
    path = tmp_path / "three.csv"
    path.write_text("wavelength_nm,fwhm_nm\n525,80\n700,50\n1100,40\n")
    return path


def test_simulate_writes_a_cube(call_json, cube_path: Path, table: Path, tmp_path: Path):
    out = tmp_path / "new" / "simulated.hdr"
    result = call_json("simulate", cube_path, "--camera", table, "-o", out, "--drop-uncovered")
    assert (result["bands"], result["dropped"], result["camera"]) == (2, 1, "three")
    source, simulated = carl.read_cube(cube_path), carl.read_cube(out)
    np.testing.assert_allclose(simulated.wavelengths, [525, 700])
    np.testing.assert_allclose(simulated.fwhm, [80, 50])
    assert simulated.shape == (*source.shape[:2], 2)
    # 700 nm is a band of the cube with the same width: its values are unchanged.
    np.testing.assert_allclose(simulated.to_numpy()[..., 1], source.to_numpy()[..., 5], atol=1e-5)
    assert (
        simulated.to_numpy()[..., 0].std() < source.to_numpy()[..., 1].std()
    )  # averaged over neighbouring bands


def test_simulate_has_help(call):
    assert "simulate" in call("--help")[1]
    status, out, _ = call("simulate", "--help")
    assert status == 0
    assert "--drop-uncovered" in out


def test_simulate_reports_uncovered_bands(call, cube_path: Path, table: Path, tmp_path: Path):
    before = sorted(tmp_path.iterdir())
    status, out, err = call(
        "simulate", cube_path, "--camera", table, "-o", tmp_path / "simulated.hdr"
    )
    assert (status, out) == (2, "")
    assert "450 to 800 nm" in err
    assert "1100 nm" in err
    assert sorted(tmp_path.iterdir()) == before


def test_simulate_does_not_overwrite_its_input(call, cube_path: Path, tmp_path: Path):
    content = cube_path.with_suffix(".dat").read_bytes()
    for name in (cube_path, cube_path.with_suffix(".dat")):
        status, _, err = call("simulate", name, "--camera", "srgb", "-o", cube_path)
        assert status == 2
        assert "is an input" in err
    assert cube_path.with_suffix(".dat").read_bytes() == content


def test_simulate_needs_wavelengths_and_a_camera(call, tmp_path: Path):
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).random((9, 11, 5), np.float32))
    command = ("simulate", tmp_path / "plain.npy", "-o", tmp_path / "simulated.hdr", "--camera")
    assert "wavelengths" in call(*command, "srgb")[2]
    assert "No camera is called 'nokia'" in call(*command, "nokia")[2]
    status, *_ = call(*command, "srgb", "--wavelengths", "420:660:60")
    assert status == 0
    assert carl.read_cube(tmp_path / "simulated.hdr").n_bands == 3


def test_the_doctor_reports_findings_on_the_wavelengths(call, call_json, tmp_path):
    from carl import SpectralCube, write_cube

    cube = SpectralCube(np.random.default_rng(0).random((6, 7, 3)), [0.4, 0.5, 0.6])
    write_cube(tmp_path / "micro.hdr", cube)
    status, out, _ = call("info", tmp_path / "micro.hdr", "--doctor")
    assert status == 0
    assert "µm that were read as nm" in out
    found = call("info", tmp_path / "micro.hdr", "--doctor", "--json")[1]
    assert '"kind": "unit"' in found
    assert '"correction": "Multiply by 1000"' in found

    write_cube(tmp_path / "right.hdr", cube.with_wavelengths([400, 500, 600]))
    assert call_json("info", tmp_path / "right.hdr", "--doctor")["findings"] == []
    assert "findings" not in call_json("info", tmp_path / "right.hdr")
    assert "nothing is wrong" in call("info", tmp_path / "right.hdr", "--doctor")[1]
