from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from carl.inference import context_parallel
from carl.inference.context_parallel import ContextParallelGroup
from carl.inference.engine import Engine
from carl.inference.prepared import Prepared
from carl.inference.workers import Workers
from carl.model import CARL, CARLConfig
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig

CPU = torch.device("cpu")
BACKBONES = (
    ("vit_tiny_patch16_224", {"embed_dim": 24, "num_heads": 2, "depth": 2}),
    ("vit_small_patch14_reg4_dinov2", {"embed_dim": 24, "num_heads": 2, "depth": 2}),
    ("eva02_tiny_patch14_224", {"embed_dim": 24, "num_heads": 2, "depth": 2}),
    ("vit_base_patch16_rope_mixed_224", {"embed_dim": 24, "num_heads": 2, "depth": 2}),
)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_parallel, "_FEWEST", 4)


def network(name: str, options: dict[str, int]) -> CARL:
    torch.manual_seed(0)
    config = CARLConfig(
        patch_size=4,
        spec_encoder_kwargs=SpectralEncoderConfig(embed_dim=8, depth=2, num_heads=2),
        spat_encoder_kwargs=SpatialEncoderConfig(name, 2, options),
    )
    model = CARL(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def together(team: ContextParallelGroup, part: Callable[[int], Tensor]) -> list[Tensor]:
    with ThreadPoolExecutor(len(team.parts)) as pool:
        return list(pool.map(part, range(len(team.parts))))


@pytest.mark.parametrize("n_members", [1, 2, 3])
@pytest.mark.parametrize(("name", "options"), BACKBONES)
def test_parts_make_the_whole(name: str, options: dict[str, int], n_members: int) -> None:
    model = network(name, options)
    prepared = Prepared(model, "float32")
    features = torch.randn(1, model.embed_dim, 5, 7)
    expected = prepared.spatial(features)[0].flatten(1).T
    team = prepared.spatial_team((5, 7), n_members)
    assert len(team.parts) == n_members
    parts = together(team, lambda member: prepared.spatial_part(features, team, member))
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-5, rtol=1e-5)


def test_the_engine_shares_out_a_single_map(tiny_model: CARL) -> None:
    grid = np.random.default_rng(0).normal(size=(6, 5, tiny_model.embed_dim)).astype(np.float32)
    with torch.inference_mode():
        features = tiny_model.spatial_features(torch.from_numpy(grid).permute(2, 0, 1)[None])
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with Workers(CPU) as workers:
            (encoded,) = Engine(tiny_model, "float32", workers).spatial([grid])
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(encoded, features[0].permute(1, 2, 0), atol=1e-4)


def test_a_small_map_is_not_worth_sharing() -> None:
    assert ContextParallelGroup(7, 4, 1).parts == [slice(0, 7)]
    assert ContextParallelGroup(8, 4, 1).parts == [slice(0, 4), slice(4, 8)]


def test_when_one_fails_nobody_waits() -> None:
    team = ContextParallelGroup(8, 2, 0)
    x = torch.randn(1, 1, 4, 8)

    def attending() -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)

    def failing() -> Tensor:
        raise ValueError("no")

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(team.run, 0, attending, 1)
        failed = pool.submit(team.run, 1, failing, 1)
        with pytest.raises(RuntimeError):
            waiting.result(timeout=10)
        with pytest.raises(ValueError, match="no"):
            failed.result(timeout=10)


def test_a_network_that_attends_in_its_own_way_is_noticed() -> None:
    x = torch.randn(1, 1, 4, 8)
    mask = torch.zeros(4, 4)
    ways: tuple[Callable[[], Tensor], ...] = (
        lambda: (x @ x.mT).softmax(-1) @ x,
        lambda: F.scaled_dot_product_attention(x, x, x, attn_mask=mask),
        lambda: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    )
    for way in ways:
        with pytest.raises(RuntimeError):
            ContextParallelGroup(4, 1, 0).run(0, way, 1)


def test_where_it_cannot_be_shared_out_the_map_is_encoded_alone(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Tensor:
        raise RuntimeError("this network attends in a way of its own")

    grid = np.ones((6, 5, tiny_model.embed_dim), np.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with Workers(CPU) as workers:
            (expected,) = Engine(tiny_model, "float32", workers).spatial([grid])
            monkeypatch.setattr(Prepared, "spatial_part", fails)
            (encoded,) = Engine(tiny_model, "float32", workers).spatial([grid])
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(encoded, expected, atol=1e-5)


def test_a_caller_who_leaves_leaves_nobody_waiting(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = threading.Event()
    show = ContextParallelGroup.show

    def first_only(self: ContextParallelGroup, member: int, *rest: object) -> tuple[Tensor, Tensor]:
        entered.set()
        if member:
            threading.Event().wait(0.3)
        return show(self, member, *rest)  # type: ignore[arg-type]

    def called_off() -> None:
        if entered.is_set():
            raise KeyboardInterrupt

    monkeypatch.setattr(ContextParallelGroup, "show", first_only)
    grid = np.ones((6, 5, tiny_model.embed_dim), np.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt), Workers(CPU) as workers:
            list(Engine(tiny_model, "float32", workers).spatial([grid], called_off))
    finally:
        torch.set_num_threads(before)
