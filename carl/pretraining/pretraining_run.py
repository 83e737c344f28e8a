"""Run a pre-training, from its configuration to the file of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from carl.errors import CarlError, ModelError
from carl.model import CARL, build_model, read_model, save_model
from carl.pretraining.datasets import ImageSource, open_sources
from carl.pretraining.pretrain_config import PretrainConfig
from carl.progress import Progress, no_progress, subprogress

_REQUIRED_PACKAGES = ("lightning", "tensorboard")
LAST_CHECKPOINT = "last.ckpt"
"""Name of the checkpoint in the folder of a run."""


@dataclass(frozen=True)
class PretrainResult:
    """Result of a pre-training.

    Attributes:
        model: file of the network.
        steps: number of optimiser steps.
        wavelength_range_nm: shortest and longest wavelength of the training images.

    Examples:
        >>> from pathlib import Path
        >>> from carl.pretraining import PretrainResult
        >>> result = PretrainResult(Path("carl-nano.safetensors"), 1000, (400.0, 1000.0))
        >>> result.model.name, result.wavelength_range_nm
        ('carl-nano.safetensors', (400.0, 1000.0))
    """

    model: Path
    steps: int
    wavelength_range_nm: tuple[float, float]


def pretrain(
    config: PretrainConfig | str | Path, *, resume: bool = False, progress: Progress = no_progress
) -> PretrainResult | None:
    """Pre-train a network and write it to ``<output>/<name>.safetensors``.

    The folder of the run also receives the last checkpoint (``last.ckpt``), losses, learning rates
    and probe scores (``history.jsonl``), and logs for TensorBoard (``tensorboard``). The result of
    a resumed run equals that of an uninterrupted one.

    Args:
        config: configuration of the run, or the YAML file with it.
        resume: continue from the last checkpoint.
        progress: called after every step; cancels by raising.

    Returns:
        the result; None in all processes but the first of a run on several devices.

    Raises:
        CarlError: Lightning is not installed, the data cannot be used, the loss is no longer
            finite, or the checkpoint is missing, belongs to another run, or exists although the run
            is not resumed.
        OutputError: the output cannot be written; the last checkpoint is unchanged.
        Cancelled: raised by `progress`, or the process was interrupted.

    Examples:
        Pre-train a small network on simulated scenes::

            config = carl.PretrainConfig.from_dict(
                {"data": [{"kind": "simulated"}], "output": "runs/first", "steps": 1000}
            )
            model = carl.load_model(carl.pretrain(config).model)
    """
    require_lightning()
    from carl.pretraining.lightning_module import PretrainModule, build_objective
    from carl.pretraining.lightning_trainer import fit
    from carl.pretraining.probing import open_monitors

    if not isinstance(config, PretrainConfig):
        config = PretrainConfig.from_file(config)
    _check_output(config, resume)
    sources = open_sources(config.data, subprogress(progress, 0.0, 0.01))
    monitors = open_monitors(config.monitors)
    student = _build_student(config, sources)
    module = PretrainModule(build_objective(student, config), config)
    if not fit(module, sources, monitors, resume=resume, progress=subprogress(progress, 0.01, 1.0)):
        return None
    network = module.network
    network.trained = True
    path = config.output / f"{config.network_name}.safetensors"
    save_model(network, path, half=config.half)
    low, high = network.wavelength_range_um or (0.0, 0.0)
    return PretrainResult(path, config.steps, (1000 * low, 1000 * high))


def require_lightning() -> None:
    """Check that the optional packages for pre-training are installed.

    Raises:
        CarlError: a package is missing.
    """
    missing = [name for name in _REQUIRED_PACKAGES if find_spec(name) is None]
    if missing:
        raise CarlError(
            f"Pre-training needs {' and '.join(missing)}: pip install 'napari-carl[pretrain]'."
        )


def _check_output(config: PretrainConfig, resume: bool) -> None:
    """Check that the folder of the run fits a new run, or one to resume.

    Raises:
        CarlError: it does not.
    """
    checkpoint = config.output / LAST_CHECKPOINT
    if config.output.exists() and not config.output.is_dir():
        raise CarlError(f"output is {config.output}, which is a file: give a folder.")
    if resume and not checkpoint.is_file():
        raise CarlError(f"There is no run to resume in {config.output}: start without --resume.")
    if not resume and checkpoint.is_file():
        raise CarlError(
            f"There is a run in {config.output} already: continue it with --resume (in Python "
            "resume=True), or give another 'output'."
        )


def _build_student(config: PretrainConfig, sources: Sequence[ImageSource]) -> CARL:
    """Build the network to train, with its initial weights."""
    start = config.start
    student = build_model(config.network, pretrained=start == "public", seed=config.seed)
    if start not in ("random", "public"):
        initial = read_model(start)
        parts = ("patch_size", "spec_encoder_kwargs", "spat_encoder_kwargs")
        if any(getattr(initial.config, each) != getattr(student.config, each) for each in parts):
            raise ModelError(
                f"start: the network in {start} has another architecture than 'model': give the "
                "same 'model', or another 'start'."
            )
        student.load_state_dict(initial.state_dict())
    lowest, highest = zip(*(source.images.range_nm for source in sources), strict=True)
    student.name = config.network_name
    student.wavelength_range_um = min(lowest) / 1000, max(highest) / 1000
    return student
