from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import time
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
from carl.inference import Embedding, FeatureCache, embed, feature_folder
from carl.inference.cache_keys import FileGuard
from carl.inference.feature_folder import CacheKey, FeatureFolder
from carl.io import read_cube, write_cube
from carl.model import CARL
from carl.user_folders import features_folder

NM = np.array([450.0, 550, 650])


def cube(seed: int = 0) -> SpectralCube:
    data = np.random.default_rng(seed).normal(size=(16, 16, 3)).astype(np.float32)
    return SpectralCube(data, NM)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[SpectralCube]:
    """The cubes whose features were computed, not found."""
    seen: list[SpectralCube] = []

    def counted(cube: SpectralCube, model: CARL, **wishes: Any) -> Embedding:
        seen.append(cube)
        return embed(cube, model, **wishes)

    monkeypatch.setattr("carl.inference.cache.embed", counted)
    return seen


def another_day() -> FeatureCache:
    """The cache of a program that was just started."""
    return FeatureCache(folder=FeatureFolder())


def entries() -> list[Path]:
    return sorted(features_folder().path.iterdir())


def test_features_are_there_the_next_time(tiny_model: CARL, computed: list[SpectralCube]) -> None:
    first = another_day().embed(cube(), tiny_model)
    told: list[float] = []
    again = another_day().embed(cube(), tiny_model, progress=lambda share, _: told.append(share))
    assert len(computed) == 1
    assert told
    np.testing.assert_array_equal(again.spatial, first.spatial)
    np.testing.assert_array_equal(again.spectral, first.spectral)
    for name in ("shape", "patch_size", "model", "fingerprint", "precision", "speed", "fidelity"):
        assert getattr(again, name) == getattr(first, name)


def test_each_ingredient_makes_another_entry(
    tiny_model: CARL, computed: list[SpectralCube], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(cube: SpectralCube, **wishes: str) -> None:
        another_day().embed(cube, tiny_model, **wishes)

    def change_weights() -> None:
        with torch.no_grad():
            tiny_model.connector.bias[0] += 1
        ask(cube())

    def change_normalisation() -> None:
        tiny_model.normalisation = (0.1, 2.0)
        ask(cube())

    def change_code() -> None:
        monkeypatch.setattr(feature_folder, "code_key", lambda: "other")
        ask(cube())

    steps: list[Callable[[], None]] = [
        lambda: ask(cube()),
        lambda: ask(cube(1)),
        lambda: ask(replace(cube(), scale=2.0, offset=1.0)),
        lambda: ask(cube().with_wavelengths(NM + 1)),
        lambda: ask(cube(), precision="float32"),
        lambda: ask(cube(), precision="bf16"),
        lambda: ask(cube(), speed="turbo"),
        change_weights,
        change_normalisation,
        change_code,
    ]
    for number, step in enumerate(steps, start=1):
        step()
        assert (len(computed), len(entries())) == (number, number)
    ask(cube())
    assert len(computed) == len(steps)


def test_a_file_that_changed_has_other_features(
    tiny_model: CARL, computed: list[SpectralCube], tmp_path: Path
) -> None:
    header, data = write_cube(tmp_path / "a.hdr", cube())
    first = another_day().embed(read_cube(header), tiny_model)
    stamp = data.stat()
    values = np.fromfile(data, np.float32)
    values[values.size // 2] += 5
    values.tofile(data)
    os.utime(data, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    second = another_day().embed(read_cube(header), tiny_model)
    assert len(computed) == 2
    assert not np.array_equal(first.spatial, second.spatial)


def test_nothing_is_kept_of_a_file_that_changes_meanwhile(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    header, data = write_cube(tmp_path / "a.hdr", cube())

    def change_first(cube: SpectralCube, model: CARL, **wishes: Any) -> Embedding:
        os.utime(data, ns=(1, 1))
        return embed(cube, model, **wishes)

    monkeypatch.setattr("carl.inference.cache.embed", change_first)
    another_day().embed(read_cube(header), tiny_model)
    assert len(features_folder()) == 0


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_a_damaged_entry_is_computed_again(
    tiny_model: CARL, computed: list[SpectralCube], damage: bytes | None
) -> None:
    first = another_day().embed(cube(), tiny_model)
    (entry,) = entries()
    entry.write_bytes(entry.read_bytes()[:-100] if damage is None else damage)
    again = another_day().embed(cube(), tiny_model)
    assert len(computed) == 2
    np.testing.assert_array_equal(again.spatial, first.spatial)
    another_day().embed(cube(), tiny_model)
    assert len(computed) == 2


def test_no_changed_byte_gives_wrong_features(tiny_model: CARL) -> None:
    folder, place = FeatureFolder(), CacheKey("a", FileGuard(cube()))
    truth = embed(cube(), tiny_model)
    folder.put(place, truth)
    (entry,) = entries()
    sound, sample = entry.read_bytes(), random.Random(0)
    misses = 0
    for position in sample.sample(range(len(sound)), 300):
        broken = bytearray(sound)
        broken[position] ^= 1 << sample.randrange(8)
        entry.write_bytes(broken)
        found = folder.get(place)
        if found is None:
            misses += 1
            assert not entry.exists()
        else:
            np.testing.assert_array_equal(found.spatial, truth.spatial)
            np.testing.assert_array_equal(found.spectral, truth.spectral)
            assert found.shape == truth.shape
    assert misses > 200


def test_a_full_disk_is_told_once_and_harms_nothing(
    tiny_model: CARL, computed: list[SpectralCube], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Embedding, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Embedding, "save", full)
    cache = another_day()
    with pytest.warns(CarlWarning, match="not kept for the next time: .*No space left"):
        cache.embed(cube(), tiny_model)
    with warnings.catch_warnings(action="error"):
        cache.embed(cube(1), tiny_model)
    assert entries() == []
    assert cache.embed(cube(), tiny_model).shape == (16, 16)
    assert len(computed) == 2


def test_a_folder_that_cannot_be_made_harms_nothing(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CARL_HOME", str(tmp_path / "file"))
    with pytest.warns(CarlWarning, match="cannot be written"):
        assert another_day().embed(cube(), tiny_model).shape == (16, 16)


def test_a_size_of_zero_keeps_nothing_and_reads_nothing_twice(
    tiny_model: CARL, computed: list[SpectralCube], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARL_CACHE", "0")
    monkeypatch.setattr(feature_folder, "content_key", pytest.fail)
    for _ in range(2):
        another_day().embed(cube(), tiny_model)
    assert len(computed) == 2
    assert not features_folder().path.exists()


# ---- two windows

_SIDE = 64
_N_KEYS = 12


def features_of(number: int) -> Embedding:
    """Features whose every value tells which they are."""
    values = np.full((_SIDE, _SIDE, 8), number, np.float32)
    return Embedding(values, -values, (1, 1), 1, f"m{number}", "f", "float32", "exact")


def hammer(seed: int, seconds: float, queue: Any) -> None:
    """Read, write, damage and drop entries at random, and count what is wrong with them."""
    warnings.simplefilter("error", CarlWarning)
    draw, folder = random.Random(seed), FeatureFolder()
    nowhere = FileGuard(cube())
    found = missed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        number = draw.randrange(_N_KEYS)
        place = CacheKey(f"k{number}", nowhere)
        embedding = folder.get(place)
        if embedding is None:
            missed += 1
            folder.put(place, features_of(number))
            continue
        found += 1
        if not (
            (embedding.spatial == number).all()
            and (embedding.spectral == -number).all()
            and embedding.model == f"m{number}"
        ):
            queue.put("wrong features")
            return
        if draw.random() < 0.02:
            features_folder().clear()
    queue.put((found, missed))


def test_two_programs_never_see_wrong_or_half_features(monkeypatch: pytest.MonkeyPatch) -> None:
    n_bytes = features_of(0).nbytes
    monkeypatch.setenv("CARL_CACHE", str(int(6.5 * n_bytes)))
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    programs = [spawn.Process(target=hammer, args=(seed, 2.0, queue)) for seed in range(2)]
    for program in programs:
        program.start()
    results = [queue.get(timeout=120) for _ in programs]
    for program in programs:
        program.join(60)
        assert program.exitcode == 0
    for found, missed in results:
        assert found > 20
        assert missed > 20
    assert features_folder().nbytes <= 6.5 * n_bytes
    assert not [path for path in entries() if path.name.startswith(".")]


def test_an_entry_that_vanishes_while_it_is_read_is_not_there(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, place = FeatureFolder(), CacheKey("a", FileGuard(cube()))
    folder.put(place, features_of(1))
    load = Embedding.load

    def vanish_first(path: Path) -> Embedding:
        shutil.rmtree(path.parent)
        return load(path)

    monkeypatch.setattr(Embedding, "load", vanish_first)
    assert folder.get(place) is None
    folder.put(place, features_of(1))
    assert len(features_folder()) == 1
