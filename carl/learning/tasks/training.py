"""Train a head on a CARL network, with or without the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from carl.errors import CarlError
from carl.learning.metrics import evaluate, evaluate_multilabel
from carl.learning.tasks.config import TrainConfig
from carl.learning.tasks.samples import Batch, PairSamples, Samples
from carl.learning.tasks.trained import TrainedHead
from carl.learning.training import course
from carl.model import CARL, load_model
from carl.model.heads import HEADS, build_head
from carl.model.heads.base import Head
from carl.model.heads.registry import Task
from carl.progress import Progress, no_progress, part

_LONGEST_GRADIENT = 1.0
_JUDGES = {"segmentation": "miou", "classification": "accuracy", "multilabel": "f1"}
"""The score that says which state is best."""


@dataclass(frozen=True)
class TrainReport:
    """Where the training stands after a step.

    Attributes:
        step: number of steps done.
        loss: of the step.
        scores: on held-out labels, in steps that measure them: ``miou`` and ``accuracy``, or of
            several labels ``f1`` and ``accuracy``.
    """

    step: int
    loss: float
    scores: dict[str, float] | None = None


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What training came to.

    Attributes:
        trained: the head in the state that scored best, or its last where nothing was scored.
        scores: of that state on held-out labels; empty where nothing was scored.
        history: one report a step.
    """

    trained: TrainedHead
    scores: dict[str, float]
    history: tuple[TrainReport, ...]


def train(
    config: TrainConfig,
    *,
    device: str = "auto",
    progress: Progress = no_progress,
    on_step: Callable[[TrainReport], None] = lambda _: None,
) -> TrainResult:
    """Train a head; nothing is written.

    Args:
        config: what to train on what.
        device: as `carl.load_model` takes it.
        progress: told after every step; cancels by raising.
        on_step: told the loss after every step.

    Raises:
        CarlError: the data cannot be used, the head needs transformers, which is not installed, or
            the loss is not a number any more.
        Cancelled: by `progress`.
    """
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(config.seed)
        carl = load_model(config.model, device)
        task = HEADS[config.head.name].task
        samples = _open(config, carl, task, part(progress, 0.0, 0.05))
        head = build_head(config.head, carl, len(samples.classes))
        head.to(next(carl.parameters()).device)
        if config.frozen:
            head.freeze()
        scores, history = _fit(head, samples, config, part(progress, 0.05, 1.0), on_step)
    carl.trained = carl.trained or not config.frozen
    facts = {"config": _plain(asdict(config)) | {"model": carl.name}, "scores": scores}
    trained = TrainedHead(head.eval(), config.head, samples.classes, samples.size, facts)
    return TrainResult(trained, scores, history)


def _open(config: TrainConfig, carl: CARL, task: Task, progress: Progress) -> Samples:
    if config.geobench is None:
        return PairSamples(config, carl, task, progress)
    from carl.learning.tasks.geobench import GeoBenchTask

    return GeoBenchTask(config, carl, task, progress)


def _fit(
    head: Head,
    samples: Samples,
    config: TrainConfig,
    progress: Progress,
    on_step: Callable[[TrainReport], None],
) -> tuple[dict[str, float], tuple[TrainReport, ...]]:
    """Train, and leave the head in the state that scored best."""
    random = np.random.default_rng(config.seed)
    optimiser = _optimiser(head, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: course((step + 1) / config.steps)
    )
    history: list[TrainReport] = []
    best: dict[str, float] = {}
    state: dict[str, Tensor] = {}
    judge = _JUDGES[head.task]
    for step in range(1, config.steps + 1):
        optimiser.zero_grad()
        loss = _loss(head.train(), samples.draw(random), config)
        loss.backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())
        if not isfinite(value):
            raise CarlError(
                f"The loss is not a number any more at step {step}: lower learning_rate, or check "
                "the cubes for extreme values."
            )
        nn.utils.clip_grad_norm_(head.parameters(), _LONGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        scores = None
        if step % config.check_every == 0 or step == config.steps:
            scores = score(head.eval(), samples)
            if scores and scores[judge] > best.get(judge, -1.0):
                best = scores
                state = {name: each.clone() for name, each in head.state_dict().items()}
        report = TrainReport(step, value, scores)
        history.append(report)
        on_step(report)
        progress(step / config.steps, f"Training: step {step} of {config.steps}")
    if state:
        head.load_state_dict(state)
    return best, tuple(history)


@torch.inference_mode()
def score(head: Head, samples: Samples) -> dict[str, float]:
    """Scores on what is held out; empty if nothing is.

    Args:
        head: in eval mode.
        samples: with labels to score on.
    """
    device = next(head.parameters()).device
    predicted, truth = [], []
    for batch in samples.checked():
        logits = head(batch.image.to(device), batch.wavelengths_um.to(device)).cpu()
        said = logits > 0 if head.task == "multilabel" else logits.argmax(dim=1) + 1
        predicted.append(_rows(said, head))
        truth.append(_rows(batch.labels, head))
    if not truth:
        return {}
    said, true = torch.cat(predicted).numpy(), torch.cat(truth).numpy()
    if head.task == "multilabel":
        several = evaluate_multilabel(said, true)
        return {"f1": several.mean_f1, "accuracy": several.accuracy}
    scores = evaluate(said, true)
    return {"miou": scores.miou, "accuracy": scores.accuracy}


def _rows(labels: Tensor, head: Head) -> Tensor:
    """Labels of batches of any size, to be put one after the other."""
    return labels if head.task == "multilabel" else labels.flatten()


def _loss(head: Head, batch: Batch, config: TrainConfig) -> Tensor:
    device = next(head.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, config.precision == "bf16"):
        return head.loss(
            batch.image.to(device), batch.wavelengths_um.to(device), batch.labels.to(device)
        )


def _optimiser(head: Head, config: TrainConfig) -> torch.optim.AdamW:
    network = {id(parameter) for parameter in head.carl.parameters()}
    learned = [each for each in head.parameters() if each.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [each for each in learned if id(each) not in network]},
        {"params": [each for each in learned if id(each) in network], "lr": config.network_rate},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def _plain(value: Any) -> Any:
    """What JSON knows: paths become their names, so that a file tells nothing of the machine."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.name if hasattr(value, "name") else value
