"""Train a head on a CARL network, with the network frozen or trained along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from carl.errors import CarlError, ModelError
from carl.learning.head_training.samples import (
    CubeSamples,
    GeoBenchSamples,
    LabelledBatch,
    TrainingSamples,
)
from carl.learning.head_training.train_config import TrainConfig
from carl.learning.head_training.trained_head import TrainedHead
from carl.learning.pixel_training import WARMUP
from carl.learning_rate import warmup_cosine
from carl.metrics import evaluate, evaluate_multilabel
from carl.model import load_model
from carl.model.checkpoint import read_training_state, write_training_state
from carl.model.heads import HEADS, build_head
from carl.model.heads.base import Head
from carl.progress import Progress, no_progress, subprogress
from carl.random_streams import Stream, generator, torch_seed

_MAX_GRADIENT_NORM = 1.0
_SELECTION_SCORES = {"segmentation": "miou", "classification": "accuracy", "multilabel": "f1"}
"""Score by task that selects the best state."""
_SETTINGS = "carl_training"
"""Key of the settings in a checkpoint."""


@dataclass(frozen=True)
class TrainReport:
    """State of a training after a step.

    Attributes:
        step: number of completed steps.
        loss: loss of the step.
        scores: validation scores, in steps that are validated: ``miou`` and ``accuracy``, or for
            multi-label heads ``f1`` and ``accuracy``.
    """

    step: int
    loss: float
    scores: dict[str, float] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class TrainResult:
    """Result of a training.

    Attributes:
        trained: the head in its best state, or in its last one without validation.
        scores: validation scores of that state; empty without validation.
        history: one report per step.

    Examples:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> import carl
        >>> from carl.learning.head_training import PairConfig, TrainConfig, train
        >>> labels = np.repeat(np.uint8([1, 2]), 8)[:, None] * np.ones((1, 16), np.uint8)
        >>> values = np.random.default_rng(0).random((16, 16, 6), np.float32) * labels[..., None]
        >>> _ = carl.write_cube("a.hdr", carl.SpectralCube(values, np.linspace(450, 700, 6)))
        >>> _ = carl.write_labels("a.png", labels)
        >>> pair = PairConfig(Path("a.hdr"), Path("a.png"))
        >>> config = TrainConfig(Path("a.carl"), (pair,), held_out=0, steps=1, crop=8, batch_size=2)
        >>> train(config, device="cpu")
        TrainResult(head='linear', classes=['class 1', 'class 2'], steps=1, loss=...)
    """

    trained: TrainedHead
    scores: dict[str, float]
    history: tuple[TrainReport, ...]

    def __repr__(self) -> str:
        values = {
            "head": repr(self.trained.config.name),
            "classes": str([each.name for each in self.trained.classes]),
            "steps": str(len(self.history)),
            **({"loss": f"{self.history[-1].loss:.4f}"} if self.history else {}),
            **{name: f"{value:.4f}" for name, value in self.scores.items()},
        }
        return f"TrainResult({', '.join(f'{name}={value}' for name, value in values.items())})"


def train(
    config: TrainConfig | str | Path,
    *,
    device: str = "auto",
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress = no_progress,
    on_step: Callable[[TrainReport], None] = lambda _: None,
) -> TrainResult:
    """Train a head.

    Nothing is written but checkpoints; `train_to_file` also writes the trained head.

    Args:
        config: configuration, or the YAML file with it.
        device: device as `carl.load_model` takes it.
        checkpoint: file to write a checkpoint to, every `config.checkpoint_every` steps; None for
            no checkpoints.
        resume: continue from that file. The result equals that of an uninterrupted training.
        progress: called after every step; cancels by raising.
        on_step: called with the report of every step.

    Raises:
        CarlError: the data cannot be used, the head needs the package transformers, the loss is no
            longer finite, or the checkpoint is missing, belongs to another training, or exists
            although the training is not resumed.
        OutputError: the checkpoint cannot be written; the previous one is unchanged.
        Cancelled: raised by `progress`.
    """
    if not isinstance(config, TrainConfig):
        config = TrainConfig.from_file(config)
    state = _read_checkpoint(checkpoint, resume)
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(config.seed)
        carl = load_model(config.model, device)
        settings = config.resume_settings() | {"model": carl.fingerprint}
        if state is not None:
            _check_settings(settings, state, checkpoint)
        open_samples = CubeSamples if config.geobench is None else GeoBenchSamples
        task = HEADS[config.head.name].task
        samples: TrainingSamples = open_samples(
            config, carl, task, subprogress(progress, 0.0, 0.04)
        )
        head = build_head(config.head, carl, len(samples.classes))
        head.to(next(carl.parameters()).device)
        if config.frozen:
            head.freeze()
        training = HeadTraining(head, samples, config)
        if checkpoint is not None:
            settings["data"] = samples.data_key(subprogress(progress, 0.04, 0.05))
        if state is not None:
            _check_settings(settings, state, checkpoint)
            training.load_state(state)
        step_progress = subprogress(progress, 0.05, 1.0)
        while len(training.history) < config.steps:
            report = training.step()
            if checkpoint is not None and report.step % config.checkpoint_every == 0:
                write_training_state(checkpoint, training.state() | {_SETTINGS: settings})
            on_step(report)
            step_progress(
                report.step / config.steps, f"Training: step {report.step} of {config.steps}"
            )
        training.restore_best()
    carl.trained = carl.trained or not config.frozen
    metadata = {
        "config": _to_json(asdict(config)) | {"model": carl.name},
        "scores": training.scores,
    }
    trained = TrainedHead(head.eval(), config.head, samples.classes, samples.size, metadata)
    return TrainResult(trained, training.scores, tuple(training.history))


def train_to_file(
    config: TrainConfig | str | Path,
    *,
    device: str = "auto",
    resume: bool = False,
    progress: Progress = no_progress,
    on_step: Callable[[TrainReport], None] = lambda _: None,
) -> TrainResult:
    """Train a head and write it to the `output` of its configuration, as ``carl train`` does.

    Checkpoints are written beside the output during the training, and removed at its end; `resume`
    continues from the last one. The other arguments are those of `train`.

    Raises:
        CarlError: as `train`.
        OutputError: the output or a checkpoint cannot be written.
        Cancelled: raised by `progress`.
    """
    if not isinstance(config, TrainConfig):
        config = TrainConfig.from_file(config)
    result = train(
        config,
        device=device,
        checkpoint=config.checkpoint,
        resume=resume,
        progress=progress,
        on_step=on_step,
    )
    result.trained.save(config.output)
    config.checkpoint.unlink(missing_ok=True)
    return result


class HeadTraining:
    """Training loop of a head.

    Random numbers depend on the step alone, so that a training restored from a checkpoint continues
    as if it had not been interrupted.

    Attributes:
        history: one report per step.
        scores: scores of the best state; empty without validation.
    """

    def __init__(self, head: Head, samples: TrainingSamples, config: TrainConfig) -> None:
        self._head, self._samples, self._config = head, samples, config
        self._optimiser = _build_optimiser(head, config)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: warmup_cosine((step + 1) / config.steps, WARMUP)
        )
        self._best: dict[str, Tensor] = {}
        self.history: list[TrainReport] = []
        self.scores: dict[str, float] = {}

    def step(self) -> TrainReport:
        """Take one optimiser step, and validate every `check_every` steps.

        Raises:
            CarlError: the loss is no longer finite.
        """
        config, step = self._config, len(self.history) + 1
        torch.manual_seed(torch_seed(config.seed, Stream.NETWORK, step))
        batch = self._samples.draw(generator(config.seed, Stream.CROP, step))
        self._optimiser.zero_grad()
        loss = _compute_loss(self._head.train(), batch, config)
        loss.backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())
        if not isfinite(value):
            raise CarlError(
                f"The loss is no longer finite at step {step}: lower learning_rate, or check the "
                "cubes for extreme values."
            )
        nn.utils.clip_grad_norm_(self._head.parameters(), _MAX_GRADIENT_NORM)
        self._optimiser.step()
        self._schedule.step()
        scores = None
        if step % config.check_every == 0 or step == config.steps:
            scores = self._validate()
        report = TrainReport(step, value, scores)
        self.history.append(report)
        return report

    def restore_best(self) -> None:
        """Restore the best state of the head; without validation, keep the last one."""
        if self._best:
            self._head.load_state_dict(self._best)

    def state(self) -> dict[str, Any]:
        """Return the state of the training as tensors and plain values, for a checkpoint."""
        return {
            "head": self._head.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "history": [asdict(report) for report in self.history],
            "scores": self.scores,
            "best": self._best,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Load the state that `state` returned for the same head."""
        self._head.load_state_dict(state["head"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self.history = [TrainReport(**report) for report in state["history"]]
        self.scores, self._best = state["scores"], state["best"]

    def _validate(self) -> dict[str, float]:
        """Compute the validation scores, and copy the weights if they are the best so far."""
        scores = validate(self._head.eval(), self._samples)
        selection = _SELECTION_SCORES[self._head.task]
        if scores and scores[selection] > self.scores.get(selection, -1.0):
            self.scores = scores
            self._best = {name: each.clone() for name, each in self._head.state_dict().items()}
        return scores


@torch.inference_mode()
def validate(head: Head, samples: TrainingSamples) -> dict[str, float]:
    """Compute scores of a head in eval mode on the validation batches; empty if there are none."""
    device, multilabel = next(head.parameters()).device, head.task == "multilabel"
    predicted, true = [], []
    for batch in samples.validation():
        logits = head(batch.image.to(device), batch.wavelengths_um.to(device)).cpu()
        labels = logits > 0 if multilabel else logits.argmax(dim=1) + 1
        predicted.append(labels if multilabel else labels.flatten())
        true.append(batch.labels if multilabel else batch.labels.flatten())
    if not true:
        return {}
    predictions, truth = torch.cat(predicted).numpy(), torch.cat(true).numpy()
    if multilabel:
        several = evaluate_multilabel(predictions, truth)
        return {"f1": several.mean_f1, "accuracy": several.accuracy}
    scores = evaluate(predictions, truth)
    return {"miou": scores.miou, "accuracy": scores.accuracy}


def _compute_loss(head: Head, batch: LabelledBatch, config: TrainConfig) -> Tensor:
    device = next(head.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, config.precision == "bf16"):
        return head.loss(
            batch.image.to(device), batch.wavelengths_um.to(device), batch.labels.to(device)
        )


def _build_optimiser(head: Head, config: TrainConfig) -> torch.optim.AdamW:
    """Build AdamW with one learning rate for the head and one for the network."""
    network = {id(parameter) for parameter in head.carl.parameters()}
    trained = [each for each in head.parameters() if each.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [each for each in trained if id(each) not in network]},
        {"params": [each for each in trained if id(each) in network], "lr": config.network_rate},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def _read_checkpoint(checkpoint: Path | None, resume: bool) -> dict[str, Any] | None:
    """Read the state to resume from; None to start a new training."""
    exists = checkpoint is not None and checkpoint.is_file()
    if not resume:
        if exists:
            raise CarlError(
                f"The checkpoint {checkpoint} of a training exists already: continue it with "
                "--resume (in Python resume=True), or move it away to start a new training."
            )
        return None
    if checkpoint is None or not exists:
        raise CarlError(
            f"There is no training to resume in {checkpoint}: start one without --resume."
        )
    return read_training_state(checkpoint)


def _check_settings(
    settings: dict[str, str], state: dict[str, Any], checkpoint: Path | None
) -> None:
    """Check that a checkpoint belongs to a training with the same settings and data."""
    stored = state.get(_SETTINGS)
    if not isinstance(stored, dict):
        raise ModelError(
            f"{checkpoint} is not a checkpoint of 'carl train': give another 'output'."
        )
    for key, value in settings.items():
        if stored.get(key) != value:
            raise CarlError(
                f"The training was started with another '{key}' ({stored.get(key)}, now {value}): "
                f"resume it with the same, or move {checkpoint} away to start a new training."
            )


def _to_json(value: Any) -> Any:
    """Convert to JSON types; paths are reduced to file names, which do not reveal the machine."""
    if isinstance(value, dict):
        return {key: _to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    return value.name if hasattr(value, "name") else value
