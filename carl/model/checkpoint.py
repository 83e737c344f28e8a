"""Read and write networks and training states.

Our model files are safetensors with a JSON header under the key "carl", and a checksum of header
and tensors; files of earlier versions have none. Checkpoints of the original implementation are
Lightning checkpoints with the student under ``model.`` and the teacher under ``teacher.``.
PyTorch files are always loaded with ``weights_only=True``, so that no file can run
code.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from carl.errors import ModelError, is_out_of_memory
from carl.files import atomic_write, check_regular
from carl.model.carl import CARL
from carl.model.config import CARLConfig

Part = Literal["student", "teacher"]
"""The two networks of a self-supervision checkpoint."""

_HEADER = "carl"
_CHECKSUM = "crc32"
"""Key of the checksum in the metadata of a safetensors file."""
_FORMAT = "carl_format"
"""Key of the version of the format in a training state."""
_FORMAT_VERSION = 1
_KIND = "a CARL model"
_PREFIXES: dict[Part, str] = {"student": "model.", "teacher": "teacher."}

_ORIGINAL_NAMES = {
    "patch_embedding.": "embedder.",
    "spectral_encoder.wavelength_encoding.frequencies": "spectral_tf.positional_embedding.dims",
    "spectral_encoder.": "spectral_tf.",
    "connector.": "linear_connector.",
    "spatial_encoder.": "spatial_encoder.net.",
}
"""Our name prefixes → those of the original implementation; the first matching entry applies."""
_IGNORED_WEIGHTS = re.compile(
    r"(spectral_predictor|spatial_predictor)\."
    r"|spatial_encoder\.net\.(?!blocks\.|pos_embed$|(cls|dist|reg)_token$|rope\.freqs$)"
)
"""Weights in original checkpoints that are not part of the network: the predictors of the
self-supervision, and parts of the timm backbone that are never run."""
_MAX_HEADER = 1 << 23
"""Most characters of a JSON header; parsed text takes about 30 times its size in memory."""
_MAX_NAMES_IN_MESSAGE = 4


def read_checkpoint(
    path: str | Path, config: CARLConfig | Mapping[str, Any] | str | Path, part: Part = "student"
) -> CARL:
    """Read a network from a Lightning checkpoint of the original implementation.

    Args:
        path: the ``.ckpt`` file, from self-supervision or from a probe trained on the network.
        config: the architecture, or a JSON or YAML file that describes it.
        part: which network of the self-supervision to read.

    Returns:
        the network in eval mode on the CPU, named after the file.

    Raises:
        ModelError: the file is not such a checkpoint, contains more than tensors and plain data,
            or does not match the configuration.
    """
    path = Path(path)
    settings = _to_config(config)
    try:
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay the same
            model = CARL(settings, name=path.stem, trained=True)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    weights = select_weights(part, read_state_dict(path), path)
    weights = {name: tensor for name, tensor in weights.items() if not _IGNORED_WEIGHTS.match(name)}
    load_weights(model, weights, path, {name: original_name(name) for name in model.state_dict()})
    return model.eval()


def read_model(path: str | Path) -> CARL:
    """Read a network written by `save_model`.

    Returns:
        the network in eval mode on the CPU.

    Raises:
        ModelError: the file is not a CARL model, or is damaged.

    Examples:
        >>> import tempfile
        >>> from carl.model import build_model, read_model, save_model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(build_model("carl-nano"), f"{folder}/mine.safetensors")
        ...     read_model(f"{folder}/mine.safetensors").embed_dim
        192
    """
    path = Path(path)
    with unreadable_as(_KIND, path):
        metadata, weights = read_tensors(path, _HEADER)
        return model_from_metadata(metadata, weights, path)


def save_model(model: CARL, path: str | Path, *, half: bool = False) -> None:
    """Write a network to one safetensors file, atomically.

    Args:
        model: any CARL network.
        path: the file to write, usually ``*.safetensors``.
        half: store the parameters in half precision; buffers keep their precision.

    Raises:
        OutputError: the file cannot be written.

    Examples:
        >>> import tempfile
        >>> from carl.model import load_model, save_model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(load_model("carl-nano"), f"{folder}/copy.safetensors", half=True)
        ...     load_model(f"{folder}/copy.safetensors").name
        'carl-nano'
    """
    parameters = {name for name, _ in model.named_parameters()}
    weights = {
        name: tensor.to(torch.half if half and name in parameters else tensor.dtype)
        for name, tensor in model.state_dict().items()
    }
    write_tensors(path, _HEADER, model_metadata(model), weights)


def model_metadata(model: CARL) -> dict[str, Any]:
    """Return everything needed to rebuild a network except its weights, as plain JSON values."""
    return {
        "name": model.name,
        "config": model.config.to_dict(),
        "trained": model.trained,
        "normalisation": model.normalisation,
        "wavelength_range_um": model.wavelength_range_um,
    }


def model_from_metadata(
    metadata: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path
) -> CARL:
    """Build a network from the result of `model_metadata` and its weights by name.

    Returns:
        the network in eval mode on the CPU.

    Raises:
        ModelError: an entry is invalid, or the weights do not match the metadata; it names `path`.
        KeyError, TypeError, ValueError: an entry is missing or of another type.
    """
    limits, normalisation = metadata["wavelength_range_um"], metadata["normalisation"]
    with torch.random.fork_rng(devices=[]):
        try:
            config = CARLConfig.from_dict(metadata["config"])
            with torch.device("meta"):  # no memory: a damaged file may state a network of any size
                stated = CARL(config)
        except ModelError as error:
            raise ModelError(f"{path} cannot be read as {_KIND}: {error}") from error
        _check_weights(stated, weights, path)
        model = CARL(
            config,
            name=str(metadata["name"]),
            trained=bool(metadata["trained"]),
            normalisation=None if normalisation is None else _pair(normalisation),
            wavelength_range_um=None if limits is None else _pair(limits),
        )
    load_weights(model, weights, path)
    return model.eval()


def write_tensors(
    path: str | os.PathLike[str], key: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write tensors and a JSON header, stored under `key`, to one safetensors file, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(header)
    metadata = {key: text, _CHECKSUM: _checksum(text, plain)}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(plain, metadata))


def read_tensors(
    path: Path, key: str, version: int = 1
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the header and the tensors of a file written by `write_tensors`.

    Args:
        path: of the file.
        key: of the header.
        version: newest "version" in the header that the caller can read.

    Raises:
        ModelError: a newer version of the program made the file.
        KeyError, TypeError, ValueError, OSError, safetensors.SafetensorError: the file is missing,
            damaged or of another kind; `unreadable_as` converts these errors.
    """
    check_regular(path)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = metadata[key]
    if len(text) > _MAX_HEADER:
        raise ValueError(f"the header has {len(text)} characters")
    if _CHECKSUM in metadata and metadata[_CHECKSUM] != _checksum(text, tensors):
        raise ValueError(f"the checksum of {path} does not match")
    header = dict(json.loads(text))
    check_version(header.get("version", 1), version, path)
    return header, tensors


def check_version(found: object, newest: int, path: str | os.PathLike[str]) -> None:
    """Check the version of the format of a file.

    Args:
        found: the version that the file states.
        newest: the newest version that can be read.
        path: of the file.

    Raises:
        ModelError: a newer version of the program made the file.
        ValueError: `found` is no version.
    """
    if not isinstance(found, int) or found < 1:
        raise ValueError(f"{found!r} is no version")
    if found > newest:
        raise ModelError(
            f"{path} was made by a newer version of CARL: update with pip install --upgrade "
            "napari-carl."
        )


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Compute the CRC-32 of the header and of the names, types, shapes and values of tensors."""
    value = crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        value = crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = crc32(tensor.flatten().view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


@contextmanager
def unreadable_as(kind: str, path: Path) -> Iterator[None]:
    """Convert errors while a file is read and parsed to a `ModelError` that names file and kind.

    A damaged header can lead to nearly any type of exception, so all are caught; use it around
    reading and parsing only.
    """
    try:
        yield
    except ModelError as error:
        if path.name in str(error):
            raise
        raise ModelError(f"{path}: {error}") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise ModelError(
                f"{path} needs more memory than there is to be read as {kind}: close other "
                "programs, or copy it again if it should not be so large."
            ) from error
        raise ModelError(
            f"{path} cannot be read as {kind}: it is missing, damaged or of another format."
        ) from error


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a Lightning or PyTorch checkpoint by name.

    Raises:
        ModelError: the file cannot be read, contains more than tensors and plain data, or has no
            tensors.
    """
    try:
        check_regular(path)
        # Zip files are memory-mapped, so that optimiser states are never read.
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is damaged, or contains Python objects that could run code when loaded: save "
            "only its state_dict."
        ) from error
    except Exception as error:  # a damaged file can lead to nearly any type
        raise ModelError(
            f"{path} cannot be read as a checkpoint: it is missing, damaged or of another format."
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise ModelError(f"{path} is not a CARL checkpoint: it has no state_dict of tensors.")
    return {str(name): tensor for name, tensor in state.items()}


def write_training_state(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write the state of a training run atomically, replacing the previous one.

    Args:
        path: the checkpoint file.
        state: tensors and plain values, in dictionaries and lists.

    Raises:
        OutputError: the file cannot be written, or the disk is full; the previous state remains.
    """
    # Serialised in memory first, because torch.save reports a full disk as a RuntimeError.
    buffer = io.BytesIO()
    torch.save({**state, _FORMAT: _FORMAT_VERSION}, buffer)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_training_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a state written by `write_training_state`; its tensors are on the CPU.

    Raises:
        ModelError: the file is missing or damaged, contains more than tensors and plain data, or
            was made by a newer version of the program.
    """
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:  # PyTorch writes checksums, but compares none
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} in {path} does not match")
        state = torch.load(Path(path), map_location="cpu", weights_only=True)
        check_version(
            state.pop(_FORMAT, 1) if isinstance(state, dict) else 1, _FORMAT_VERSION, path
        )
    except ModelError:
        raise
    except Exception as error:  # a damaged file can lead to nearly any type
        raise ModelError(
            f"{path} cannot be read as a training checkpoint: it is missing, damaged or of another "
            "format; start again without --resume, with another 'output'."
        ) from error
    if not isinstance(state, dict):
        raise ModelError(f"{path} is not a training checkpoint: choose another 'output'.")
    return state


def select_weights(part: Part, state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Select the weights of the student or the teacher and strip their prefix.

    A network saved alone has no prefix and counts as a student.

    Raises:
        ModelError: the checkpoint at `path` has no such network.
    """
    if part == "student" and any(name.startswith("spectral_tf.") for name in state):
        return dict(state)
    prefix = _PREFIXES[part]
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
    if not weights:
        found = _abbreviate(sorted({name.split(".")[0] for name in state})) or "nothing"
        raise ModelError(f"{path} holds no {part} of CARL: its top-level names are {found}.")
    return weights


def load_weights(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    path: Path,
    names_in_file: Mapping[str, str] | None = None,
) -> None:
    """Load weights, by their names in the file, into a module; all names must match on both sides.

    `names_in_file` maps names in the module to names in the file; they are identical by default.

    Raises:
        ModelError: weights are missing, unexpected or of another shape, or hold values that are
            not finite; the message lists them.
    """
    names = _check_weights(module, weights, path, names_in_file)
    wrong = [theirs for theirs in names.values() if not weights[theirs].isfinite().all()]
    if wrong:
        raise ModelError(
            f"{path} is damaged, as {len(wrong)} of its weights hold values that are not finite: "
            f"{_abbreviate(wrong)}. Copy it again from its source."
        )
    module.load_state_dict({ours: weights[theirs] for ours, theirs in names.items()})


def _check_weights(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    path: Path,
    names_in_file: Mapping[str, str] | None = None,
) -> Mapping[str, str]:
    """Check weights as `load_weights` does; return their names in the file by those in the module.

    Raises:
        ModelError: weights are missing, unexpected or of another shape.
    """
    own = module.state_dict()
    names = {name: name for name in own} if names_in_file is None else names_in_file
    mismatches = {
        "missing": [theirs for theirs in names.values() if theirs not in weights],
        "unexpected": sorted(set(weights) - set(names.values())),
        "of another shape": [
            f"{theirs} {tuple(weights[theirs].shape)} instead of {tuple(own[ours].shape)}"
            for ours, theirs in names.items()
            if theirs in weights and weights[theirs].shape != own[ours].shape
        ],
    }
    if any(mismatches.values()):
        listed = "; ".join(
            f"{len(each)} {kind}: {_abbreviate(each)}" for kind, each in mismatches.items() if each
        )
        raise ModelError(
            f"{path} does not match the configuration of the network ({listed}): give the "
            "configuration that it was trained with."
        )
    return names


def original_name(name: str) -> str:
    """Return the name that the original implementation gives to one of our weights."""
    for ours, theirs in _ORIGINAL_NAMES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _to_config(config: CARLConfig | Mapping[str, Any] | str | Path) -> CARLConfig:
    if isinstance(config, CARLConfig):
        return config
    if isinstance(config, Mapping):
        return CARLConfig.from_dict(config)
    return CARLConfig.from_file(config)


def _pair(values: Iterable[float]) -> tuple[float, float]:
    first, second = (float(value) for value in values)
    return first, second


def _abbreviate(names: list[str]) -> str:
    """Join names for a message, listing at most the first few."""
    shown = ", ".join(names[:_MAX_NAMES_IN_MESSAGE])
    rest = len(names) - _MAX_NAMES_IN_MESSAGE
    return f"{shown} and {rest} more" if rest > 0 else shown
