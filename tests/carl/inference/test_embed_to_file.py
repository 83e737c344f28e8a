"""Embedding into a file: equal to that in memory, also after interruptions and failures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from carl.cube import SpectralCube
from carl.errors import Cancelled, CarlError, CubeError, OutputError
from carl.inference import embed, embed_to_file, partial_folder
from carl.inference.fast import FastBackend
from carl.inference.options import Speed
from carl.inference.tile_grid import TileLayout, overlapping_tiles
from carl.io import read_cube, write_cube
from carl.model import CARL
from carl.progress import Progress

NM = np.linspace(400, 790, 7)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and tiles so small that a cube of a few pixels has many."""
    monkeypatch.setattr("carl.inference.feature_maps._BLOCK_BYTES", 10_000)
    layout = TileLayout(8, 4, 1)
    monkeypatch.setattr(
        "carl.inference.feature_maps.overlapping_tiles",
        lambda h, w: overlapping_tiles(h, w, layout),
    )


@pytest.fixture
def cube(tmp_path: Path) -> SpectralCube:
    random = np.random.default_rng(0)
    data = random.normal(3, 2, (45, 50, 1)) + random.normal(0, 0.1, (45, 50, 7))
    header, _ = write_cube(tmp_path / "cube.hdr", SpectralCube(data.astype(np.float32), NM))
    return read_cube(header)


def n_tiles_in(folder: Path) -> int:
    return len(list(folder.glob("s*.npy")))


def stop_at(n_tiles: int, folder: Path) -> Progress:
    """Cancel as soon as so many tiles are finished."""

    def progress(fraction: float, message: str) -> None:
        if n_tiles_in(folder) >= n_tiles:
            raise Cancelled("stopped")

    return progress


def computed_again(*_: Any) -> Any:
    raise AssertionError("a resumed run has stored this")


@pytest.mark.parametrize("speed", ["exact", "turbo"])
def test_features_in_a_file_are_those_in_memory(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path, speed: Speed
) -> None:
    reported: list[float] = []
    path = tmp_path / "cube.npz"
    streamed = embed_to_file(
        cube, tiny_model, path, speed=speed, progress=lambda fraction, _: reported.append(fraction)
    )
    whole = embed(cube, tiny_model, speed=speed)
    np.testing.assert_array_equal(streamed.spatial, whole.spatial)
    np.testing.assert_array_equal(streamed.spectral, whole.spectral)
    names = ("shape", "patch_size", "fingerprint", "precision", "speed", "fidelity")
    assert [getattr(streamed, name) for name in names] == [getattr(whole, name) for name in names]
    assert isinstance(streamed.spatial, np.memmap)
    assert reported == sorted(reported)
    assert reported[-1] == 1
    assert not partial_folder(path).exists()


def test_interrupted_after_any_tile_the_result_is_the_same(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_to_file(cube, tiny_model, tmp_path / "whole.npz", speed="turbo")
    path, folder = tmp_path / "cut.npz", partial_folder(tmp_path / "cut.npz")
    notes: list[str] = []
    interruptions = 0
    while not path.exists():
        try:
            stop = stop_at(interruptions, folder)
            embed_to_file(cube, tiny_model, path, speed="turbo", progress=stop, note=notes.append)
        except Cancelled:
            assert n_tiles_in(folder) >= interruptions
            interruptions += 1
        if interruptions == 2:
            names = "patches.cube_statistics", "feature_maps.make_plan"
            for name in names:
                monkeypatch.setattr(f"carl.inference.{name}", computed_again)
    assert interruptions > 12
    assert notes[0].startswith("Resuming the run that was interrupted at ")
    assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_another_cube_or_precision_starts_over(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path
) -> None:
    path = tmp_path / "cut.npz"
    with pytest.raises(Cancelled):
        embed_to_file(cube, tiny_model, path, progress=stop_at(3, partial_folder(path)))
    assert n_tiles_in(partial_folder(path)) == 3
    brighter = SpectralCube(cube.to_numpy() + 1, NM)
    notes: list[str] = []
    embedding = embed_to_file(brighter, tiny_model, path, precision="bf16", note=notes.append)
    assert notes == ["Starting over: another cube and precision than in the interrupted run."]
    assert embedding.precision == "bf16"


def test_one_other_pixel_in_memory_starts_over(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path
) -> None:
    values, path = cube.to_numpy(), tmp_path / "cut.npz"
    stop = stop_at(3, partial_folder(path))
    with pytest.raises(Cancelled):
        embed_to_file(SpectralCube(values, NM), tiny_model, path, progress=stop)
    other = values.copy()
    other[1, 1] += 1  # in a row that `cube_key` does not read
    resumed = embed_to_file(SpectralCube(other, NM), tiny_model, path)
    whole = embed(SpectralCube(other, NM), tiny_model)
    np.testing.assert_array_equal(resumed.spatial, whole.spatial)


def test_damaged_tiles_are_computed_again(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path
) -> None:
    whole, path = embed(cube, tiny_model), tmp_path / "cut.npz"
    with pytest.raises(Cancelled):
        embed_to_file(cube, tiny_model, path, progress=stop_at(5, partial_folder(path)))
    for tile in partial_folder(path).glob("s*.npy"):
        content = bytearray(tile.read_bytes())
        content[-20] ^= 64
        tile.write_bytes(content)
    resumed = embed_to_file(cube, tiny_model, path)
    np.testing.assert_array_equal(resumed.spatial, whole.spatial)
    np.testing.assert_array_equal(resumed.spectral, whole.spectral)


@pytest.mark.parametrize("n_tiles", [0, 2, 9])
@pytest.mark.parametrize("change", ["touch", "cut", "remove"])
def test_no_result_of_a_cube_that_changes_is_saved(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path, change: str, n_tiles: int
) -> None:
    path, data = tmp_path / "out.npz", tmp_path / "cube.dat"

    def progress(fraction: float, message: str) -> None:
        if n_tiles_in(partial_folder(path)) < n_tiles or not data.exists():
            return
        if change == "touch":
            os.utime(data, ns=(1, 1))
        elif change == "cut":
            os.truncate(data, 1000)
        else:
            data.unlink()

    with pytest.raises(CubeError, match=r"(changed on disk|became shorter) while it was being"):
        embed_to_file(cube, tiny_model, path, progress=progress)
    assert not path.exists()
    assert not partial_folder(path).exists()


def test_a_lack_of_space_is_reported_before_the_computation(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    with pytest.raises(OutputError, match=r"0\.0 GB of free space and the features need 0\.0 GB"):
        embed_to_file(cube, tiny_model, tmp_path / "out.npz")
    assert [path.name for path in tmp_path.glob("out*")] == []


def test_finished_tiles_survive_a_full_disk(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "out.npz"
    for writer, n_tiles in (
        ("carl.inference.tile_store.write_checked_npy", 0),
        ("carl.inference.embedding.write_npz", 9),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(writer, full)
            with pytest.raises(OutputError, match="No space left on device"):
                embed_to_file(cube, tiny_model, path)
        assert n_tiles_in(partial_folder(path)) >= n_tiles
    assert np.isfinite(embed_to_file(cube, tiny_model, path).spatial).all()


@pytest.mark.parametrize("half", ["encode_spectral", "encode_spatial"])
def test_finished_tiles_survive_a_lack_of_memory(
    cube: SpectralCube,
    tiny_model: CARL,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    half: str,
) -> None:
    calls = 0
    computed: Callable[..., Tensor] = getattr(FastBackend, half)

    def limited(*inputs: Any, **options: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return computed(*inputs, **options)

    path = tmp_path / "out.npz"
    with monkeypatch.context() as patch:
        patch.setattr(FastBackend, half, limited)
        with pytest.raises(CarlError, match="not enough memory"):
            embed_to_file(cube, tiny_model, path, precision="float32")
    assert n_tiles_in(partial_folder(path)) >= 1
    streamed = embed_to_file(cube, tiny_model, path, precision="float32")
    whole = embed(cube, tiny_model, precision="float32")
    np.testing.assert_allclose(streamed.spatial, whole.spatial, atol=1e-5)
