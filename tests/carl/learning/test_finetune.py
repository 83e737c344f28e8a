from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from carl.cube import SpectralCube
from carl.errors import Cancelled, CarlError, LabelError, WavelengthError
from carl.learning import compute_features
from carl.learning.crops import IGNORED
from carl.learning.finetune import StepReport, few_stroke_score, finetune
from carl.learning.holdout import split_strokes
from carl.learning.pixel_training import balanced_cross_entropy
from carl.model import CARL, read_model, save_model

NM = np.linspace(450, 750, 5)


@pytest.fixture(autouse=True)
def small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    # By name: the package shows the function of the same name in the module's place.
    module = import_module("carl.learning.finetune")
    monkeypatch.setattr(module, "_CROP_PIXELS", 16)
    monkeypatch.setattr(module, "_CROPS_PER_STEP", 2)


@pytest.fixture
def task() -> tuple[SpectralCube, np.ndarray]:
    """A dark half and a bright one, and three strokes of each."""
    data = np.random.default_rng(0).normal(0, 0.3, (48, 64, 5)).astype(np.float32)
    data[:, 32:] += 1
    labels = np.zeros((48, 64), np.uint8)
    for row in (6, 22, 38):
        labels[row : row + 4, 4:24] = 3
        labels[row : row + 4, 40:60] = 7
    return SpectralCube(data, NM), labels


def weights(model: CARL) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before: dict[str, torch.Tensor], model: CARL) -> set[str]:
    return {name for name, value in model.state_dict().items() if not value.equal(before[name])}


def rising(scores: list[float]):  # type: ignore[no-untyped-def]
    """Return a score function with these results, one after the other."""
    given = iter(scores)
    return lambda model, train, held: next(given)


@pytest.mark.parametrize("tune", ["last_blocks", "head", "lora", "full"])
def test_training_changes_a_copy_only(
    tiny_model: CARL, task: tuple[SpectralCube, np.ndarray], tune: str
) -> None:
    before = weights(tiny_model)
    result = finetune(tiny_model, *task, tune=tune, steps=60, score=rising([0.1, 0.9]))
    assert changed(before, tiny_model) == set()
    assert result.kept
    assert (result.score_before, result.score_after) == (0.1, 0.9)
    losses = [report.loss for report in result.history]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    checks = [report.validation for report in result.history if report.validation is not None]
    assert max(checks) > 0.6

    tuned = result.model
    assert tuned is not tiny_model
    assert tuned.name == f"{tiny_model.name}+tuned"
    assert tuned.fingerprint != tiny_model.fingerprint
    assert not tuned.training
    assert set(tuned.state_dict()) == set(before)
    grad = {n: p.requires_grad for n, p in tiny_model.named_parameters()}
    assert {n: p.requires_grad for n, p in tuned.named_parameters()} == grad
    tuned_weights = changed(before, tuned)
    assert tuned_weights
    if tune in ("last_blocks", "head"):
        assert not any(name.startswith("spectral_encoder.blocks.0.") for name in tuned_weights)
    if tune == "lora":
        assert all(".attn." in name for name in tuned_weights)


def test_a_tuned_model_is_saved_and_read_like_any_other(
    tiny_model: CARL, task: tuple[SpectralCube, np.ndarray], tmp_path: Path
) -> None:
    tuned = finetune(tiny_model, *task, tune="lora", steps=2, score=rising([0, 1])).model
    save_model(tuned, tmp_path / "tuned.safetensors")
    read = read_model(tmp_path / "tuned.safetensors")
    assert (read.name, read.trained) == (tuned.name, True)
    assert read.fingerprint == tuned.fingerprint
    again = finetune(read, *task, steps=1, score=rising([0, 1])).model
    assert again.name == tuned.name


def test_a_model_that_is_not_better_is_rejected(
    tiny_model: CARL, task: tuple[SpectralCube, np.ndarray]
) -> None:
    result = finetune(tiny_model, *task, steps=1, score=rising([0.9, 0.9]))
    assert not result.kept
    assert result.model is tiny_model


def test_the_score_gets_held_out_strokes(
    tiny_model: CARL, task: tuple[SpectralCube, np.ndarray]
) -> None:
    cube, labels = task
    seen = []

    def score(model: CARL, train: list[np.ndarray], held: list[np.ndarray]) -> float:
        seen.append((train, held))
        return 0.0

    finetune(tiny_model, [cube, cube], [labels, labels], steps=1, seed=4, score=score)
    assert len(seen) == 2
    for train, held in seen:
        expected = split_strokes(labels, 4)
        for labels_of_cube, other in zip(train, held, strict=True):
            np.testing.assert_array_equal(labels_of_cube, expected[0])
            np.testing.assert_array_equal(other, expected[1])


def test_the_same_seed_gives_the_same_steps(
    tiny_model: CARL, task: tuple[SpectralCube, np.ndarray]
) -> None:
    def losses(seed: int) -> list[float]:
        result = finetune(tiny_model, *task, steps=3, seed=seed, score=rising([0, 1]))
        return [report.loss for report in result.history]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_every_step_is_reported(tiny_model: CARL, task: tuple[SpectralCube, np.ndarray]) -> None:
    steps: list[StepReport] = []
    reported: list[float] = []
    result = finetune(
        tiny_model,
        *task,
        steps=4,
        score=rising([0, 1]),
        progress=lambda fraction, _: reported.append(fraction),
        on_step=steps.append,
    )
    assert tuple(steps) == result.history
    assert [(report.step, report.total) for report in steps] == [(i, 4) for i in (1, 2, 3, 4)]
    assert steps[-1].validation is not None
    assert reported == sorted(reported)


def test_cancelling_leaves_the_model_unchanged(
    tiny_model: CARL, task: tuple[SpectralCube, np.ndarray]
) -> None:
    before = weights(tiny_model)
    steps: list[StepReport] = []

    def stop(fraction: float, message: str) -> None:
        if len(steps) == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        finetune(tiny_model, *task, steps=9, score=rising([0]), progress=stop, on_step=steps.append)
    assert changed(before, tiny_model) == set()


def test_a_loss_that_is_not_finite_is_one_sentence(
    tiny_model: CARL, task: tuple[SpectralCube, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "carl.learning.pixel_training.balanced_cross_entropy",
        lambda logits, target: logits.sum() * float("nan"),
    )
    with pytest.raises(CarlError, match="no longer finite"):
        finetune(tiny_model, *task, steps=2, score=rising([0, 1]))


def test_unusable_input_is_refused(tiny_model: CARL, task: tuple[SpectralCube, np.ndarray]) -> None:
    cube, labels = task
    with pytest.raises(CarlError, match="'tail' is not a way to fine-tune"):
        finetune(tiny_model, cube, labels, tune="tail")  # type: ignore[arg-type]
    with pytest.raises(LabelError, match="At least two"):
        finetune(tiny_model, cube, np.minimum(labels, 1))
    with pytest.raises(LabelError, match="give labels drawn on this cube"):
        finetune(tiny_model, cube, labels[1:])
    with pytest.raises(LabelError, match="2 label maps were given for 1 cubes"):
        finetune(tiny_model, [cube], [labels, labels])
    single = np.zeros_like(labels)
    single[0, 0], single[9, 9] = 1, 2
    with pytest.raises(LabelError, match="too few strokes"):
        finetune(tiny_model, cube, single)
    with pytest.raises(WavelengthError):
        finetune(tiny_model, SpectralCube(cube.data), labels, score=rising([0, 1]))


def test_the_default_score_is_that_of_the_few_stroke_segmenter(
    tiny_model: CARL, task: tuple[SpectralCube, np.ndarray]
) -> None:
    cube, labels = task
    train, held = split_strokes(labels, 0)
    reported: list[float] = []
    score = few_stroke_score(
        tiny_model,
        [compute_features(cube)],
        [train],
        [held],
        progress=lambda fraction, _: reported.append(fraction),
    )
    assert score > 0.9
    assert reported == sorted(reported)
    result = finetune(tiny_model, cube, labels, steps=2, seed=0)
    assert result.score_before == pytest.approx(score)
    assert result.kept == (result.score_after > result.score_before)


def test_classes_have_equal_weights() -> None:
    logits = torch.zeros(2, 1, 10)
    logits[0] = 2
    target = torch.tensor([[0] * 8 + [1, IGNORED]])
    loss = balanced_cross_entropy(logits, target)
    per_class = -torch.log_softmax(torch.tensor([2.0, 0.0]), 0)
    torch.testing.assert_close(loss, per_class.mean())
