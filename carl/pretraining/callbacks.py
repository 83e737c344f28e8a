"""What happens between the steps of a run: progress, history, probes and checkpoints."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger

from carl.pretraining.lightning_module import PretrainModule
from carl.pretraining.monitors import Monitor
from carl.pretraining.pretrain_config import MonitorConfig
from carl.progress import Progress

LAST_CHECKPOINT = "last.ckpt"
HISTORY = "history.jsonl"


class AfterStep(Callback, ABC):
    """Base of what is done after a step of the optimiser, however many batches it took."""

    def __init__(self) -> None:
        self._step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Know where the run begins."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Notice that a step was made."""
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            assert isinstance(pl_module, PretrainModule)
            self.after_step(trainer, pl_module, self._step)

    @abstractmethod
    def after_step(self, trainer: Trainer, module: PretrainModule, step: int) -> None:
        """What is done after a step; `step` counts from 1."""


class ProgressReporter(AfterStep):
    """Tells the caller where the run stands; cancels it by raising.

    Args:
        progress: of the caller.
        steps: in the whole run.
    """

    def __init__(self, progress: Progress, steps: int) -> None:
        super().__init__()
        self._progress = progress
        self._steps = steps

    def after_step(self, trainer: Trainer, module: PretrainModule, step: int) -> None:
        """Report the step and its loss."""
        loss = float(trainer.callback_metrics["total"])
        self._progress(step / self._steps, f"Step {step} of {self._steps}, loss {loss:.4f}")


class History(AfterStep):
    """Writes losses and learning rate as one line of JSON every so many steps.

    Args:
        path: of the file; lines are added to those it has.
        every: steps.
    """

    def __init__(self, path: Path, every: int) -> None:
        super().__init__()
        self._path = path
        self._every = every

    def after_step(self, trainer: Trainer, module: PretrainModule, step: int) -> None:
        """Write a line where it is time for one."""
        if step % self._every == 0 and trainer.is_global_zero:
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self.write({"step": step, "learning_rate": rate, **values})

    def write(self, values: dict[str, Any]) -> None:
        """Add a line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


class Probing(AfterStep):
    """Probes the network on labelled images every so many steps, and draws its features.

    Args:
        monitors: with their configurations.
        history: to write the scores to.
    """

    def __init__(self, monitors: Sequence[tuple[MonitorConfig, Monitor]], history: History) -> None:
        super().__init__()
        self._monitors = monitors
        self._history = history

    def after_step(self, trainer: Trainer, module: PretrainModule, step: int) -> None:
        """Probe where it is time for it, in one process."""
        due = [pair for pair in self._monitors if step % pair[0].every == 0]
        if not due or not trainer.is_global_zero:
            return
        network = module.network
        was_training = network.training
        network.eval()
        for config, monitor in due:
            measured = monitor.measure(network)
            scores = {f"{config.name}/{name}": score for name, score in measured.scores.items()}
            self._history.write({"step": step, **scores})
            for logger in trainer.loggers:
                logger.log_metrics(scores, step)
                if measured.picture is not None and isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(
                        f"{config.name}/features", measured.picture, step, dataformats="HWC"
                    )
        network.train(was_training)


class CheckpointWriter(Checkpoint):
    """Writes a checkpoint at the end of each part of the run, in the place of the one before.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / LAST_CHECKPOINT

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it."""
        trainer.save_checkpoint(self._path)
