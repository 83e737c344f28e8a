"""A training under way: step by step, and the state it can be gone on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from carl.errors import CarlError
from carl.learning.head_training.samples import Batch, Samples
from carl.learning.head_training.train_config import TrainConfig
from carl.learning.metrics import evaluate, evaluate_multilabel
from carl.learning.pixel_training import course
from carl.model.heads.base import Head
from carl.pretraining.randomness import Stream, generator, torch_seed

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


class Run:
    """The training of a head.

    Random numbers depend on the step alone, so one that is restored goes on as if it had never been
    stopped.

    Args:
        head: trained in place.
        samples: what it learns from, and is scored on.
        config: of the training.

    Attributes:
        history: one report a step.
        scores: of the state that scored best; empty where nothing was scored.
    """

    def __init__(self, head: Head, samples: Samples, config: TrainConfig) -> None:
        self._head, self._samples, self._config = head, samples, config
        self._optimiser = _optimiser(head, config)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: course((step + 1) / config.steps)
        )
        self._best: dict[str, Tensor] = {}
        self.history: list[TrainReport] = []
        self.scores: dict[str, float] = {}

    @property
    def n_done(self) -> int:
        """Number of steps done."""
        return len(self.history)

    def step(self) -> TrainReport:
        """One step of the optimiser, and every `check_every` steps a scoring.

        Raises:
            CarlError: the loss is not a number any more.
        """
        config, step = self._config, self.n_done + 1
        torch.manual_seed(torch_seed(config.seed, Stream.NETWORK, step))
        batch = self._samples.draw(generator(config.seed, Stream.CROP, step))
        self._optimiser.zero_grad()
        loss = _loss(self._head.train(), batch, config)
        loss.backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())
        if not isfinite(value):
            raise CarlError(
                f"The loss is not a number any more at step {step}: lower learning_rate, or check "
                "the cubes for extreme values."
            )
        nn.utils.clip_grad_norm_(self._head.parameters(), _LONGEST_GRADIENT)
        self._optimiser.step()
        self._schedule.step()
        scores = None
        if step % config.check_every == 0 or step == config.steps:
            scores = self._score()
        report = TrainReport(step, value, scores)
        self.history.append(report)
        return report

    def finish(self) -> None:
        """Leave the head in the state that scored best, or its last where nothing was scored."""
        if self._best:
            self._head.load_state_dict(self._best)

    def state(self) -> dict[str, Any]:
        """Where the training stands: tensors and plain values."""
        return {
            "head": self._head.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "history": [asdict(report) for report in self.history],
            "scores": self.scores,
            "best": self._best,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where another run of the same head stood."""
        self._head.load_state_dict(state["head"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self.history = [TrainReport(**report) for report in state["history"]]
        self.scores, self._best = state["scores"], state["best"]

    def _score(self) -> dict[str, float]:
        """Scores of the head as it is; it is remembered if none before was better."""
        scores, judge = score(self._head.eval(), self._samples), _JUDGES[self._head.task]
        if scores and scores[judge] > self.scores.get(judge, -1.0):
            self.scores = scores
            self._best = {name: each.clone() for name, each in self._head.state_dict().items()}
        return scores


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
