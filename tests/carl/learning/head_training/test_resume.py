"""A resumed training gives the same result as an uninterrupted one."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from carl.errors import Cancelled, CarlError, ModelError, OutputError
from carl.io import read_labels, write_labels
from carl.learning.head_training import TrainConfig, TrainResult, train
from carl.progress import Progress

FORK = multiprocessing.get_context("fork")
STEPS = 9
SWIN = {
    "name": "swin-mask2former",  # draws random numbers, for stochastic depth and for its loss
    "swin": {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 4], "window": 4},
    "mask2former": {
        "hidden_size": 64, "num_heads": 4, "encoder_layers": 1, "decoder_layers": 3, "queries": 4,
        "points": 50,
    },
}  # fmt: skip


@pytest.fixture
def short(recipe: Callable[..., TrainConfig], tmp_path: Path) -> Callable[..., TrainConfig]:
    """Build configurations of 9 steps, with checkpoints after 4 and 8, validated at 3, 6 and 9."""

    def make(**keys: Any) -> TrainConfig:
        usual = {"output": str(tmp_path / "a.carl"), "steps": STEPS, "check_every": 3}
        return recipe(**{**usual, "checkpoint_every": 4, **keys})

    return make


def run(config: TrainConfig, **options: Any) -> TrainResult:
    return train(config, device="cpu", checkpoint=config.checkpoint, **options)


def stop_at(step: int, act: Callable[[], None]) -> Progress:
    def progress(fraction: float, message: str) -> None:
        if message == f"Training: step {step} of {STEPS}":
            act()

    return progress


def cancel() -> None:
    raise Cancelled("enough")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def assert_same(one: TrainResult, other: TrainResult, tolerance: float) -> None:
    assert one.scores == pytest.approx(other.scores)
    for first, second in zip(one.history, other.history, strict=True):
        assert (first.step, first.loss) == pytest.approx((second.step, second.loss), abs=tolerance)
        assert (first.scores is None) == (second.scores is None)
    weights = other.trained.head.state_dict()
    for name, each in one.trained.head.state_dict().items():
        torch.testing.assert_close(weights[name], each, atol=tolerance, rtol=0, msg=name)


@pytest.mark.parametrize(
    "keys",
    [{}, {"frozen": True}, {"head": SWIN, "held_out": 0}, {"precision": "bf16", "seed": 3}],
    ids=["scored", "frozen", "random numbers, the last state", "bf16"],
)
def test_cancelled_and_resumed_training_equals_uninterrupted_training(short, keys: dict[str, Any]):
    config = short(**keys)
    whole = train(config, device="cpu")
    with pytest.raises(Cancelled):
        run(config, progress=stop_at(7, cancel))
    reports = []
    resumed = run(config, resume=True, on_step=reports.append)
    assert [report.step for report in reports] == [5, 6, 7, 8, 9]
    assert_same(whole, resumed, 1e-6)


def test_killed_and_resumed_training_equals_uninterrupted_training(short):
    config = short()
    whole = train(config, device="cpu")
    process = FORK.Process(target=run, args=(config,), kwargs={"progress": stop_at(6, die)})
    process.start()
    process.join(600)
    assert process.exitcode == -signal.SIGKILL
    assert_same(whole, run(config, resume=True), 1e-6)


def test_kill_during_write_leaves_the_previous_checkpoint(short, monkeypatch):
    config = short()
    replace, written = os.replace, []

    def replace_once(source: str, target: str) -> None:
        if written:
            die()
        written.append(target)
        replace(source, target)

    def begin() -> None:
        monkeypatch.setattr("carl.files.os.replace", replace_once)
        run(config)

    process = FORK.Process(target=begin)
    process.start()
    process.join(600)
    assert process.exitcode == -signal.SIGKILL
    reports = []
    assert_same(train(config, device="cpu"), run(config, resume=True, on_step=reports.append), 1e-6)
    assert reports[0].step == 5


def test_finished_training_is_not_continued(short):
    config = short(steps=8)
    first, again = run(config), run(config, resume=True, on_step=lambda _: pytest.fail("a step"))
    assert_same(first, again, 0)


def test_other_training_is_not_resumed(short, tmp_path: Path):
    with pytest.raises(CarlError, match=r"no training to resume in .*a\.ckpt: start one without"):
        run(short(), resume=True)
    run(short())
    with pytest.raises(CarlError, match=r"The checkpoint .*a\.ckpt of a training exists already"):
        run(short())
    for keys, words in [
        ({"seed": 1}, r"was started with another 'seed' \(0, now 1\)"),
        ({"head": "multilabel"}, "was started with another 'head'"),
        ({"model": "carl-nano"}, "was started with another 'model'"),
    ]:
        with pytest.raises(CarlError, match=words):
            run(short(**keys), resume=True)
    run(short(checkpoint_every=3), resume=True)  # does not change the result
    torch.save({"weights": torch.zeros(3)}, tmp_path / "a.ckpt")
    with pytest.raises(ModelError, match=r"a\.ckpt is not a checkpoint of 'carl train'"):
        run(short(), resume=True)
    (tmp_path / "a.ckpt").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=r"a\.ckpt cannot be read as a training checkpoint"):
        run(short(), resume=True)


def test_changed_pixels_or_labels_are_refused(short, folder: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    pairs = [{"cube": str(copy / "tissue.hdr"), "labels": str(copy / "tissue_labels.png")}]
    config = short(pairs=pairs, steps=4)
    run(config)
    for path in copy.iterdir():
        path.touch()
    run(config, resume=True)  # content matters, not modification times

    labels = read_labels(copy / "tissue_labels.png")
    write_labels(copy / "tissue_labels.png", labels.labels[::-1].copy(), labels.classes)
    with pytest.raises(
        CarlError, match=r"was started with another 'data' \(1 cubes, .*now 1 cubes, "
    ):
        run(config, resume=True)


def test_unwritable_checkpoint_is_reported(short, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"a\.ckpt cannot be written"):
        run(short(output=str(tmp_path / "file" / "a.carl")))
