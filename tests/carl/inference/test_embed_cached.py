from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from carl.cube import SpectralCube
from carl.errors import CarlWarning
from carl.inference import ComputeOptions, Embedding, embed, embed_cached, embedding
from carl.inference.embedding import _embed_in_memory, _save_cached
from carl.inference.options import DEFAULT_OPTIONS
from carl.io import read_cube, write_cube
from carl.model import CARL
from carl.progress import Progress
from carl.user_folders import features_folder

NM = np.array([450.0, 550, 650])


def cube(seed: int = 0) -> SpectralCube:
    data = np.random.default_rng(seed).normal(size=(16, 16, 3)).astype(np.float32)
    return SpectralCube(data, NM)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[SpectralCube]:
    """The cubes whose features were computed, not loaded."""
    cubes: list[SpectralCube] = []
    compute = embedding._embed_in_memory

    def counted(
        cube: SpectralCube, model: CARL, options: ComputeOptions, progress: Progress
    ) -> Embedding:
        cubes.append(cube)
        return compute(cube, model, options, progress)

    monkeypatch.setattr(embedding, "_embed_in_memory", counted)
    return cubes


def entries() -> list[Path]:
    return sorted(features_folder().path.iterdir())


def test_features_are_loaded_the_next_time(tiny_model: CARL, computed: list[SpectralCube]) -> None:
    first = embed_cached(cube(), tiny_model)
    reported: list[float] = []
    again = embed_cached(cube(), tiny_model, progress=lambda fraction, _: reported.append(fraction))
    assert len(computed) == 1
    assert reported
    np.testing.assert_array_equal(again.spatial, first.spatial)
    np.testing.assert_array_equal(again.spectral, first.spectral)
    for name in ("shape", "patch_size", "model", "fingerprint", "precision", "speed", "fidelity"):
        assert getattr(again, name) == getattr(first, name)


@pytest.mark.parametrize("is_cached", [True, False])
def test_features_can_be_mapped_from_disk(
    tiny_model: CARL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cached: bool
) -> None:
    expected = embed_cached(cube(), tiny_model)
    if not is_cached:
        monkeypatch.setenv("CARL_CACHE", "0")
    scratch = tmp_path / "scratch.npz"
    mapped = embed_cached(cube(), tiny_model, scratch=scratch)
    assert isinstance(mapped.spatial, np.memmap)
    assert scratch.exists() == (not is_cached)
    np.testing.assert_array_equal(mapped.spatial, expected.spatial)


def test_each_ingredient_makes_another_entry(
    tiny_model: CARL, computed: list[SpectralCube], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(cube: SpectralCube, options: ComputeOptions = DEFAULT_OPTIONS) -> None:
        embed_cached(cube, tiny_model, options)

    def change_weights() -> None:
        with torch.no_grad():
            tiny_model.connector.bias[0] += 1
        compute(cube())

    def change_normalisation() -> None:
        tiny_model.normalisation = (0.1, 2.0)
        compute(cube())

    def change_code() -> None:
        monkeypatch.setattr(embedding, "code_key", lambda: "other")
        compute(cube())

    steps: list[Callable[[], None]] = [
        lambda: compute(cube()),
        lambda: compute(cube(1)),
        lambda: compute(replace(cube(), scale=2.0, offset=1.0)),
        lambda: compute(cube().with_wavelengths(NM + 1)),
        lambda: compute(cube(), ComputeOptions("float32")),
        lambda: compute(cube(), ComputeOptions("bf16")),
        lambda: compute(cube(), ComputeOptions(speed="turbo")),
        change_weights,
        change_normalisation,
        change_code,
    ]
    for number, step in enumerate(steps, start=1):
        step()
        assert (len(computed), len(entries())) == (number, number)
    compute(cube())
    assert len(computed) == len(steps)


def test_features_of_a_changed_file_are_computed_again(
    tiny_model: CARL, computed: list[SpectralCube], tmp_path: Path
) -> None:
    header, data = write_cube(tmp_path / "a.hdr", cube())
    first = embed_cached(read_cube(header), tiny_model)
    stamp = data.stat()
    values = np.fromfile(data, np.float32)
    values[values.size // 2] += 5
    values.tofile(data)
    os.utime(data, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    second = embed_cached(read_cube(header), tiny_model)
    assert len(computed) == 2
    assert not np.array_equal(first.spatial, second.spatial)


def test_features_of_a_file_that_changes_meanwhile_are_not_cached(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    header, data = write_cube(tmp_path / "a.hdr", cube())

    def change_first(
        cube: SpectralCube, model: CARL, options: ComputeOptions, progress: Progress
    ) -> Embedding:
        os.utime(data, ns=(1, 1))
        return _embed_in_memory(replace(cube, metadata={}), model, options, progress)

    monkeypatch.setattr(embedding, "_embed_in_memory", change_first)
    embed_cached(read_cube(header), tiny_model)
    assert len(features_folder()) == 0


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_features_of_a_damaged_entry_are_computed_again(
    tiny_model: CARL, computed: list[SpectralCube], damage: bytes | None
) -> None:
    first = embed_cached(cube(), tiny_model)
    (entry,) = entries()
    entry.write_bytes(entry.read_bytes()[:-100] if damage is None else damage)
    again = embed_cached(cube(), tiny_model)
    assert len(computed) == 2
    np.testing.assert_array_equal(again.spatial, first.spatial)
    embed_cached(cube(), tiny_model)
    assert len(computed) == 2


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("shape", [(16, 16, 3), (100, 120, 3)])
def test_no_changed_byte_gives_wrong_features(
    tiny_model: CARL, shape: tuple[int, int, int], mapped: bool
) -> None:
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    truth = embed(SpectralCube(data, NM), tiny_model)
    _save_cached("a", truth)
    (entry,) = entries()
    sound, sample = entry.read_bytes(), random.Random(0)
    misses = 0
    for position in sample.sample(range(len(sound)), 200):
        broken = bytearray(sound)
        broken[position] ^= 1 << sample.randrange(8)
        entry.write_bytes(broken)
        found = features_folder().load("a", lambda path: Embedding.load(path, mapped=mapped))
        if found is None:
            misses += 1
            assert not entry.exists()
        else:
            np.testing.assert_array_equal(found.spatial, truth.spatial)
            np.testing.assert_array_equal(found.spectral, truth.spectral)
            assert found.shape == truth.shape
    assert misses > 130


def test_a_full_disk_gives_one_warning_and_no_error(
    tiny_model: CARL, computed: list[SpectralCube], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Embedding, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Embedding, "_write", full)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for seed in range(3):
            assert embed_cached(cube(seed), tiny_model).shape == (16, 16)
    (warning,) = caught
    assert issubclass(warning.category, CarlWarning)
    assert "not cached for the next time" in str(warning.message)
    assert "No space left" in str(warning.message)
    assert entries() == []
    assert len(computed) == 3


def test_a_folder_that_cannot_be_created_gives_a_warning(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CARL_HOME", str(tmp_path / "file"))
    with pytest.warns(CarlWarning, match="cannot be written"):
        assert embed_cached(cube(), tiny_model).shape == (16, 16)


def test_nothing_is_cached_or_hashed_if_the_cache_has_no_size(
    tiny_model: CARL, computed: list[SpectralCube], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARL_CACHE", "0")
    monkeypatch.setattr(embedding, "content_key", pytest.fail)
    for _ in range(2):
        embed_cached(cube(), tiny_model)
    assert len(computed) == 2
    assert not features_folder().path.exists()


# ---- two processes

_SIDE = 64
_N_KEYS = 12
_N_READS = 400
_TIMEOUT = 600
"""Seconds until the processes have failed, however busy the machine is."""


def features_of(number: int) -> Embedding:
    """Features whose values are all the number."""
    values = np.full((_SIDE, _SIDE, 8), number, np.float32)
    return Embedding(values, -values, (_SIDE, _SIDE), 1, f"m{number}", "f", "float32", "exact")


def read_and_write(seed: int, queue: Any) -> None:
    """Read, write and remove entries at random, and check what is read."""
    warnings.simplefilter("error", CarlWarning)
    draw = random.Random(seed)
    found = missed = 0
    for _ in range(_N_READS):
        number = draw.randrange(_N_KEYS)
        loaded = features_folder().load(f"k{number}", Embedding.load)
        if loaded is None:
            missed += 1
            _save_cached(f"k{number}", features_of(number))
            continue
        found += 1
        if not (
            (loaded.spatial == number).all()
            and (loaded.spectral == -number).all()
            and loaded.model == f"m{number}"
        ):
            queue.put("wrong features")
            return
        if draw.random() < 0.02:
            features_folder().clear()
    queue.put((found, missed))


def test_two_processes_never_read_wrong_or_incomplete_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_bytes = features_of(0).nbytes
    monkeypatch.setenv("CARL_CACHE", str(int(6.5 * n_bytes)))
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    processes = [spawn.Process(target=read_and_write, args=(seed, queue)) for seed in range(2)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=_TIMEOUT) for _ in processes]
    for process in processes:
        process.join(_TIMEOUT)
        assert process.exitcode == 0
    for found, missed in results:
        assert found > 20
        assert missed > 20
    assert features_folder().nbytes <= 6.5 * n_bytes
    assert not [path for path in entries() if path.name.startswith(".")]


def test_an_entry_removed_while_it_is_read_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    _save_cached("a", features_of(1))
    load = Embedding.load

    def remove_first(path: Path, *, mapped: bool) -> Embedding:
        shutil.rmtree(path.parent)
        return load(path, mapped=mapped)

    monkeypatch.setattr(Embedding, "load", remove_first)
    assert features_folder().load("a", Embedding.load) is None
    _save_cached("a", features_of(1))
    assert len(features_folder()) == 1
