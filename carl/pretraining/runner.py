"""A whole run of pre-training, from its configuration to a network in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from carl.errors import CarlError, ModelError
from carl.model import CARL, build_model, read_model, save_model
from carl.pretraining.datasets import Source, open_sources
from carl.pretraining.pretrain_config import PretrainConfig
from carl.progress import Progress, no_progress, subprogress

_NEEDED = ("lightning", "tensorboard")


@dataclass(frozen=True)
class PretrainResult:
    """What a run came to.

    Attributes:
        model: the file of the network.
        steps: of the optimiser.
        wavelength_range_nm: shortest and longest wavelength that was seen.
    """

    model: Path
    steps: int
    wavelength_range_nm: tuple[float, float]


def pretrain(
    config: PretrainConfig | str | Path, *, resume: bool = False, progress: Progress = no_progress
) -> PretrainResult | None:
    """Pre-train a network and write it to ``<output>/<name>.safetensors``.

    The folder of the run also holds the last checkpoint, ``history.jsonl`` (losses, learning rate
    and probes), and ``tensorboard``. A run that is resumed from its last checkpoint ends as if it
    had never been stopped.

    Args:
        config: configuration of the run, or its YAML file.
        resume: go on from the last checkpoint.
        progress: told after every step; cancels by raising.

    Returns:
        what the run came to; None in processes that help another one.

    Raises:
        CarlError: Lightning is not installed, the data cannot be used, a run is in the folder
            already or none is to be resumed, or the loss is not a number any more.
        OutputError: nothing can be written any more; the last checkpoint stays as it is.
        Cancelled: by `progress`, or by the system.
    """
    require_lightning()
    from carl.pretraining.callbacks import LAST_CHECKPOINT
    from carl.pretraining.lightning_module import PretrainModule, build_objective
    from carl.pretraining.monitors import open_monitors
    from carl.pretraining.trainer import fit

    if not isinstance(config, PretrainConfig):
        config = PretrainConfig.from_file(config)
    _check_folder(config, config.output / LAST_CHECKPOINT, resume)
    sources = open_sources(config.data, subprogress(progress, 0.0, 0.01))
    monitors = list(zip(config.monitors, open_monitors(config.monitors), strict=True))
    student = _student(config, sources)
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
    """See that what pre-training needs is installed.

    Raises:
        CarlError: it is not.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise CarlError(
            f"Pre-training needs {' and '.join(missing)}: pip install 'napari-carl[pretrain]'."
        )


def _check_folder(config: PretrainConfig, checkpoint: Path, resume: bool) -> None:
    if config.output.exists() and not config.output.is_dir():
        raise CarlError(f"output is {config.output}, which is a file: give a folder.")
    if resume and not checkpoint.is_file():
        raise CarlError(f"There is no run to resume in {config.output}: start without --resume.")
    if not resume and checkpoint.is_file():
        raise CarlError(
            f"There is a run in {config.output} already: go on with --resume, or give another "
            "'output'."
        )


def _student(config: PretrainConfig, sources: Sequence[Source]) -> CARL:
    """The network to train, with the weights it starts from."""
    start = config.start
    student = build_model(config.network, pretrained=start == "public", seed=config.seed)
    if start not in ("random", "public"):
        given = read_model(start)
        parts = ("patch_size", "spec_encoder_kwargs", "spat_encoder_kwargs")
        if any(getattr(given.config, each) != getattr(student.config, each) for each in parts):
            raise ModelError(f"start: {start} holds a network made of other parts than 'model'.")
        student.load_state_dict(given.state_dict())
    lowest, highest = zip(*(source.images.range_nm for source in sources), strict=True)
    student.name = config.network_name
    student.wavelength_range_um = min(lowest) / 1000, max(highest) / 1000
    return student
