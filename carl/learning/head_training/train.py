"""Train a head on a CARL network, with or without the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from carl.errors import CarlError, ModelError
from carl.learning.head_training.samples import PairSamples, Samples
from carl.learning.head_training.train_config import TrainConfig
from carl.learning.head_training.trained_head import TrainedHead
from carl.learning.head_training.training_run import Run, TrainReport
from carl.model import CARL, load_model
from carl.model.checkpoint import read_training_state, write_training_state
from carl.model.heads import HEADS, build_head
from carl.model.heads.factory import Task
from carl.progress import Progress, no_progress, subprogress


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
    config: TrainConfig | str | Path,
    *,
    device: str = "auto",
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress = no_progress,
    on_step: Callable[[TrainReport], None] = lambda _: None,
) -> TrainResult:
    """Train a head; nothing is written but checkpoints, if asked to.

    Args:
        config: configuration of the training, or its YAML file.
        device: as `carl.load_model` takes it.
        checkpoint: file to keep where the training stands in, every `checkpoint_every` steps.
        resume: go on from that file; the training then ends as if it had never been stopped.
        progress: told after every step; cancels by raising.
        on_step: told the loss after every step.

    Raises:
        CarlError: the data cannot be used, the head needs transformers, which is not installed, the
            loss is not a number any more, there is a checkpoint of another training, or none to go
            on from.
        OutputError: the checkpoint cannot be written; the one before is still there.
        Cancelled: by `progress`.
    """
    if not isinstance(config, TrainConfig):
        config = TrainConfig.from_file(config)
    state = _state_before(checkpoint, resume)
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(config.seed)
        carl = load_model(config.model, device)
        facts = config.facts() | {"model": carl.fingerprint}
        if state is not None:
            _check_same(facts, state, checkpoint)
        task = HEADS[config.head.name].task
        samples = _open(config, carl, task, subprogress(progress, 0.0, 0.04))
        head = build_head(config.head, carl, len(samples.classes))
        head.to(next(carl.parameters()).device)
        if config.frozen:
            head.freeze()
        run = Run(head, samples, config)
        if checkpoint is not None:
            facts["data"] = samples.data_key(subprogress(progress, 0.04, 0.05))
        if state is not None:
            _check_same(facts, state, checkpoint)
            run.restore(state)
        told = subprogress(progress, 0.05, 1.0)
        while run.n_done < config.steps:
            report = run.step()
            if checkpoint is not None and report.step % config.checkpoint_every == 0:
                write_training_state(checkpoint, run.state() | {_FACTS: facts})
            on_step(report)
            told(report.step / config.steps, f"Training: step {report.step} of {config.steps}")
        run.finish()
    carl.trained = carl.trained or not config.frozen
    training = {"config": _plain(asdict(config)) | {"model": carl.name}, "scores": run.scores}
    trained = TrainedHead(head.eval(), config.head, samples.classes, samples.size, training)
    return TrainResult(trained, run.scores, tuple(run.history))


def train_to_file(
    config: TrainConfig | str | Path,
    *,
    device: str = "auto",
    resume: bool = False,
    progress: Progress = no_progress,
    on_step: Callable[[TrainReport], None] = lambda _: None,
) -> TrainResult:
    """Train a head and write it to the `output` of its configuration, as ``carl train`` does.

    Checkpoints are written beside the output while the training runs, and removed at its end.

    Args:
        config: configuration of the training, or its YAML file.
        device: as `carl.load_model` takes it.
        resume: whether to resume from the checkpoint.
        progress: receives the fraction done; raises `carl.errors.Cancelled` to cancel.
        on_step: receives the loss of each step.

    Raises:
        CarlError: as `train`.
        OutputError: the output or a checkpoint cannot be written.
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


_FACTS = "carl_training"


def _state_before(checkpoint: Path | None, resume: bool) -> dict[str, Any] | None:
    """What is to be gone on from, if anything.

    Raises:
        CarlError: there is nothing to go on from, or something that would be overwritten.
    """
    there_is_one = checkpoint is not None and checkpoint.is_file()
    if not resume:
        if there_is_one:
            raise CarlError(
                f"There is a training in {checkpoint} already: go on with --resume, or move it "
                "away to begin anew."
            )
        return None
    if checkpoint is None or not there_is_one:
        raise CarlError(f"There is no training to resume in {checkpoint}: start without --resume.")
    return read_training_state(checkpoint)


def _check_same(facts: dict[str, str], state: dict[str, Any], checkpoint: Path | None) -> None:
    """See that it is this training that is resumed.

    Raises:
        ModelError: the file holds something else.
        CarlError: the configuration says otherwise now, or the data are others; the message names
            the key.
    """
    then = state.get(_FACTS)
    if not isinstance(then, dict):
        raise ModelError(
            f"{checkpoint} is not a checkpoint of 'carl train': give another 'output'."
        )
    for key, value in facts.items():
        if then.get(key) != value:
            raise CarlError(
                f"The training began with another '{key}' ({then.get(key)}, now {value}): resume "
                f"it with the same, or move {checkpoint} away to begin anew."
            )


def _open(config: TrainConfig, carl: CARL, task: Task, progress: Progress) -> Samples:
    if config.geobench is None:
        return PairSamples(config, carl, task, progress)
    from carl.learning.head_training.geobench import GeoBenchTask

    return GeoBenchTask(config, carl, task, progress)


def _plain(value: Any) -> Any:
    """What JSON knows: paths become their names, so that a file tells nothing of the machine."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.name if hasattr(value, "name") else value
