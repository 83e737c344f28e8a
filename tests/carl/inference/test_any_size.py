"""Embedding into a file: the same as in memory, whatever comes in between."""

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
from carl.inference.prepared import Prepared
from carl.inference.tiling import TileLayout, tiles
from carl.io import read_cube, write_cube
from carl.model import CARL
from carl.progress import Progress

NM = np.linspace(400, 790, 7)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and tiles so small that a cube of a few pixels has many, read as large ones are."""
    monkeypatch.setattr("carl.mapped_files._MIN_BYTES", 1)
    monkeypatch.setattr("carl.mapped_files._MIN_RUN", 1)
    monkeypatch.setattr("carl.inference.pipeline._BLOCK_BYTES", 10_000)
    layout = TileLayout(8, 4, 1)
    monkeypatch.setattr("carl.inference.pipeline.tiles", lambda h, w: tiles(h, w, layout))


@pytest.fixture
def cube(tmp_path: Path) -> SpectralCube:
    random = np.random.default_rng(0)
    data = random.normal(3, 2, (45, 50, 1)) + random.normal(0, 0.1, (45, 50, 7))
    header, _ = write_cube(tmp_path / "cube.hdr", SpectralCube(data.astype(np.float32), NM))
    return read_cube(header)


def pieces_in(folder: Path) -> int:
    return len(list(folder.glob("s*.npy")))


def stop_at(n_pieces: int, folder: Path) -> Progress:
    """Calls the work off as soon as so many pieces are finished."""

    def progress(fraction: float, message: str) -> None:
        if pieces_in(folder) >= n_pieces:
            raise Cancelled("stopped")

    return progress


def statistics_are_known(*_: Any) -> Any:
    raise AssertionError("a run that goes on has them")


@pytest.mark.parametrize("speed", ["exact", "turbo"])
def test_a_file_holds_what_memory_would(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path, speed: str
) -> None:
    told: list[float] = []
    path = tmp_path / "cube.npz"
    streamed = embed_to_file(
        cube, tiny_model, path, speed=speed, progress=lambda share, _: told.append(share)
    )
    whole = embed(cube, tiny_model, speed=speed)
    np.testing.assert_array_equal(streamed.spatial, whole.spatial)
    np.testing.assert_array_equal(streamed.spectral, whole.spectral)
    facts = ("shape", "patch_size", "fingerprint", "precision", "speed", "fidelity")
    assert [getattr(streamed, name) for name in facts] == [getattr(whole, name) for name in facts]
    assert isinstance(streamed.spatial, np.memmap)
    assert told == sorted(told)
    assert told[-1] == 1
    assert not partial_folder(path).exists()


def test_interrupted_after_any_piece_it_comes_to_the_same(
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
            assert pieces_in(folder) >= interruptions
            interruptions += 1
        if interruptions == 2:
            forget = "carl.inference.blocks.cube_statistics", "carl.inference.pipeline.make_plan"
            for name in forget:
                monkeypatch.setattr(name, statistics_are_known)
    assert interruptions > 12
    assert notes[0].startswith("Continuing the run that was interrupted at ")
    assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_another_cube_or_wish_starts_anew(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path
) -> None:
    path = tmp_path / "cut.npz"
    with pytest.raises(Cancelled):
        embed_to_file(cube, tiny_model, path, progress=stop_at(3, partial_folder(path)))
    with pytest.raises(CarlError, match="not a speed"):
        embed_to_file(cube, tiny_model, path, speed="fast")
    assert pieces_in(partial_folder(path)) == 3
    brighter = SpectralCube(cube.to_numpy() + 1, NM)
    notes: list[str] = []
    embedding = embed_to_file(brighter, tiny_model, path, precision="bf16", note=notes.append)
    assert notes == ["Starting anew: another cube and precision than in the run before."]
    assert embedding.precision == "bf16"


@pytest.mark.parametrize("n_pieces", [0, 2, 9])
@pytest.mark.parametrize("change", ["touch", "cut", "remove"])
def test_a_cube_that_changes_meanwhile_leaves_nothing_wrong(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path, change: str, n_pieces: int
) -> None:
    path, data = tmp_path / "out.npz", tmp_path / "cube.dat"

    def progress(fraction: float, message: str) -> None:
        if pieces_in(partial_folder(path)) < n_pieces or not data.exists():
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


def test_a_disk_that_is_too_small_is_noticed_first(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    with pytest.raises(OutputError, match=r"0\.0 GB of free space and the features need 0\.0 GB"):
        embed_to_file(cube, tiny_model, tmp_path / "out.npz")
    assert [path.name for path in tmp_path.glob("out*")] == []


def test_a_disk_that_fills_up_loses_nothing(
    cube: SpectralCube, tiny_model: CARL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "out.npz"
    for writer, n_pieces in (
        ("carl.inference.chunk_folder.write_npy", 0),
        ("carl.inference.embedding.write_npz", 9),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(writer, full)
            with pytest.raises(OutputError, match="No space left on device"):
                embed_to_file(cube, tiny_model, path)
        assert pieces_in(partial_folder(path)) >= n_pieces
    assert np.isfinite(embed_to_file(cube, tiny_model, path).spatial).all()


@pytest.mark.parametrize("half", ["spectral", "spatial"])
def test_out_of_memory_is_a_sentence_and_loses_nothing(
    cube: SpectralCube,
    tiny_model: CARL,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    half: str,
) -> None:
    calls = 0
    computed: Callable[..., Tensor] = getattr(Prepared, half)

    def limited(*inputs: Any, **options: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return computed(*inputs, **options)

    path = tmp_path / "out.npz"
    with monkeypatch.context() as patch:
        patch.setattr(Prepared, half, limited)
        with pytest.raises(CarlError, match="not enough memory"):
            embed_to_file(cube, tiny_model, path, precision="float32")
    assert pieces_in(partial_folder(path)) >= 1
    streamed = embed_to_file(cube, tiny_model, path, precision="float32")
    whole = embed(cube, tiny_model, precision="float32")
    np.testing.assert_allclose(streamed.spatial, whole.spatial, atol=1e-5)
