from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.errors import Cancelled
from carl.inference import Embedding, FeatureCache
from carl.model import CARL

NM = np.array([450.0, 550, 650])


def cube(seed: int = 0) -> SpectralCube:
    data = np.random.default_rng(seed).normal(size=(16, 16, 3)).astype(np.float32)
    return SpectralCube(data, NM)


_PATIENCE = 60
"""Seconds; only ever waited for where something is wrong."""


def result(n_bytes: int = 800) -> Embedding:
    features = np.zeros((1, 1, n_bytes // 8), np.float32)
    return Embedding(features, features, (16, 16), 8, "m", "f", "float32", "exact")


class CountedEmbed:
    """Stands for `embed`: remembers its calls and can be held up."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.has_begun = Event()
        self.may_finish = Event()
        self.may_finish.set()

    def __call__(self, cube: SpectralCube, model: CARL, **wishes: Any) -> Embedding:
        self.calls.append((cube, wishes))
        self.has_begun.set()
        self.may_finish.wait(_PATIENCE)
        wishes["progress"](1.0, "done")
        return result()


@pytest.fixture
def embed(monkeypatch: pytest.MonkeyPatch) -> CountedEmbed:
    counted = CountedEmbed()
    monkeypatch.setattr("carl.inference.cache.embed", counted)
    return counted


def test_the_same_is_computed_once(tiny_model: CARL, embed: CountedEmbed) -> None:
    cache = FeatureCache()
    first = cache.embed(cube(), tiny_model)
    assert cache.embed(cube(), tiny_model) is first
    cache.embed(cube(), tiny_model, speed="turbo")
    cache.embed(cube(1), tiny_model)
    assert len(embed.calls) == 3
    assert cache.nbytes == 3 * 800
    cache.clear()
    assert cache.nbytes == 0


def test_the_oldest_goes_first(tiny_model: CARL, embed: CountedEmbed) -> None:
    cache = FeatureCache(max_bytes=2000)
    for seed in (0, 1, 0, 2, 0, 1):  # 2 pushes out 1, for 0 was used since
        cache.embed(cube(seed), tiny_model)
    assert len(embed.calls) == 4
    assert cache.nbytes == 1600


def test_what_is_too_large_is_given_but_not_kept(tiny_model: CARL, embed: CountedEmbed) -> None:
    cache = FeatureCache(max_bytes=100)
    assert cache.embed(cube(), tiny_model).shape == (16, 16)
    assert cache.nbytes == 0


def test_a_second_thread_waits_for_the_first(tiny_model: CARL, embed: CountedEmbed) -> None:
    cache, waiting = FeatureCache(), Event()
    embed.may_finish.clear()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.embed, cube(), tiny_model)
        assert embed.has_begun.wait(_PATIENCE)
        second = threads.submit(cache.embed, cube(), tiny_model, progress=lambda *_: waiting.set())
        assert waiting.wait(_PATIENCE)
        embed.may_finish.set()
        assert first.result(_PATIENCE) is second.result(_PATIENCE)
    assert len(embed.calls) == 1


def test_a_waiting_thread_takes_over_from_a_cancelled_one(
    tiny_model: CARL, embed: CountedEmbed
) -> None:
    def cancel(share: float, message: str) -> None:
        raise Cancelled("stopped")

    cache, waiting = FeatureCache(), Event()
    embed.may_finish.clear()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.embed, cube(), tiny_model, progress=cancel)
        assert embed.has_begun.wait(_PATIENCE)
        second = threads.submit(cache.embed, cube(), tiny_model, progress=lambda *_: waiting.set())
        assert waiting.wait(_PATIENCE)
        embed.may_finish.set()
        with pytest.raises(Cancelled):
            first.result(_PATIENCE)
        assert second.result(_PATIENCE).shape == (16, 16)
    assert len(embed.calls) == 2
