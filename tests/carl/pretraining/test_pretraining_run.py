"""Whole runs of a tiny network."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from carl.cube import SpectralCube
from carl.errors import Cancelled, CarlError, CubeError, ModelError, OutputError
from carl.io import write_cube, write_labels
from carl.model import read_model
from carl.pretraining.pretrain_config import PretrainConfig
from carl.pretraining.pretraining_run import pretrain, require_lightning
from carl.progress import Progress, no_progress

Recipe = Callable[..., PretrainConfig]

FORK = multiprocessing.get_context("fork")


def checkpoint(config: PretrainConfig) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(config.output / "last.ckpt", weights_only=True)
    return content


def history(config: PretrainConfig) -> list[dict[str, float]]:
    return [json.loads(line) for line in (config.output / "history.jsonl").open()]


def assert_same_state(
    first: PretrainConfig, second: PretrainConfig, tolerance: float, weight_tolerance: float = 0.0
) -> None:
    """Compare weights, optimiser, schedule and step of the last checkpoints of two runs.

    Adam divides gradients that consist of rounding errors by their own size, so that weights may
    differ by more than the moments of their gradients.
    """
    one, other = checkpoint(first), checkpoint(second)
    assert one["global_step"] == other["global_step"] == first.steps
    assert one["lr_schedulers"] == other["lr_schedulers"]
    for name, weights in one["state_dict"].items():
        torch.testing.assert_close(
            other["state_dict"][name],
            weights,
            atol=max(tolerance, weight_tolerance),
            rtol=0,
            msg=name,
        )
    moments = [each["optimizer_states"][0]["state"] for each in (one, other)]
    assert moments[0].keys() == moments[1].keys()
    for number in moments[0]:
        for name, value in moments[0][number].items():
            torch.testing.assert_close(moments[1][number][name], value, atol=tolerance, rtol=0)


def stop_at(step: int, act: Callable[[], None]) -> Progress:
    def progress(fraction: float, message: str) -> None:
        if message.startswith(f"Step {step} "):
            act()

    return progress


def cancel() -> None:
    raise Cancelled("enough")


def test_run_writes_network_history_and_logs(recipe: Recipe) -> None:
    config, reports = recipe(), []
    result = pretrain(config, progress=lambda *report: reports.append(report))
    assert result is not None
    assert result.model == config.output / "tiny.safetensors"
    network = read_model(result.model)
    assert (network.name, network.trained) == ("tiny", True)
    assert network.wavelength_range_um == pytest.approx((0.45, 0.9))
    lines = history(config)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert {"total", "learning_rate", "spatial/variance", "spectral/invariance"} <= set(lines[0])
    assert reports[-1][0] == 1
    assert list((config.output / "tensorboard").glob("events*"))


def test_teacher_or_student_is_exported(recipe: Recipe) -> None:
    exported = {}
    for part in ("teacher", "student"):
        config = recipe(output=part, export=part)
        pretrain(config)
        prefix = f"objective.{part}."
        weights = checkpoint(config)["state_dict"]
        exported[part] = read_model(config.output / "tiny.safetensors").state_dict()
        for name, tensor in exported[part].items():
            assert torch.equal(tensor, weights[prefix + name])
    assert any(
        not torch.equal(exported["teacher"][n], exported["student"][n]) for n in exported["teacher"]
    )


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"accumulate": 3, "steps": 7, "seed": 3},
        {"objective": "mae", "workers": 1},
        {"loss": "intl", "precision": "bf16"},
        {"objective": "statistics"},
    ],
    ids=["vicreg", "accumulation", "mae with a worker", "intl in bf16", "statistics"],
)
def test_cancelled_and_resumed_run_equals_uninterrupted_run(
    recipe: Recipe, keys: dict[str, Any]
) -> None:
    whole, stopped = recipe(output="whole", **keys), recipe(output="stopped", **keys)
    pretrain(whole)
    with pytest.raises(Cancelled):
        pretrain(stopped, progress=stop_at(5, cancel))
    assert checkpoint(stopped)["global_step"] == 4
    pretrain(stopped, resume=True)
    assert_same_state(whole, stopped, 1e-6)
    assert history(whole) == history(stopped)


def test_killed_and_resumed_run_equals_uninterrupted_run(recipe: Recipe) -> None:
    values = recipe().network.to_dict()
    values["spec_encoder_kwargs"]["drop_path_rate"] = 0.2  # random numbers in the network as well
    whole, killed = (recipe(output=name, model=values) for name in ("whole", "killed"))
    pretrain(whole)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=pretrain, args=(killed,), kwargs={"progress": stop_at(5, die)})
    process.start()
    process.join(600)
    assert process.exitcode == -signal.SIGKILL
    assert checkpoint(killed)["global_step"] == 4
    assert [line["step"] for line in history(killed)] == [1, 2, 3, 4, 5]
    with (killed.output / "history.jsonl").open("a") as file:
        file.write('{"step": 6, "lea')  # as it can be left behind
    pretrain(killed, resume=True)
    assert_same_state(whole, killed, 1e-6)
    assert history(whole) == history(killed)


def test_a_run_killed_before_its_first_checkpoint_starts_a_new_history(recipe: Recipe) -> None:
    config = recipe()
    with pytest.raises(Cancelled):
        pretrain(config, progress=stop_at(1, cancel))
    assert [line["step"] for line in history(config)] == [1]
    pretrain(config)
    assert [line["step"] for line in history(config)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "keys", [{}, {"loss": "intl"}, {"objective": "mae"}, {"objective": "statistics"}]
)
def test_two_processes_give_the_same_result_as_one(recipe: Recipe, keys: dict[str, Any]) -> None:
    alone = recipe(output="alone", batch_size=4, accumulate=2, steps=4, **keys)
    together = recipe(output="together", batch_size=2, accumulate=2, steps=4, devices=2, **keys)
    pretrain(alone)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def work(rank: int) -> None:
        os.environ |= {
            "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
            "RANK": str(rank), "LOCAL_RANK": str(rank),
        }  # fmt: skip
        assert (pretrain(together) is None) == (rank > 0)

    processes = [FORK.Process(target=work, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0, 0]
    for one, two in zip(history(alone), history(together), strict=True):
        assert two == pytest.approx(one, abs=1e-5)
    assert_same_state(alone, together, 1e-5, weight_tolerance=2e-4 if "loss" in keys else 0)


def test_existing_run_is_neither_overwritten_nor_resumed_with_other_settings(
    recipe: Recipe,
) -> None:
    config = recipe()
    with pytest.raises(CarlError, match="no run to resume"):
        pretrain(config, resume=True)
    pretrain(config)
    with pytest.raises(CarlError, match=r"a run in .* already"):
        pretrain(config)
    for other in (recipe(seed=1), recipe(steps=8), recipe(optimiser={"weight_decay": 0.1})):
        with pytest.raises(CarlError, match=r"was started with another '(seed|steps|optimiser)'"):
            pretrain(other, resume=True)
    before = checkpoint(config)["state_dict"]
    pretrain(recipe(log_every=3), resume=True)  # finished already
    assert all(
        torch.equal(before[name], each) for name, each in checkpoint(config)["state_dict"].items()
    )


def test_damaged_checkpoint_is_refused(recipe: Recipe) -> None:
    config = recipe()
    pretrain(config)
    path = config.output / "last.ckpt"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"last\.ckpt cannot be read as a training checkpoint"):
        pretrain(config, resume=True)


def write_nan(folder: Path) -> None:
    """Write NaN into every cube of a folder; the files do not declare missing values."""
    for path in folder.rglob("*.dat"):
        values = np.fromfile(path, "<f4")
        values[::97] = np.nan
        values.tofile(path)


def test_nan_stops_the_run_and_leaves_the_last_checkpoint(recipe: Recipe, cubes: Path) -> None:
    config = recipe(data=[{"kind": "folder", "path": str(cubes), "name": "clinic"}])
    with pytest.raises(CubeError) as caught:
        pretrain(config, progress=stop_at(3, lambda: write_nan(cubes)))
    message = str(caught.value)
    assert "'clinic' holds values that are not numbers (in " in message
    assert "missing: fill" in message
    assert checkpoint(config)["global_step"] == 2
    filled = recipe(
        data=[{"kind": "folder", "path": str(cubes), "missing": "fill"}], output="filled"
    )
    assert pretrain(filled) is not None


def test_error_in_worker_process_is_one_sentence(recipe: Recipe, tmp_path: Path) -> None:
    patch = tmp_path / "land" / "S2A_MSIL2A_1"
    patch.mkdir(parents=True)
    (patch / "S2A_MSIL2A_1_B02.tif").write_bytes(b"II*")
    data = [{"kind": "bigearthnet", "path": "land"}]
    with pytest.raises(CubeError, match=r"^The set 'land': S2A_MSIL2A_1_B01\.tif [^\n]*$"):
        pretrain(recipe(data=data, workers=1))


def test_infinite_loss_is_reported(recipe: Recipe) -> None:
    with pytest.raises(CarlError, match=r"no longer finite at step \d .*learning_rate"):
        pretrain(recipe(optimiser={"learning_rate": 1e30}))


def test_full_disk_leaves_the_last_checkpoint(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe()

    def fill_up() -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)

    with pytest.raises(OutputError, match=r"last\.ckpt cannot be written \(No space left"):
        pretrain(config, progress=stop_at(3, fill_up))
    assert checkpoint(config)["global_step"] == 2
    assert not list(config.output.glob(".carl-*"))
    monkeypatch.undo()
    pretrain(config, resume=True)
    assert checkpoint(config)["global_step"] == 6


def test_run_can_start_from_a_network(recipe: Recipe) -> None:
    first = pretrain(recipe(output="first"))
    assert first is not None
    config = recipe(output="second", start=str(first.model), optimiser={"learning_rate": 1e-12})
    second = pretrain(config)
    assert second is not None
    one, other = read_model(first.model), read_model(second.model)
    for name, weights in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], weights, atol=1e-6, rtol=0)
    wider = recipe().network.to_dict()
    wider["spec_encoder_kwargs"]["n_queries"] = 4
    with pytest.raises(ModelError, match="another architecture than 'model'"):
        pretrain(recipe(output="third", start=str(first.model), model=wider))


def test_probe_scores_and_pictures_are_logged(recipe: Recipe, tmp_path: Path, cubes: Path) -> None:
    labels = np.ones((40, 32), np.uint8)
    labels[:, 16:] = 2
    write_labels(tmp_path / "labels.png", labels)
    cube = SpectralCube(
        np.where(labels[..., None] == 1, 0.2, 0.8) * np.linspace(1, 2, 24)
        + np.random.default_rng(0).normal(0, 0.02, (40, 32, 24)),
        np.linspace(450, 900, 24),
    )
    write_cube(tmp_path / "probe.hdr", cube)
    config = recipe(
        monitors=[{"cube": "probe.hdr", "labels": "labels.png", "every": 4, "neighbours": 3}]
    )
    plain = replace(config, output=tmp_path / "plain", monitors=())
    pretrain(config)
    pretrain(plain)
    probed = [line for line in history(config) if "probe/spatial_knn" in line]
    assert [line["step"] for line in probed] == [4]
    assert probed[0]["probe/spectral_linear"] > 0.9
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(config.output / "tensorboard")).Reload()
    assert events.Tags()["images"] == ["probe/features"]
    assert {"total", "probe/spatial_knn"} <= set(events.Tags()["scalars"])
    assert_same_state(config, plain, 0)  # probing does not change the training


def test_missing_lightning_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carl.pretraining.pretraining_run.find_spec", lambda name: None)
    with pytest.raises(CarlError, match=r"needs lightning and tensorboard: pip install '.*\["):
        require_lightning()


def test_progress_is_optional(recipe: Recipe) -> None:
    assert pretrain(recipe(steps=2), progress=no_progress) is not None
