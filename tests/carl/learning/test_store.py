from __future__ import annotations

from threading import Event, Thread

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.learning import filter_bank
from carl.learning.space import CARL_GROUPS
from carl.learning.store import FeatureStore
from carl.model import CARL


def cube(seed: int) -> SpectralCube:
    data = np.random.default_rng(seed).uniform(0.1, 1, (32, 40, 6)).astype(np.float32)
    return SpectralCube(data, wavelengths=np.linspace(450, 700, 6), name=f"cube {seed}")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which cubes the bank has looked at."""
    seen: list[str] = []
    look = filter_bank._groups

    def recording(of, *args):
        seen.append(of.name)
        return look(of, *args)

    monkeypatch.setattr(filter_bank, "_groups", recording)
    return seen


def test_known_cubes_are_not_looked_at_again(calls):
    store, one = FeatureStore(), cube(0)
    _, (first,) = store.fit([one], None)
    _, (second,) = store.fit([cube(0)], None)  # another object with the same content
    assert calls == ["cube 0"]
    assert all(a.values is b.values for a, b in zip(first.maps, second.maps, strict=True))


def test_a_network_joins_the_features_that_are_there(calls, tiny_model: CARL):
    store, one = FeatureStore(), cube(0)
    _, (bank,) = store.fit([one], None)
    space, (both,) = store.fit([one], tiny_model)
    assert calls == ["cube 0"]
    assert both.maps[-1].name == CARL_GROUPS[0]
    assert all(a.values is b.values for a, b in zip(bank.maps, both.maps, strict=False))
    assert both.width == space.width


def test_spatial_features_join_where_the_cube_is_large_enough(tiny_model: CARL):
    def groups(side: int) -> list[str]:
        data = np.random.default_rng(0).uniform(0.1, 1, (side, side, 4)).astype(np.float32)
        large = SpectralCube(data, wavelengths=np.linspace(450, 700, 4))
        return list(FeatureStore().fit([large], tiny_model)[0].projections)

    # A patch has 4 pixels: 20 × 3 patches are 240 pixels.
    assert groups(236) == ["CARL spectral"]
    assert groups(240) == ["CARL spectral", "CARL spatial"]


def test_what_does_not_fit_is_not_kept_but_given(calls):
    store = FeatureStore(max_bytes=1000)
    for _ in range(2):
        _, (stack,) = store.fit([cube(0)], None)
        assert stack.nbytes > 1000
    assert len(calls) == 3  # once when fitted, and once for each request after it was dropped


def test_a_cube_does_not_wait_for_another(monkeypatch):
    begun, go_on = Event(), Event()
    look = filter_bank._groups

    def slow_with_the_first(of, *args):
        if of.name == "cube 0":
            begun.set()
            assert go_on.wait(60)
        return look(of, *args)

    monkeypatch.setattr(filter_bank, "_groups", slow_with_the_first)
    store = FeatureStore()
    thread = Thread(target=store.fit, args=([cube(0)], None))
    thread.start()
    assert begun.wait(60)

    store.fit([cube(1)], None)

    go_on.set()
    thread.join()


def test_two_who_ask_for_the_same_have_it_computed_once(calls, monkeypatch):
    begun, go_on = Event(), Event()
    look = filter_bank._groups

    def slow(*args):
        begun.set()
        assert go_on.wait(60)
        return look(*args)

    monkeypatch.setattr(filter_bank, "_groups", slow)
    store, waited = FeatureStore(), []

    def waiting(fraction, message):
        if "Waiting" in message:
            waited.append(message)
            go_on.set()

    thread = Thread(target=store.fit, args=([cube(0)], None))
    thread.start()
    assert begun.wait(60)
    store.fit([cube(0)], None, progress=waiting)
    thread.join()

    assert waited
    assert calls == ["cube 0"]


def test_the_oldest_go_first(calls):
    size = FeatureStore().fit([cube(0)], None)[1][0].nbytes
    store = FeatureStore(max_bytes=2 * size)
    for seed in (0, 1, 0, 2):
        store.fit([cube(seed)], None)
    calls.clear()
    store.fit([cube(0)], None)
    assert calls == []
    store.fit([cube(1)], None)
    assert calls == ["cube 1"]


def test_the_network_is_doubted_under_another_camera(tiny_model: CARL):
    store, one = FeatureStore(), cube(0)
    space, (own,) = store.fit([one], tiny_model)
    assert not own.error_variance.any()
    fewer = SpectralCube(one.data[..., ::2], wavelengths=one.wavelengths[::2], name="other camera")
    other = store.stack(fewer, space, tiny_model)
    for name in space.projections:
        assert (other.error_variance[other.columns()[name]] > 0).all()
